"""Random wrong versions of params.yaml, by a seed: other values, keys and texts."""

import copy
import io
import random
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    1.5,
    0.5,
    -0.0,
    1e-320,
    1e308,
    2**31,
    2**63,
    2**64,
    10**30,
    10**99,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    " ",
    "x",
    "all",
    "nan",
    "é",
    "e\u0301",
    "中文",
    "a\tb",
    "a\nb",
    "\x00",
    "\u202e",
    "\ud800",
    "L" * 300,
    "L" * 4000,
    "../../x",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    ".",
    "..",
    "data",
    "$(touch x)",
    "'; touch x; '",
    "-x",
    "<b>",
    "1k_steps",
    "9" * 90,
    "org/name@" + "0" * 40,
    [],
    [[]],
    [None],
    [1, 2],
    ["x", "x"],
    {},
    {"x": 1},
    {1: 2},
    {"": 0},
    {None: None},
    [{"name": ["near"]}],
    [{"name": "near", "threshold": float("nan")}],
    [{"name": "exact"}] * 40,
    list(range(200)),
    {f"k{number}": 1 for number in range(200)},
)
"""What a key may be given instead."""

NUMBERS: tuple[Any, ...] = (
    0,
    1,
    2,
    3,
    5,
    17,
    100,
    257,
    1000,
    65536,
    10**6,
    0.01,
    0.1,
    0.5,
    1.0,
    2.5,
)
"""Of which some are in the range of any numeric key."""


def _bomb(line: str, first: str, levels: int, times: int) -> str:
    """Lines of which each says several times what the one before it says."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {line % ', '.join([f'*a{level - 1}'] * times)}")
    return "\n".join(lines)


TEXTS = (
    "",
    "5",
    "null",
    "[]",
    "- a",
    "seeds: [",
    "a: b: c",
    "\t",
    "%YAML 9.9\n---\na: 1",
    "---\n---\n",
    "a: &a [*a]",
    "<<: &a {<<: *a}",
    "a: !!python/object/apply:os.system [x]",
    "a: !!binary x",
    "a: 2001-99-99",
    "a: ._",
    "a: -_",
    "a: !!int x",
    "? {a: 1}\n: 2",
    "? [[1]]\n: 2",
    "a: <<",
    "a: =",
    "a: " + "[" * 20_000,
    "a: " + "{a: " * 5_000,
    "- " * 20_000,
    "a: " + "1" * 100_000,
    "a: 0x" + "f" * 100_000,
    "a: [" + "1," * 60_000 + "]",
    "a: '" + "x" * 100_000 + "'",
    "#" * 10**7,
    _bomb("[%s]", "[x]", 12, 9),
    _bomb("{<<: [%s]}", "{x: 1}", 9, 9),
    _bomb("[%s]", "x", 2_000, 1),
)
"""Whole files, or lines at their ends."""


def _places(value: Any, parent: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or places."""
    if parent is not None:
        yield parent, key
    if isinstance(value, dict | list):
        names = value if isinstance(value, dict) else range(len(value))
        for name in names:
            yield from _places(value[name], value, name)


def _change(params: Any, rng: random.Random) -> None:
    """Another value, or no key, or another key, at one place."""
    parent, key = rng.choice(list(_places(params)))
    kind = rng.random()
    if kind < 0.1:
        del parent[key]
    elif kind < 0.2 and isinstance(parent, dict):
        names = ["x", f"{key}x", str(key).upper(), 1, None, "", "L" * 500, "../x"]
        parent[rng.choice(names)] = parent.pop(key)
    elif kind < 0.7 and type(parent[key]) in (int, float):
        parent[key] = rng.choice(NUMBERS)
    else:
        parent[key] = rng.choice(VALUES)


def _spoil(text: str, rng: random.Random) -> bytes:
    """Other bytes than a text's."""
    data, at = text.encode(errors="surrogatepass"), rng.randrange(len(text) + 1)
    line = rng.choice(text.splitlines() or [""])
    more = rng.choice(TEXTS).encode()
    sign = rng.choice([b"\x00", b"\xff", *(bytes([sign]) for sign in b"[]{}:#&*!|>%@`\t\n-?,'\"")])
    return rng.choice(
        [
            data[:at],
            data[:at] + sign + data[at:],
            text.encode("utf-16", "replace"),
            more,
            data + line.encode(errors="surrogatepass"),
            data + b"\n" + more,
            data * 2,
        ]
    )


def wrong_params(base: Any, number: int, seed: int) -> Iterator[bytes]:
    """Versions of a params.yaml, each with one to three changes; some are right all the same."""
    rng = random.Random(seed)
    for _ in range(number):
        params, file = copy.deepcopy(base), io.StringIO()
        for _ in range(rng.randint(1, 3)):
            _change(params, rng)
        YAML().dump(params, file)
        text = file.getvalue()
        yield _spoil(text, rng) if rng.random() < 0.25 else text.encode(errors="surrogatepass")
