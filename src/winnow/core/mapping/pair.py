"""One parsed record -> instruction, input and response: the rule.

`to_pair` makes the record turns, whatever its layout, and of the turns a pair. The names are in
names.py; columns.py follows the rule for the plain rows of a batch at once. docs/ingest.md tells
the rule in words.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from winnow.core.mapping.exchange import exchange, turns_in
from winnow.core.mapping.fields import (
    PUBLIC,
    Fields,
    Layout,
    Unmapped,
    has_value,
    parsed,
    plain_name,
    to_json,
    to_text,
)
from winnow.core.mapping.names import (
    ASSISTANT,
    INPUT,
    MISSING,
    PAGE,
    ROLE_OF,
    SYSTEM,
    TOOLS,
    USER,
)
from winnow.core.mapping.turns import Turn


class Pair(NamedTuple):
    """What a record says, and which of its columns say nothing of it."""

    instruction: str
    input: str
    response: str
    source: str = ""
    unused: tuple[str, ...] = ()


def _context(fields: Fields) -> list[Turn]:
    """Tools, system prompt and history that stand in columns of their own."""
    turns = [Turn(TOOLS, to_json(value)) for _, value in [fields.take("tools")] if parsed(value)]
    name, system = fields.take("system")
    turns.append(Turn(SYSTEM, re.sub(r"(?i)^\s*system:\s*", "", to_text(system, name))))
    name, history = fields.take("history")
    return turns + (turns_in(history) or [Turn("history", to_text(history, name))])


def _conversation(fields: Fields, part: str) -> list[Turn]:
    """The turns of the first column that is a conversation; none if no column is one."""
    for column, value in fields.filled(part):
        if column.key == "turns" and isinstance(value, list) and isinstance(value[0], str):
            # MT-bench's, which are all questions.
            continue
        turns = turns_in(value)
        if any(has_value(turn.text) for turn in turns):
            fields.taken.add(column.key)
            return turns
    return []


def _unwrapped(record: dict[Any, Any], layout: Layout) -> dict[Any, Any]:
    """A record whose pair is the only entry of a list in it, as one record."""
    for name, value in record.items():
        if plain_name(str(name)) in layout.names["wrapped"]:
            entries = parsed(value)
            if isinstance(entries, list) and entries and isinstance(entries[0], dict):
                if len(entries) > 1:
                    raise Unmapped(f"{name} holds several rows, but a record is one row")
                return {key: item for key, item in record.items() if key != name} | entries[0]
    return record


def _columns(fields: Fields) -> list[Turn]:
    """The turns of a record without a conversation.

    Raises:
        Unmapped: a side is missing or empty, or the record is one turn of a conversation.
    """
    turns = exchange(fields)
    roles = {turn.role for turn in turns if has_value(turn.text)}
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
    filled = (turn for turn in turns if has_value(turn.text))
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


def _unused(record: Mapping[Any, Any], fields: Fields, layout: Layout) -> tuple[str, ...]:
    """The columns that the pair has nothing of; a known one that is empty has nothing to give."""
    keys = ((str(name), plain_name(str(name)), value) for name, value in record.items())
    return tuple(
        name
        for name, key, value in keys
        if key not in fields.taken and (key not in layout.known or has_value(value, MISSING))
    )


def rejected_in(record: Mapping[Any, Any], pair: Pair, layout: Layout = PUBLIC) -> str:
    """The answer that a record holds in `rejected`, to which that of its pair was preferred.

    Args:
        record: with a column `rejected`, in any shape that `chosen` may have.
        pair: what `to_pair` made of the record.
        layout: as of the pair.

    Returns:
        The text; the empty string where there is none.

    Raises:
        Unmapped: it is no answer to the pair's question and input.
    """
    values = {plain_name(str(name)): value for name, value in record.items()}
    if not has_value(values.get("rejected")):
        return ""
    try:
        other = to_pair(values, layout.of_rejected)
    except Unmapped as error:
        raise Unmapped(f"rejected: {error}") from None
    if (other.instruction, other.input) != (pair.instruction, pair.input):
        raise Unmapped("rejected: the answer is to another question")
    return other.response


def to_pair(record: Any, layout: Layout = PUBLIC) -> Pair:
    """Map a record to instruction, input, response and source.

    Raises:
        Unmapped: with the reason, which names the columns found where none fits.
    """
    if not isinstance(record, dict):
        raise Unmapped(f"the record is a {type(record).__name__}, not a mapping")
    record = _unwrapped(record, layout)
    fields = Fields(record, layout)
    turns = _conversation(fields, "conversation")
    if not turns and not any(fields.filled("response")):
        turns = _conversation(fields, "unlabelled")
    turns = turns or _columns(fields)
    if not fields.is_good():
        raise Unmapped("the answer is marked bad")
    context = [turn for turn in _context(fields) if turn.role != SYSTEM or turn not in turns]
    source = next((to_text(v, "source") for _, v in [fields.take("source")]), "")
    return Pair(*_pair(_merged(context + turns)), source, _unused(record, fields, layout))
