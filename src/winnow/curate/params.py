"""The section `curate` of params.yaml, and the names of the steps in it."""

from dataclasses import dataclass
from typing import Annotated, Any

from winnow.core import extensions, params
from winnow.core.errors import Refusal, at
from winnow.core.params import Count, Range, Seed, Share, Text
from winnow.curate import numbers

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
    "pairs": "pairs",
}
"""The steps a recipe can list, and the module of winnow.curate that holds each. The class of its
numbers has its name in numbers.py."""

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
    group: Text | None = None
    """A column of `ingest.keep` such as the title of an article: rows that share its value stand on
    one side of the hold-out, beside those of one cluster of duplicates."""
    held_out: Text | None = None
    """A folder that curate wrote elsewhere, whose validation and test rows take the place of a
    draw; `validation` and `test` then ask for nothing."""
    hold_out_sources: tuple[Text, ...] | None = None
    """Sources whose rows alone are held out, where they are not drawn from all: of those the
    clusters in which no other source has a row."""
    topics: numbers.Topics | None = None
    """Rows' topics take the place of their sources: clusters of vectors, named by their words."""
    seed: Seed = 0
    tokenizer: Text = "bpe"
    """bpe (trained on kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: Annotated[int, Range("[257, 1000000]")] = 1024
    """Of bpe: no fewer than the 256 bytes and the end of text."""
    tokenizer_rows: Count = 20000
    """Kept rows that bpe is trained on, at most; they are drawn by hash."""
    partition_mb: Count = numbers.PARTITION_MB
    """What `exact` and `near` hold at once of the rows that they compare; no number of a result."""
    alarm_share: Share = 0.5
    """A step that drops more than this share of a source, or of all rows, is warned of."""

    def recipe(self) -> list[dict[str, Any]]:
        """The steps, each with the section's numbers that it takes."""
        shared = {"partition_mb": self.partition_mb}
        return [shared | step if step["name"] in ("exact", "near") else step for step in self.steps]

    def check(self) -> None:
        """Refuse steps that there are not, or their numbers, and files that are missing."""
        for place, step in enumerate(self.steps):
            path = f"curate.steps[{place}]"
            check_step(step, path)
            for key in FILES:
                given = None if "revision" in step else step.get(key)
                for file in [given] if isinstance(given, str) else given or ():
                    params.demand_file(f"{path} {step['name']}.{key}", file)
        for key in ("group", "hold_out_sources", "topics"):
            if self.held_out and getattr(self, key) is not None:
                raise Refusal(
                    f"params.yaml: curate.{key}: rows that are held out elsewhere, by "
                    "curate.held_out, were drawn without it: set it there, and null here"
                )
        if self.topics and self.topics.model and not self.topics.revision:
            params.demand_file("curate.topics.model", self.topics.model)


def numbers_of(name: str, path: str) -> Any:
    """The class of a step's numbers.

    Args:
        name: one of STEPS, or `package.module:name` of a user's own.
        path: its place in params.yaml.

    Raises:
        Refusal: there is no such step.
    """
    if name in STEPS:
        return getattr(numbers, name.capitalize(), numbers.NoNumbers)
    if not extensions.is_path(name):
        known = ", ".join(STEPS)
        raise Refusal(
            f"{params.PARAMS}: {path}: unknown step {name!r}; known are {known}, and "
            "package.module:name of your own"
        )
    # Here, as its libraries take a second that the project's own steps need not wait for.
    from winnow.curate.verdict import Step

    with at(f"{params.PARAMS}: {path}"):
        return extensions.load(name, Step).numbers


def check_step(step: Any, path: str) -> None:
    """Refuse a step that there is not, or one whose numbers are not those that it takes.

    Args:
        step: a name and numbers.
        path: its place in params.yaml.
    """
    given = params.build(dict[str, Any], step, path)
    name = str(given.pop("name", None))
    params.build(numbers_of(name, path), given, f"{path} {name}")
