"""What did each recipe of generated rows bring: unique rows, score, cost, and what a model learned?

Asked as `winnow.analyze.questions.recipes:ask`, of a study that has one source an arm. What the
stage generate counted is read from its report; losses are this study's, on rows of none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.analyze.intervals import Interval, quantile
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, by_chance
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, estimates
from winnow.core import cards, files
from winnow.core.errors import Refusal
from winnow.core.experiments import experiment_names
from winnow.core.layout import GENERATED

HEADS = (
    *("recipe", "candidates", "unique", "distinct pairs", "tokens a unique row", "score"),
    *("loss", "less loss than {}"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a source came to; what was not generated here has no count and no cost."""

    experiment: str
    candidates: int | None
    unique: int | None
    """By near match, of the rows that passed quality control."""
    unique_share: Interval | None
    """For each candidate; the interval is over shards, at generate's own confidence."""
    distinct_pairs: float | None
    """Different pairs of words over all of the instructions."""
    tokens_per_unique: float | None
    """Of prompts and replies."""
    score: Interval
    """The documented score of its rows, the mean; the interval is over rows."""
    loss: Interval
    """Of the models trained on its rows, over test rows and seeds."""
    less_loss: Interval | None
    """Than the first source's, paired over test rows and seeds; None for that one itself."""


def outcomes(
    study: Study, settings: AnalyzeConfig, made: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Outcome]:
    """By source, in the order of params.yaml; the first is the one that the others are held to.

    Args:
        study: with an arm for each source.
        settings: metric and confidence.
        made: what the stage generate reports, by recipe.
        names: of the experiments, in their order.

    Raises:
        Refusal: no arm is of one recipe's rows.
    """
    ordered = sorted(study.arms, key=lambda arm: names.index(arm.name))
    sources = [(arm.tier.sources or (), arm) for arm in ordered]
    arms = {named[0]: arm for named, arm in sources if len(named) == 1}
    if not arms.keys() & made.keys():
        raise Refusal(
            f"{GENERATED}: none of its recipes ({', '.join(made) or 'none'}) is the one source of "
            "an arm: name tiers of {rule: source, sources: [<recipe>]}"
        )
    losses = estimates(study, settings, settings.metric)
    first = next(iter(arms.values()))
    return {
        name: Outcome(
            experiment=arm.name,
            score=_score(study, arm, settings.confidence),
            loss=losses.value(arm.name),
            less_loss=None if arm is first else losses.margin(arm.name, first.name),
            **_counted(made.get(name)),
        )
        for name, arm in arms.items()
    }


def _score(study: Study, arm: Arm, confidence: float) -> Interval:
    """Of the rows of the first draw: a source's share of 1 is the same rows in all."""
    drawn = study.statistics[arm.draws[0]]
    reach = 0.0
    if drawn.num_rows > 1:
        error = drawn.std / (drawn.num_rows - 1) ** 0.5
        reach = quantile(drawn.num_rows - 1, confidence) * error
    return Interval(drawn.mean, drawn.mean - reach, drawn.mean + reach)


def _counted(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the report says of a recipe."""
    if told is None:
        return dict.fromkeys(
            ("candidates", "unique", "unique_share", "distinct_pairs", "tokens_per_unique")
        )
    one = told["outcome"]
    share, margin = one["share"], one["margin"]
    known = share is not None and margin is not None
    return {
        "candidates": one["candidates"],
        "unique": one["unique"],
        "unique_share": Interval(share, share - margin, share + margin) if known else None,
        "distinct_pairs": one["distinct_pairs"],
        "tokens_per_unique": one["tokens_per_row"],
    }


def _spread(value: Interval | None, digits: int = 3) -> str:
    if value is None:
        return numbers.DASH
    low, high = numbers.decimal(value.low, digits), numbers.decimal(value.high, digits)
    return f"{numbers.decimal(value.value, digits)} ({low} to {high})"


def opening(found: Mapping[str, Outcome]) -> str:
    """Which recipes surely teach more or less than the first one."""
    first, *others = found
    margins = {name: found[name].less_loss for name in others}
    more = [name for name, one in margins.items() if one and one.above_zero]
    less = [name for name, one in margins.items() if one and one.high < 0]
    better = f"{numbers.listed(more) or 'No recipe'} surely {'teach' if more[1:] else 'teaches'}"
    worse = f"{numbers.listed(less) or 'None'} surely {'teach' if less[1:] else 'teaches'}"
    return f"{better} more than {first}. {worse} less."


def table(found: Mapping[str, Outcome]) -> str:
    """The outcomes as a table of Markdown."""
    heads = [head.format(next(iter(found))) for head in HEADS]
    lines = [heads, ["---"] * len(heads)]
    for name, one in found.items():
        unique = numbers.DASH if one.unique is None else numbers.count(one.unique)
        if one.unique_share:
            share = one.unique_share
            unique += f" ({numbers.percent(share.value)} ± {100 * (share.high - share.value):.1f})"
        pairs, tokens = one.distinct_pairs, one.tokens_per_unique
        lines.append(
            [
                name,
                numbers.DASH if one.candidates is None else numbers.count(one.candidates),
                unique,
                numbers.DASH if pairs is None else numbers.decimal(pairs),
                numbers.DASH if tokens is None else numbers.count(tokens),
                _spread(one.score),
                _spread(one.loss),
                _spread(one.less_loss),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every source that is an arm."""
    cards.read_card(GENERATED, "winnow generate", "report.json")
    report = files.read_json(GENERATED / "report.json")
    found = outcomes(study, settings, report, experiment_names())
    return Answer(
        values=found,
        sentence=table(found),
        asks="Which recipe should write the rows?",
        opening=f"{opening(found)} {by_chance(len(found) - 1, settings.confidence)}",
    )
