"""The section `curate` of params.yaml, and the names and numbers of the steps in it."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow import config
from winnow.errors import Refusal

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
    validation: int
    """Rows that decide during training."""
    test: int
    """Rows that every arm is judged on, once."""
    seed: int = 0
    tokenizer: str = "bpe"
    """bpe (trained on kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: int = 1024
    """Of bpe."""
    tokenizer_rows: int = 20000
    """Kept rows that bpe is trained on, at most; they are drawn by hash."""
    alarm_share: float = 0.5
    """A step that drops more than this share of a source, or of all rows, is warned of."""

    def __post_init__(self) -> None:
        """Refuse splits of nothing, and words of fewer tokens than there are bytes."""
        config.at_least(self, 1, "validation", "test", "tokenizer_rows")
        config.at_least(self, 257, "vocab_size")
        config.demand(self, alarm_share=(0 < self.alarm_share <= 1, "a number in (0, 1]"))

    def check(self) -> None:
        """Refuse steps that there are not, or their numbers, and files that are missing."""
        for place, step in enumerate(self.steps):
            path = f"curate.steps[{place}]"
            check_step(step, path)
            for key in FILES:
                given = None if "revision" in step else step.get(key)
                for file in [given] if isinstance(given, str) else given or ():
                    config.demand_file(f"{path} {step['name']}.{key}", file)


def check_step(step: Any, path: str) -> None:
    """Refuse a step that there is not, or one whose numbers are not those that it takes.

    The numbers and their types are read off the source of the step's function: to import it would
    take a second, for what it works with.

    Args:
        step: a name and numbers.
        path: its place in params.yaml.
    """
    name = step.get("name") if isinstance(step, dict) else None
    if name not in STEPS:
        raise Refusal(
            f"{config.PARAMS}: {path}: unknown step {name!r}; known are {', '.join(STEPS)}"
        )
    source = Path(__file__).with_name(f"{STEPS[name]}.py").read_text(encoding="utf-8")
    (function,) = (part for part in ast.parse(source).body
                   if isinstance(part, ast.FunctionDef) and part.name == name)  # fmt: skip
    numbers = dict(zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True))
    kinds = {number.arg: ast.unparse(number.annotation or number) for number in numbers}
    needed = {number.arg for number, default in numbers.items() if default is None}
    given = set(step) - {"name"}
    if not needed <= given <= set(kinds):
        found, known = ", ".join(sorted(given)) or "no numbers", ", ".join(kinds) or "none"
        raise Refusal(
            f"{config.PARAMS}: {path} {name}: found {found}; known are {known}"
            + "".join(f"; {key} is needed" for key in sorted(needed))
        )
    for key in given:
        kind = eval(kinds[key], {"Sequence": Sequence})
        config.build(kind, step[key], f"{path} {name}.{key}")
