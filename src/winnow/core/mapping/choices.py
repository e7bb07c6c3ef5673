"""The choices of a question, and the text of the right one."""

import re
from string import ascii_uppercase
from typing import Any

from winnow.core.mapping.fields import Fields, Unmapped, has_value, parsed, to_text
from winnow.core.mapping.names import (
    ASSISTANT,
    INPUT,
    OPTIONS,
)
from winnow.core.mapping.turns import Turn


def _options(fields: Fields) -> tuple[tuple[str, ...], int]:
    """Columns that are one choice each, and the number of the first one; none if there are none."""
    for columns, first in OPTIONS:
        if columns[0] in fields.values and all(
            has_value(fields.values.get(column)) for column in columns
        ):
            return columns, first
    return (), 0


def _labelled(value: Any) -> dict[str, str]:
    """The choices of a question by their labels."""
    value = parsed(value)
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


def chosen_turns(fields: Fields) -> list[Turn]:
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
