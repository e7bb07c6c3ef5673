"""What the experiments will take and could see, before they run.    winnow plan [experiment ...]

Reads params.yaml and what the stages have left so far, and writes nothing. What only a later stage
can tell is a question mark, and below the table stands why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import power
from winnow.analyze.report import numbers
from winnow.analyze.study import read_pilot
from winnow.core import cards, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, declared_seeds, resolve
from winnow.core.layout import MODELS, STATISTICS, TOKENIZER
from winnow.core.objectives import Policy
from winnow.core.records import Row
from winnow.curate.params import CurateConfig
from winnow.models.cost import Estimate, Work, estimate, policy_work, preference_work
from winnow.models.device import environment, precision
from winnow.models.family import shape
from winnow.models.tokenizer import Vocabulary
from winnow.select.params import SelectConfig
from winnow.train import stage as training
from winnow.train.params import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One arm, as far as it is known."""

    arm: Experiment
    rows: int | None
    tokens: int | None
    """Of an epoch."""
    cost: Estimate | None
    """Of one seed, or of one step where `seconds` is not known."""
    seconds: float | None
    """Of one seed, at the speed of the fastest finished training here, else as it is estimated."""
    trained: int
    """Seeds that are finished."""
    notes: tuple[str, ...]
    """Why something is not known, or would be refused."""


def run(experiments: list[str]) -> None:
    """Print the arms, tokens, hours and memory of experiments, and the least margin they could see.

    Args:
        experiments: declared ones; none stands for those of params.yaml.

    Raises:
        Refusal: an experiment is unknown.
    """
    arms, seeds = resolve(experiments or ["all"]), declared_seeds()
    settings = params.load("train", TrainConfig)
    speeds = _speeds(arms, seeds)
    plans = [_plan(arm, seeds, settings, speeds.get(arm.model_name)) for arm in arms]
    print("\n".join(_table(plans, len(seeds))))
    print("\n".join(_total(plans, len(seeds), speeds)))
    print("\n".join(_margins(arms, seeds)))


def _folder(arm: Experiment, seed: int) -> Path:
    return MODELS / arm.name / str(seed)


def _speeds(arms: Sequence[Experiment], seeds: Sequence[int]) -> dict[str, float]:
    """By model the FLOP/s of its fastest finished training on this device, as analyze counts."""
    speeds: dict[str, float] = {}
    for arm in arms:
        for folder in (_folder(arm, seed) for seed in seeds):
            if not (folder / cards.CARD).is_file():
                continue
            again = f"winnow train {arm.name} --seed {folder.name}"
            cards.read_card(folder, again, "experiment_config.json", "train_results.json")
            if files.read_json(folder / "experiment_config.json")["device"] == _device():
                results = files.read_json(folder / "train_results.json")
                speed = results["flops"] / results["train_time"]
                speeds[arm.model_name] = max(speed, speeds.get(arm.model_name, 0.0))
    return speeds


def _device() -> str:
    PartialState()
    return environment()


def _plan(
    arm: Experiment, seeds: Sequence[int], settings: TrainConfig, speed: float | None
) -> Plan:
    rows, tokens = _size(arm, seeds)
    cost, seconds, notes = None, None, []
    try:
        vocab_size = _vocab_size()
        cost = _cost(arm, settings, vocab_size, rows, tokens, steps=1)
        steps = _steps(arm, settings, vocab_size, rows, tokens)
        cost = _cost(arm, settings, vocab_size, rows, tokens, steps)
        seconds = cost.flops / speed if speed else cost.seconds
        if cost.seconds > settings.max_hours * 3600:
            notes.append(f"{arm.name} is refused: it takes longer than train.max_hours")
    except Refusal as error:
        notes.append(str(error))
    if cost and cost.memory_gb > cost.device_gb:
        notes.append(f"{arm.name} is refused: the device has {cost.device_gb:.1f} GB")
    trained = sum((_folder(arm, seed) / cards.CARD).is_file() for seed in seeds)
    return Plan(
        arm=arm,
        rows=rows,
        tokens=tokens,
        cost=cost,
        seconds=seconds,
        trained=trained,
        notes=tuple(notes),
    )


