"""Rows of Alpaca with what an outside grader said of them: a corpus, labels and a target.

    python rows.py <folder of the sets> [rows]

Of alpaca_random_9k.parquet the first rows become data/alpaca.jsonl; its column `claude` is 1 where
AlpaGasus' grader (Claude, 2307.08701) gave at least 4.5 of 5, whose list is
alpaca_claude_t45.parquet. labels.csv is that of every other row, for the scorer `linear`;
target.jsonl are the 175 tasks that people wrote for Self-Instruct, for `dsir`.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

FIELDS = ["instruction", "input", "response"]
HERE = Path(__file__).parent
SETS = ("alpaca_random_9k", "alpaca_claude_t45", "self_instruct_seed_tasks")


def main(sets: Path, count: int) -> None:
    """Write the three files."""
    rows = pd.read_parquet(sets / "alpaca_random_9k.parquet", columns=FIELDS).head(count)
    chosen = pd.read_parquet(sets / "alpaca_claude_t45.parquet", columns=FIELDS)
    asked = ["instruction", "input"]
    is_chosen = pd.MultiIndex.from_frame(rows[asked]).isin(pd.MultiIndex.from_frame(chosen[asked]))
    rows["claude"] = is_chosen.astype(int)
    (HERE / "data").mkdir(exist_ok=True)
    write(HERE / "data/alpaca.jsonl", rows)
    target = pd.read_parquet(sets / "self_instruct_seed_tasks.parquet", columns=FIELDS)
    write(HERE / "target.jsonl", target)
    labels = pd.DataFrame({"id": [f"alpaca.jsonl:{n}" for n in range(1, len(rows) + 1)]})
    labels["label"] = rows["claude"].to_numpy()
    labels.iloc[::2].to_csv(HERE / "labels.csv", index=False)
    print(f"{len(rows)} rows, {int(is_chosen.sum())} of them chosen by the grader")


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write JSON lines."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows.to_dict("records"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, help="folder of the sets")
    parser.add_argument("rows", type=int, nargs="?", default=3000)
    given = parser.parse_args()
    if missing := [name for name in SETS if not (given.sets / f"{name}.parquet").is_file()]:
        parser.error(
            f"{given.sets}: expected {', '.join(SETS)} as .parquet, {missing[0]} is missing"
        )
    main(given.sets, given.rows)
