"""A share of a corpus is the same rows every time, of every file, in their order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.share import draw


def test_a_share_is_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for start, name in ((0, "a"), (2000, "b")):
        rows = pa.table({"n": range(start, start + 2000)})
        pq.write_table(rows, tmp_path / f"all/{name}.parquet")
    drawn = {}
    for name, seed in (("once", 0), ("again", 0), ("other", 1)):
        count = draw(tmp_path / "all", tmp_path / name, 0.1, seed)
        files = sorted((tmp_path / name).iterdir())
        drawn[name] = [pq.read_table(file)["n"].to_pylist() for file in files]
        assert count == sum(map(len, drawn[name]))
    assert drawn["once"] == drawn["again"] != drawn["other"]
    for rows in drawn["once"]:
        assert 150 < len(rows) < 250
        assert rows == sorted(set(rows))
