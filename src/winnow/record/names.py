"""Names and numbers as MLflow takes them."""

import math
import re
from collections.abc import Mapping
from typing import Any

from winnow.core.files import bytes_hash

MAX_LENGTH = 250
"""Of a name, in characters (MLflow's MAX_ENTITY_KEY_LENGTH)."""


def _name(text: str) -> str:
    """A part of a metric's or param's name, made of any text, such as a source's in the corpus.

    MLflow takes letters, digits and `. _ - : /` and spaces. Every other character, a colon, a slash
    and a space at an end are written as a colon and two hex digits for each of their bytes (":26"
    is "&"), so that different texts have different names and each can be read back.
    """
    return re.sub(r"[^\w. -]|^ | $", _hex, text)


def _hex(match: re.Match[str]) -> str:
    return "".join(f":{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def _cut(name: str) -> str:
    """A name of the length that MLflow takes; a longer one ends in its hash."""
    if len(name) <= MAX_LENGTH:
        return name
    return f"{name[:200]}:sha256-{bytes_hash(name.encode())[:16]}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, the keys joined by dots; what is undefined is left out."""
    entries: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            entries |= flat(value, f"{prefix}{_name(key)}.")
        elif value is not None:
            entries[_cut(f"{prefix}{_name(key)}")] = value
    return entries


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among nested values, and under `nonfinite` how many others there were."""
    numbers = {k: float(v) for k, v in flat(values).items() if isinstance(v, int | float)}
    kept = {key: value for key, value in numbers.items() if math.isfinite(value)}
    lost = len(numbers) - len(kept)
    return kept | ({"nonfinite": float(lost)} if lost else {})
