"""Rows that teach to read: filters that every arm meets alike, and arms of the same rows.

pytest tests/generate/test_reading.py
"""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted import Model, made
from tiny import TINY, write_jsonl, write_params

from winnow.core import cards
from winnow.core.errors import Refusal
from winnow.core.layout import GENERATED
from winnow.generate import reading, stage
from winnow.generate.backends import Request, Settings
from winnow.generate.methods.contaminate import Contaminate
from winnow.generate.methods.paraphrase import UNCHANGED
from winnow.generate.methods.synthesise import Synthesise
from winnow.generate.methods.unchanged import Unchanged
from winnow.generate.params import Aligned, GenerateConfig

CONTEXT = "The mill by the river was built in 1802 by Anna Holt."
QUESTION = "In which year was the mill by the river built?"


@pytest.mark.parametrize(
    ("question", "context", "answer", "reason"),
    [
        (QUESTION, CONTEXT, "1802", None),
        (QUESTION, CONTEXT, "anna holt.", None),
        (QUESTION, " \n", "1802", reading.NO_CONTEXT),
        (QUESTION, CONTEXT, "1803", reading.ABSENT),
        (QUESTION, CONTEXT, "180", reading.ABSENT),
        (QUESTION, CONTEXT, "!", reading.ABSENT),
        (QUESTION, CONTEXT, "the mill by the river?", reading.ASKS),
        (QUESTION, CONTEXT, QUESTION[:-1].upper(), reading.ASKS),
    ],
)
def test_what_cannot_teach_to_read_goes_with_its_reason(
    question: str, context: str, answer: str, reason: str | None
) -> None:
    assert reading.reason_of(question, context, answer) == reason


def test_overlap_counts_runs_of_words() -> None:
    rng = random.Random(0)
    for _ in range(500):
        text, other = (" ".join(rng.choices("ab", k=rng.randint(0, 14))) for _ in range(2))
        size = rng.randint(1, 4)
        padded = f" {other} "
        runs = [text.split()[at : at + size] for at in range(max(0, len(text.split()) - size + 1))]
        shared = [run for run in runs if f" {' '.join(run)} " in padded]
        wanted = len(shared) / len(runs) if runs else None
        assert reading.overlap(text, other, size) == wanted
    assert reading.overlap(QUESTION, QUESTION) == 1 and reading.overlap("Why?", QUESTION) is None


def rows(number: int) -> list[dict[str, str]]:
    """Questions about houses, each with its context and answer."""
    return [
        {
            "id": f"q{at}",
            "question": f"In which year was the house {at} by the river built?",
            "context": f"The house {at} was built in {1800 + at} by somebody.",
            "answer": str(1800 + at),
        }
        for at in range(number)
    ]


def script(request: Request) -> str:
    """Rewords a question, or answers it; every fourth time badly."""
    content = request.chat[0][1]
    if content.startswith("Put"):
        question = content.split("\n")[1]
        number = int(question.split("house ")[1].split()[0])
        bad = {0: question, 1: f"So: {question}", 2: "Any?"}
        return bad.get(number % 8, f"If I ask when they made house {number}, what do you say?")
    number = int(content.split("house ")[1].split()[0])
    return {3: "1", 4: "Which year?"}.get(number % 8, str(1800 + number))


def test_arms_are_made_of_the_same_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, rows(16))
    common: Any = {"rows": str(file), "requests": 16, "shards": 1}
    model = Model(script)
    people = made(Unchanged(**common), model)
    assert not model.asked and all(one.failure is None for one in people)
    assert [one.whole.split("\n") for one in people][0] == [*rows(1)[0].values()][1:]
    answers = made(Contaminate(**common), model)
    asked = [request.chat[0][1] for request in model.asked]
    assert all(one.instruction in text for one, text in zip(answers, asked, strict=True))
    reasons = [one.failure for one in answers]
    assert reasons == [None, None, None, reading.ABSENT, reading.ASKS, None, None, None] * 2
    assert [(one.instruction, one.input) for one in answers] == [
        (one.instruction, one.input) for one in people
    ]
    reworded = made(Synthesise(**common), model)
    assert [one.failure for one in reworded] == [UNCHANGED, reading.OVERLAP, *[None] * 6] * 2
    assert [(one.input, one.response) for one in reworded] == [
        (one.input, one.response) for one in people
    ]
    near = made(Synthesise(**common, max_overlap=1.0), model)
    assert near[1].failure is None


