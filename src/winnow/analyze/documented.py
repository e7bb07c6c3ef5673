"""The experiment's documented figures under their names, each with the measured one beside it.

The documented formulas are kept as they are, weak points included: time to a threshold is scaled
from the end of training, the threshold rule does not know variance, samples per point count from a
perplexity of 100. Beside them stand figures that are read off what was logged, and a rule that asks
for an interval. Times are work at one measured speed (cost.py), and `wall_clock` is by the clock.
What is not defined is null, with the reason under `reasons`.
"""

import math
from typing import Any

from winnow.analyze import words
from winnow.analyze.bootstrap import Bootstrap, Interval
from winnow.analyze.cost import scoring_seconds, total_seconds, training_seconds
from winnow.analyze.results import Arm, Study

LEVELS = {"ultra": "ultra_high", "high": "high", "medium": "medium"}
"""First word of a tier's name -> the documented name of the level."""
BETTER = 0.9
"""The documented rule: a level pays when its perplexity is below 0.9 of the next level's."""
WORST = 100.0
"""Samples per point are counted from this perplexity."""
SUFFICIENT = 0.8
"""The documented hypothesis: ultra reaches this share of medium's performance."""
Json = dict[str, Any]


def with_reasons(values: Json, reasons: dict[str, str]) -> Json:
    """Values, with why the null ones are null."""
    return values | ({"reasons": reasons} if reasons else {})


