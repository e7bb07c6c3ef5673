"""One parsed record -> instruction, input and response, by the names that public datasets use.

`to_pair` is the rule: the record becomes turns, whatever its layout, and the turns a pair. The
names are in column_names.py. `to_columns` follows the rule for the plain rows of a batch at once,
and says which rows are not plain. docs/ingest.md tells the rule in words.
"""

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from itertools import groupby
from string import ascii_uppercase
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from winnow.core.column_names import (
    ALTERNATIVES,
    ASSISTANT,
    BAD,
    CALL,
    EMPTY,
    GOOD,
    INPUT,
    MISSING,
    NAMES,
    OPTIONS,
    PAGE,
    REASONING,
    ROLE_OF,
    SYSTEM,
    TOOL,
    TOOLS,
    TURN_NAMES,
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


class Unmapped(Exception):
    """The record is no instruction-response pair; the message is the reason."""


class Pair(NamedTuple):
    """What a record says, and which of its columns say nothing of it."""

    instruction: str
    input: str
    response: str
    source: str = ""
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says; `is_good` is false for an answer that is marked bad."""

    role: str
    text: str
    is_good: bool = True


@functools.lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column's name as the tables write it: lower case, with _ between words."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column that a part may be in: the record's key, or a member of what stands there."""

    name: str
    key: str
    member: str = ""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which columns hold which part."""

    names: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, columns: Mapping[str, str]) -> "Layout":
        """The public names, and one column alone for each part that `columns` names.

        A named instruction or response is taken from its column even where there are turns.
        """
        named: dict[str, tuple[str, ...]] = {
            part: (plain_name(name),) for part, name in columns.items()
        }
        if {"instruction", "response"} & named.keys():
            others = dict.fromkeys(("conversation", "unlabelled", "wrapped", "key"), ())
            named = others | named
        return cls({**NAMES, **named})

    @functools.cached_property
    def known(self) -> frozenset[str]:
        """Every column that means something."""
        parts = {name for names in self.names.values() for name in names}
        parts |= {name.partition(".")[0] for name in parts}
        return frozenset(parts | {"title", *BAD}).union(*(columns for columns, _ in OPTIONS))


PUBLIC, TURN = Layout(NAMES), Layout(TURN_NAMES)
"""The names of public datasets, and those of a turn."""


def to_text(value: Any, name: str) -> str:
    """The value as text that can be written.

    Null and NaN are empty, numbers and booleans are written as JSON writes them, bytes are UTF-8.
    """
    if value is None or value != value:
        return ""
    if value in (math.inf, -math.inf):
        raise Unmapped(f"{name} is infinite")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unmapped(f"{name} is not UTF-8 at byte {error.start}") from None
    if not isinstance(value, str):
        raise Unmapped(f"{name} is a {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unmapped(
            f"{name} holds bytes that are not UTF-8 at character {error.start}"
        ) from None
    return value


def _has_value(value: Any, empty: str = EMPTY) -> bool:
    """Whether there is something: no null, NaN, empty list, or text in which nothing shows."""
    if isinstance(value, str):
        if empty == EMPTY and "!" <= value[:1] <= "~":
            # Most texts start with a letter, which is quicker seen than a pattern matched.
            return True
        return value != "" and not re.match(empty, value)
    if isinstance(value, list):
        return any(map(_has_value, value))
    return value is not None and value == value and value not in (b"", {})


def _parsed(value: Any) -> Any:
    """What a column of JSON texts holds; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _to_json(value: Any) -> str:
    """A tool, a call or a result as one line of JSON, without the nulls that a table fills in."""

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(item) for key, item in part.items() if item is not None}
        return [filled(item) for item in part] if isinstance(part, list) else part

    value = _parsed(value)
    if isinstance(value, str):
        return to_text(value, "tool")
    text = json.dumps(filled(value), ensure_ascii=False, default=str)
    return to_text(text, "tool")


@functools.lru_cache(maxsize=1024)
def _places(keys: tuple[str, ...], layout: Layout) -> dict[str, tuple[_Column, ...]]:
    """Of every part the columns that a record with these keys has, the preferred one first."""
    places = dict[str, tuple[_Column, ...]]()
    for part, names in layout.names.items():
        columns = [
            _Column(name, name) if name in keys else _Column(name, *name.split(".", 1))
            for name in names
            if name in keys or ("." in name and name.partition(".")[0] in keys)
        ]
        places[part] = tuple(columns)
    return places


