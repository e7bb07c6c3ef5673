"""Out of memory: tables in files, duplicates by partitions, and the same verdict at any budget."""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, make_until, need, write_jsonl, write_params

from winnow.core import mapped, texts
from winnow.core.minhash import buckets
from winnow.core.records import content_hash
from winnow.curate import duplicates, numbers, steps
from winnow.curate.partitions import partitions

VALUES = st.integers(0, 9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, st.integers(1, 50)), max_size=30), st.integers(1, 200))
def test_partitions_are_of_whole_components(rows: list[Any], budget: int) -> None:
    columns = np.array([row[:2] for row in rows], np.uint64).reshape(-1, 2).T << np.uint64(60)
    weights = np.array([row[2] for row in rows], np.int64)
    found = list(partitions(columns, weights, budget))
    component = list(range(len(rows)))
    for one in range(len(rows)):
        for two in range(one):
            if any(a == b for a, b in zip(rows[one][:2], rows[two][:2], strict=True)):
                old, new = component[one], component[two]
                component = [new if name == old else name for name in component]
    placed = {int(row): number for number, part in enumerate(found) for row in part}
    several = {row for row, name in enumerate(component) if component.count(name) > 1}
    assert set(placed) == several and sum(map(len, found)) == len(several)
    for one in several:
        assert {placed[two] for two in several if component[two] == component[one]} == {placed[one]}
    for part in found:
        assert (np.diff(part) > 0).all()
        assert weights[part].sum() <= budget or len({component[row] for row in part}) == 1


HASHES = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.just(2**64 - 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(HASHES, max_size=40))
def test_buckets_are_of_equal_values(values: list[int]) -> None:
    members, bounds = buckets(np.array(values, np.uint64))
    found = [part.tolist() for part in np.split(members, bounds[1:-1])]
    places = [[at for at, other in enumerate(values) if other == value] for value in set(values)]
    several = sorted((part for part in places if len(part) > 1), key=lambda part: values[part[0]])
    assert (found if len(members) else []) == several
    assert bounds[0] == 0 and bounds[-1] == len(members)


