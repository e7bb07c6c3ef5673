"""What an arm costs, counted in work: what else a machine did meanwhile changes no answer.

A training costs its floating-point operations. Seconds are those operations at one measured speed,
that of the model's fastest finished training: other work on a machine slows a training and never
speeds it up, so the fastest one was disturbed the least. Time by the clock is only shown beside it.
"""

from collections.abc import Sequence

from winnow.analyze.study import Arm, Run, Study


def _speed(run: Run) -> float:
    """Floating-point operations a second of one training, by the clock."""
    return run.train.flops / run.train.train_time


def _fastest(arms: Sequence[Arm], model: str) -> Run:
    return max((run for arm in arms if arm.model == model for run in arm.runs), key=_speed)


def speed(study: Study, model: str) -> float:
    """Floating-point operations a second at which all trainings of a bare model are counted."""
    return _speed(_fastest(study.arms, model))


def device(study: Study, model: str) -> str:
    """The device that reached that speed, in numbers."""
    return _fastest(study.arms, model).config.device


def training_seconds(arm: Arm, study: Study) -> float:
    """Seconds that an arm's training takes at the model's speed, the mean over seeds."""
    return arm.mean(lambda run: run.train.flops) / speed(study, arm.model)


def scoring_seconds(arm: Arm, study: Study) -> float | None:
    """Seconds that scoring cost an arm: all of them where the score chose its rows, else none.

    None where scoring left no measured cost.
    """
    return arm.tier.scoring_seconds(study.scoring)


def total_seconds(arm: Arm, study: Study) -> float | None:
    """Seconds of scoring and training; None where scoring left no measured cost."""
    scoring = scoring_seconds(arm, study)
    return None if scoring is None else scoring + training_seconds(arm, study)
