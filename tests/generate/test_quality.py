"""Every rule by what goes and what stays, and a shard's verdict by its numbers.

pytest tests/generate/test_quality.py
"""

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT

from winnow.core import params
from winnow.core.cards import Ledger
from winnow.core.errors import Refusal
from winnow.curate.language import language
from winnow.generate.methods import Candidate
from winnow.generate.quality import (
    DUPLICATE,
    REFUSALS,
    TEMPLATES,
    Checks,
    is_refusal,
    reason_of,
    verdict,
)
from winnow.generate.rows import read

FINE = Candidate(instruction="Name a river in Germany.", response="The Rhine.")
TEMPLATE = "a sign of the prompt's template in the text"


def reason(instruction: str = "", response: str = "", input: str = "") -> str | None:
    row = Candidate(
        instruction=instruction or FINE.instruction,
        input=input,
        response=response or FINE.response,
    )
    return reason_of(row, Checks())


def test_a_sound_row_stays_and_a_failed_one_goes_for_its_own_reason() -> None:
    assert reason_of(FINE, Checks()) is None
    failed = Candidate(instruction=FINE.instruction, response="The Rhine.", failure="cut")
    assert reason_of(failed, Checks()) == "cut"


def test_the_seed_examples_pass() -> None:
    for row in read("examples", str(ROOT / "corpora/seeds.jsonl")):
        assert reason(row.instruction, row.response, row.input) is None, row


@pytest.mark.parametrize("part", ["instruction", "response"])
@pytest.mark.parametrize(
    "text", ["```python", "```python\n```", "~~~\n...", "``` c++\n\n```", "?!", "\U0001f600", " "]
)
def test_fences_and_signs_alone_are_nothing(part: str, text: str) -> None:
    assert reason(**{part: text}) == f"{part} of nothing but fences or signs"


def test_code_in_a_fence_stays() -> None:
    assert reason("Print the number one.", "```python\nprint(1)\n```") is None


def test_lengths_are_words_with_their_bounds_inside() -> None:
    checks = Checks(
        min_instruction_words=2,
        max_instruction_words=3,
        min_response_words=2,
        max_response_words=4,
    )

    def judged(instruction: int, response: int) -> str | None:
        row = Candidate(
            instruction=" ".join("abcdef"[:instruction]), response=" ".join("uvwxyz"[:response])
        )
        return reason_of(row, checks)

    assert [judged(n, 2) for n in (1, 2, 3, 4)] == [
        "instruction too short",
        None,
        None,
        "instruction too long",
    ]
    assert [judged(2, n) for n in (1, 2, 4, 5)] == [
        "response too short",
        None,
        None,
        "response too long",
    ]


GONE = [
    "As an AI language model, I do not have feelings.",
    "Well. As a large language model trained on text, I have none.",
    "As an AI assistant, I must decline.",
    "I'm just an AI, and have no favourite.",
    "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I can\N{RIGHT SINGLE QUOTATION MARK}t do that.",
    "Sorry, I am unable to open links.",
    "We are sorry, but we won't say.",
    "I cannot provide that.",
    "Unfortunately, I am not able to look this up.",
]
STAYS = [
    "I'm sorry that I broke your vase. It will be replaced.",
    "Many see her as an AI pioneer.",
    "A penguin cannot fly.",
    "He works as an assistant in a shop.",
    "The traveller said: I cannot help you.",
]


def test_a_refusal_is_known_by_what_it_says() -> None:
    assert [text for text in GONE if not is_refusal(text)] == []
    assert [text for text in STAYS if is_refusal(text)] == []
    assert reason(response=GONE[0]) == "the response is a refusal"


def test_every_pattern_of_a_refusal_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    for left in REFUSALS:
        others = re.compile("|".join(one for one in REFUSALS if one != left))
        monkeypatch.setattr("winnow.generate.quality._REFUSAL", others)
        assert not all(map(is_refusal, GONE)), left


@pytest.mark.parametrize(
    "text",
    [
        "The Rhine.<|im_end|>",
        "The Rhine.\n<|im_start|>user",
        "<end_of_turn> The Rhine",
        "The Rhine. [/INST]",
        "<<SYS>> The Rhine",
        "### Instruction:\nThe Rhine",
        "The Rhine.\nHuman: and in France?",
        "Response: The Rhine.",
        "The Rhine.\n\nTask 6 [History]",
        "The Rhine.\nTask 6",
    ],
)
def test_a_sign_of_the_template_goes_wherever_it_is(text: str) -> None:
    assert reason(text) == reason(response=text) == reason(input=text) == TEMPLATE