def as_json(interval: Interval) -> Json:
    """An interval as it is written."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def performance_vs_size(study: Study, losses: Bootstrap) -> Json:
    """Perplexity against rows; `performance_per_sample` and `training_efficiency` as documented."""
    found = {}
    for arm in study.arms:
        perplexity = losses.loss(arm.name).map(math.exp)
        found[arm.name] = {
            "size": arm.num_rows,
            "num_tokens": arm.num_tokens,
            "perplexity": perplexity.value,
            "perplexity_interval": as_json(perplexity),
            "performance_per_sample": 1 / (perplexity.value * arm.num_rows),
            "training_efficiency": training_seconds(arm, study) / arm.num_rows,
        }
    return found


def tokens_to_threshold(arm: Arm, threshold: float) -> tuple[float | None, str]:
    """Tokens to the first logged validation perplexity at or below the threshold, seeds' mean.

    None, with the reason, where a seed never got there.
    """
    tokens, lowest = [], math.inf
    for run in arm.runs:
        points = [p for p in run.train["curve"] if p["validation_loss"] is not None]
        lowest = min([lowest, *(p["validation_loss"] for p in points)])
        reached = [p["tokens"] for p in points if p["validation_loss"] <= math.log(threshold)]
        tokens += reached[:1]
    if len(tokens) == len(arm.runs):
        return sum(tokens) / len(tokens), ""
    if math.isinf(lowest):
        return None, "no validation loss was logged"
    missed = f"not reached by {len(arm.runs) - len(tokens)} of "
    missed += words.plural(len(arm.runs), "seed")
    return None, f"{missed}; lowest validation perplexity {words.figures(math.exp(lowest))}"


def efficiency_metrics(study: Study, losses: Bootstrap, threshold: float) -> Json:
    """Time to the threshold, samples per point and total cost, documented and measured."""
    found = {}
    for arm in study.arms:
        reasons = {}
        perplexity, train_time = math.exp(losses.loss(arm.name).value), training_seconds(arm, study)
        tokens, why = tokens_to_threshold(arm, threshold)
        if tokens is None:
            reasons["measured_time_to_threshold"] = reasons["tokens_to_threshold"] = why
        points = WORST - perplexity
        if points <= 0:
            reasons["samples_per_point_perplexity"] = (
                f"perplexity {words.figures(perplexity)} is not below {WORST:g}"
            )
        scoring = scoring_seconds(arm, study)
        if scoring is None:
            reasons["scoring_time"] = reasons["total_time"] = "scoring left no measured cost"
        values = {
            "flops": arm.train("flops"),
            "tokens_seen": arm.train("tokens_seen"),
            "train_time": train_time,
            "wall_clock": arm.train("train_time"),
            "scoring_time": scoring,
            "total_time": total_seconds(arm, study),
            "time_to_threshold": train_time * (threshold / perplexity),
            "measured_time_to_threshold": tokens and train_time * tokens / arm.train("tokens_seen"),
            "tokens_to_threshold": tokens,
            "samples_per_point_perplexity": arm.num_rows / points if points > 0 else None,
        }
        found[arm.name] = with_reasons(values, reasons)
    return found


def levels(arms: tuple[Arm, ...]) -> dict[str, Arm]:
    """The arms of the documented levels; of several with one first word, the largest."""
    found = {}
    for arm in sorted(arms, key=lambda arm: arm.num_rows):
        if arm.rule == "top" and arm.level in LEVELS:
            found[arm.level] = arm
    return found


def _missing(found: dict[str, Arm], wanted: tuple[str, ...]) -> str:
    absent = [f"{word}_*" for word in wanted if word not in found]
    return f"no {words.listed(absent, 'or')} tier of top rows was run" if absent else ""


def quality_threshold(arms: tuple[Arm, ...], losses: Bootstrap) -> Json:
    """The documented rule: the first level with 10% less perplexity than the next one."""
    found = levels(arms)
    why = _missing(found, tuple(LEVELS))
    if why:
        return with_reasons({"threshold": None}, {"threshold": why})
    ultra, high, medium = (math.exp(losses.loss(found[w].name).value) for w in LEVELS)
    level = "ultra" if ultra < BETTER * high else "high" if high < BETTER * medium else "medium"
    return {"threshold": LEVELS[level], "experiment": found[level].name}


def quality_threshold_interval(arms: tuple[Arm, ...], losses: Bootstrap) -> Json:
    """The same rule where each step must hold, or fail, over the whole interval; else undecided."""
    found = levels(arms)
    why = _missing(found, tuple(LEVELS))
    if why:
        return with_reasons({"threshold": None}, {"threshold": why})
    ratios: Json = {}
    picked = "medium"
    for word, following in (("ultra", "high"), ("high", "medium")):
        margin = losses.margin(found[word].name, found[following].name)
        ratio = margin.map(lambda value: math.exp(-value))
        ratios[f"{word}/{following}"] = as_json(ratio)
        if ratio.low < BETTER <= ratio.high:
            ends = f"{ratio.low:.3f} to {ratio.high:.3f}"
            why = f"the perplexity of {word} over that of {following}, {ends}, straddles {BETTER}"
            values: Json = {"threshold": None, "perplexity_ratios": ratios}
            return with_reasons(values, {"threshold": why})
        if ratio.high < BETTER:
            picked = word
            break
    values = {"threshold": LEVELS[picked], "experiment": found[picked].name}
    return values | {"perplexity_ratios": ratios}


def hypothesis(arms: tuple[Arm, ...], losses: Bootstrap) -> Json:
    """Does ultra reach 80% of medium's performance?

    Performance is how far an arm's test loss lies below that of a unigram model of the training
    text, on the shared test rows. One unigram model judges both: that of medium's text.
    """
    found = levels(arms)
    values: Json = {"sufficient": SUFFICIENT, "ratio": None, "verdict": None}
    why = _missing(found, ("ultra", "medium"))
    if why:
        return with_reasons(values, {"ratio": why, "verdict": why})
    ultra, medium = found["ultra"], found["medium"]
    baseline = medium.metric("baseline_loss")
    ratio = losses.improvement_ratio(ultra.name, medium.name, baseline)
    values |= {"arms": [ultra.name, medium.name], "baseline_loss": baseline}
    if ratio is None:
        why = f"{medium.name} is not surely better than the unigram model: no performance to share"
        return with_reasons(values, {"ratio": why, "verdict": why})
    values["ratio"] = as_json(ratio)
    if ratio.low < SUFFICIENT <= ratio.high:
        why = f"the interval straddles {SUFFICIENT}"
        return with_reasons(values, {"verdict": why})
    return values | {"verdict": "holds" if ratio.low >= SUFFICIENT else "fails"}
