"""One parsed record -> instruction, input and response, by the names that users have.

`to_pair` is the rule; `to_columns` follows it for a whole batch of flat text columns at once.
"""

import re
from html import unescape
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NAMES = {
    "instruction": ("instruction", "prompt", "question", "query"),
    "input": ("input", "context"),
    "response": ("response", "output", "completion", "answer"),
}
CHATS = (("messages", "role", "content"), ("conversations", "from", "value"))
"""The list of turns and the two keys of a turn, in the chat format and in ShareGPT's."""

PAGE = "html"
"""A column that is the response where there is no other one: a page, and its title its instruction.

The step `extract` of curate makes it a text.
"""

USERS, ASSISTANTS = {"user", "human"}, {"assistant", "gpt"}


class Unmapped(Exception):
    """The record is no instruction-response pair; the message is the reason."""


def to_text(value: Any, name: str) -> str:
    """The value as text that can be written; null is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unmapped(f"{name} is a {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unmapped(
            f"{name} holds bytes that are not UTF-8 at character {error.start}"
        ) from None
    return value


def _from_turns(turns: Any, role_key: str, text_key: str) -> tuple[str, str, str]:
    """The last answer, the question before it, and whatever came earlier as the input."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unmapped("the conversation is not a list of turns")
    said = [(str(turn.get(role_key)), to_text(turn.get(text_key), "turn")) for turn in turns]
    if len(said) < 2 or said[-1][0] not in ASSISTANTS or said[-2][0] not in USERS:
        raise Unmapped("the conversation does not end with a user's turn and its answer")
    earlier = "\n".join(f"{role}: {text}" for role, text in said[:-2])
    return said[-2][1], earlier, said[-1][1]


def _title(page: str) -> str:
    """The text of a page's first title element, without the character references."""
    start = re.search(r"<title(?:\s[^<>]*)?>", page, re.IGNORECASE)
    end = start and re.compile("</title", re.IGNORECASE).search(page, start.end())
    return " ".join(unescape(page[start.end() : end.start()]).split()) if start and end else ""


def to_pair(value: Any) -> tuple[str, str, str]:
    """Map a record to (instruction, input, response).

    Raises:
        Unmapped: with the reason, which names the columns found where none fits.
    """
    if not isinstance(value, dict):
        raise Unmapped(f"the record is a {type(value).__name__}, not a mapping")
    chat = next((keys for keys in CHATS if value.get(keys[0]) is not None), None)
    if chat:
        instruction, context, response = _from_turns(value[chat[0]], *chat[1:])
    else:
        columns = {
            part: next((name for name in names if name in value), None)
            for part, names in NAMES.items()
        }
        page = columns["response"] is None and PAGE in value
        if page:
            columns["response"] = PAGE
        if columns["response"] is None or not (columns["instruction"] or page):
            raise Unmapped(
                f"columns cannot be mapped, found: {', '.join(map(str, value)) or 'none'}"
            )
        instruction, context, response = (
            to_text(value[name], name) if name else "" for name in columns.values()
        )
        if page and not columns["instruction"]:
            named = to_text(value.get("title"), "title")
            instruction = named if named.strip() else _title(response)
            if not instruction:
                raise Unmapped("the page has no title")
    for name, text in (("instruction", instruction), ("response", response)):
        if not text.strip():
            raise Unmapped(f"empty {name}")
    return instruction, context, response


def _is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_null(kind) or any(is_it(kind) for is_it in text)


def flat(schema: pa.Schema) -> dict[str, str] | None:
    """Which column each part of a pair is in, and the source; None if that is for a row to say."""
    names = schema.names
    if len(set(names)) < len(names) or any(chat[0] in names for chat in CHATS):
        return None
    columns = {
        part: next((name for name in known if name in names), None) for part, known in NAMES.items()
    }
    if columns["instruction"] is None or columns["response"] is None:
        return None
    if "source" in names and _is_text(schema.field("source").type):
        columns["source"] = "source"
    return {part: name for part, name in columns.items() if name}


def to_columns(batch: pa.RecordBatch) -> dict[str, pa.Array] | None:
    """`to_pair` for a whole batch: strings without nulls; blank ones are still in.

    Returns:
        None where the rows must be mapped one by one: a conversation, a column that holds no text,
        or one that is not valid UTF-8.
    """
    columns = flat(batch.schema)
    if columns is None or not all(
        _is_text(batch.schema.field(name).type) for name in columns.values()
    ):
        return None
    columns.setdefault("input", "")
    mapped = {}
    for part, name in columns.items():
        column = batch.column(name) if name else pa.nulls(batch.num_rows)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return None
        mapped[part] = column.cast(pa.string()).fill_null("")
    return mapped


def is_filled(column: pa.Array) -> pa.Array:
    """Which texts hold more than white space, as `str.strip` sees it."""
    return pc.and_(pc.not_equal(column, ""), pc.invert(pc.utf8_is_space(column)))
