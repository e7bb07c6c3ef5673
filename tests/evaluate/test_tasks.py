"""Every check can pass and fail; a bad line of tasks is named; real prompts of IFEval are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.evaluate import conversations, ifeval, tasks
from winnow.evaluate.tasks import Prompt


@pytest.mark.parametrize(
    ("check", "answer", "completion", "passed"),
    [
        ("exact", "bells", " bells\n", True),
        ("exact", "bells", "the bells", False),
        ("contains", "bells", "It is Bells.", True),
        ("contains", "bell", "It is bells.", False),
        ("contains", "a+b", "so a+b it is", True),
        ("number", "7", "First 3, then 7.", True),
        ("number", "7", "First 7, then 3.", False),
        ("number", "-2", "That gives -2", True),
        ("number", "1200", "about 1,200", True),
        ("number", "7", "seven", False),
    ],
)
def test_answers_are_checked(check: str, answer: str, completion: str, passed: bool) -> None:
    assert tasks.passes(Prompt("p", None, answer, check), completion) is passed


TABLE: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("punctuation:no_comma", {}, ["a b"], ["a, b"]),
    ("keywords:existence", {"keywords": ["mom", "a.b"]}, ["Moms, A.B"], ["mom", "mom aXb"]),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["rock", "c++"]},
        ["rocks", "c+"],
        ["A Rock.", "in C++!"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        ["War, war"],
        ["war"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "less than"},
        ["war", "x"],
        ["War, war"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "T", "let_frequency": 2, "let_relation": "at least"},
        ["tT"],
        ["t"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 1, "let_relation": "less than"},
        ["a"],
        ["a #"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        ["a b-c"],
        ["a b - !"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "less than"},
        ["a b - !"],
        ["a b c"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        ["One. Two", 'He said "No." Then left.', "Really?! Yes."],
        ["One, e.g. this, costs 2.50.", "Mr. Smith is in.", "One! ..."],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        ["Only one."],
        ["One. Two."],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "***\na\n***\nb\n***"],
        ["a\n\nb", "a *** b *** c", "a *** *** b"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        ['a\n\n"Weekend, at last', "a\n\n\n\nweekend"],
        ["weekend\n\na", "a\n\nweekends", "a\n\nweekend\n\nb", "a\n\n..."],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[name] at [address]"],
        ["[name]", "[na\nme] [x]"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\nP.S. More", "p. s. more"],
        ["Bye.", "lisp.s. x", "PS more"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["P.P.S more"],
        ["P.S. more"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "x\n- a\n  - b"],
        ["* a", "* a\n- b\n* c", "**a**\n**b**", "* a\n*"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["So: My answer is no."],
        ["no", "My answer is so."],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* and *b c*", "**a** and *b*"],
        ["*a*", "*a* and * *", "**a**", "*a\nb* *c*"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb"],
        ["Section 1 a", "Section a Section b"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1]}', '```json\n{"a": 1}\n```', "```\n[]\n```"],
        ["{a: 1}", '{"a": 1} so', "[" * 9999],
    ),
    ("detectable_format:title", {}, ["<<poem of joy>>\nx"], ["<poem>", "<< >>", "<<a\nb>>"]),
    (
        "combination:two_responses",
        {},
        ["a ****** b"],
        ["a", "a ****** a", "a ****** b ****** c", "****** a"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write it. "},
        ["write it. So"],
        ["So: write it."],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["I like NATO", "IT'S MID-MAY"],
        ["NATO 42 Is"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        ["NATO"],
        ["I like NATO"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Is that all?"},
        ["So. is that all? ", '"x. Is that all?"'],
        ["Is that all? No."],
    ),
    ("startend:quotation", {}, [' "a" '], ['a "b"', '"', "\u201ca\u201d"]),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), TABLE)
def test_instructions_are_followed_or_not(
    name: str, arguments: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert ifeval.follows(text, name, arguments), text
    for text in [*bad, " \n"]:
        assert not ifeval.follows(text, name, arguments), text


def test_every_instruction_is_in_the_table() -> None:
    assert {name for name, *_ in TABLE} == set(ifeval.CHECKS)


@given(st.text(max_size=60))
def test_checks_take_any_text_and_relations_are_opposites(text: str) -> None:
    for name, arguments, *_ in TABLE:
        followed = ifeval.follows(text, name, arguments)
        for key in arguments:
            if key.endswith("relation") and text.strip():
                other = {"at least": "less than", "less than": "at least"}[arguments[key]]
                assert ifeval.follows(text, name, arguments | {key: other}) is not followed


def test_published_prompts_are_read(winnow_data: Path) -> None:
    path = winnow_data / "benchmarks/ifeval/input_data.jsonl"
    known, unchecked = tasks.read(str(path), 999)
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    names = {name for line in lines for name in line["instruction_id_list"]}
    assert names == set(ifeval.CHECKS) | set(ifeval.UNCHECKED)
    hidden = [set(line["instruction_id_list"]) & set(ifeval.UNCHECKED) for line in lines]
    assert unchecked == sum(map(bool, hidden)) and len(known) + unchecked == len(lines) == 541
    assert known[0].text.startswith("### Instruction:\nWrite a 300+ word summary")
    text = " ".join(["*a* *b* *c*", *["word"] * 300])
    assert tasks.passes(known[0], text) and not tasks.passes(known[0], text + ", so")
    chosen, _ = tasks.read(str(path), 10)
    assert len(chosen) == 10 and chosen[1] == known[len(known) // 10]


TASK = json.dumps({"instruction": "Say 7.", "input": "", "answer": "7", "check": "number"})
ASKED = json.dumps(
    {
        "key": 1,
        "prompt": "Hi.",
        "instruction_id_list": ["startend:quotation", "keywords:frequency"],
        "kwargs": [{"keyword": None}, {"keyword": "a", "frequency": 1, "relation": "at least"}],
    }
)


def _written(folder: Path, *lines: str) -> str:
    path = folder / "tasks.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["not json"], r"tasks.jsonl:1: not a task"),
        ([TASK, '{"instruction": "x"}'], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace('"7"', "7")], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace('"7"', '"seven"')], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace("number", "regex")], r"tasks.jsonl:2: .*exact, contains or number"),
        ([ASKED.replace("quotation", "rhyme")], r"tasks.jsonl:1: .*unknown .*startend:rhyme"),
        ([ASKED.replace('"frequency": 1, ', "")], r"tasks.jsonl:1: .*missing .*frequency"),
        ([ASKED.replace("at least", "around")], r"tasks.jsonl:1: .*at least or less than"),
        ([ASKED.replace('[{"keyword": null}, ', "[")], r"tasks.jsonl:1: not a task"),
        ([ASKED.replace('{"keyword": null}', "5")], r"tasks.jsonl:1: not a task"),
    ],
)
def test_a_bad_task_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = _written(tmp_path, *lines)
    with pytest.raises(ValueError, match=message):
        tasks.read(path, 9)
    with pytest.raises(ValueError, match="evaluate.tasks: no file or folder 'nowhere'"):
        tasks.read("nowhere", 1)


def test_a_line_of_tasks_ends_where_json_says(tmp_path: Path) -> None:
    task = {"instruction": "a\u2028b", "answer": "x", "check": "exact"}
    path = _written(
        tmp_path, json.dumps(task), json.dumps(task, ensure_ascii=False), "", TASK, ASKED
    )
    (first, second, last, asked), unchecked = tasks.read(path, 9)
    assert "a\u2028b" in first.text and first == second
    assert last.answer == "7" and unchecked == 0
    assert asked.criterion == "startend:quotation, keywords:frequency"
    assert tasks.passes(asked, '"a"') and not tasks.passes(asked, '"b"')


def test_published_conversations_are_read(winnow_data: Path, tmp_path: Path) -> None:
    found = conversations.read(str(winnow_data / "benchmarks/fastchat/mt_bench/question.jsonl"))
    assert len(found) == 80 and {len(one.turns) for one in found} == {2}
    assert sum(one.reference is not None for one in found) == 31
    assert found[20].reference == ("You are in second place.", "Uncertain.")
    assert conversations.read(None) == []
    path = tmp_path / "talks.jsonl"
    for line in (
        '{"turns": ["Hi."], "reference": 7}',
        '{"turns": "Hi."}',
        '{"turns": []}',
        '{"turns": [1]}',
        "{}",
        "[]",
        "Hi.",
    ):
        path.write_text(f'{{"turns": ["Hi."]}}\n\n{line}\n')
        with pytest.raises(ValueError, match=r"talks.jsonl:3: not a conversation"):
            conversations.read(str(path))
    with pytest.raises(ValueError, match="evaluate.conversations: no file or folder 'nowhere'"):
        conversations.read("nowhere")
