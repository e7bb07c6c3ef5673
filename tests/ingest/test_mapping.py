"""The layouts in which people publish rows, and what each becomes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import TINY, write_jsonl, write_params

from winnow.core.errors import Refusal
from winnow.core.mapping.fields import Unmapped
from winnow.core.mapping.pair import to_pair
from winnow.ingest import stage

Q, A = "Which tree is this?", "It is a lime."
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at": "tree"}'}}
CALLED = 'tool call: {"name": "look", "arguments": {"at": "tree"}}'


def chat(*turns: tuple[str, Any], role: str = "role", content: str = "content") -> list[Any]:
    """A list of turns under the two keys of a turn."""
    return [{role: said_by, content: text} for said_by, text in turns]


@pytest.mark.parametrize(
    "key", ["messages", "conversations", "conversation", "dialog", "turns", "Dialogue"]
)
@pytest.mark.parametrize("role", ["role", "from", "speaker"])
@pytest.mark.parametrize("content", ["content", "value", "text"])
def test_a_conversation_by_any_of_its_keys(key: str, role: str, content: str) -> None:
    assert to_pair({key: chat(("user", Q), ("assistant", A), role=role, content=content)})[:3] == (
        Q,
        "",
        A,
    )


@pytest.mark.parametrize("user", ["human", "User", "prompter", "HUMAN"])
@pytest.mark.parametrize(
    "assistant", ["gpt", "Assistant", "chatgpt", "bing", "bard", "model", "AI", "bot"]
)
def test_roles_without_regard_to_case(user: str, assistant: str) -> None:
    assert to_pair({"conversations": chat((user, Q), (assistant, A))})[:3] == (Q, "", A)


TURNS: dict[str, tuple[list[Any], tuple[str, str, str]]] = {
    "a trailing question is cut": (
        chat(("user", Q), ("gpt", A), ("user", "And that?")),
        (Q, "", A),
    ),
    "answers in a row are joined": (
        chat(("user", Q), ("gpt", "It is"), ("gpt", "a lime.")),
        (Q, "", "It is\na lime."),
    ),
    "questions in a row are joined": (
        chat(("user", "Look."), ("user", Q), ("gpt", A)),
        (f"Look.\n{Q}", "", A),
    ),
    "what comes earlier is the input": (
        chat(
            ("developer", "Be short."),
            ("gpt", "Hello."),
            ("user", "Hi."),
            ("gpt", "Yes?"),
            ("user", Q),
            ("gpt", A),
        ),
        (Q, "system: Be short.\nassistant: Hello.\nuser: Hi.\nassistant: Yes?", A),
    ),
    "ShareGPT's calls and results": (
        chat(("human", Q), ("function_call", "look()"), ("observation", "lime"), ("gpt", A)),
        (Q, "tool call: look()\ntool: lime", A),
    ),
    "OpenAI's calls and results": (
        [
            {"role": "user", "content": Q},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "lime"},
            {"role": "assistant", "content": A},
        ],
        (Q, f"{CALLED}\ntool: lime", A),
    ),
    "Anthropic's calls, results and thoughts": (
        [
            {"role": "user", "content": Q},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "A leaf."},
                    {"type": "tool_use", "name": "look", "input": {"at": "tree"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "content": "lime"}]},
            {"role": "assistant", "content": [{"type": "text", "text": A}]},
        ],
        (Q, f"reasoning: A leaf.\n{CALLED}\ntool: lime", A),
    ),
    "reasoning beside the answer": (
        [
            {"role": "user", "content": Q},
            {"role": "assistant", "content": A, "reasoning_content": "A leaf."},
        ],
        (Q, "reasoning: A leaf.", A),
    ),
    "parts of a text": (
        chat(
            ("user", [{"type": "text", "text": "Look."}, {"type": "text", "text": Q}]), ("gpt", A)
        ),
        (f"Look.\n{Q}", "", A),
    ),
    "a bad answer is what was said before a good one": (
        [
            *chat(("user", Q)),
            {"role": "gpt", "content": "An ash.", "weight": 0},
            *chat(("user", "Again."), ("gpt", A)),
        ],
        ("Again.", f"user: {Q}\nassistant: An ash.", A),
    ),
    "a good answer before a bad one is taken": (
        [
            *chat(("user", Q), ("gpt", A), ("user", "Sure?")),
            {"role": "gpt", "content": "No.", "weight": 0.0},
        ],
        (Q, "", A),
    ),
    "texts by turns": ([Q, A], (Q, "", A)),
    "pairs of texts": ([["Hi.", "Yes?"], [Q, A]], (Q, "user: Hi.\nassistant: Yes?", A)),
    "exchanges by role": ([{"human": Q, "assistant": A}], (Q, "", A)),
    "exchanges by part": ([{"input": Q, "output": A}], (Q, "", A)),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns(name: str) -> None:
    turns, pair = TURNS[name]
    assert to_pair({"messages": turns})[:3] == pair
    assert to_pair({"messages": json.dumps(turns)})[:3] == pair


def test_a_struct_of_lists_is_a_list_of_turns() -> None:
    lists = {"from": ["human", "gpt"], "value": [Q, A]}
    assert to_pair({"conversations": lists})[:3] == (Q, "", A)


@pytest.mark.parametrize(
    "text",
    [
        f"### Human: {Q}### Assistant: {A}",
        f"\n\nHuman: {Q}\n\nAssistant: {A}",
        f"[|Human|] {Q}\n[|AI|] {A}\n[|Human|] ",
        f"USER: {Q}\n\n\nASSISTANT: {A} <|endoftext|>",
        f"<|im_start|>user\n{Q}<|im_end|>\n<|im_start|>assistant\n{A}<|im_end|>\n",
        f"<|user|>\n{Q}</s>\n<|assistant|>\n{A}</s>",
        f"<start_of_turn>user\n{Q}<end_of_turn>\n<start_of_turn>model\n{A}<end_of_turn>",
        f"<s>[INST] {Q} [/INST] {A} </s>",
        f"<human>: {Q}\n<bot>: {A}",
        f"### Instruction:\n{Q}\n\n### Response:\n{A}",
    ],
)
@pytest.mark.parametrize("column", ["text", "chosen", "chat", "input", "prompt"])
def test_a_conversation_written_as_one_text(text: str, column: str) -> None:
    assert to_pair({column: text})[:3] in ((Q, "", A), (Q, "system: <s>", A))


def test_a_prompt_that_is_a_conversation_so_far() -> None:
    prompt = f"Human:Hi.\nAssistant:Yes?\nHuman:{Q}\nAssistant:"
    assert to_pair({"instruction": prompt, "output": A})[:3] == (Q, "user: Hi.\nassistant: Yes?", A)
    assert to_pair({"inputs": f"Q: {Q} A:", "targets": A}).instruction == f"Q: {Q} A:"


RECORDS: dict[str, tuple[Any, tuple[str, str, str]]] = {
    "FLAN": ({"inputs": Q, "targets": A}, (Q, "", A)),
    "P3": (
        {"inputs": [1, 2], "inputs_pretokenized": Q, "targets": [3], "targets_pretokenized": A},
        (Q, "", A),
    ),
    "Firefly": ({"kind": "qa", "input": Q, "target": A}, (Q, "", A)),
    "Super-NaturalInstructions": (
        {"definition": "Answer.", "inputs": Q, "targets": A},
        ("Answer.", Q, A),
    ),
    "MATH": ({"problem": Q, "solution": A, "level": "1"}, (Q, "", A)),
    "MMLU": (
        {"question": Q, "choices": ["Ash", "Lime"], "answer": 1},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "by letter": (
        {"question": Q, "options": ["Ash", "Lime"], "answer": "B"},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "ARC": (
        {
            "question": Q,
            "choices": {"text": ["Ash", "Lime"], "label": ["1", "2"]},
            "answerKey": "2",
        },
        (Q, "1. Ash\n2. Lime", "Lime"),
    ),
    "MedQA": (
        {"question": Q, "options": {"A": "Ash", "B": "Lime"}, "answer_idx": "B"},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "MedMCQA": (
        {"question": Q, "opa": "Ash", "opb": "Lime", "opc": "Oak", "opd": "Fir", "cop": 1},
        (Q, "A. Ash\nB. Lime\nC. Oak\nD. Fir", "Lime"),
    ),
    "PIQA": (
        {"goal": Q, "sol1": "Ash", "sol2": "Lime", "label": 1},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "WinoGrande": (
        {"sentence": Q, "option1": "Ash", "option2": "Lime", "answer": "2"},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "AQuA": (
        {"question": Q, "options": ["A)Ash", "B)Lime"], "correct": "B"},
        (Q, "A. Ash\nB. Lime", "Lime"),
    ),
    "RACE": (
        {"article": "A leaf.", "question": Q, "options": ["Ash", "Lime"], "answer": "B"},
        (Q, "A leaf.\nA. Ash\nB. Lime", "Lime"),
    ),
    "SQuAD": (
        {"context": "A lime.", "question": Q, "answers": {"text": ["lime"], "answer_start": [2]}},
        (Q, "A lime.", "lime"),
    ),
    "TriviaQA": ({"question": Q, "answer": {"value": A, "aliases": []}}, (Q, "", A)),
    "NQ": ({"question": Q, "answer": [A, "lime"]}, (Q, "", A)),
    "PubMedQA": (
        {"question": Q, "context": {"contexts": ["A.", "B."]}, "long_answer": A},
        (Q, "A.\nB.", A),
    ),
    "BoolQ": ({"question": Q, "passage": "A leaf.", "answer": True}, (Q, "A leaf.", "true")),
    "CNN": ({"article": Q, "highlights": A}, (Q, "", A)),
    "HumanEval": ({"prompt": Q, "canonical_solution": A}, (Q, "", A)),
    "DROP": (
        {"passage": "A leaf.", "question": Q, "answers_spans": {"spans": ["lime"]}},
        (Q, "A leaf.", "lime"),
    ),
    "SAMSum": ({"dialogue": "Ann: hi\nBob: hey", "summary": A}, ("Ann: hi\nBob: hey", "", A)),
    "DPO": ({"prompt": Q, "chosen": A, "rejected": "No."}, (Q, "", A)),
    "UltraFeedback": ({"prompt": Q, "chosen": chat(("user", Q), ("assistant", A))}, (Q, "", A)),
    "TRL": ({"prompt": chat(("user", Q)), "completion": chat(("assistant", A))}, (Q, "", A)),
    "KTO": ({"prompt": Q, "completion": A, "label": True}, (Q, "", A)),
    "UltraChat": ({"id": "0", "data": [Q, A]}, (Q, "", A)),
    "OASST": (
        {
            "prompt": {
                "role": "prompter",
                "text": Q,
                "replies": [
                    {"role": "assistant", "text": "Ash.", "rank": 1, "replies": []},
                    {"role": "assistant", "text": A, "rank": 0, "replies": []},
                ],
            }
        },
        (Q, "", A),
    ),
    "MOSS": ({"conversation": {"turn_1": {"Human": Q, "MOSS": A}}}, (Q, "", A)),
    "self-instruct": (
        {"instruction": "Answer.", "instances": [{"input": Q, "output": A}]},
        ("Answer.", Q, A),
    ),
    "Orca": (
        {"system_prompt": "Be short.", "question": Q, "response": A},
        (Q, "system: Be short.", A),
    ),
    "history": (
        {
            "system": "Be short.",
            "instruction": Q,
            "input": "A leaf.",
            "output": A,
            "history": [["Hi.", "Yes?"]],
        },
        (Q, "system: Be short.\nuser: Hi.\nassistant: Yes?\nA leaf.", A),
    ),
    "tools": (
        {"tools": '[{"name": "look"}]', "conversations": chat(("human", Q), ("gpt", A))},
        (Q, 'tools: [{"name": "look"}]', A),
    ),
    "reasoning": (
        {"Question": Q, "Complex_CoT": "A leaf.", "Response": A},
        (Q, "reasoning: A leaf.", A),
    ),
    "an empty conversation": ({"conversations": [], "instruction": Q, "output": A}, (Q, "", A)),
    "null beside a filled twin": (
        {"instruction": None, "prompt": Q, "output": "", "completion": A},
        (Q, "", A),
    ),
    "the input is the instruction": ({"instruction": "", "input": Q, "output": A}, (Q, "", A)),
    "a number": ({"instruction": "Add.", "input": 12, "output": 2.5}, ("Add.", "12", "2.5")),
    "a missing number": ({"prompt": Q, "input": float("nan"), "output": A}, (Q, "", A)),
    "labelled turns": ({"messages": [["user", Q], ["assistant", A]]}, (Q, "", A)),
    "Gemini": (
        {
            "contents": [
                {"role": "user", "parts": [{"text": Q}]},
                {"role": "model", "parts": [{"text": A}]},
            ]
        },
        (Q, "", A),
    ),
    "E2E": ({"meaning_representation": Q, "human_reference": A}, (Q, "", A)),
    "Chinese": ({"问题": Q, "答案": A}, (Q, "", A)),
    "Llama 2": (
        {"text": f"<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\n{Q} [/INST] {A} </s>"},
        (Q, "system: Be short.", A),
    ),
    "Llama 3": (
        {
            "text": f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{Q}"
            f"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{A}"
        },
        (Q, "", A),
    ),
    "bytes": ({"prompt": Q.encode(), "output": A.encode()}, (Q, "", A)),
}


@pytest.mark.parametrize("name", RECORDS)
def test_public_schemas(name: str) -> None:
    record, pair = RECORDS[name]
    assert to_pair(record)[:3] == pair
    assert to_pair({key.upper(): value for key, value in record.items()})[:3] == pair


@pytest.mark.parametrize("text", ["<noinput>", "No input.", "N/A", " none ", "nan", "\u200b", " "])
def test_placeholders_are_no_input(text: str) -> None:
    assert to_pair({"instruction": Q, "input": text, "output": A})[:3] == (Q, "", A)
    assert to_pair({"instruction": Q, "output": "N/A"}).response == "N/A"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": Q, "completion": A, "label": False}, "the answer is marked bad"),
        ({"prompt": Q, "completion": A, "label": "False"}, "the answer is marked bad"),
        ({"messages": chat(("user", Q), ("assistant", A)), "label": False}, "marked bad"),
        (
            {"messages": [*chat(("user", Q)), {"role": "gpt", "content": A, "weight": 0}]},
            "the answer is marked bad",
        ),
        ({"messages": chat(("system", "Be short."))}, "the conversation has no answer"),
        ({"messages": chat(("gpt", A))}, "no question before its answer"),
        ({"messages": []}, "the conversation is empty"),
        ({"messages": chat(("critic", Q), ("gpt", A))}, "a role that is not known, found: critic"),
        (
            {"messages": chat(("user", [{"type": "image_url", "image_url": "x"}]), ("gpt", A))},
            "what is no text, found: image_url",
        ),
        ({"messages": [1, 2]}, "not a list of turns"),
        ({"text": Q, "role": "prompter", "parent_id": None}, "one turn of a conversation"),
        ({"question": Q, "choices": ["Ash", "Lime"], "answer": -1}, "none of the choices"),
        ({"instances": [{"input": Q, "output": A}] * 2}, "holds several rows"),
        ({"instruction": Q, "output": "\ufeff\u200b\u200d"}, "empty response"),
        ({"instruction": Q, "output": ["a", "list"]}, "output is a list, not text"),
        ({"instruction": Q, "output": b"\xff"}, "output is not UTF-8 at byte 0"),
    ],
)
def test_what_is_no_row_says_why(record: Any, reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        to_pair(record)


def ingest(folder: Path, rows: list[Any], **keys: Any) -> tuple[list[Any], dict[str, Any]]:
    """Run the stage over rows of a file; returns the mapped rows and the card."""
    write_jsonl(folder / "data/a.jsonl", rows)
    write_params(folder, TINY | {"ingest": {"source": "data"} | keys})
    stage.run()
    out = folder / "artifacts/ingest"
    return pq.read_table(out / "rows-00000.parquet").to_pylist(), json.loads(
        (out / "card.json").read_text()
    )


def test_a_missing_value_of_pandas_is_an_empty_input(project: Path) -> None:
    rows = [{"instruction": f"{n}", "input": float("nan"), "output": A} for n in range(3)]
    mapped, card = ingest(project, rows)
    assert [row["input"] for row in mapped] == [""] * 3
    assert card["ledger"]["dropped"] == {}


def test_own_columns(project: Path) -> None:
    rows = [{"ask": Q, "Reply text": A, "where": "wood", "messages": [], "output": "x"}]
    own = {"instruction": "ask", "response": "Reply text", "source": "where"}
    mapped, card = ingest(project, rows, columns=own)
    assert [tuple(row.values())[1:] for row in mapped] == [("wood", Q, "", A)]
    assert card["columns_not_used"] == {"output": 1, "messages": 1}
    table = pa.Table.from_pylist([{**rows[0], "messages": "x"}] * 3)
    pq.write_table(table, project / "data/b.parquet")
    mapped, card = ingest(project, rows, columns=own)
    assert len(mapped) == 4 and {row["response"] for row in mapped} == {A}
    assert card["columns_not_used"]["output"] == 4


def test_an_own_column_that_no_record_has_is_refused(project: Path) -> None:
    with pytest.raises(Refusal, match=r"columns.response: no record has a column 'reply'.*answer"):
        ingest(project, [{"ask": Q, "answer": A}], columns={"response": "reply"})
    assert not (project / "artifacts/ingest").exists()
    with pytest.raises(Refusal, match=r"unknown key ingest.columns.answer"):
        ingest(project, [{"ask": Q}], columns={"answer": "reply"})


def test_columns_that_are_not_used_are_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": Q, "chosen": A, "rejected": "No.", "id": n} for n in range(3)
    ]
    rows.append({"prompt": Q, "output": A, "completion": "", "stars": 5})
    rows.append({"prompt": Q, "stars": 5})
    table = pa.table(
        {
            "instruction": [Q, "", Q],
            "output": [A, A, A],
            "input": [Q, Q, "N/A"],
            "vector": [[1.0]] * 3,
        }
    )
    pq.write_table(table, project / "data/b.parquet")
    mapped, card = ingest(project, rows)
    assert [row["input"] for row in mapped[4:]] == [Q, "", ""]
    assert card["columns_not_used"] == {"id": 3, "rejected": 3, "stars": 1, "vector": 3}
    assert "columns not used: " in (out := capsys.readouterr().out) and "vector (3 rows)" in out


def test_the_same_rows_by_every_door(project: Path) -> None:
    rows = [record for record, _ in RECORDS.values() if not isinstance(record.get("prompt"), bytes)]
    by_row, by_file = [], []
    for number, record in enumerate(rows):
        by_row.append(to_pair(record)[:3])
        table = pa.Table.from_pylist([record])
        pq.write_table(table, project / f"data/{number:03}.parquet")
    (project / "data/a.jsonl").unlink()
    write_params(project, TINY)
    stage.run()
    made = pq.read_table(project / "artifacts/ingest/rows-00000.parquet").to_pylist()
    by_file = [(row["instruction"], row["input"], row["response"]) for row in made]
    assert by_file == by_row
