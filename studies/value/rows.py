"""The corpora of the chain's other projects.    PYTHONPATH=../.. python rows.py

Writes, of what `winnow curate` left here, `raw/corpus/rows.parquet`: all that it kept to train on,
with the duplicates of these rows that it dropped; and `mixed/corpus/rows.parquet`: what it kept of
the better sources. So none holds a row, or a copy of one, that all are judged on. And
`aligned/corpus/pairs.jsonl`: pairs of a clean and a faulty answer as ../alignment/rows.py draws
them, none to a question of a task.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpora.planted.dice import Dice
from studies.alignment import rows
from winnow.core.records import Row

TASKS = Path("../../corpora/tasks.jsonl")
CURATED = Path("artifacts/curate")
POOREST = "forum"
SEED = 20_267
COLUMNS = ["source", "instruction", "input", "response"]


def write(folder: str, table: pa.Table) -> None:
    """Write a project's corpus."""
    path = Path(folder, "corpus/rows.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def main() -> None:
    """Write all of them."""
    kept = pq.read_table(CURATED / "train.parquet")
    dropped = pq.read_table(CURATED / "dropped.parquet")
    copies = dropped.filter(pc.is_in(dropped["because"], kept["id"]))
    write("raw", pa.concat_tables([table.select(COLUMNS) for table in (kept, copies)]))
    rated = kept.select([*COLUMNS, "kept:rating"]).rename_columns([*COLUMNS, "rating"])
    write("mixed", rated.filter(pc.not_equal(rated["source"], POOREST)))

    tasks = map(json.loads, TASKS.read_text(encoding="utf-8").splitlines())
    seen = {Row("", "", task["instruction"], task["input"], "").question for task in tasks}
    dice = Dice(SEED)
    items = [*rows.distinct(dice, rows.PAIRS, seen)]
    rows.write(Path("aligned/corpus/pairs.jsonl"), rows.pairs(items, dice))


if __name__ == "__main__":
    main()