class _Fields:
    """The values of a record by name, without regard to case, and which of them were taken."""

    def __init__(self, record: Mapping[Any, Any], layout: Layout) -> None:
        self.names = [str(name) for name in record]
        self.values = dict[str, Any]()
        self.taken = set[str]()
        for name, value in record.items():
            key = plain_name(str(name))
            if key not in self.values or not _has_value(self.values[key]):
                self.values[key] = value
        self.places = _places(tuple(filter(layout.known.__contains__, self.values)), layout)

    def _value(self, column: _Column) -> Any:
        value = self.values[column.key]
        if not column.member:
            return value
        value = _parsed(value)
        return value.get(column.member) if isinstance(value, dict) else None

    def filled(self, part: str) -> Iterator[tuple[_Column, Any]]:
        """The filled columns of a part that no other part has, and their values."""
        empty = MISSING if part == "input" else EMPTY
        for column in self.places[part]:
            if column.key not in self.taken and _has_value(value := self._value(column), empty):
                yield column, value

    def take(self, part: str) -> tuple[str, Any]:
        """The first filled column of a part, which no other part can have then, and its name."""
        for column, value in self.filled(part):
            self.taken.add(column.key)
            return column.name, value
        return "", None

    def has(self, part: str) -> bool:
        """Whether there is a column for a part, filled or not."""
        return any(column.key not in self.taken for column in self.places[part])

    def is_good(self) -> bool:
        """Whether nothing marks the answer as bad."""
        marks = {
            name: str(self.values[name]).casefold() for name in BAD.keys() & self.values.keys()
        }
        self.taken |= {name for name, mark in marks.items() if mark in BAD[name] | GOOD}
        return not any(mark in BAD[name] for name, mark in marks.items())


def _role(value: Any) -> str:
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
        return Turn(CALL, _call(part))
    if kind == "tool_result":
        return Turn(TOOL, "\n".join(turn.text for turn in _content(part.get("content"), TOOL)))
    if kind in ("thinking", "reasoning"):
        return Turn(REASONING, to_text(part.get(kind) or part.get("text"), "turn"))
    if kind not in ("text", "input_text", "output_text"):
        raise Unmapped(f"a turn holds what is no text, found: {kind}")
    return Turn(role, to_text(part.get("text") or part.get("content") or part.get("value"), "turn"))


def _content(value: Any, role: str) -> list[Turn]:
    if isinstance(value, dict) and "parts" in value:
        value = value["parts"]
    if isinstance(value, dict) and role in (TOOL, CALL):
        return [Turn(role, _to_json(value))]
    parts = value if isinstance(value, list) else [value]
    return [_part(part, role) for part in parts if part is not None]


def _call(call: Any) -> str:
    """A call of a tool: its name and arguments."""
    inner = call.get("function") if isinstance(call, dict) else None
    inner = inner if isinstance(inner, dict) else call
    if not isinstance(inner, dict) or "name" not in inner:
        return _to_json(call)
    arguments = inner.get("arguments", inner.get("parameters", inner.get("input")))
    return _to_json({"name": inner["name"], "arguments": _parsed(arguments)})


def _turn(turn: Mapping[Any, Any]) -> list[Turn]:
    """One entry of a conversation: a turn with what it thinks and calls, or a whole exchange."""
    fields = _Fields(turn, TURN)
    _, spoken = fields.take("role")
    if spoken is None:
        return _exchange(_Fields(turn, PUBLIC))
    role, good = _role(spoken), fields.is_good()
    turns = [Turn(TOOLS, _to_json(value)) for _, value in fields.filled("tools")]
    turns += [Turn(REASONING, to_text(text, "turn")) for _, text in fields.filled("reasoning")]
    _, content = fields.take("content")
    turns += [Turn(item.role, item.text, good) for item in _content(content, role)]
    for _, calls in fields.filled("calls"):
        calls = _parsed(calls)
        turns += [
            Turn(CALL, _call(call)) for call in (calls if isinstance(calls, list) else [calls])
        ]
    _, replies = fields.take("replies")
    return turns + _best_reply(replies)


