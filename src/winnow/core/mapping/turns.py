"""A turn of a conversation: its role, its text, and how a conversation is written as one text."""

import re
from dataclasses import dataclass
from typing import Any

from winnow.core.mapping.fields import Unmapped, parsed, to_json, to_text
from winnow.core.mapping.names import (
    ASSISTANT,
    CALL,
    REASONING,
    ROLE_OF,
    SYSTEM,
    TOOL,
    USER,
)

_ASSISTANT = "assistant|gpt|chatgpt|ai|bot|chatbot|moss|model"
_SIDES = (
    rf"user|human|prompter|{_ASSISTANT}|system|tool|observation|function"
    r"|function[ _-]call|function[ _-]response|tool[ _-]call|tool[ _-]response"
)
_MARKS = tuple(
    re.compile(pattern.replace("ROLE", f"({_SIDES})"), re.IGNORECASE)
    for pattern in (
        r"<\|im_start\|>ROLE[ \t]*\n",
        r"<\|start_header_id\|>ROLE<\|end_header_id\|>",
        r"<start_of_turn>ROLE[ \t]*\n",
        r"<\|ROLE\|>:?",
        r"\[\|ROLE\|\]",
        r"<ROLE>:",
        r"\[(/?INST)\]",
        r"### ?ROLE ?:",
        r"### ?(instruction|input|response) ?:",
        r"(?:^|\n)[ \t]*(?=(?-i:[A-Z]))ROLE ?[:：]",
    )
)
"""How a conversation written as one text marks its turns; the first kind with two sides counts."""
_ENDS = re.compile(
    r"(?:(?:<\|im_end\|>|<\|eot_id\|>|<\|end_of_text\|>|<end_of_turn>|<\|endoftext\|>|<\|end\|>"
    r"|</?s>|<eo[hm]>)\s*)+$"
)
_BEGINS = re.compile(r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>)\s*")
_LLAMA_SYSTEM = re.compile(r"^\s*<<SYS>>(.*?)<</SYS>>(.*)$", re.DOTALL)
ASKS = (
    rf"(?i)(?:{_ASSISTANT}|response|/inst)"
    r"(?:\|?>:?|\|?\]|<\|end_header_id\|>| ?[:：]|[ \t]*\n)[ \t\r\n]*$"
)
"""The end of a prompt that is a conversation written as one text, up to the answer that follows."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says; `is_good` is false for an answer that is marked bad."""

    role: str
    text: str
    is_good: bool = True


def role_of(value: Any) -> str:
    name = re.sub(r"[\s-]+", "_", str(value).strip().casefold())
    if name not in ROLE_OF:
        raise Unmapped(f"a turn has a role that is not known, found: {value}")
    return ROLE_OF[name]


def _part(part: Any, role: str) -> Turn:
    """A piece of a turn's content: text, or a call, a result or a thought by its type."""
    if not isinstance(part, dict):
        return Turn(role, to_text(part, "turn"))
    kind = part.get("type") or "text"
    if kind == "tool_use":
        return Turn(CALL, call_text(part))
    if kind == "tool_result":
        return Turn(TOOL, "\n".join(turn.text for turn in content_turns(part.get("content"), TOOL)))
    if kind in ("thinking", "reasoning"):
        return Turn(REASONING, to_text(part.get(kind) or part.get("text"), "turn"))
    if kind not in ("text", "input_text", "output_text"):
        raise Unmapped(f"a turn holds what is no text, found: {kind}")
    return Turn(role, to_text(part.get("text") or part.get("content") or part.get("value"), "turn"))


def content_turns(value: Any, role: str) -> list[Turn]:
    if isinstance(value, dict) and "parts" in value:
        value = value["parts"]
    if isinstance(value, dict) and role in (TOOL, CALL):
        return [Turn(role, to_json(value))]
    parts = value if isinstance(value, list) else [value]
    return [_part(part, role) for part in parts if part is not None]


def call_text(call: Any) -> str:
    """A call of a tool: its name and arguments."""
    inner = call.get("function") if isinstance(call, dict) else None
    inner = inner if isinstance(inner, dict) else call
    if not isinstance(inner, dict) or "name" not in inner:
        return to_json(call)
    arguments = inner.get("arguments", inner.get("parameters", inner.get("input")))
    return to_json({"name": inner["name"], "arguments": parsed(arguments)})


def as_entries(value: dict[Any, Any]) -> list[Any]:
    """A struct of lists, and turns that are members of their own, as the list of turns."""
    columns = list(value.values())
    if all(isinstance(column, list) for column in columns):
        if len({len(column) for column in columns}) != 1:
            raise Unmapped("the conversation's lists differ in length")
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return columns if all(isinstance(column, dict) for column in columns) else [value]


def transcript(text: str) -> list[Turn]:
    """The turns of a conversation that is written as one text; none if it is none."""
    for marks in _MARKS:
        before, *pieces = marks.split(text)
        roles = [role_of(piece) for piece in pieces[::2]]
        if USER in roles and ASSISTANT in roles:
            texts = [to_text(_ENDS.sub("", piece).strip(), "turn") for piece in pieces[1::2]]
            system = to_text(_BEGINS.sub("", before).strip(), "turn")
            if inner := _LLAMA_SYSTEM.match(texts[0]):
                system, texts[0] = (part.strip() for part in inner.groups())
            turns = [Turn(SYSTEM, system)]
            return turns + [Turn(*turn) for turn in zip(roles, texts, strict=True)]
    return []
