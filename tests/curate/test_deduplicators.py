"""The tools that `benchmarks/dedup.py` sets beside each other, as far as they are installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import deduplicators

WORDS = [f"word{number}" for number in range(100)]


@pytest.mark.parametrize("tool", ["winnow", "datasketch_bulk", "datasketch_by_token"])
def test_a_tool_puts_a_row_and_its_copy_in_one_cluster(tool: str, tmp_path: Path) -> None:
    responses = [" ".join(words) for words in (WORDS, WORDS[::-1], ["new", *WORDS[1:]])]
    rows = {"id": ["a", "b", "c"], "instruction": ["Why?"] * 3, "input": [""] * 3}
    pq.write_table(pa.table(rows | {"response": responses}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"text": responses}), tmp_path / "texts.parquet")
    command = [sys.executable, "-P", deduplicators.__file__, tool, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    first, other, copy = np.load(tmp_path / "clusters.npy")
    assert first == copy != other


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("A b\nc d", ["a b c", "b c d"]), ("A b c", ["a b c"]), ("A b", ["a b"]), (" ", [])],
)
def test_shingles_stand_in_the_order_of_the_text(text: str, wanted: list[str]) -> None:
    assert deduplicators.shingles(text) == wanted