def _best_reply(replies: Any) -> list[Turn]:
    """The turns down a tree of messages, by the reply with the lowest rank."""
    answers = [reply for reply in replies or () if isinstance(reply, dict)]
    if not answers:
        return []
    return _turn(
        min(answers, key=lambda reply: (reply.get("rank") is None, reply.get("rank") or 0))
    )


def _listed(value: dict[Any, Any]) -> list[Any]:
    """A struct of lists, and turns that are members of their own, as the list of turns."""
    columns = list(value.values())
    if all(isinstance(column, list) for column in columns):
        if len({len(column) for column in columns}) != 1:
            raise Unmapped("the conversation's lists differ in length")
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return columns if all(isinstance(column, dict) for column in columns) else [value]


def _turns(value: Any) -> list[Turn]:
    """The turns of a conversation, in whichever of its shapes."""
    value = _parsed(value)
    if isinstance(value, str):
        return _transcript(value)
    entries = _listed(value) if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return []
    turns, sides = list[Turn](), (USER, ASSISTANT)
    for number, entry in enumerate(entry for entry in entries if entry is not None):
        if isinstance(entry, dict):
            turns += _turn(entry)
        elif isinstance(entry, str):
            turns.append(Turn(sides[number % 2], to_text(entry, "turn")))
        elif isinstance(entry, list) and len(entry) == 2 and plain_name(str(entry[0])) in ROLE_OF:
            turns.append(Turn(_role(entry[0]), to_text(entry[1], "turn")))
        elif isinstance(entry, list) and len(entry) == 2:
            turns += [
                Turn(side, to_text(text, "turn")) for side, text in zip(sides, entry, strict=True)
            ]
        else:
            raise Unmapped("the conversation is not a list of turns")
    return turns


def _transcript(text: str) -> list[Turn]:
    """The turns of a conversation that is written as one text; none if it is none."""
    for marks in _MARKS:
        before, *pieces = marks.split(text)
        roles = [_role(piece) for piece in pieces[::2]]
        if USER in roles and ASSISTANT in roles:
            texts = [to_text(_ENDS.sub("", piece).strip(), "turn") for piece in pieces[1::2]]
            system = to_text(_BEGINS.sub("", before).strip(), "turn")
            if inner := _LLAMA_SYSTEM.match(texts[0]):
                system, texts[0] = (part.strip() for part in inner.groups())
            turns = [Turn(SYSTEM, system)]
            return turns + [Turn(*turn) for turn in zip(roles, texts, strict=True)]
    return []


def _asked(value: Any) -> list[Turn]:
    """What an instruction says: a text, a conversation so far, or such a one written as a text."""
    if isinstance(value, list | dict):
        return _turns(value)
    text = to_text(value, "instruction")
    turns = _transcript(text) if re.search(ASKS, text) else []
    return turns if turns and turns[-1] == Turn(ASSISTANT, "") else [Turn(USER, text)]


def _answered(name: str, value: Any) -> list[Turn]:
    """What a response says: a text, the first right one of a list, or turns."""
    if name == "chosen" and (turns := _turns(value)):
        return turns
    if isinstance(value, list) and name in ALTERNATIVES:
        first = next(filter(_has_value, value))
        if isinstance(first, dict) and not _Fields(first, TURN).has("role"):
            return _exchange(_Fields(first, PUBLIC))
        value = value if isinstance(first, dict) else first
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return _turns(value)
    return [Turn(ASSISTANT, to_text(value, name))]


