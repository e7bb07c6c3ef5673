"""What training, evaluation and the stages before them left behind, read once and checked.

The experiments and seeds of params.yaml are enumerated: a result that is left from an older grid
is never read, and one that is missing is an error that names the command which makes it.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.analyze.intervals import Estimates
from winnow.analyze.params import AnalyzeConfig
from winnow.core import cards, files, metrics, rules
from winnow.core.errors import Refusal
from winnow.core.experiments import Tier
from winnow.core.layout import (
    CURATED,
    INGESTED,
    RESULTS,
    SCORED,
    SCORING_METRICS,
    SELECTED,
    STATISTICS,
    scores_name,
)
from winnow.core.metrics import METRICS
from winnow.core.params import PARAMS
from winnow.core.records import (
    ExperimentConfig,
    Generation,
    Losses,
    Sample,
    TestLosses,
    TierStatistics,
    TrainResults,
)

SPLITS = ("train", "validation", "test")
"""Of the curated rows; the first is the pool that tiers are cut from."""
LEVELS = {"ultra": "ultra_high", "high": "high", "medium": "medium"}
"""First word of a tier's name -> the documented name of the level."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """One experiment with one seed."""

    seed: int
    config: ExperimentConfig
    train: TrainResults
    metrics: TestLosses
    strata: dict[str, dict[str, Losses]]
    """By kind and stratum."""
    generation: Generation
    samples: list[Sample]
    losses: NDArray[np.float64]
    """Summed loss of each test row, in nats."""
    sha256: str
    """Of all its files."""

    @property
    def folder(self) -> Path:
        """Where it was read from."""
        return RESULTS / self.config.experiment / str(self.seed)

    @property
    def validation_losses(self) -> list[tuple[int, float]]:
        """Tokens seen and validation loss of the points of the curve that have one."""
        points = ((point.tokens, point.validation_loss) for point in self.train.curve)
        return [(tokens, loss) for tokens, loss in points if loss is not None]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arm:
    """One experiment with all its seeds, in the order of params.yaml."""

    name: str
    tier_name: str
    tier: Tier
    level: str
    """The first word of the tier's name, such as ultra."""
    model: str
    """The bare model, such as 1M."""
    recipe: str | None
    """The recipe that the arm's name holds, where it is not the tier's own."""
    budget: str | None
    """What it was trained for instead of its recipe's epochs, such as 300_steps."""
    model_name: str
    """The model with recipe and budget: only arms that were given the same are compared."""
    num_rows: int
    num_tokens: int
    """Tokens of one epoch, of draws the mean."""
    share: float
    """Of the curated pool."""
    overlap: float | None
    """The share of its rows that the tier `of` has too, the mean over draws."""
    runs: tuple[Run, ...]
    by: str | None = None
    """The score that chose its rows, where sentences are to name it."""

    @property
    def draws(self) -> tuple[str, ...]:
        """The names of the draws of its tier that its runs learned, each once."""
        return tuple(dict.fromkeys(run.config.draw for run in self.runs))

    @property
    def rule(self) -> str:
        """How its rows were chosen."""
        return self.tier.rule

    @property
    def of(self) -> str | None:
        """The tier that it is matched to, or a part of."""
        return self.tier.of

    @property
    def is_replica(self) -> bool:
        """Whether its rows are a part of another tier's, for which it stands."""
        return self.rule == "part"

    @property
    def stands_for(self) -> str:
        """The tier of which a proxy is told: of a replica the one that its rows are a part of."""
        return (self.of if self.is_replica else None) or self.tier_name

    @property
    def is_unfiltered(self) -> bool:
        """Whether it is trained on all rows of the pool, by whatever rule."""
        return self.share >= 1

    @property
    def is_top(self) -> bool:
        """Whether the highest scores chose its rows: of all rows they choose none."""
        return self.rule == "top" and not self.is_unfiltered

    @property
    def num_parameters(self) -> int:
        """The size of the model."""
        return self.runs[0].train.num_parameters

    @property
    def losses(self) -> NDArray[np.float64]:
        """Summed losses by seed and test row."""
        return np.stack([run.losses for run in self.runs])

    def mean(self, figure: Callable[[Run], float]) -> float:
        """The mean over seeds of a figure of a run."""
        return sum(float(figure(run)) for run in self.runs) / len(self.runs)

    def generation(self, key: str) -> tuple[float | None, str]:
        """The mean over seeds of a generation metric, or None and the reason."""
        for run in self.runs:
            if getattr(run.generation, key) is None:
                return None, run.generation.reasons.get(key, "not defined")
        return self.mean(lambda run: getattr(run.generation, key)), ""


