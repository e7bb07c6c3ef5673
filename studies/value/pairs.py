"""Pairs of a clean and a faulty answer, none to a task.    PYTHONPATH=../.. python pairs.py

Writes `aligned/corpus/pairs.jsonl`, as studies/alignment/rows.py draws them.
"""

import json
from pathlib import Path

from corpora.planted.dice import Dice
from studies.alignment import rows
from winnow.core.records import Row

TASKS = Path("../../corpora/tasks.jsonl")
SEED = 20_267

tasks = map(json.loads, TASKS.read_text(encoding="utf-8").splitlines())
seen = {Row("", "", task["instruction"], task["input"], "").question for task in tasks}
dice = Dice(SEED)
items = [*rows.distinct(dice, rows.PAIRS, seen)]
rows.write(Path("aligned/corpus/pairs.jsonl"), rows.pairs(items, dice))
