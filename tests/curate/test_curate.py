"""Duplicates, the hold-out, the tokenizer: whatever the order of the rows, and nothing lost."""

import json
import random
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, make_until, write_jsonl, write_params
from tokenizers import Tokenizer

from winnow.curate import steps
from winnow.records import content_hash


def table(responses: list[str], sources: list[str] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({"response": responses, "source": sources or ["s"] * len(responses)})
    rows["instruction"], rows["input"] = "say it", ""
    rows["id"] = [f"x:{number}" for number in range(len(rows))]
    rows["hash"] = [content_hash("say it", "", text) for text in responses]
    rows["cluster"] = rows["hash"]
    return rows


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def slow_clusters(texts: list[str], threshold: float) -> set[frozenset[int]]:
    """Connected components of the exact Jaccard graph, by comparing all pairs."""
    groups = [{index} for index in range(len(texts))]
    sets = [shingles(f"say it  {text}".lower()) for text in texts]
    for i in range(len(texts)):
        for j in range(i):
            if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold:
                one = next(group for group in groups if i in group)
                two = next(group for group in groups if j in group)
                if one is not two:
                    one |= two
                    groups.remove(two)
    return {frozenset(group) for group in groups}


def test_exact_keeps_the_longest_spelling() -> None:
    rows, dropped = steps.apply({"name": "exact"}, table(["a b", "A  B", "other", "a B"]))
    assert rows["response"].tolist() == ["A  B", "other"]
    assert dropped[0] == steps.Drop("exact duplicate", "x:1")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=24), min_size=1, max_size=6
    )
)
def test_near_clusters_are_those_of_all_pairs(lists: list[list[str]]) -> None:
    texts = [" ".join(words) for words in lists]
    texts += [f"{text} zzz" for text in texts]
    rows = table(texts)
    rows["cluster"] = rows["hash"]
    steps.near(rows, threshold=0.8, keep="all")
    found = {frozenset(group.index) for _, group in rows.groupby("cluster")}
    wanted = slow_clusters(texts, 0.8)
    # MinHash may miss a pair at the threshold, but what it joins belongs together.
    assert all(any(group <= other for other in wanted) for group in found)


def test_near_finds_planted_copies() -> None:
    dice = random.Random(0)
    texts = [
        " ".join(dice.choice("abcdefghij") * 2 + str(dice.randrange(99)) for _ in range(60))
        for _ in range(300)
    ]
    rows, dropped = steps.apply(
        {"name": "near", "threshold": 0.8}, table(texts + [f"{text} and more" for text in texts])
    )
    assert len(dropped) >= 297
    assert len(rows) + len(dropped) == 600
    # The longer one stays, so every drop is an original that names its copy.
    assert all(
        position < 300 and drop.kept == f"x:{position + 300}" for position, drop in dropped.items()
    )


def test_unknown_steps_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown step 'magic'; known are exact, near"):
        steps.apply({"name": "magic"}, table(["a"]))
    with pytest.raises(ValueError, match="near: .*treshold"):
        steps.apply({"name": "near", "treshold": 0.5}, table(["a"]))


def test_hold_out_is_by_cluster_and_by_source() -> None:
    texts = [f"text {number}" for number in range(200)]
    rows = table(texts, ["big"] * 150 + ["small"] * 50)
    rows.loc[::2, "cluster"] = rows["hash"].to_numpy()[1::2]  # pairs
    split = steps.hold_out(rows, {"validation": 20, "test": 40}, seed=0)
    for _, group in rows.assign(split=split).groupby("cluster"):
        assert group["split"].nunique() == 1
    counts = pd.crosstab(rows["source"], split)
    assert counts.loc["big", "test"] == 30 and counts.loc["small", "test"] == 10
    assert (split == "validation").sum() in (18, 19, 20)
    with pytest.raises(ValueError, match="150 rows to hold out of 200 is more than half"):
        steps.hold_out(rows, {"test": 150}, seed=0)


def test_the_order_of_rows_decides_nothing(project: Path) -> None:
    def held() -> tuple[set[str], set[str], bytes]:
        make_until("curate")
        out = project / "artifacts/curate"
        tokenizer = (out / "tokenizer/tokenizer.json").read_bytes()
        splits = [
            set(pq.read_table(out / f"{n}.parquet")["hash"].to_pylist()) for n in ("train", "test")
        ]
        return splits[0], splits[1], tokenizer

    rows = corpus()
    rows += rows[:20]
    write_jsonl(project / "data/a.jsonl", rows)
    one = held()
    random.Random(1).shuffle(rows)
    write_jsonl(project / "data/a.jsonl", rows)
    assert held() == one
    assert not one[0] & one[1]


def test_the_ledger_names_every_row(project: Path) -> None:
    rows = corpus(100)
    rows += rows[:7] + [
        row | {"output": row["output"] + " extra"} for row in rows if len(row["output"]) > 150
    ]
    write_jsonl(project / "data/a.jsonl", rows)
    make_until("curate")
    out = project / "artifacts/curate"
    card = json.loads((out / "card.json").read_text())
    dropped = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    ledger = card["ledger"]
    assert ledger["rows_in"] == len(rows)
    assert ledger["dropped"]["exact duplicate"] == 7
    assert ledger["dropped"]["near duplicate"] > 0
    assert sum(ledger["dropped"].values()) == len(dropped)
    kept = {
        name
        for split in ("train", "validation", "test")
        for name in pq.read_table(out / f"{split}.parquet")["id"].to_pylist()
    }
    assert all(
        entry["kept"] in kept or any(d["id"] == entry["kept"] for d in dropped) for entry in dropped
    )
    assert ledger["held_out"] == card["splits"]["validation"] + card["splits"]["test"]


def test_a_tokenizer_folder_is_copied_and_a_missing_one_named(
    project: Path, winnow_data: Path
) -> None:
    source = winnow_data / "tokenizers/gpt2"
    write_params(project, TINY | {"curate": TINY["curate"] | {"tokenizer": str(source)}})  # type: ignore[operator]
    make_until("curate")
    made = Tokenizer.from_file(str(project / "artifacts/curate/tokenizer/tokenizer.json"))
    assert made.encode("Hello world").ids == [15496, 995]
    write_params(project, TINY | {"curate": TINY["curate"] | {"tokenizer": "no/such"}})  # type: ignore[operator]
    with pytest.raises(ValueError, match="no tokenizer 'no/such' here or on the hub"):
        make_until("curate")
