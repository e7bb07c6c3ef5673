"""Prompts, and whether a completion does what a program can check."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from winnow.core import params
from winnow.core.checks import Check, holds
from winnow.core.errors import Refusal
from winnow.core.records import Row
from winnow.evaluate import ifeval


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to a model, and what a good answer is."""

    question: str
    reference: str | None = None
    """A response to compare with, or:"""
    answer: str | None = None
    """the answer that a program checks, in the way that `check` names, or:"""
    check: str | None = None
    instructions: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """IFEval's instructions, by name, with their arguments."""

    @property
    def text(self) -> str:
        """The question in the project's plain form."""
        return Row("", "", self.question, "", "").prompt

    @property
    def is_task(self) -> bool:
        """Whether a program can check a completion."""
        return self.answer is not None or bool(self.instructions)

    @property
    def criterion(self) -> str | None:
        """What a program looks for: the answer, or the names of the instructions."""
        return self.answer or ", ".join(name for name, _ in self.instructions) or None


def passes(prompt: Prompt, completion: str) -> bool:
    """Whether a completion follows every instruction, or holds the checked answer; see `holds`."""
    if prompt.instructions:
        return all(ifeval.follows(completion, *each) for each in prompt.instructions)
    assert prompt.answer is not None
    if prompt.check in get_args(Check):
        return holds(cast("Check", prompt.check), prompt.answer, completion)
    raise Refusal(f"unknown check {prompt.check!r}: exact, contains or number")


def _prompt(line: bytes) -> Prompt | None:
    """A line's task; none if one of its instructions cannot be checked."""
    task = json.loads(line)
    if "instruction_id_list" in task:
        names = task["instruction_id_list"]
        if any(name in ifeval.UNCHECKED for name in names):
            return None
        # Some releases of the file name every argument and leave the others' null.
        arguments = [
            {key: value for key, value in each.items() if value is not None}
            for each in task["kwargs"]
        ]
        instructions = tuple(zip(names, arguments, strict=True))
        prompt = Prompt(task["prompt"], instructions=instructions)
        for instruction in instructions:
            # Refuses an unknown instruction and other arguments.
            ifeval.follows("0", *instruction)
        return prompt
    if not isinstance(task["answer"], str):
        raise TypeError("the answer is not text")
    row = Row("", "", task["instruction"], task.get("input", ""), "")
    prompt = Prompt(row.question, None, task["answer"], task["check"])
    passes(prompt, "0")  # refuses an unknown check and a number that is none
    return prompt


def read(path: str | None, limit: int) -> tuple[list[Prompt], int]:
    """Read a file of tasks, as evenly spaced as the limit asks for.

    Returns:
        The tasks, and how many others hold an instruction that is not checked.

    Raises:
        Refusal: the file is missing, or a line is no task.
    """
    if path is None:
        return [], 0
    params.demand_file("evaluate.tasks", path)
    prompts = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        try:
            prompts += [_prompt(line)] if line.strip() else []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(f"{path}:{number}: not a task ({error!r})") from None
    checked = [prompt for prompt in prompts if prompt is not None]
    chosen = checked[:: max(1, len(checked) // max(1, limit))][:limit]
    return chosen, len(prompts) - len(checked)