def _lines(value: Any, name: str) -> Iterator[str]:
    """The texts of an input, and of its lists; numbers in a list are tokens or vectors, no text."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str | dict | list):
                yield from _lines(item, name)
    else:
        yield _to_json(value) if isinstance(value, dict) else to_text(value, name)


def _given(fields: _Fields) -> list[Turn]:
    """The input: the texts of the first column that has any."""
    for column, value in fields.filled("input"):
        if text := "\n".join(_lines(value, column.name)):
            fields.taken.add(column.key)
            return [Turn(INPUT, text)]
    return []


def _options(fields: _Fields) -> tuple[tuple[str, ...], int]:
    """Columns that are one choice each, and the number of the first one; none if there are none."""
    for columns, first in OPTIONS:
        if columns[0] in fields.values and all(
            _has_value(fields.values.get(column)) for column in columns
        ):
            return columns, first
    return (), 0


def _labelled(value: Any) -> dict[str, str]:
    """The choices of a question by their labels."""
    value = _parsed(value)
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels = value.get("label") or range(1, len(value["text"]) + 1)
        value = dict(zip(map(str, labels), value["text"], strict=False))
    if isinstance(value, list):
        value = dict(zip(ascii_uppercase, value, strict=False))
    if not isinstance(value, dict):
        return {}
    texts = {label: to_text(text, "choice") for label, text in value.items() if text is not None}
    return {label: re.sub(r"^\(?[A-Z][.):]\s*", "", text) for label, text in texts.items()}


def _right(choices: dict[str, str], key: Any, first: int) -> str:
    """The text of the choice that a key names: by its text, its label or its number."""
    text = to_text(key, "answer").strip()
    label = text.strip("().").upper()
    if isinstance(key, str) and text in choices.values():
        return text
    if isinstance(key, str) and label in choices:
        return choices[label]
    if re.fullmatch(r"\d{1,3}", text) and 0 <= int(text) - first < len(choices):
        return list(choices.values())[int(text) - first]
    if isinstance(key, str) and len(text) > len("(A)"):
        # It is put in words of its own.
        return text
    raise Unmapped(f"the answer is none of the choices, found: {text}")


def _chosen(fields: _Fields) -> list[Turn]:
    """The choices of a question and the text of the right one; nothing if it has no choices."""
    columns, first = _options(fields)
    if columns:
        choices = _labelled([fields.values[column] for column in columns])
    else:
        name, value = next(fields.filled("choices"), (None, None))
        choices, columns = _labelled(value), (name.key,) if name else ()
    keys = [(key, value) for key, value in fields.filled("key") if key.key not in columns]
    if not choices or not keys or not fields.has("instruction"):
        return []
    answer = _right(choices, keys[0][1], first)
    fields.taken |= {*columns, keys[0][0].key}
    listed = "\n".join(f"{label}. {text}" for label, text in choices.items())
    return [Turn(INPUT, listed), Turn(ASSISTANT, answer)]


def _title(page: str) -> str:
    """The text of a page's first title element, without the character references."""
    start = re.search(r"<title(?:\s[^<>]*)?>", page, re.IGNORECASE)
    end = start and re.compile("</title", re.IGNORECASE).search(page, start.end())
    return " ".join(unescape(page[start.end() : end.start()]).split()) if start and end else ""


def _page_title(fields: _Fields, page: Any) -> str:
    title = to_text(fields.values.get("title"), "title")
    fields.taken.add("title")
    if not _has_value(title):
        title = _title(to_text(page, PAGE))
    if not title:
        raise Unmapped("the page has no title")
    return title


def _by_roles(fields: _Fields) -> list[Turn]:
    """Columns that are called as the sides of a conversation are."""
    sides = {
        key: Turn(ROLE_OF[key], value)
        for key, value in fields.values.items()
        if ROLE_OF.get(key) in (USER, ASSISTANT) and isinstance(value, str) and _has_value(value)
    }
    if {turn.role for turn in sides.values()} != {USER, ASSISTANT}:
        return []
    fields.taken |= sides.keys()
    return [Turn(turn.role, to_text(turn.text, key)) for key, turn in sides.items()]


def _exchange(fields: _Fields) -> list[Turn]:
    """The turns that the columns of a record hold, where each part has a column of its own."""
    answers = _chosen(fields)
    name, response = ("", None) if answers else fields.take("response")
    asked_as, instruction = fields.take("instruction")
    if name == PAGE and not asked_as:
        asked_as, instruction = "title", _page_title(fields, response)
    if not asked_as or not (name or answers):
        # One column may hold both sides.
        alone = instruction if asked_as else response
        turns = (_transcript(alone) if isinstance(alone, str) else []) or _by_roles(fields)
        if turns:
            return turns
    answers = answers or (_answered(name, response) if name else [])
    good = fields.is_good()
    answers = [Turn(turn.role, turn.text, turn.is_good and good) for turn in answers]
    if any(turn.role == USER for turn in answers):
        # They are a whole conversation, which the instruction repeats.
        return answers
    asked = _asked(instruction) if asked_as else []
    given = _given(fields)
    thought = [
        Turn(REASONING, to_text(text, "reasoning")) for _, text in [fields.take("reasoning")]
    ]
    return given + asked + thought + answers


