"""The section `curate` of params.yaml, and the names and numbers of the steps in it."""

import ast
import collections.abc
import functools
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from winnow.core import params
from winnow.core.errors import Refusal
from winnow.core.params import Count, Range, Seed, Share, Text

STEPS = {
    "extract": "extract",
    "exact": "duplicates",
    "near": "duplicates",
    "decontaminate": "decontaminate",
    "language": "language",
    "classifier": "classifier",
    "linear": "linear",
    "toxicity": "toxicity",
    "semantic": "semantic",
}
"""The steps a recipe can list, and the module of winnow.curate that holds each as a function."""

FILES = ("benchmarks", "labelled", "model")
"""Numbers of steps that name files or folders; a model with a revision is the hub's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """What is cleaned away, what is held out, and which tokenizer everything uses."""

    steps: tuple[Any, ...]
    """The recipe: a list of steps by name, each with its numbers; see curate/steps.py."""
    validation: Count
    """Rows that decide during training."""
    test: Count
    """Rows that every arm is judged on, once."""
    seed: Seed = 0
    tokenizer: Text = "bpe"
    """bpe (trained on kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: Annotated[int, Range("[257, 1000000]")] = 1024
    """Of bpe: no fewer than the 256 bytes and the end of text."""
    tokenizer_rows: Count = 20000
    """Kept rows that bpe is trained on, at most; they are drawn by hash."""
    alarm_share: Share = 0.5
    """A step that drops more than this share of a source, or of all rows, is warned of."""

    def check(self) -> None:
        """Refuse steps that there are not, or their numbers, and files that are missing."""
        for place, step in enumerate(self.steps):
            path = f"curate.steps[{place}]"
            check_step(step, path)
            for key in FILES:
                given = None if "revision" in step else step.get(key)
                for file in [given] if isinstance(given, str) else given or ():
                    params.demand_file(f"{path} {step['name']}.{key}", file)


@functools.cache
def _numbers(name: str) -> tuple[dict[str, Any], set[str]]:
    """The numbers that a step takes, each with its type and range, and those that it needs.

    They are read off the source of the step's function: to import it would take a second, for what
    it works with.
    """
    source = Path(__file__).with_name(f"{STEPS[name]}.py").read_text(encoding="utf-8")
    (function,) = (
        part
        for part in ast.parse(source).body
        if isinstance(part, ast.FunctionDef) and part.name == name
    )
    numbers = dict(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
    kinds = {
        number.arg: eval(
            ast.unparse(number.annotation or number),
            vars(collections.abc) | vars(typing) | vars(params),
        )
        for number in numbers
    }
    return kinds, {number.arg for number, default in numbers.items() if default is None}


def check_step(step: Any, path: str) -> None:
    """Refuse a step that there is not, or one whose numbers are not those that it takes.

    Args:
        step: a name and numbers.
        path: its place in params.yaml.
    """
    given = params.build(dict[str, Any], step, path)
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in STEPS:
        raise Refusal(
            f"{params.PARAMS}: {path}: unknown step {name!r}; known are {', '.join(STEPS)}"
        )
    kinds, needed = _numbers(name)
    if not needed <= set(given) <= set(kinds):
        found, known = ", ".join(sorted(given)) or "no numbers", ", ".join(kinds) or "none"
        raise Refusal(
            f"{params.PARAMS}: {path} {name}: found {found}; known are {known}"
            + "".join(f"; {key} is needed" for key in sorted(needed))
        )
    for key, value in given.items():
        params.build(kinds[key], value, f"{path} {name}.{key}")
