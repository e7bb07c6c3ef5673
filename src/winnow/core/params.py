"""params.yaml as frozen, typed values; an unknown key, a wrong type or a value out of its range is
an error that names it.

A stage keeps the class of its section in a module of its own, `params.py`, which imports nothing
that takes long, and asks `load("score", ScoreConfig)` for it. The range of a number stands beside
its type: `Annotated[int, Range("[1, 1000]")]`.
"""

import collections.abc
import dataclasses
import difflib
import functools
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from winnow import STAGES
from winnow.core.errors import Refusal

PARAMS = Path("params.yaml")
MAX_BYTES = 1 << 17
"""Of params.yaml."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a key may have: an interval, as it is written."""

    interval: str
    """For example "(0, 1]", which 0 is not in and 1 is; NaN is in none."""

    def __contains__(self, number: float) -> bool:
        least, most = map(float, self.interval[1:-1].split(","))
        above = least <= number if self.interval[0] == "[" else least < number
        return above and (number <= most if self.interval[-1] == "]" else number < most)

    def __str__(self) -> str:
        return f"in {self.interval}"


@dataclass(frozen=True, slots=True)
class Form:
    """The texts that a key may have."""

    pattern: str
    """The whole text matches this regular expression."""
    description: str

    def __contains__(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None

    def __str__(self) -> str:
        return self.description


COUNTS = Range("[1, 1000000000]")
Count = Annotated[int, COUNTS]
Share = Annotated[float, Range("(0, 1]")]
Probability = Annotated[float, Range("[0, 1]")]
SEEDS = Range("[0, 4294967295]")
Seed = Annotated[int, SEEDS]
Text = Annotated[
    str, Form(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,1000}", "of 1 to 1000 characters, none a control")
]
Name = Annotated[
    str,
    Form(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
        "of 1 to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit",
    ),
]
"""What becomes a part of paths, of MLflow's names and of commands."""
brief = reprlib.Repr()
brief.maxlevel, brief.maxstring, brief.maxother = 2, 100, 100


def fail(path: str, expected: str, found: Any) -> typing.NoReturn:
    raise Refusal(f"{PARAMS}: {path}: expected {expected}, found {brief.repr(found)}")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:6]
    return ", ".join(near)


def demand_file(key: str, path: str, advice: str = "") -> None:
    """Refuse a file or folder that params.yaml names and that is not there."""
    if not (Path(path).is_file() or Path(path).is_dir()):
        raise Refusal(f"{PARAMS}: {key}: no file or folder {path!r}{advice}")


KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def build(kind: Any, value: Any, path: str) -> Any:
    """Turn parsed YAML into `kind`: a dataclass, container, literal, union or scalar type, or one
    of these Annotated with the Range or Form of its values.

    Raises:
        Refusal: it is none; the message begins with `path`, its place in params.yaml.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_class(typing.cast(type, kind), value, path)
    if origin is Annotated:
        base, limit = arguments
        built = build(base, value, path)
        return built if built in limit else fail(path, f"{KINDS[base]} {limit}", value)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return build(
            _member([item for item in arguments if item is not type(None)], value, path),
            value,
            path,
        )
    if origin is Literal:
        # 1 equals true, and is not meant.
        if any(type(value) is type(item) and value == item for item in arguments):
            return value
        fail(path, f"one of {', '.join(map(str, arguments))}", value)
    if origin in (tuple, collections.abc.Sequence):
        if not isinstance(value, list):
            fail(path, "a list", value)
        return tuple(build(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            fail(path, "a mapping", value)
        return _build_dict(arguments, value, path)
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        fail(path, KINDS[kind], value)
    return value


def _member(kinds: list[Any], value: Any, path: str) -> Any:
    """The type of a union that a value is meant as: of several classes the one of its `family` or
    `name`, whichever they have, which is the first class's where it has none; of texts and classes
    a text where it is no mapping."""
    if len(kinds) == 1:
        return kinds[0]
    classes = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    tag = "family" if "family" in typing.get_type_hints(classes[0]) else "name"
    families = {
        family: kind
        for kind in classes
        for family in typing.get_args(typing.get_type_hints(kind)[tag])
    }
    if classes != kinds and not isinstance(value, Mapping):
        return kinds[0] if value not in [*families] else fail(path, f"{{{tag}: {value}}}", value)
    named = value.get(tag, next(iter(families))) if isinstance(value, Mapping) else None
    if named not in (*families, None):
        fail(f"{path}.{tag}", f"one of {', '.join(families)}", named)
    return families.get(named, classes[0])


def _build_dict(kinds: Any, value: Mapping[Any, Any], path: str) -> dict[Any, Any]:
    names = [build(kinds[0], key, path) for key in value]
    by_folded = {name.casefold(): name for name in names}
    for name in names if kinds[0] == Name else ():
        if by_folded[name.casefold()] != name:
            raise Refusal(
                f"{PARAMS}: {path}: {name} and {by_folded[name.casefold()]} are one name where "
                "files go without regard to case: rename one"
            )
    built = (build(kinds[1], item, f"{path}.{key}") for key, item in value.items())
    return dict(zip(names, built, strict=True))


def _check_keys(value: Mapping[Any, Any], known: typing.Collection[str], path: str) -> None:
    for key in value:
        if key not in known:
            name = str(key)[:100]
            raise Refusal(f"{PARAMS}: unknown key {path}{name} (near: {nearest(name, known)})")


def _build_class(kind: type[T], value: Any, path: str) -> T:
    if not isinstance(value, Mapping):
        fail(path, "a mapping", value)
    known = typing.get_type_hints(kind, include_extras=True)
    hints = {field.name: known[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    _check_keys(value, hints, f"{path}.")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in value:
            raise Refusal(f"{PARAMS}: {path}.{field.name} is missing")
    fields = {key: build(hints[key], item, f"{path}.{key}") for key, item in value.items()}
    try:
        return kind(**fields)
    except Refusal as error:
        raise Refusal(f"{PARAMS}: {path}.{error}") from None


def _document() -> dict[str, Any]:
    """The whole of params.yaml, its top-level keys checked."""
    if not PARAMS.is_file():
        raise Refusal(f"{PARAMS} is missing or no file: run winnow in the project's folder")
    with PARAMS.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise Refusal(f"{PARAMS} has more than {MAX_BYTES} bytes")
    return _parse(text)


@functools.lru_cache(1)
def _parse(text: bytes) -> dict[str, Any]:
    # Here, as a machine that only trains what it is handed need not have ruamel.yaml.
    from winnow.core import yaml_text

    document = yaml_text.parse(text, str(PARAMS))
    if not isinstance(document, dict):
        raise Refusal(f"{PARAMS}: expected a mapping, found {brief.repr(document)}")
    _check_keys(document, {*STAGES, "engine", "experiments", "seeds"}, "")
    return document


def sections() -> set[str]:
    """The sections that params.yaml has."""
    return set(_document())


def load(section: str, kind: type[T]) -> T:
    """Read one section of params.yaml into its class.

    Raises:
        Refusal: for an unknown, missing or mistyped key; the message names it.
    """
    document = _document()
    if section not in document:
        raise Refusal(f"{PARAMS}: section {section} is missing")
    return typing.cast(T, build(kind, document[section], section))
