"""One parsed record -> instruction, input and response, by the names that users have."""

from typing import Any

NAMES = {
    "instruction": ("instruction", "prompt", "question", "query"),
    "input": ("input", "context"),
    "response": ("response", "output", "completion", "answer"),
}
CHATS = (("messages", "role", "content"), ("conversations", "from", "value"))
"""The list of turns and the two keys of a turn, in the chat format and in ShareGPT's."""

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
        if columns["instruction"] is None or columns["response"] is None:
            raise Unmapped(
                f"columns cannot be mapped, found: {', '.join(map(str, value)) or 'none'}"
            )
        instruction, context, response = (
            to_text(value[name], name) if name else "" for name in columns.values()
        )
    for name, text in (("instruction", instruction), ("response", response)):
        if not text.strip():
            raise Unmapped(f"empty {name}")
    return instruction, context, response
