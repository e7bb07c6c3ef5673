"""DSIR and linear scores equal plain formulas, and none of them has seen the test.

pytest tests/score/test_learned.py
"""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import murmurhash3_32
from tiny import corpus, write_jsonl

from winnow.core.errors import Refusal
from winnow.core.ngrams import unit_vectors
from winnow.core.records import content_hash
from winnow.score.corpus import Corpus
from winnow.score.scorers.dsir import Dsir, gumbel
from winnow.score.scorers.linear import Linear

ROWS: list[dict[str, Any]] = [
    {
        "id": f"a:{number}",
        "source": "a",
        "instruction": row["instruction"],
        "input": row["input"],
        "response": row["output"],
        "hash": content_hash(row["instruction"], row["input"], row["output"]),
    }
    for number, row in enumerate(corpus(60))
]
POOL, TEST = ROWS[:50], ROWS[50:]


@pytest.fixture
def curated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.Table.from_pylist(POOL), "train.parquet")
    pq.write_table(pa.Table.from_pylist(TEST), "test.parquet")
    return Corpus(tmp_path, {})


def text(row: dict[str, Any]) -> str:
    question = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
    return f"{question}\n\n{row['response']}"


def grams(row: dict[str, Any], buckets: int) -> Counter[int]:
    words = re.findall(r"\w+|[^\w\s]+", text(row).lower())
    pairs = [" ".join(pair) for pair in zip(words, words[1:], strict=False)]
    return Counter(abs(murmurhash3_32(gram, seed=0)) % buckets for gram in words + pairs)


def rows_as_target(path: Path, rows: list[dict[str, Any]]) -> str:
    names = ("instruction", "input", "response")
    write_jsonl(path, [{name: row[name] for name in names} for row in rows])
    return str(path)


def test_dsir_equals_the_plain_formula_in_any_batches(curated: Corpus) -> None:
    target = [row for row in POOL if "lamp" in text(row)]
    file, buckets = rows_as_target(Path("target.jsonl"), target), 50
    shares = []
    for rows in (target, POOL):
        total = sum((grams(row, buckets) for row in rows), Counter[int]())
        shares.append([total[bucket] / total.total() for bucket in range(buckets)])
    ratio = [math.log(t + 1e-8) - math.log(p + 1e-8) for t, p in zip(*shares, strict=True)]
    plain = [sum(n * ratio[b] for b, n in grams(row, buckets).items()) for row in ROWS]
    ready, batch = (
        Dsir(target=file, buckets=buckets).prepare(curated),
        pa.RecordBatch.from_pylist(ROWS),
    )
    assert ready(batch) == pytest.approx(plain, abs=1e-9)
    assert [*ready(batch.slice(0, 7)), *ready(batch.slice(7))] == ready(batch)
    noisy = Dsir(target=file, buckets=buckets, seed=3).prepare(curated)(batch)
    added = [gumbel(3, row["hash"]) for row in ROWS]
    assert noisy == pytest.approx(np.array(plain) + added, abs=1e-9)


def test_gumbels_noise_draws_in_proportion_to_the_weights() -> None:
    weights = np.log([1.0, 2.0, 5.0])
    won = Counter(
        int(np.argmax([w + gumbel(seed, str(k)) for k, w in enumerate(weights)]))
        for seed in range(4000)
    )
    assert [won[k] / 4000 for k in range(3)] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


def test_a_target_of_test_rows_is_refused(curated: Corpus) -> None:
    rows_as_target(Path("target.jsonl"), [POOL[0], TEST[4]])
    with pytest.raises(Refusal, match="target.jsonl, at 2: a row of the test split, which nothing"):
        Dsir(target="target.jsonl").prepare(curated)
    Path("target.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Refusal, match="target.csv, at 2: columns cannot be mapped"):
        Dsir(target="target.csv").prepare(curated)


def test_linear_learns_what_the_labels_say_and_only_from_the_pool(curated: Corpus) -> None:
    batch = pa.RecordBatch.from_pylist(ROWS)
    long = [len(row["response"]) > 150 for row in ROWS]
    labels: Any = [{"id": r["id"], "label": one} for r, one in zip(ROWS, long, strict=True)]
    write_jsonl(Path("labels.jsonl"), labels)
    ready = Linear(labels="labels.jsonl").prepare(curated)
    scores: Any = ready(batch)
    assert all(0 <= score <= 1 for score in scores)
    notes = ready.notes()
    assert notes["labels"] == 50 and notes["labels_of_no_pool_row"] == 10
    order = np.argsort([row["hash"] for row in POOL])
    features = unit_vectors([text(POOL[place]) for place in order])
    plain = LogisticRegression().fit(features, np.array(long[:50])[order])
    likely = plain.predict_proba(unit_vectors([text(row) for row in ROWS]))[:, 1]
    assert np.corrcoef(scores, likely)[0, 1] > 0.9
    assert notes["held_out"]["auc"] > 0.5

    for label, row in zip(labels, ROWS, strict=True):
        label["label"] = len(row["response"]) / 100
    write_jsonl(Path("labels.jsonl"), labels[::-1])
    scores = Linear(labels="labels.jsonl").prepare(curated)(batch)
    everything = unit_vectors([text(row) for row in ROWS])
    used = np.unique(everything.indices)
    dense = everything[:, used].toarray()
    lengths = [len(row["response"]) / 100 for row in POOL]
    predicted = Ridge(alpha=1.0).fit(dense[:50], lengths).predict(dense)
    assert scores == pytest.approx(predicted, abs=1e-3)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,label", "a:1,high"], "at 2: expected a number, true or false, found 'high'"),
        (["id,label", "a:1,1", "a:1,2"], "at 3: another label of 'a:1' than before"),
        (["id,label", "a:1,1", "a:2,1"], "expected different labels of rows of the pool, found 2"),
        (["id,label", "z:1,1"], "found 0 of them with 0 values"),
        (["id,grade", "z:1,1"], "at 2: no column 'label', but id, grade"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_named(
    curated: Corpus, lines: list[str], message: str
) -> None:
    Path("labels.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(Refusal, match=re.escape(message)):
        Linear(labels="labels.csv").prepare(curated)
