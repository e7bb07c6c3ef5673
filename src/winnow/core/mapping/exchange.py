"""A record or a conversation as turns, whatever its layout."""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any

from winnow.core.mapping.choices import chosen_turns
from winnow.core.mapping.fields import (
    PUBLIC,
    TURN,
    Fields,
    Unmapped,
    has_value,
    parsed,
    plain_name,
    to_json,
    to_text,
)
from winnow.core.mapping.names import (
    ALTERNATIVES,
    ASSISTANT,
    CALL,
    INPUT,
    PAGE,
    REASONING,
    ROLE_OF,
    TOOLS,
    USER,
)
from winnow.core.mapping.turns import (
    ASKS,
    Turn,
    as_entries,
    call_text,
    content_turns,
    role_of,
    transcript,
)


def _turn(turn: Mapping[Any, Any]) -> list[Turn]:
    """One entry of a conversation: a turn with what it thinks and calls, or a whole exchange."""
    fields = Fields(turn, TURN)
    _, spoken = fields.take("role")
    if spoken is None:
        return exchange(Fields(turn, PUBLIC))
    role, good = role_of(spoken), fields.is_good()
    turns = [Turn(TOOLS, to_json(value)) for _, value in fields.filled("tools")]
    turns += [Turn(REASONING, to_text(text, "turn")) for _, text in fields.filled("reasoning")]
    _, content = fields.take("content")
    turns += [Turn(item.role, item.text, good) for item in content_turns(content, role)]
    for _, calls in fields.filled("calls"):
        calls = parsed(calls)
        turns += [
            Turn(CALL, call_text(call)) for call in (calls if isinstance(calls, list) else [calls])
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


def turns_in(value: Any) -> list[Turn]:
    """The turns of a conversation, in whichever of its shapes."""
    value = parsed(value)
    if isinstance(value, str):
        return transcript(value)
    entries = as_entries(value) if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return []
    turns, sides = list[Turn](), (USER, ASSISTANT)
    for number, entry in enumerate(entry for entry in entries if entry is not None):
        if isinstance(entry, dict):
            turns += _turn(entry)
        elif isinstance(entry, str):
            turns.append(Turn(sides[number % 2], to_text(entry, "turn")))
        elif isinstance(entry, list) and len(entry) == 2 and plain_name(str(entry[0])) in ROLE_OF:
            turns.append(Turn(role_of(entry[0]), to_text(entry[1], "turn")))
        elif isinstance(entry, list) and len(entry) == 2:
            turns += [
                Turn(side, to_text(text, "turn")) for side, text in zip(sides, entry, strict=True)
            ]
        else:
            raise Unmapped("the conversation is not a list of turns")
    return turns


def _asked(value: Any) -> list[Turn]:
    """What an instruction says: a text, a conversation so far, or such a one written as a text."""
    if isinstance(value, list | dict):
        return turns_in(value)
    text = to_text(value, "instruction")
    turns = transcript(text) if re.search(ASKS, text) else []
    return turns if turns and turns[-1] == Turn(ASSISTANT, "") else [Turn(USER, text)]


def _answered(name: str, value: Any) -> list[Turn]:
    """What a response says: a text, the first right one of a list, or turns."""
    if name in ("chosen", "rejected") and (turns := turns_in(value)):
        return turns
    if isinstance(value, list) and name in ALTERNATIVES:
        first = next(filter(has_value, value))
        if isinstance(first, dict) and not Fields(first, TURN).has("role"):
            return exchange(Fields(first, PUBLIC))
        value = value if isinstance(first, dict) else first
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return turns_in(value)
    return [Turn(ASSISTANT, to_text(value, name))]


def _lines(value: Any, name: str) -> Iterator[str]:
    """The texts of an input, and of its lists; numbers in a list are tokens or vectors, no text."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str | dict | list):
                yield from _lines(item, name)
    else:
        yield to_json(value) if isinstance(value, dict) else to_text(value, name)


def _given(fields: Fields) -> list[Turn]:
    """The input: the texts of the first column that has any."""
    for column, value in fields.filled("input"):
        if text := "\n".join(_lines(value, column.name)):
            fields.taken.add(column.key)
            return [Turn(INPUT, text)]
    return []


def _title(page: str) -> str:
    """The text of a page's first title element, without the character references."""
    start = re.search(r"<title(?:\s[^<>]*)?>", page, re.IGNORECASE)
    end = start and re.compile("</title", re.IGNORECASE).search(page, start.end())
    return " ".join(unescape(page[start.end() : end.start()]).split()) if start and end else ""


def _page_title(fields: Fields, page: Any) -> str:
    title = to_text(fields.values.get("title"), "title")
    fields.taken.add("title")
    if not has_value(title):
        title = _title(to_text(page, PAGE))
    if not title:
        raise Unmapped("the page has no title")
    return title


def _by_roles(fields: Fields) -> list[Turn]:
    """Columns that are called as the sides of a conversation are."""
    sides = {
        key: Turn(ROLE_OF[key], value)
        for key, value in fields.values.items()
        if ROLE_OF.get(key) in (USER, ASSISTANT) and isinstance(value, str) and has_value(value)
    }
    if {turn.role for turn in sides.values()} != {USER, ASSISTANT}:
        return []
    fields.taken |= sides.keys()
    return [Turn(turn.role, to_text(turn.text, key)) for key, turn in sides.items()]


def exchange(fields: Fields) -> list[Turn]:
    """The turns that the columns of a record hold, where each part has a column of its own."""
    answers = chosen_turns(fields)
    name, response = ("", None) if answers else fields.take("response")
    asked_as, instruction = fields.take("instruction")
    if name == PAGE and not asked_as:
        asked_as, instruction = "title", _page_title(fields, response)
    if not asked_as or not (name or answers):
        # One column may hold both sides.
        alone = instruction if asked_as else response
        turns = (transcript(alone) if isinstance(alone, str) else []) or _by_roles(fields)
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