def _context(fields: _Fields) -> list[Turn]:
    """Tools, system prompt and history that stand in columns of their own."""
    turns = [Turn(TOOLS, _to_json(value)) for _, value in [fields.take("tools")] if _parsed(value)]
    name, system = fields.take("system")
    turns.append(Turn(SYSTEM, re.sub(r"(?i)^\s*system:\s*", "", to_text(system, name))))
    name, history = fields.take("history")
    return turns + (_turns(history) or [Turn("history", to_text(history, name))])


def _conversation(fields: _Fields, part: str) -> list[Turn]:
    """The turns of the first column that is a conversation; none if no column is one."""
    for column, value in fields.filled(part):
        if column.key == "turns" and isinstance(value, list) and isinstance(value[0], str):
            # MT-bench's, which are all questions.
            continue
        turns = _turns(value)
        if any(_has_value(turn.text) for turn in turns):
            fields.taken.add(column.key)
            return turns
    return []


def _unwrapped(record: dict[Any, Any], layout: Layout) -> dict[Any, Any]:
    """A record whose pair is the only entry of a list in it, as one record."""
    for name, value in record.items():
        if plain_name(str(name)) in layout.names["wrapped"]:
            entries = _parsed(value)
            if isinstance(entries, list) and entries and isinstance(entries[0], dict):
                if len(entries) > 1:
                    raise Unmapped(f"{name} holds several rows, but a record is one row")
                return {key: item for key, item in record.items() if key != name} | entries[0]
    return record


def _columns(fields: _Fields) -> list[Turn]:
    """The turns of a record without a conversation.

    Raises:
        Unmapped: a side is missing or empty, or the record is one turn of a conversation.
    """
    turns = _exchange(fields)
    roles = {turn.role for turn in turns if _has_value(turn.text)}
    missing = [
        side for side, role in (("instruction", USER), ("response", ASSISTANT)) if role not in roles
    ]
    if not missing:
        return turns
    if all(map(fields.has, missing)):
        raise Unmapped(f"empty {missing[0]}")
    if PAGE in fields.values and PAGE not in fields.taken:
        raise Unmapped("empty response")
    if fields.has("conversation"):
        raise Unmapped("the conversation is empty")
    if str(fields.values.get("role")).casefold() in ROLE_OF:
        raise Unmapped("the record is one turn of a conversation, not a conversation")
    raise Unmapped(f"columns cannot be mapped, found: {', '.join(fields.names) or 'none'}")


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """The turns that say something, those of one side in a row as one."""
    filled = (turn for turn in turns if _has_value(turn.text))
    return [
        Turn(role, "\n".join(turn.text for turn in same), good)
        for (role, good), same in groupby(filled, lambda turn: (turn.role, turn.is_good))
    ]


def _pair(turns: list[Turn]) -> tuple[str, str, str]:
    """The last good answer, the question before it, and all else before it as the input."""
    answers = [n for n, turn in enumerate(turns) if turn.role == ASSISTANT]
    good = [n for n in answers if turns[n].is_good]
    if not good:
        raise Unmapped("the answer is marked bad" if answers else "the conversation has no answer")
    asked = [n for n in range(good[-1]) if turns[n].role == USER]
    if not asked:
        raise Unmapped("the conversation has no question before its answer")
    before = [turn for n, turn in enumerate(turns[: good[-1]]) if n != asked[-1]]
    context = "\n".join(
        turn.text if turn.role == INPUT else f"{turn.role}: {turn.text}" for turn in before
    )
    return turns[asked[-1]].text, context, turns[good[-1]].text


def _unused(record: Mapping[Any, Any], fields: _Fields, layout: Layout) -> tuple[str, ...]:
    """The columns that the pair has nothing of; a known one that is empty has nothing to give."""
    keys = ((str(name), plain_name(str(name)), value) for name, value in record.items())
    return tuple(
        name
        for name, key, value in keys
        if key not in fields.taken and (key not in layout.known or _has_value(value, MISSING))
    )