def test_a_table_of_rows_is_read_as_lines_are(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows(5))
    named = [
        {"id": row["id"], "instruction": row["question"], "input": row["context"]}
        | {"response": row["answer"], "hash": "x"}
        for row in rows(5)
    ]
    pq.write_table(pa.Table.from_pylist(named), tmp_path / "rows.parquet")
    lines, table = (
        made(Unchanged(rows=str(tmp_path / f"rows.{suffix}")), Model(script))
        for suffix in ("jsonl", "parquet")
    )
    assert lines == table and len(lines) == 5
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(Refusal, match=r"rows: .*bad.parquet: no table of rows"):
        Unchanged(rows=str(tmp_path / "bad.parquet")).check()


class Scripted(Settings):
    """A backend that is the script; no process."""

    def open(self) -> Any:
        model = Model(script)

        class Backend:
            identity = "script"

            def answer(self, requests: Any) -> Any:
                return enumerate(model.ask(requests))

            def question_prefix(self) -> None:
                return None

        return Backend()


def declared(project: Path, **sections: Any) -> None:
    """A project with three arms of 16 rows."""
    write_jsonl(project / "rows.jsonl", rows(16))
    methods = {
        "human": "unchanged",
        "ai_contaminated": "contaminate",
        "synthetic_from_human": "synthesise",
    }
    recipes = {
        name: {"method": method, "rows": "rows.jsonl", "shards": 2, "requests": 8}
        for name, method in methods.items()
    }
    backend = {"name": "openai", "url": "http://localhost:1/v1", "model": "none"}
    checks = {"min_instruction_words": 8}
    generate = {"backend": backend, "recipes": recipes, "checks": checks} | sections
    write_params(project, TINY | {"generate": generate})


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GenerateConfig, "settings", lambda self: Scripted())
    monkeypatch.setattr(stage, "record", lambda *_: None)
    return tmp_path


def published(project: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for file in sorted((project / GENERATED / "rows").glob("*/*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        found.setdefault(file.parent.name, []).extend(map(json.loads, lines))
    return found


def test_aligned_arms_are_equal_in_number_and_in_parents(
    scripted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared(scripted, aligned={"min_yield": 0.3})
    stage.run()
    arms = published(scripted)
    assert {name: len(found) for name, found in arms.items()} == {
        "human": 6,
        "ai_contaminated": 6,
        "synthetic_from_human": 6,
    }
    assert all([*row] == ["id", "question", "context", "answer", "source"] for row in arms["human"])
    contexts = [[row["context"] for row in found] for found in arms.values()]
    assert contexts[0] == contexts[1] == contexts[2]
    assert all(row["source"] == name for name, found in arms.items() for row in found)
    told = cards.read_card(GENERATED, "winnow generate")["aligned"]
    assert told["asked"] == 16 and told["rows"] == 6
    lost = told["recipes"]["synthetic_from_human"]["dropped"]
    assert lost == {UNCHANGED: 2, reading.OVERLAP: 2, "instruction too short": 2}
    assert "all recipes have 6 of 16 rows" in capsys.readouterr().out


def test_a_part_of_aligned_rows_is_of_the_same_parents(scripted: Path) -> None:
    declared(scripted, aligned={"min_yield": 0.3, "rows": 4})
    stage.run()
    arms = published(scripted)
    contexts = [[row["context"] for row in found] for found in arms.values()]
    assert len(contexts[0]) == 4 and contexts[0] == contexts[1] == contexts[2]


def test_a_yield_below_the_threshold_stops_with_the_reasons(scripted: Path) -> None:
    declared(scripted, aligned={"min_yield": 0.5})
    with pytest.raises(Refusal) as refused:
        stage.run()
    assert "generate.aligned.min_yield: all recipes have 6 of 16 rows" in str(refused.value)
    assert f"synthetic_from_human 10, 2 {UNCHANGED}" in str(refused.value)
    assert not (scripted / GENERATED).exists()


def test_a_dry_run_shows_rows_and_verdicts_and_writes_nothing(
    scripted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared(scripted, aligned={})
    stage.run(sample=2)
    said = capsys.readouterr().out
    assert said.count("human: a row") == 2 and said.count("ai_contaminated: a row") == 2
    assert f"synthetic_from_human: {UNCHANGED}" in said and rows(1)[0]["context"] in said
    assert not (scripted / GENERATED).exists()
    with pytest.raises(Refusal, match="--sample: expected a whole number"):
        stage.run(sample=0)


def test_only_methods_of_given_rows_can_be_aligned() -> None:
    recipes = {"free": {"method": "magpie"}}
    backend = {"name": "openai", "url": "http://localhost:1/v1", "model": "none"}
    settings = GenerateConfig(backend=backend, recipes=recipes, aligned=Aligned())
    with pytest.raises(Refusal, match="which magpie does not"):
        settings.check()
