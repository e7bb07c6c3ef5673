"""What can be known wrong before anything works: one look at params.yaml and the files it names.

The command line looks before it imports a stage, so that a typo is said at once and nothing that
is wrong further down is found after hours of work. No stage depends on this module: it changes no
result, and DVC reruns nothing for a value of another stage.
"""

import resource
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from winnow import STAGES
from winnow.analyze.params import AnalyzeConfig
from winnow.core import params
from winnow.core.errors import Refusal
from winnow.core.experiments import declared_seeds, resolve
from winnow.curate.params import CurateConfig
from winnow.evaluate.params import EvaluateConfig
from winnow.generate.params import GenerateConfig
from winnow.ingest.params import IngestConfig
from winnow.models.pretrained import check_init
from winnow.score.params import ScoreConfig
from winnow.select.params import SelectConfig
from winnow.train.params import TrainConfig

SECTIONS: dict[str, Any] = {
    "generate": GenerateConfig,
    "ingest": IngestConfig,
    "curate": CurateConfig,
    "score": ScoreConfig,
    "select": SelectConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "analyze": AnalyzeConfig,
}
ENGINES: Any = Literal["local", "ray"]
ADDRESSES = {
    "generate": 3,
    "ingest": 0.5,
    "curate": 1.5,
    "score": 3,
    "select": 1,
    "train": 3,
    "evaluate": 4,
    "analyze": 1.5,
}
"""GB of addresses that a stage of a few rows takes on two cores. With less its libraries end, each
in its own way and some without an exception, while they are loaded or start their threads."""


def _check_folders() -> None:
    """Refuse a file in the place of a folder that a stage will make."""
    artifacts = [
        f"artifacts/{name}" for name in ("generate", "ingest", "curate", "score", "select")
    ]
    for path in map(Path, (".winnow", "artifacts", *artifacts, "models", "results", "analysis")):
        if path.exists() and not path.is_dir():
            raise Refusal(f"{path}: a file is in the place of a folder: move it away")


def _check_addresses(stage: str) -> None:
    """Refuse a limit of addresses (`ulimit -v`) that is known to be too low for a stage."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < ADDRESSES[stage] * 1e9:
        raise Refusal(
            f"ulimit -v: {limit / 1e9:.2f} GB of addresses are allowed, {stage} takes "
            f"{ADDRESSES[stage]:g} and more: raise the limit"
        )


def _check_draws(experiments: Sequence[str], seed: int) -> None:
    """Refuse a seed for which the rows of a tier are not drawn."""
    for arm in resolve(experiments):
        if arm.tier.is_drawn and seed not in declared_seeds():
            raise Refusal(
                f"--seed {seed}: every seed of {params.PARAMS} has its own rows of "
                f"{arm.tier_name}: add {seed} to seeds and run `winnow select {arm.name}`"
            )


def _check_kept(ingest: IngestConfig, score: ScoreConfig) -> None:
    """Refuse a scorer of a column that ingest would leave in the corpus."""
    for column, place in score.kept_columns():
        if column not in ingest.keep:
            raise Refusal(
                f"{place}.column: ingest keeps no column {column!r}: name it in ingest.keep, "
                f"`keep: [{column}]`"
            )


def _check_cuts(needed: Collection[str], select: SelectConfig, score: ScoreConfig) -> None:
    """Refuse a tier that is cut by a column that no scorer will make."""
    for name in sorted(needed):
        name = select.tiers[name].of or name
        by = select.tiers[name].by
        if by is not None and by not in score.columns():
            raise Refusal(
                f"{params.PARAMS}: select.tiers.{name}.by: no scorer of score.scorers makes a "
                f"column {by!r}, but {', '.join(score.columns())}"
            )


def before(
    stage: str,
    experiments: Sequence[str] = (),
    seed: int | None = None,
    init: str = "",
    max_samples: int | None = None,
) -> None:
    """Check all that is in params.yaml, and the files that a stage and those after it will read.

    A section that is missing is for its own stage to ask for: one may go no further than curation.

    Args:
        stage: the first one that is to work.
        experiments: names on the command line, beside those of params.yaml.
        seed: of the command line.
        init: the start of a training on the command line.
        max_samples: of the command line.

    Raises:
        Refusal: a key, value, name or file is wrong, or a file is where a stage wants a folder.
    """
    _check_addresses(stage)
    _check_folders()
    given = params.sections()
    # Where nothing is generated, the section is empty.
    kinds = SECTIONS | {"generate": GenerateConfig | None}
    sections = {name: params.load(name, kind) for name, kind in kinds.items() if name in given}
    if "engine" in given:
        params.load("engine", ENGINES)
    if "seeds" in given:
        declared_seeds()
    arms = resolve(["all", *experiments] if "experiments" in given else experiments)
    for name, number, limit in (
        ("seed", seed, params.SEEDS),
        ("max-samples", max_samples, params.COUNTS),
    ):
        if number is not None and number not in limit:
            raise Refusal(f"--{name}: expected a whole number {limit}, found {number}")
    if seed is not None and "seeds" in given:
        _check_draws(experiments, seed)
    if init:
        check_init(init)
    names = list(STAGES)
    for name in names[names.index(stage) :]:
        if hasattr(sections.get(name), "check"):
            sections[name].check()
    if names.index(stage) <= names.index("score") and {"ingest", "score"} <= sections.keys():
        _check_kept(sections["ingest"], sections["score"])
    if names.index(stage) <= names.index("score") and {"select", "score"} <= sections.keys():
        _check_cuts({arm.tier_name for arm in arms}, sections["select"], sections["score"])
