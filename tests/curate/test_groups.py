"""Rows of one group stand on one side of the hold-out, and a hold-out may come from elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, write_jsonl, write_params

from winnow.core.errors import Refusal
from winnow.curate import groups
from winnow.curate import stage as curate
from winnow.ingest import stage as ingest


def oracle(clusters: list[str], titles: list[str]) -> list[int]:
    """Which rows hang together, by walking from row to row."""
    found = [-1] * len(clusters)
    for start in range(len(clusters)):
        waiting = [start]
        while waiting:
            at = waiting.pop()
            if found[at] < 0:
                found[at] = start
                waiting += [
                    other
                    for other in range(len(clusters))
                    if clusters[other] == clusters[at]
                    or (titles[at] and titles[other] == titles[at])
                ]
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_hangs_together_by_cluster_or_group_is_one_cluster(data: Any) -> None:
    number = data.draw(st.integers(1, 14))
    clusters = [data.draw(st.sampled_from("abcdefgh")) for _ in range(number)]
    titles = [data.draw(st.sampled_from(["", "x", "y", "z", "w"])) for _ in range(number)]
    left = np.flatnonzero([data.draw(st.booleans()) for _ in range(number)])
    table = pa.table({"cluster": clusters, "kept:title": titles})
    if not any(titles[at] for at in left):
        with pytest.raises(Refusal, match="empty in every row"):
            groups.joined(table, left, "Title")
        return
    names = groups.joined(table, left, "Title")["cluster"].to_pylist()
    wanted = oracle([clusters[at] for at in left], [titles[at] for at in left])
    found = [names[at] for at in left]
    assert [found.index(name) for name in found] == [wanted.index(one) for one in wanted]
    assert all(names[at] == clusters[at] for at in set(range(number)) - set(left.tolist()))
    order = np.array(data.draw(st.permutations(range(number))))
    back = np.flatnonzero(np.isin(order, left))
    again = groups.joined(table.take(order), back, "Title")["cluster"].to_pylist()
    assert [again[place] for place in back] == [names[order[place]] for place in back]


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(Refusal, match=r"curate.group: ingest kept no column 'title'"):
        groups.joined(pa.table({"cluster": ["a"]}), np.arange(1), "title")


def splits(project: Path) -> dict[str, list[dict[str, Any]]]:
    names = ("train", "validation", "test")
    return {
        name: pq.read_table(project / f"artifacts/curate/{name}.parquet").to_pylist()
        for name in names
    }


def make(project: Path, monkeypatch: pytest.MonkeyPatch, rows: Any, **sections: Any) -> None:
    """Ingest and curate rows in a project of their own."""
    write_jsonl(project / "data/rows.jsonl", rows)
    write_params(project, TINY | sections)
    monkeypatch.chdir(project)
    ingest.run()
    curate.run()


def test_a_hold_out_by_article_serves_another_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    rows = [row | {"title": f"article {at // 8}"} for at, row in enumerate(corpus())]
    numbers = {"steps": [], "validation": 20, "test": 20, "vocab_size": 320}
    kept = {"source": "data", "keep": ["title"]}
    make(first, monkeypatch, rows, ingest=kept, curate=numbers | {"group": "title"})
    drawn = splits(first)
    titles = {name: {row["kept:title"] for row in found} for name, found in drawn.items()}
    assert sum(map(len, titles.values())) == len(set().union(*titles.values())) == 20
    assert 10 <= len(drawn["test"]) <= 20 and len(drawn["test"]) % 8 == 0

    names = {"instruction": "instruction", "input": "input", "response": "output"}
    again = [{new: row[old] for old, new in names.items()} for row in drawn["train"]]
    taking = numbers | {"held_out": str(first / "artifacts/curate")}
    make(second, monkeypatch, again, curate=taking)
    taken = splits(second)
    assert taken["test"] == drawn["test"] and taken["validation"] == drawn["validation"]
    assert len(taken["train"]) == len(drawn["train"])

    leaked = {new: drawn["test"][0][old] for old, new in names.items()}
    with pytest.raises(Refusal, match="curate.held_out: 1 of the rows to be trained on are held"):
        make(second, monkeypatch, [*again, leaked], curate=taking)
    with pytest.raises(Refusal, match="curate.topics: rows that are held out elsewhere"):
        make(second, monkeypatch, again, curate=taking | {"topics": {"clusters": 2}})
