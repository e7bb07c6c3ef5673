"""How answers are written: as JSON's values, what is not defined as null with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def _default(field: "Field[Any]") -> object:
    factory = field.default_factory
    return field.default if factory is MISSING else factory()


def plain(value: object) -> Any:
    """A tree of dataclasses, mappings and sequences as JSON's values.

    A field that holds its default is left out: so `reasons` stand only beside what they explain.
    """
    if is_dataclass(value):
        found = {field.name: (getattr(value, field.name), field) for field in fields(value)}
        return {
            name: plain(content)
            for name, (content, field) in found.items()
            if content != _default(field)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def with_reasons(values: Mapping[str, object], reasons: Mapping[str, str]) -> dict[str, object]:
    """Values, with why the null ones are null."""
    return {**values, **({"reasons": reasons} if reasons else {})}