@pytest.mark.parametrize(
    "text",
    [
        "### Ingredients\n- flour",
        "x <| f |> y in F#",
        "The institution [INSTITUTE] moved.",
        "Task 3 is the hardest of the tasks.",
        "Be kind to Human: it is a film.",
    ],
)
def test_what_only_looks_like_a_template_stays(text: str) -> None:
    assert reason(response=text) is None


def test_every_pattern_of_a_template_compiles_by_itself() -> None:
    import re

    assert all(re.compile(pattern, re.MULTILINE) for pattern in TEMPLATES)


def test_a_response_that_says_the_instruction_again_goes() -> None:
    asked = "Explain why the sea is salty in plain words."
    assert reason(asked, asked) == "the response repeats the instruction"
    assert reason(asked, f"{asked} Please.") == "the response repeats the instruction"
    assert reason(asked, "The sea is salty, as rivers carry salts into it.") is None
    # What is to be worked on may come back nearly as it was.
    assert reason("Correct the spelling.", "He goes home.", input="He gos home.") is None


def test_bounds_that_no_row_meets_are_refused_by_place() -> None:
    with pytest.raises(Refusal, match=r"generate\.checks\.min_response_words: 9 is above .* 5"):
        params.build(Checks, {"min_response_words": 9, "max_response_words": 5}, "generate.checks")
    with pytest.raises(Refusal, match=r"generate\.checks\.max_failed"):
        params.build(Checks, {"max_failed": 1.5}, "generate.checks")


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.integers(0, 100).map(lambda percent: percent / 100),
    st.integers(1, 40),
)
def test_a_verdict_against_plain_shares(
    rows: int, failed: int, duplicates: int, max_failed: float, max_duplicates: float, least: int
) -> None:
    dropped = Counter({"cut": failed, f"{DUPLICATE} of this shard": duplicates})
    ledger = Ledger(rows + failed + duplicates, rows, 0, dropped)
    checks = Checks(max_failed=max_failed, max_duplicates=max_duplicates, min_rows=least)
    found = verdict(ledger, checks)
    if not ledger.rows_in:
        assert found == ["there is no candidate"]
        return
    bad = [Fraction(failed, ledger.rows_in) > Fraction(str(max_failed))]
    sound = rows + duplicates
    bad.append(sound > 0 and Fraction(duplicates, sound) > Fraction(str(max_duplicates)))
    bad.append(rows < least)
    named = [any(key in one for one in found) for key in ("max_failed", "max_dup", "min_rows")]
    assert named == bad and len(found) == sum(bad)


def test_the_documented_run_is_said_with_its_numbers() -> None:
    """3,968 rows, of which 1,311 are unique and 1,120 left by all checks."""
    ledger = Ledger(3968, 1120, 0, Counter({DUPLICATE: 3968 - 1311, "refusal": 1311 - 1120}))
    assert verdict(ledger, Checks()) == []
    assert verdict(ledger, Checks(max_duplicates=0.67, min_rows=6000)) == [
        "2657 of 3777 sound candidates are duplicates, a share of 0.703 above max_duplicates, 0.67",
        "1120 rows are left, below min_rows, 6000",
    ]


@pytest.mark.parametrize(
    ("checks", "response", "why"),
    [
        ({"languages": ("en",)}, "It is a long river in the west of Germany.", None),
        ({"languages": ("en",)}, "Der Rhein ist ein langer Fluss im Westen.", "another language"),
        ({"languages": ("de", "en")}, "Der Rhein ist ein langer Fluss im Westen.", None),
        (
            {"languages": ("en",), "min_language": 1.0},
            "It is a long river in the west of Germany.",
            "language not sure",
        ),
        ({}, "Der Rhein ist ein langer Fluss im Westen.", None),
    ],
)
def test_a_row_is_of_a_language_that_was_asked_for(
    checks: dict[str, Any], response: str, why: str | None
) -> None:
    asked = "Wie heißt er?" if "Rhein" in response else "Name a river that you know."
    row = Candidate(instruction=asked, response=f"{response}\n\nLine two.")
    assert reason_of(row, Checks(**checks)) == why


def test_a_generated_row_and_a_curated_one_are_of_the_same_language() -> None:
    rows = read("examples", str(ROOT / "corpora/seeds.jsonl"))
    table = pa.table(
        {
            part: [getattr(row, part) for row in rows]
            for part in ("instruction", "input", "response")
        }
    )
    gone = language(table, np.arange(len(rows)), keep=["en"], threshold=0.8)
    for place, row in enumerate(rows):
        given = Candidate(instruction=row.instruction, input=row.input, response=row.response)
        why = dict(zip(gone.gone.tolist(), gone.reasons, strict=True)).get(place)
        assert reason_of(given, Checks(languages=("en",), min_language=0.8)) == why
    assert 0 < len(gone.reasons) < len(rows)
