"""Rows are told apart by what they are about, whatever their order, and topics by their words.

pytest tests/curate/test_topics.py
"""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny import TINY, change, make_until, write_jsonl, write_params

from winnow.core import texts
from winnow.curate import stage
from winnow.curate.numbers import Topics
from winnow.curate.topics import by_topic

ABOUT = {
    "harbour": ["vessel", "anchor", "sailor", "tide", "rope", "deck", "captain", "rudder"],
    "kitchen": ["soup", "onion", "butter", "oven", "recipe", "dough", "pepper", "garlic"],
    "orchestra": ["violin", "melody", "rhythm", "sonata", "cello", "chord", "opera", "flute"],
}
SHARED = ["please", "tell", "about", "what", "there", "with", "some", "which", "could", "where"]


def rows(number: int) -> list[dict[str, str]]:
    """Rows about three things, a third each, of one source."""
    dice, found = random.Random(0), []
    for place in range(number):
        topic = sorted(ABOUT)[place % 3]
        words = [*dice.choices(ABOUT[topic], k=12), *dice.choices(SHARED, k=12)]
        dice.shuffle(words)
        found.append({"instruction": " ".join(words[:8]), "output": " ".join(words[8:])})
    return found


def table(made: list[dict[str, str]]) -> pa.Table:
    """The rows as curate holds them."""
    columns = {
        "id": [f"r{row['instruction']}" for row in made],
        "source": ["all"] * len(made),
        "instruction": [row["instruction"] for row in made],
        "input": [""] * len(made),
        "response": [row["output"] for row in made],
    }
    found = pa.table(columns)
    return found.append_column("hash", texts.content_hashes(found))


def test_planted_topics_are_found_and_named_by_their_own_words() -> None:
    made = table(rows(300))
    left = np.array([place for place in range(300) if place % 10])
    found = by_topic(made, left, Topics(clusters=3))["source"].to_pylist()
    for place in range(300):
        if place % 10 == 0:
            assert found[place] == "all"  # a row that is gone keeps its source
            continue
        words = found[place].split("-")
        assert len(words) == 3 and set(words) <= set(ABOUT[sorted(ABOUT)[place % 3]])
    assert len(set(found)) == 4


def test_the_order_of_rows_decides_nothing() -> None:
    made = table(rows(120))
    shuffled = np.random.default_rng(0).permutation(120)
    both = [by_topic(t, np.arange(120), Topics(clusters=5)) for t in (made, made.take(shuffled))]
    names = [dict(zip(t["id"].to_pylist(), t["source"].to_pylist(), strict=True)) for t in both]
    assert names[0] == names[1] and len(set(names[0].values())) == 5


def test_fewer_rows_than_topics_are_a_topic_each() -> None:
    assert len(set(by_topic(table(rows(3)), np.arange(3), Topics(clusters=9))["source"])) == 3


def test_the_stage_writes_topics_as_sources(project: Path) -> None:
    write_params(project, TINY)
    write_jsonl(project / "data/a.jsonl", rows(400))
    make_until("ingest")
    change(project, "curate.topics", {"clusters": 3})
    stage.run()
    for split in ("train", "validation", "test"):
        sources = set(pq.read_table(f"artifacts/curate/{split}.parquet")["source"].to_pylist())
        assert len(sources) == 3 and "a.jsonl" not in sources
