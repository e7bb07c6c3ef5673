"""Dirty rows are those of a plain comparison of n-grams, whatever the benchmark's format."""

import gzip
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, make_until, write_jsonl, write_params

from winnow.core.texts import PARTS
from winnow.core.words import bare, cut
from winnow.curate.decontaminate import decontaminate


def table(*responses: str) -> pa.Table:
    """Rows of which only the response differs."""
    return pa.table(
        {name: responses if name == "response" else [""] * len(responses) for name in PARTS}
    )


def grams(text: str, size: int) -> Iterator[tuple[str, ...]]:
    """The rule itself."""
    words = cut(bare(unicodedata.normalize("NFKC", text).lower()))
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))


WORDS = st.sampled_from("one Two three. (four) fünf ₆ ½ a_b 日本, 日x ที่ हिन्दी ΟΔΟΣ -".split())  # noqa: SIM905
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, TEXTS)
def test_dirty_rows_are_those_that_share_an_ngram(
    tmp_path: Path, items: list[str], responses: list[str]
) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_text("".join(json.dumps({"q": item}) + "\n" for item in items))
    rows = table(*responses)
    verdict = decontaminate(rows, np.arange(len(rows)), benchmarks=[str(path)], ngram=3)
    searched = [item for item in items if any(grams(item, 3))]
    times = Counter(word for item in searched for word in set(grams(item, 1)))
    template = {word for word, number in times.items() if number > max(2, len(items) // 2)}
    known = {gram for item in items for gram in grams(item, 3)}
    known = {gram for gram in known if sum((word,) in template for word in gram) <= 1}
    wanted = [row for row, text in enumerate(responses) if known & set(grams(text, 3))]
    assert verdict.gone.tolist() == wanted
    for row, because in zip(verdict.gone, verdict.because.to_pylist(), strict=True):
        name, _, number = because.rpartition(":")
        assert name == "bench.jsonl"
        assert known & set(grams(items[int(number)], 3)) & set(grams(responses[row], 3))


SECRET = "How many eggs does Janet sell at the market every single day of the week?"
FORMATS = {
    "a.jsonl": json.dumps({"id": 7, "turns": [SECRET]}),
    "b.json": json.dumps([{"q": "short"}, {"q": SECRET}]),
    "c.json": json.dumps({"canary": "x", "examples": [{"input": SECRET}]}),
    "d.csv": f'subject,"{SECRET}",A\n',
    "e.txt": f"first\n{SECRET}\n",
}


@pytest.mark.parametrize("name", [*FORMATS, "f.jsonl.gz", "g.parquet", "folder"])
def test_benchmarks_of_every_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "f.jsonl.gz":
        path.write_bytes(gzip.compress(FORMATS["a.jsonl"].encode()))
    elif name == "g.parquet":
        pq.write_table(pa.table({"question": [SECRET]}), path)
    elif name == "folder":
        path.mkdir()
        (path / "a.jsonl").write_text(FORMATS["a.jsonl"])
        (path / "README.md").write_text(SECRET)
    else:
        path.write_text(FORMATS[name])
    rows = table("clean", f"Q: {SECRET.upper()}", "also clean")
    verdict = decontaminate(rows, np.arange(3), benchmarks=[str(path)])
    assert verdict.gone.tolist() == [1]
    inside = "folder/a.jsonl" if name == "folder" else name
    assert verdict.reasons == [f"in the benchmark {inside}"]
    assert verdict.because.to_pylist() == [f"{inside}:{1 if name in ('b.json', 'e.txt') else 0}"]


def dropped(folder: Path, *responses: str) -> tuple[list[int], tuple[str, ...]]:
    """The rows that go for a folder of benchmarks, and what is warned of."""
    verdict = decontaminate(table(*responses), np.arange(len(responses)), benchmarks=[str(folder)])
    return verdict.gone.tolist(), verdict.warnings


def write(folder: Path, name: str, *items: Any) -> Path:
    """Write the items of a benchmark; returns its folder."""
    (folder / name).write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


PLANETS = [f"What is the {place} planet from our sun?" for place in ("first", "second", "third")]


def test_a_question_shorter_than_the_ngram_is_found_whole(tmp_path: Path) -> None:
    choices = ["Earth is it", "Mars or maybe Venus", "Mercury"]
    write(tmp_path, "a.jsonl", {"question": PLANETS[0], "choices": choices, "answer": 2})
    write(tmp_path, "b.jsonl", {"query": f"Question: {PLANETS[1]}\nAnswer:", "gold": 1})
    (tmp_path / "c.csv").write_text(f"subject,Question,A,B\nspace,{PLANETS[2]},Earth,Mars\n")
    (tmp_path / "d.csv").write_text("space,Which planet has the largest rings?,Mars,Saturn\n")
    found = dropped(
        tmp_path,
        f"{PLANETS[0]} Mercury is right",
        f"Tell me: {PLANETS[1].lower()}",
        f"Q: {PLANETS[2]}",
        "Which planet has the largest rings? Saturn.",
        # A part of a question, and choices alone, are innocent.
        "What is the first planet from our telescope?",
        "Earth is it, Mars or maybe Venus, Mercury",
    )
    assert found == ([0, 1, 2, 3], ())


def test_what_cannot_be_searched_is_counted_by_file(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", {"question": "Why so?"}, {"question": SECRET}, {"question": "Who?"})
    write(tmp_path, "b.jsonl", {"question": PLANETS[0]})
    gone, warnings = dropped(tmp_path, "Why so?", SECRET)
    assert gone == [1]
    (warning,) = warnings
    assert warning.startswith(f"2 of the 3 items of {tmp_path.name}/a.jsonl cannot be searched")
    gone, warnings = dropped(write(tmp_path / "..", "c.jsonl", {"q": "Why?"}) / "c.jsonl", "Why?")
    assert gone == [] and warnings[0].startswith("1 of the 1 items of c.jsonl cannot be searched")


def test_a_template_is_no_item(tmp_path: Path) -> None:
    template = "Answer this multiple choice question and end with a line that names one letter: "
    endings = [f"which of the {number} lamps is {number * 7} metres high?" for number in range(40)]
    for number in (3, 40):
        write(tmp_path, "a.jsonl", *({"prompt": template + end} for end in endings[:number]))
        innocent = template + "which of the doors shall be shut?"
        gone, warnings = dropped(tmp_path, template, template + endings[0], innocent)
        assert gone == [1] and warnings == ()


def test_a_passage_of_several_questions_is_searched(tmp_path: Path) -> None:
    passage = "The lamp at the harbour was lit each night by a keeper who lived alone above it."
    items = [{"context": passage, "question": f"{word} lit the lamp?"} for word in "abcdefghi"]
    others = [{"context": f"{SECRET} {word}", "question": "Why?"} for word in "abcdefghi"]
    assert dropped(write(tmp_path, "a.jsonl", *items, *others), passage)[0] == [0]


def test_licences_ids_and_urls_are_not_searched(tmp_path: Path) -> None:
    notice = "You may use and copy this file as long as the notice above stays in all copies of it."
    url = "https://example.org/a/long/address/of/a/page/that/many/rows/may/link/to/now"
    (tmp_path / "LICENSE.txt").write_text(notice)
    item = {"id": notice, "question": SECRET, "meta": {"url": url, "License": notice}}
    write(tmp_path, "a.jsonl", item)
    assert dropped(tmp_path, notice, url, SECRET)[0] == [2]


def test_a_benchmark_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    rows, torn = table("x"), tmp_path / "torn.jsonl"
    torn.write_text('{"q": ')
    for path, words in ((tmp_path / "no.jsonl", "is no file"), (torn, "torn.jsonl cannot be read")):
        with pytest.raises(ValueError, match=words):
            decontaminate(rows, np.arange(1), benchmarks=[str(path)])
    with pytest.raises(ValueError, match="expected a file or more"):
        decontaminate(rows, np.arange(1), benchmarks=[])


def test_in_a_recipe(project: Path) -> None:
    rows = corpus()
    rows[5]["output"] += f" {SECRET}"
    write_jsonl(project / "data/a.jsonl", rows)
    write_jsonl(project / "bench.jsonl", [{"q": SECRET}])
    steps = [*TINY["curate"]["steps"], {"name": "decontaminate", "benchmarks": ["bench.jsonl"]}]  # type: ignore[index]
    write_params(project, TINY | {"curate": TINY["curate"] | {"steps": steps}})  # type: ignore[operator]
    make_until("score")
    dropped = pq.read_table(project / "artifacts/curate/dropped.parquet").to_pylist()
    (row,) = (row for row in dropped if row["step"] == 2)
    assert row["id"] == "a.jsonl:6" and row["because"] == "bench.jsonl:0"
    assert row["reason"] == "in the benchmark bench.jsonl" and SECRET in row["response"]
    scored = pq.read_table(project / "artifacts/score/dropped.parquet")
    assert scored["id"].to_pylist() == [row["id"] for row in dropped]


def test_sources_that_hold_a_benchmark_are_found(winnow_data: Path) -> None:
    """All rows of two sources are answers to GSM8K's test questions; of other ones, none is."""
    for source, share in (("gsm8k_model_solutions", 1.0), ("zeroeval_gsm8k", 1.0), ("medquad", 0)):
        rows = pq.read_table(winnow_data / f"instructions/{source}.parquet").slice(0, 6000)
        test = str(winnow_data / "benchmarks/gsm8k/test.jsonl")
        verdict = decontaminate(rows, np.arange(len(rows)), benchmarks=[test])
        assert len(verdict.gone) == share * len(rows)