def _size(arm: Experiment, seeds: Sequence[int]) -> tuple[int | None, int | None]:
    """The rows of an arm's tier, and the tokens of an epoch: each row's words and their frame.
    Draws differ in tokens: their mean."""
    cut = {}
    if STATISTICS.parent.exists():
        cards.read_card(STATISTICS.parent, "winnow select", STATISTICS.name)
        cut = files.read_json(STATISTICS)
    draws = [cut[draw] for draw in map(arm.draw, seeds) if draw in cut]
    if not draws:
        tiers = params.load("select", SelectConfig).tiers
        is_sized = arm.tier.is_sized or arm.tier.of is None
        return (arm.tier if is_sized else tiers[str(arm.tier.of)]).count, None
    frame = _vocabulary().encodings([Row("", "", "", "", "").text])[0]
    rows = draws[0]["num_rows"]
    tokens = round(sum(draw["num_tokens"] for draw in draws) / len(draws))
    return rows, tokens + rows * (len(frame.ids) + 1)


def _vocabulary() -> Vocabulary:
    cards.read_card(TOKENIZER.parent, "winnow curate", TOKENIZER.name)
    return Vocabulary.read(TOKENIZER)


def _vocab_size() -> int:
    """Of the tokenizer that there is, or that will be."""
    if TOKENIZER.parent.exists():
        return _vocabulary().size
    settings = params.load("curate", CurateConfig)
    if (Path(settings.tokenizer) / "tokenizer_config.json").is_file():
        return Vocabulary.read(Path(settings.tokenizer)).size
    if settings.tokenizer != "bpe":
        raise Refusal("the tokenizer is not there yet: run `winnow curate`")
    return settings.vocab_size