def rows_with_copies(size: int) -> pa.Table:
    """Rows of which many are copies, nearly copies, or of one large family."""
    dice = random.Random(0)
    template = " ".join(f"t{number}" for number in range(60))
    responses = [f"{template} {dice.randrange(10**9)}" for _ in range(size // 3)]
    words = [f"w{number}" for number in range(5000)]
    responses += [" ".join(dice.choices(words, k=40)) for _ in range(size // 3)]
    responses += [f"{text} and so on" for text in responses[-size // 6 :]]
    responses += [text.upper() for text in responses[:: max(1, size // 60)]]
    dice.shuffle(responses)
    hashes = [content_hash("say it", "", text) for text in responses]
    columns = dict.fromkeys(("instruction", "source"), ["say it"] * len(responses))
    columns |= {"id": [f"x:{dice.random()}" for _ in responses], "input": [""] * len(responses)}
    return pa.table(columns | {"response": responses, "hash": hashes, "cluster": hashes})


@pytest.mark.parametrize("budget", [1, 3_000, 100_000])
@pytest.mark.parametrize(
    ("step", "given_numbers"),
    [
        (duplicates.exact, {}),
        (duplicates.near, {"threshold": 0.8}),
        (duplicates.near, {"threshold": 0.5, "ngram": 1, "keep": "all"}),
    ],
)
def test_no_budget_decides_anything(
    step: Any, given_numbers: Any, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_with_copies(600)
    left = np.flatnonzero(np.arange(len(rows)) % 7)
    whole = step(rows, left, **given_numbers)
    monkeypatch.setattr(duplicates, "MB", budget)
    asked = list[int]()
    empty = mapped.empty

    def told(size: int, kind: type, limit: int | None) -> Any:
        asked.append(8 * size - (limit or 0))
        return empty(size, kind, limit)

    monkeypatch.setattr("winnow.core.minhash.empty", told)
    parted = step(rows, left, **given_numbers, partition_mb=1)
    assert parted.gone.tolist() == whole.gone.tolist() and parted.reasons == whole.reasons
    assert parted.because.to_pylist() == whole.because.to_pylist()
    if step is duplicates.near:
        assert parted.clusters.to_pylist() == whole.clusters.to_pylist()
        assert len(asked) > 1 and (max(asked) > 0) == (budget < 100_000)


def test_a_step_takes_the_sections_budget_unless_it_has_its_own(project: Path) -> None:
    assert numbers.Near(threshold=0.8).partition_mb == numbers.Exact().partition_mb
    write_jsonl(project / "data/a.jsonl", corpus())
    make_until("curate")
    out = project / "artifacts/curate"
    wanted = {path.name: path.read_bytes() for path in out.glob("*.*")}
    write_params(project, TINY | {"curate": TINY["curate"] | {"partition_mb": 1}})  # type: ignore[operator]
    make_until("curate")
    assert {path.name: path.read_bytes() for path in out.glob("*.*")} == wanted


def test_a_table_in_a_file_is_read_as_it_was_written_and_nobody_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_with_copies(30)
    batches = [*rows.slice(0, 10).to_batches(), *rows.slice(10).to_batches()]
    found = mapped.written(rows.schema, iter(batches))
    assert found.equals(rows) and found["id"].num_chunks == 2
    mapped.release()
    assert found.equals(rows)
    numbers_in_file = mapped.empty(1000, np.uint64, 10)
    numbers_in_file[:] = np.arange(1000)
    mapped.release()
    assert numbers_in_file.tolist() == list(range(1000))
    assert not any(Path(".winnow").iterdir())


def test_another_process_is_sent_where_texts_lie_and_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts_of = {
        "instruction": [f"{number} é" for number in range(5000)],
        "input": [""] * 5000,
        "response": [None, *("words " * number for number in range(4999))],
    }
    rows = pa.table({name: pa.array(values, pa.string()) for name, values in texts_of.items()})
    positions = np.delete(np.arange(10, 4990), 77)
    with mapped.shared_files("curate"):
        whole = mapped.shared(rows.schema, rows.to_batches(3000))
        # A step that gives new responses puts them into a file of their own.
        others = steps.replaced(
            whole, "response", np.arange(5000) == 4000, pa.array(["other words"])
        )
        assert mapped.within_reach(others) is others
        assert mapped.within_reach(rows) is not rows and mapped.within_reach(rows).equals(rows)
        found = list(texts.parts(others, positions))
        sent = [pickle.dumps(part) for part in found]
        assert max(map(len, sent)) < 10_000
        assert [texts.taken(pickle.loads(part)) for part in sent] == [*map(texts.taken, found)]
        with pytest.raises(ValueError, match="in memory"):
            pickle.dumps(next(texts.parts(rows, positions)))
        assert len(list(tmp_path.rglob("*.arrow"))) == 4
    assert not list(tmp_path.rglob("*.arrow")) and mapped.within_reach(rows) is rows


def test_files_with_names_are_removed_on_an_error_and_behind_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_with_copies(30)
    with pytest.raises(ZeroDivisionError), mapped.shared_files("curate"):
        mapped.shared(rows.schema, rows.to_batches())
        raise ZeroDivisionError
    assert not list(tmp_path.rglob("*.arrow"))
    if os.fork() == 0:
        with mapped.shared_files("curate"):
            mapped.shared(rows.schema, rows.to_batches())
            os.kill(os.getpid(), signal.SIGKILL)
    os.wait()
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    with mapped.shared_files("curate"):
        assert not list(tmp_path.rglob("*.arrow"))


def test_rows_at_positions_are_those_of_take() -> None:
    rows = pa.concat_tables([rows_with_copies(30), rows_with_copies(60)])
    for positions in (np.arange(0), np.arange(len(rows)), np.arange(3, len(rows), 11)):
        assert texts.rows_at(rows, positions).equals(rows.take(positions))


@pytest.mark.parametrize("size", ["16k", "48k"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(project: Path, size: str) -> None:
    """Of the folder in which the table's files lie."""
    need(os.geteuid() == 0 and shutil.which("mount") is not None, "mounting a disk needs root")
    write_jsonl(project / "data/a.jsonl", corpus())
    make_until("curate")
    before = {path.name: path.read_bytes() for path in Path("artifacts/curate").glob("*.*")}
    place = project / ".winnow"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    need(not subprocess.run(mount, capture_output=True).returncode, "no disk can be mounted here")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "winnow", "curate"], capture_output=True, text=True
        )
        (line,) = [text for text in done.stderr.splitlines() if text.startswith("winnow")]
        assert done.returncode == 2 and line.startswith("winnow curate: No space left on device")
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    after = {path.name: path.read_bytes() for path in Path("artifacts/curate").glob("*.*")}
    assert after == before and not list(Path("artifacts").glob(".*"))
    make_until("curate")
    assert pq.read_table("artifacts/curate/train.parquet").num_rows
    assert json.loads(Path("artifacts/curate/card.json").read_text())["ledger"]["rows_out"]
