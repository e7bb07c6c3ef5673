"""Real pairs and tasks for the study's second run.    python alpaca_eval.py <folder of the data>

Writes `corpus/pairs.jsonl`: of each prompt of AlpacaEval 2 the two short answers of about one
length that GPT-4 Turbo judged most unlike, each against the same baseline; and `tasks.jsonl`, the
prompts of IFEval.
"""

import argparse
import json
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import pandas as pd

GAMES = ("NullModel", "gpt4_gamed")
"""Models whose answers are made for the judge, and not for who asks."""
WORDS = range(5, 101)
"""Of an answer: what a small model can write."""
LONGER = 1.25
"""How many times as long as the other one an answer is at most, as the judge likes length."""
APART = 0.5
"""How far apart two verdicts are at least; one is 1 for the baseline, 2 for the answer."""

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("data", type=Path, help="folder of the data")
data = parser.parse_args().data
judged = data / "preferences/alpaca_eval_2_judgements.parquet"
prompts = data / "benchmarks/ifeval/input_data.jsonl"
for path in (judged, prompts):
    if not path.is_file():
        parser.error(f"{path}: no such file")

rows = pd.read_parquet(judged)
prompts_in_all = rows["instruction"].nunique()
rows = rows.assign(words=rows["output"].str.split().str.len())
rows = rows[~rows["model"].isin(GAMES) & rows["words"].isin(WORDS)]
found, lost = [], Counter[str]()
for question, group in rows.groupby("instruction", sort=False):
    best = max(
        (
            (abs(one.preference - other.preference), one, other)
            for one, other in combinations(group.itertuples(), 2)
            if max(one.words, other.words) <= LONGER * min(one.words, other.words)
        ),
        key=lambda pair: pair[0],
        default=None,
    )
    if best is None:
        lost["no two answers of about one length"] += 1
    elif best[0] < APART:
        lost["verdicts that are close"] += 1
    else:
        chosen, rejected = sorted(best[1:], key=lambda one: -one.preference)
        record = {"instruction": question, "input": ""}
        found.append(record | {"chosen": chosen.output, "rejected": rejected.output})
Path("corpus").mkdir(exist_ok=True)
with Path("corpus/pairs.jsonl").open("w", encoding="utf-8") as file:
    file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in found)
shutil.copyfile(prompts, "tasks.jsonl")
lost["no short answer"] = prompts_in_all - rows["instruction"].nunique()
reasons = ", ".join(f"{number} with {reason}" for reason, number in sorted(lost.items()))
print(f"{len(found)} pairs of {prompts_in_all} prompts; without one: {reasons}")