def _epoch(arm: Experiment, rows: int | None, tokens: int | None) -> tuple[int, int]:
    """Sequences and tokens of an epoch, as if sequences were filled to the last token; of one step
    where they are not known. Of pairs, as if rejected answers were as long as chosen ones."""
    context, recipe = arm.model.context, arm.recipe
    if isinstance(recipe.objective, Policy):
        prompts = rows or recipe.sequences_per_step
        return prompts, prompts * recipe.objective.samples * recipe.objective.max_new_tokens
    if not isinstance(recipe.objective, str):
        pairs = rows or recipe.sequences_per_step
        return pairs, 2 * (tokens or pairs * context)
    epoch = tokens or recipe.sequences_per_step * context
    return (rows if rows and not recipe.packing else -(-epoch // context)), epoch


def _steps(
    arm: Experiment,
    settings: TrainConfig,
    vocab_size: int,
    rows: int | None,
    tokens: int | None,
) -> int:
    """Optimizer steps of one seed.

    Raises:
        Refusal: they cannot be known yet.
    """
    budget = training.budget_of(arm, settings, shape(arm.model, vocab_size))
    if tokens is None and budget is None:
        raise Refusal(f"{arm.name}: `winnow select` has to count the tokens of its tier first")
    sequences, epoch = _epoch(arm, rows, tokens)
    steps = -(-sequences // arm.recipe.sequences_per_step)
    if budget is None:
        return steps * arm.recipe.num_train_epochs
    work = _work(arm, vocab_size, sequences, epoch)
    if work and "flops" in budget:
        return int((budget["flops"] - work.once) * steps // work.epoch)
    return int(budget.get("steps") or -(-budget["tokens"] * steps // epoch))


def _cost(
    arm: Experiment,
    settings: TrainConfig,
    vocab_size: int,
    rows: int | None,
    tokens: int | None,
    steps: int,
) -> Estimate:
    kind = precision(settings.precision, PartialState().device)
    sequences, epoch = _epoch(arm, rows, tokens)
    work, model = _work(arm, vocab_size, sequences, epoch), shape(arm.model, vocab_size)
    return estimate(model, arm.recipe, sequences, epoch, steps, kind, work)


def _work(arm: Experiment, vocab_size: int, pairs: int, epoch: int) -> Work | None:
    """What is computed of pairs, or of prompts as if each filled the context with its answers."""
    if isinstance(arm.recipe.objective, Policy):
        each = arm.recipe.objective.samples * arm.model.context
        micro = arm.recipe.per_device_train_batch_size
        model = shape(arm.model, vocab_size)
        return policy_work(model, arm.recipe.objective, pairs * each, micro * each)
    if isinstance(arm.recipe.objective, str):
        return None
    peak = -(-epoch * arm.recipe.per_device_train_batch_size // pairs)
    return preference_work(shape(arm.model, vocab_size), arm.recipe.objective.name, epoch, peak)


def _table(plans: Sequence[Plan], num_seeds: int) -> list[str]:
    """A line for each arm, and what is to be said of it."""
    width = max(len(plan.arm.name) for plan in plans)
    head = ("rows", "tokens", "trained on", "FLOPs", "time", "memory", "seeds done")
    lines = [" " * width + "".join(f"{name:>12}" for name in head)]
    for plan in plans:
        cells = [numbers.count(plan.rows) if plan.rows else "?"]
        cells += [numbers.short(plan.tokens) if plan.tokens else "?"]
        if plan.cost and plan.seconds:
            cells += [numbers.short(plan.cost.tokens), f"{plan.cost.flops:.1e}"]
            cells.append(numbers.duration(plan.seconds))
        else:
            cells += ["?"] * 3
        cells.append(f"{plan.cost.memory_gb:.1f} GB" if plan.cost else "?")
        cells.append(f"{plan.trained} of {num_seeds}")
        lines.append(f"{plan.arm.name:{width}}" + "".join(f"{cell:>12}" for cell in cells))
    return lines + [note for plan in plans for note in plan.notes]


def _total(plans: Sequence[Plan], num_seeds: int, speeds: dict[str, float]) -> list[str]:
    """What is left to train, and how that is known."""
    number = sum(num_seeds - plan.trained for plan in plans)
    unknown = sum(num_seeds - plan.trained for plan in plans if plan.seconds is None)
    seconds = sum((num_seeds - plan.trained) * (plan.seconds or 0) for plan in plans)
    line = f"{numbers.plural(number, 'training')} to come"
    if number > unknown:
        line += f", about {numbers.duration(seconds)} on {_device()}, without evaluation"
    if unknown:
        line += f"; how long {unknown} of them take is not known yet"
    lines = [line]
    for model in dict.fromkeys(plan.arm.model_name for plan in plans):
        how = (
            f"{speeds[model]:.2e} FLOP/s, as its fastest finished training reached here"
            if model in speeds
            else "no training is finished here: estimated from the speed of matrix products"
        )
        lines.append(f"{model}: {how}")
    return lines


def _margins(arms: Sequence[Experiment], seeds: Sequence[int]) -> list[str]:
    """By model the least margin that these arms could see, where a pilot tells it."""
    confidence = params.load("analyze", AnalyzeConfig).confidence
    try:
        done, tokens = read_pilot([arm.name for arm in arms], seeds)
    except Refusal as error:
        return [f"least visible margin: not known yet: {error}"]
    grid = {arm.name: arm.group for arm in arms}
    lines = []
    for model, part in power.power(done, grid, seeds, tokens, confidence).items():
        planned = part.planned
        if planned is None or planned.effect is None:
            why = planned.reasons["effect"] if planned else part.reasons["planned"]
            lines.append(f"{model}: least visible margin: not known yet: {why}")
            continue
        lines.append(
            f"{model}: least visible margin {planned.effect:.4f} nats a token, "
            f"{planned.effect_high:.4f} at the seeds' highest spread, "
            f"seen by {power.POWER:.0%} of grids"
        )
    return lines
