"""Is the answer right, and how sure may it be?    python -m benchmarks.truth [--seeds 12]

Corpora of which it is known what makes a row good (corpora.py) are filtered to many shares, and a
tiny model trained on each with many seeds and budgets (trainings.py). Then the program is asked
with three seeds at a time what to keep, and held against all others (decisions.py). A training is
done once and kept under .winnow/truth: what was stopped goes on.
"""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from benchmarks.truth.corpora import NOISE, VOCABULARY
from benchmarks.truth.decisions import SEEDS, SETTINGS, Decision, Ranking, decisions, rankings
from benchmarks.truth.trainings import BETWEEN, MODELS, PART, STEPS, grid, train_all
from winnow.models.cost import flops_per_position
from winnow.models.family import shape

FOLDER = Path(".winnow/truth")


def share(part: int, whole: int) -> str:
    """A share with what it is of; a dash of nothing."""
    return f"{part}/{whole} ({100 * part / whole:.0f}%)" if whole else "–"


def _line(name: str, asked: list[Decision], seeds: int) -> str:
    kept = [d for d in asked if d.answer.kind == "keep"]
    given = [d.truth[_kept(d)] - d.truth[d.best] for d in kept]
    close = [d for d in asked if d.answer.kind == "too close"]
    holds = [d for d in close if d.best in _named(d)]
    claims = [
        (d, control)
        for d in asked
        if d.answer.verdict
        for control in d.answer.verdict.tested.values()
        if control and not control.margin.holds_zero
    ]
    true = [
        1
        for d, control in claims
        if control.loses == (d.true_margin((control.tier.tier_name, control.arm.tier_name)) > 0)
    ]
    margins = [(d, pair) for d in asked for pair in d.margins]
    covered = [1 for d, pair in margins if d.holds(pair, 1.0)]
    # The truth is itself a mean, of so many times the seeds and rows that were asked.
    corrected = [1 for d, pair in margins if d.holds(pair, math.sqrt(seeds / (seeds - SEEDS)))]
    cells = [
        str(len(asked)),
        share(sum(lost == 0 for lost in given), len(kept)),
        share(sum(lost <= SETTINGS.margin for lost in given), len(kept)),
        share(len(close), len(asked)),
        share(len(holds), len(close)),
        share(len(true), len(claims)),
        share(len(covered), len(margins)),
        share(len(corrected), len(margins)),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _kept(decision: Decision) -> str:
    """The tier that the program keeps."""
    verdict = decision.answer.verdict
    assert verdict and verdict.kept
    return verdict.kept.tier_name


def _named(decision: Decision) -> set[str]:
    """The tiers between which it is too close to call."""
    verdict = decision.answer.verdict
    assert verdict and verdict.best
    return {arm.tier_name for arm in (verdict.best, *verdict.tied)}


def _decisions(found: list[Decision], seeds: int) -> Iterable[str]:
    yield (
        "| corpus or budget | decisions | exactly the best where it decides | within the margin "
        "| too close to call | the best is among them | claims on the score that are true "
        "| 90% intervals that hold the truth | corrected for its own noise |"
    )
    yield "| --- " * 9 + "|"
    measured = [decision for decision in found if decision.steps in STEPS]
    for kind in NOISE:
        yield _line(kind, [d for d in measured if d.kind == kind], seeds)
    for steps in STEPS:
        yield _line(f"{steps} steps", [d for d in measured if d.steps == steps], seeds)
    yield _line("**all**", measured, seeds)
    yield _line(
        f"{BETWEEN} steps, between two that were trained",
        [d for d in found if d.steps == BETWEEN],
        seeds,
    )


def _rankings(found: list[Ranking]) -> Iterable[str]:
    yield "| corpus | " + " | ".join(f"{steps} steps" for steps in STEPS) + " |"
    yield "| --- |" + " --- |" * len(STEPS)
    for kind in NOISE:
        cells = [
            f"{share(r.same, r.pairs)}; sure ones {share(r.sure_same, r.sure_pairs)}"
            for r in found
            if r.kind == kind
        ]
        yield f"| {kind} | {' | '.join(cells)} |"
    sums = [
        sum(getattr(r, key) for r in found) for key in ("same", "pairs", "sure_same", "sure_pairs")
    ]
    yield f"all pairs {share(*sums[:2])}, those that the larger model is sure of {share(*sums[2:])}"


def main() -> None:
    """Train what is missing, ask, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12, help="of every training; three are asked")
    seeds = parser.parse_args().seeds
    if seeds < 3 * SEEDS:
        parser.error(f"--seeds: expected {3 * SEEDS} or more, found {seeds}")
    train_all(grid(seeds), FOLDER)
    for line in _decisions(list(decisions(seeds, FOLDER)), seeds):
        print(line)
    flops = {name: flops_per_position(shape(model, VOCABULARY)) for name, model in MODELS.items()}
    part = flops["replica"] / PART / flops["larger"]
    print(f"\nA replica, at {100 * part:.1f}% of the larger model's operations, ranks tiers alike:")
    for line in _rankings(list(rankings(seeds, FOLDER))):
        print(line)


if __name__ == "__main__":
    main()
