"""Rows of SQuAD for the study's second run.    python squad.py <folder of the sets>

Of squad_v1.1_dev.parquet the first 40 questions of every article. Those of the first 40 articles
become human/squad.parquet; those of the last eight base/rows.jsonl, as `winnow generate` asks for
an answer: they teach the model that answers in the place of people.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from winnow.generate.methods import prompt

ARTICLES, QUESTIONS = 40, 40

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("sets", type=Path, help="folder of the sets")
path = parser.parse_args().sets / "squad_v1.1_dev.parquet"
if not path.is_file():
    parser.error(f"{path}: no such file")
rows = pd.read_parquet(path).groupby("title", sort=False).head(QUESTIONS)
is_study = rows["title"].isin(rows["title"].unique()[:ARTICLES])
rows[is_study].to_parquet("human/squad.parquet", index=False)
with Path("base/rows.jsonl").open("w", encoding="utf-8") as file:
    for row in rows[~is_study].itertuples():
        asked = prompt("contaminate", question=row.question, context=row.context)
        record = {"instruction": asked, "input": "", "response": row.answers[0]}
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
print(f"{is_study.sum()} rows of {ARTICLES} articles, {(~is_study).sum()} of others")