def to_pair(record: Any, layout: Layout = PUBLIC) -> Pair:
    """Map a record to instruction, input, response and source.

    Raises:
        Unmapped: with the reason, which names the columns found where none fits.
    """
    if not isinstance(record, dict):
        raise Unmapped(f"the record is a {type(record).__name__}, not a mapping")
    record = _unwrapped(record, layout)
    fields = _Fields(record, layout)
    turns = _conversation(fields, "conversation")
    if not turns and not any(fields.filled("response")):
        turns = _conversation(fields, "unlabelled")
    turns = turns or _columns(fields)
    if not fields.is_good():
        raise Unmapped("the answer is marked bad")
    context = [turn for turn in _context(fields) if turn.role != SYSTEM or turn not in turns]
    source = next((to_text(v, "source") for _, v in [fields.take("source")]), "")
    return Pair(*_pair(_merged(context + turns)), source, _unused(record, fields, layout))


def _is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_null(kind) or any(is_it(kind) for is_it in text)


PLAIN = ("response", "instruction", "input")
"""The parts of a table that is mapped as a whole, in the order in which they take their columns."""


def flat(schema: pa.Schema, layout: Layout = PUBLIC) -> dict[str, str] | None:
    """The columns that say anything, where all are text and each is one part of a pair.

    Returns:
        The names in the schema by the names in the tables; None if each row must say what it is.
    """
    names = {plain_name(name): name for name in schema.names}
    known = {key: name for key, name in names.items() if key in layout.known}
    places = _places(tuple(known), layout)
    plain = {column.key for part in (*PLAIN, "source") for column in places[part]} | {"title"}
    plain -= {"chosen", *layout.names["conversation"]}
    if len(names) < len(schema.names) or not known.keys() <= plain:
        return None
    taken = set[str]()
    for part in PLAIN[:2]:
        first = next((column.key for column in places[part] if column.key not in taken), None)
        if first is None:
            return None
        taken.add(first)
    return known if all(_is_text(schema.field(name).type) for name in known.values()) else None


class Columns(NamedTuple):
    """The plain rows of a batch, mapped."""

    texts: dict[str, pa.Array]
    """Strings without nulls by part."""
    plain: pa.Array
    """Which rows are mapped; the rule must look at the others one by one."""
    unused: Counter[str]
    """The filled columns that those rows have nothing of."""


def to_columns(batch: pa.RecordBatch, layout: Layout = PUBLIC) -> Columns | None:
    """`to_pair` for the plain rows of a batch at once.

    Returns:
        None where all rows must be mapped one by one: turns, what is no text, or is not UTF-8.
    """
    names = flat(batch.schema, layout)
    if names is None:
        return None
    columns = {}
    for key, name in names.items():
        column = batch.column(name)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return None
        columns[key] = column.cast(pa.string()).fill_null("")
    mapped = _mapped(columns, _places(tuple(names), layout), len(batch))
    unused = Counter({names[key]: num_rows for key, num_rows in mapped.unused.items()})
    return mapped._replace(unused=unused)


def _mapped(
    columns: dict[str, pa.Array], places: dict[str, tuple[_Column, ...]], count: int
) -> Columns:
    """Map columns of text by the places of the parts; what is left of `columns` is not used."""
    texts = dict[str, pa.Array]()
    plain = pa.repeat(pa.scalar(True), count)
    for part in PLAIN:
        rest = [column.key for column in places[part] if column.key in columns]
        texts[part] = columns.pop(rest[0]) if rest else pa.repeat("", count)
        filled = is_filled(texts[part], MISSING if part == "input" else EMPTY)
        if part == "input":
            placeholders = pc.and_not(pc.not_equal(texts[part], ""), filled)
            if pc.any(placeholders).as_py():
                texts[part] = pc.if_else(placeholders, "", texts[part])
        if part != "input" or len(rest) > 1:
            # Where the first column of several is empty, the row goes by the next one.
            plain = pc.and_(plain, filled)
    plain = pc.and_not(plain, pc.match_substring_regex(texts["instruction"], ASKS))
    for column in places["source"]:
        texts["source"] = columns.pop(column.key)
    unused = {key: pc.and_(plain, is_filled(column, MISSING)) for key, column in columns.items()}
    return Columns(
        texts, plain, Counter({key: pc.sum(rows).as_py() or 0 for key, rows in unused.items()})
    )


def is_filled(column: pa.Array, empty: str = EMPTY) -> pa.Array:
    """Which texts show something, as the rule for a row sees it."""
    return pc.invert(pc.match_substring_regex(column, empty))
