"""A step that drops too much says so by name, and one that fails or leaves nothing ends there."""

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import TINY, corpus, make_until, write_jsonl, write_params

from winnow.core import cards
from winnow.core.errors import Refusal
from winnow.curate import steps
from winnow.curate.verdict import NONE, Positions, Verdict, step
from winnow.evaluate import stage as evaluate


def warned(sources: str, gone: list[int], share: float = 0.5) -> list[str]:
    """What is said of a step that drops these rows of a corpus with a source a letter."""
    verdict = Verdict(np.array(gone, int), ["why"] * len(gone), pa.array(["x"] * len(gone)))
    rows = pa.table({"source": list(sources)})
    return steps.warnings({"name": "near"}, rows, np.arange(len(rows)), verdict, share)


@dataclass(frozen=True, kw_only=True)
class Number:
    """Of a step of these tests."""

    number: float


def use(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("winnow.curate.mine")
    module.mine = step  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(steps.STEPS, "mine", "mine")


def recipe(project: Path, *recipe: dict[str, Any], **numbers: Any) -> None:
    """Write the parameters of a recipe."""
    curate = TINY["curate"] | {"steps": list(recipe)} | numbers  # type: ignore[operator]
    write_params(project, TINY | {"curate": curate})


def test_sources_that_lost_most_are_named() -> None:
    assert warned("aaaabbbb", [0, 1]) == []
    assert warned("aaaabbbb", [0, 1, 2]) == ["near dropped 3 of the 4 rows of source 'a'"]
    assert warned("aaaa", [0, 1, 2]) == ["near dropped 3 of the 4 rows of source 'a'"]
    assert warned("aaabbbb", [0, 3, 4, 5]) == [
        "near dropped 3 of the 4 rows of source 'b'",
        "near dropped 4 of all 7 rows",
    ]
    assert warned("aaaabbbb", [0], share=0.2) == ["near dropped 1 of the 4 rows of source 'a'"]
    many = warned("abcdefgh" * 2 + "z" * 99, list(range(16)))
    assert many[:5] == [f"near dropped 2 of the 2 rows of source {name!r}" for name in "abcde"]
    assert many[5:] == ["near dropped as large a share of 3 other sources"]


def test_rows_that_went_before_count_no_more() -> None:
    verdict = Verdict(np.array([3]), ["why"], pa.array(["x"]))
    rows = pa.table({"source": ["a"] * 4})
    assert steps.warnings({"name": "near"}, rows, np.array([2, 3]), verdict, 0.5) == []
    assert steps.warnings({"name": "near"}, rows, np.array([3]), verdict, 0.5) != []


def test_a_warning_is_on_screen_and_in_the_card(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = corpus(1)[0]
    write_jsonl(project / "data/a.jsonl", corpus())
    write_jsonl(project / "data/b.jsonl", [row | {"instruction": "Repeat it."}] * 40)
    recipe(project, {"name": "exact"}, {"name": "near", "threshold": 0.8})
    make_until("curate")
    warning = "exact dropped 39 of the 40 rows of source 'b'"
    assert f"curate: warning: {warning}" in capsys.readouterr().out
    card = json.loads((project / "artifacts/curate/card.json").read_text())
    assert card["warnings"] == [warning]


def test_a_step_that_leaves_no_row_ends_the_stage_by_its_name(project: Path) -> None:
    recipe(project, {"name": "language", "keep": ["fr"]}, {"name": "exact"})
    words = r"curate.steps language left no row of \d+: \d+ another language; change"
    with pytest.raises(Refusal, match=words):
        make_until("curate")
    assert not (project / "artifacts/curate").exists()


def test_an_error_says_whose_step_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    @step
    def mine(table: pa.Table, rows: Positions, numbers: Number) -> Verdict:
        if numbers.number < 0:
            raise Refusal("labels.jsonl: line 3 has no label")
        return NONE if numbers.number > 0 else rows[{}]  # type: ignore[call-overload, no-any-return]

    use(mine, monkeypatch)
    rows = pa.table({"source": ["a"]})
    with pytest.raises(Refusal, match=r"curate.steps mine: labels.jsonl: line 3 has no label"):
        steps.apply({"name": "mine", "number": -1}, rows, np.arange(1))
    # What is wrong in the code keeps its traceback, with the step's name below.
    with pytest.raises(IndexError) as caught:
        steps.apply({"name": "mine", "number": 0}, rows, np.arange(1))
    assert caught.value.__notes__ == ["in curate.steps mine"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_rows_is_refused(project: Path, split: str) -> None:
    recipe(project, {"name": "exact"}, **{split: 0})
    with pytest.raises(Refusal, match=rf"curate.{split}: expected a whole number in \[1, .* 0"):
        make_until("curate")


def test_a_test_set_that_lost_its_rows_judges_no_model(project: Path) -> None:
    make_until("select", "high_40_tiny")
    path = project / "artifacts/curate/test.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with cards.publish_folder(project / "models/high_40_tiny/0", {"stage": "train"}):
        pass
    with pytest.raises(Refusal, match="curate/test.parquet is not what its card says: run `winnow"):
        evaluate.run(["high_40_tiny"], 0, False)


@pytest.mark.parametrize("share", [0.0, -1.0, 7.0, float("nan")])
def test_an_alarm_that_could_never_or_always_sound_is_refused(project: Path, share: float) -> None:
    recipe(project, {"name": "exact"}, alarm_share=share)
    with pytest.raises(Refusal, match="curate.alarm_share: expected a number in"):
        make_until("curate")