def matched_control(tier: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm of random rows with the sizes and lengths of an arm's tier."""
    matched = (arm for arm in arms if arm.rule == "matched" and arm.of == tier.tier_name)
    return next(matched, None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """Everything that the analysis reads, except the planted truth."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    num_items: int
    tokens: NDArray[np.int64]
    """Tokens of each test row."""
    statistics: dict[str, TierStatistics]
    """Of each draw of a tier, by its name."""
    ledgers: dict[str, object]
    """Where the rows went, by stage."""
    scoring: dict[str, Any]
    """The measured cost of scoring."""
    scorers: dict[str, Any]
    """Of every column of scores, what the card says of it."""

    def seed_losses(self, arm: Arm) -> list[float]:
        """Test loss per token of each seed, in nats."""
        return [float(loss) for loss in arm.losses.sum(axis=1) / self.tokens.sum()]

    def models(self) -> dict[str, tuple[Arm, ...]]:
        """Arms by model and budget, the largest model first; nothing is pooled over them."""
        ordered = sorted(self.arms, key=lambda arm: (-arm.num_parameters, arm.model_name))
        names = dict.fromkeys(arm.model_name for arm in ordered)
        return {name: tuple(a for a in self.arms if a.model_name == name) for name in names}


@functools.lru_cache(4)
def estimates(study: Study, settings: AnalyzeConfig, metric: str = "loss") -> Estimates:
    """A metric of all arms on the test set, with what its intervals need; worked out once a study.

    Args:
        study: what was run.
        settings: confidence, and the draws.
        metric: a name of `metrics.METRICS`.

    Raises:
        Refusal: two runs were judged on other items, or there are none.
    """
    if metric == "loss":
        losses = np.stack([arm.losses for arm in study.arms])
        numerators, denominators = losses, study.tokens.astype(np.float64)
    else:
        numerators, denominators = _items(study, metric)
    return Estimates.of(
        {arm.name: arm.model_name for arm in study.arms},
        numerators,
        denominators,
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
        lower_is_better=METRICS[metric].lower_is_better,
        unit=METRICS[metric].unit,
    )


def _items(study: Study, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numerators by arm, seed and item, and the denominators, which are the same for all runs."""
    runs = [[metrics.read(run.folder, METRICS[metric]) for run in arm.runs] for arm in study.arms]
    first = runs[0][0]
    if not first.ids or not first.denominators.sum():
        raise Refusal(f"{PARAMS}: analyze.metric: {metric} has no items in {RESULTS}")
    for arm, items in zip(study.arms, runs, strict=True):
        for one in items:
            if one.ids != first.ids or (one.denominators != first.denominators).any():
                raise Refusal(
                    f"{RESULTS / arm.name}: {metric} is counted on other items, or by another "
                    f"tokenizer, than in {RESULTS / study.arms[0].name}: choose another "
                    "analyze.metric, such as bits_per_byte"
                )
    numerators = np.stack([np.stack([one.numerators for one in items]) for items in runs])
    return numerators, first.denominators


def _read(kind: type[T], path: Path) -> T:
    return files.contract(kind, files.read_json(path), path)


def _read_strata(path: Path) -> dict[str, dict[str, Losses]]:
    return {
        kind: {name: files.contract(Losses, stratum, path) for name, stratum in strata.items()}
        for kind, strata in files.read_json(path).items()
    }


def _read_samples(path: Path) -> list[Sample]:
    # Not splitlines: a completion may hold U+2028, which ends no line of a JSON file.
    lines = filter(None, path.read_text(encoding="utf-8").split("\n"))
    return [files.contract(Sample, json.loads(line), path) for line in lines]


def _fingerprint(folder: Path) -> str:
    """The fingerprint of the files of a run's folder, which are as its card has them."""
    run = f"{folder.parent.name} --seed {folder.name}"
    files.made_by(f"winnow train {run} && winnow evaluate {run}", folder)
    return files.fingerprint(cards.read_card(folder, f"winnow evaluate {run}")["files"])


def _check_losses(folder: Path, items: pa.Table, first: pa.Table) -> NDArray[np.float64]:
    """The row losses, of the same rows as the first run's and fit for an exponential."""
    name, seed = folder.parts[-2:]
    again = f"run `winnow evaluate {name} --seed {seed}`"
    if not all(items[column].equals(first[column]) for column in ("id", "num_tokens")):
        raise Refusal(f"{folder}: judged on other test rows than the first experiment: {again}")
    losses: NDArray[np.float64] = items["loss"].to_numpy().astype(np.float64)
    if not np.isfinite(losses).all() or losses.sum() / items["num_tokens"].to_numpy().sum() > 500:
        raise Refusal(
            f"{folder}: a test loss is not finite: the training diverged; lower its learning rate, "
            f"or take {name} out of experiments"
        )
    return losses


def _read_run(name: str, seed: int, first: pa.Table | None) -> tuple[Run, pa.Table]:
    folder = RESULTS / name / str(seed)
    sha256 = _fingerprint(folder)
    items = pq.read_table(folder / "evaluation/items.parquet")
    if not len(items):
        raise Refusal(f"{folder}: no test row was evaluated; raise curate.test")
    run = Run(
        seed=seed,
        config=_read(ExperimentConfig, folder / "experiment_config.json"),
        train=_read(TrainResults, folder / "train_results.json"),
        metrics=_read(TestLosses, folder / "evaluation/metrics.json"),
        strata=_read_strata(folder / "quality_analysis/strata.json"),
        generation=_read(Generation, folder / "generation_analysis/metrics.json"),
        samples=_read_samples(folder / "generation_analysis/samples.jsonl"),
        losses=_check_losses(folder, items, items if first is None else first),
        sha256=sha256,
    )
    return run, items if first is None else first


def _arm(name: str, runs: Sequence[Run], statistics: Mapping[str, TierStatistics]) -> Arm:
    config, by_draw = runs[0].config, {run.config.draw: run for run in reversed(runs)}
    for run in runs:
        other = by_draw[run.config.draw]
        if run.config.data_sha256 != other.config.data_sha256:
            raise Refusal(
                f"{other.folder} and {run.folder} were trained on different data: "
                f"run `winnow train {name}`"
            )
    for draw in by_draw:
        if draw not in statistics:
            raise Refusal(f"{STATISTICS} has no {draw}: run `winnow select {name}`")
    overlaps = [statistics[draw].overlap_with_of for draw in by_draw]
    shared = [overlap for overlap in overlaps if overlap is not None]
    return Arm(
        name=name,
        tier_name=config.tier_name,
        tier=Tier(**config.tier),
        level=config.level,
        model=config.model_name,
        recipe=config.recipe_name,
        budget=config.budget_name,
        model_name=config.group,
        num_rows=config.num_rows,
        num_tokens=round(sum(run.config.num_tokens for run in runs) / len(runs)),
        share=statistics[config.draw].share,
        overlap=sum(shared) / len(shared) if shared else None,
        runs=tuple(runs),
    )


def _read_statistics() -> dict[str, TierStatistics]:
    cards.read_card(SELECTED, "winnow select", STATISTICS.name)
    tiers = files.read_json(STATISTICS)
    return {name: files.contract(TierStatistics, tiers[name], STATISTICS) for name in tiers}


def _read_arms(
    cells: Mapping[str, Sequence[int]], statistics: Mapping[str, TierStatistics]
) -> tuple[tuple[Arm, ...], pa.Table]:
    """These seeds of these experiments, and the test rows that they were all judged on."""
    arms, first = [], None
    for name, seeds in cells.items():
        runs = []
        for seed in seeds:
            run, first = _read_run(name, seed, first)
            runs.append(run)
        arms.append(_arm(name, runs, statistics))
    assert first is not None
    arms.sort(key=lambda arm: (arm.num_rows, rules.order(arm.rule), arm.name))
    several = len({arm.tier.scorer for arm in arms if arm.tier.is_scored}) > 1
    named = [
        replace(arm, by=arm.tier.scorer) if arm.tier.by or (several and arm.tier.is_scored) else arm
        for arm in arms
    ]
    return tuple(named), first


def _tokens(items: pa.Table) -> NDArray[np.int64]:
    tokens: NDArray[np.int64] = items["num_tokens"].to_numpy().astype(np.int64)
    return tokens


def read_study(names: Sequence[str], seeds: Sequence[int]) -> Study:
    """Read every experiment with every seed.

    Raises:
        Refusal: a result is missing, diverged, or was judged on other rows; with what to run.
    """
    if not names:
        raise Refusal("params.yaml: experiments: expected one or more, found none")
    by_stage = {
        folder.name: cards.read_card(folder, f"winnow {folder.name}")
        for folder in (INGESTED, CURATED, SCORED)
    }
    cards.check_inputs(SCORED, by_stage["score"], "winnow score")
    statistics = _read_statistics()
    arms, items = _read_arms(dict.fromkeys(names, seeds), statistics)
    return Study(
        arms=arms,
        seeds=tuple(seeds),
        num_items=len(items),
        tokens=_tokens(items),
        statistics=statistics,
        ledgers={stage: card["ledger"] for stage, card in by_stage.items()},
        scoring=files.read_sealed(SCORING_METRICS, "winnow score"),
        scorers=by_stage["score"]["scorers"],
    )


def read_pilot(
    names: Sequence[str], seeds: Sequence[int]
) -> tuple[tuple[Arm, ...], NDArray[np.int64]]:
    """Read the finished seeds of those experiments that have any, and the test rows' tokens.

    Raises:
        Refusal: none has any, or one diverged, or was judged on other rows.
    """
    cells = {
        name: [seed for seed in seeds if (RESULTS / name / str(seed)).exists()] for name in names
    }
    done = {name: found for name, found in cells.items() if found}
    if not done:
        select = f"{names[0]} --seed {seeds[0]}" if names else "<experiment>"
        raise Refusal(
            "no experiment of params.yaml is finished: run a pilot of two seeds or more, first "
            f"`winnow train {select} && winnow evaluate {select}`"
        )
    arms, items = _read_arms(done, _read_statistics())
    return arms, _tokens(items)


def read_pool() -> pa.Table:
    """The scored rows that the tiers were cut from."""
    return pq.read_table(SCORED / "train.parquet")


def read_texts() -> pa.Table:
    """The instructions and responses of the pool."""
    path = CURATED / "train.parquet"
    return pq.read_table(path, columns=["instruction", "response"])


def read_test_hashes() -> list[str]:
    """The content hashes of the test rows, in the order of every run's losses."""
    path = SCORED / "test.parquet"
    hashes: list[str] = pq.read_table(path, columns=["hash"])["hash"].to_pylist()
    return hashes


@functools.lru_cache(2)
def by_source(study: Study, settings: AnalyzeConfig) -> dict[str, Estimates]:
    """The loss of all arms on the test rows of each source, by the source's name.

    A source with fewer than two test rows has no interval, and is left out.
    """
    items = study.arms[0].runs[0].folder / metrics.TEST_ITEMS
    sources = pq.read_table(items, columns=["source"])["source"].to_numpy()
    losses = np.stack([arm.losses for arm in study.arms])
    found = {}
    for source in sorted(set(sources)):
        rows = np.flatnonzero(sources == source)
        if len(rows) > 1:
            found[str(source)] = Estimates.of(
                {arm.name: arm.model_name for arm in study.arms},
                losses[:, :, rows],
                study.tokens[rows],
                resamples=settings.resamples,
                confidence=settings.confidence,
                seed=settings.seed,
            )
    return found


def token_shares(draw: str, pool: pa.Table) -> dict[str, float]:
    """The share of a draw's tokens that each source of the pool gives; repeats count.

    Args:
        draw: of a tier.
        pool: what `read_pool` gives.
    """
    rows = read_draw(draw)
    names, places = np.unique(pool["source"].to_numpy(), return_inverse=True)
    tokens = np.bincount(places[rows], pool["num_tokens"].to_numpy()[rows], len(names))
    return dict(zip(map(str, names), (tokens / tokens.sum()).tolist(), strict=True))


def read_draw(draw: str) -> NDArray[np.int64]:
    """The rows of a draw of a tier, as places in the pool."""
    path = SELECTED / scores_name(draw)
    cards.read_card(SELECTED, "winnow select", scores_name(draw))
    columns = pyarrow.csv.ConvertOptions(column_types={"idx": pa.int64()}, include_columns=["idx"])
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(path, parse_options=lines, convert_options=columns)
    rows: NDArray[np.int64] = table["idx"].to_numpy()
    return rows
