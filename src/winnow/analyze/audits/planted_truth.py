"""How well did the score find the planted truth, where a corpus comes with one?

Which rows were made clean and which were not is read here, after every model is trained and
judged, and by no other stage.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from winnow.analyze.audits.score_audit import MEASURES
from winnow.analyze.ranks import Floats
from winnow.analyze.report.values import with_reasons
from winnow.analyze.study import Study, read_draw, read_test_hashes

CLEAN = "clean"


def auc(values: Floats, positive: NDArray[np.bool_]) -> float | None:
    """The chance that a positive row has the higher value, ties counting half (Mann and Whitney
    1947); None where all rows are of one kind."""
    if positive.all() or not positive.any():
        return None
    won = stats.mannwhitneyu(values[positive], values[~positive], method="asymptotic").statistic
    return float(won / (positive.sum() * (~positive).sum()))


def _clean_share(qualities: Iterable[str | None]) -> dict[str, object]:
    """The share of clean rows among those whose truth is known."""
    counts = Counter(quality for quality in qualities if quality is not None)
    if not counts:
        return with_reasons({"clean": None, "known": 0}, {"clean": "no row of known quality"})
    return {"clean": counts[CLEAN] / counts.total(), "known": counts.total()}


def _losses_by_truth(truth: Mapping[str, str], study: Study) -> dict[str, object]:
    """Each experiment's loss per token on the clean test rows and on the damaged ones.

    The test set is the corpus as it is, its faults included: a model that never saw a fault is
    surprised by it. On the clean rows alone the same models may rank otherwise.
    """
    qualities = [truth.get(key) for key in read_test_hashes()]
    parts = {
        CLEAN: np.array([quality == CLEAN for quality in qualities]),
        "damaged": np.array([quality not in (None, CLEAN) for quality in qualities]),
    }
    losses = {
        arm.name: {
            name: float(arm.losses[:, rows].sum(axis=1).mean() / study.tokens[rows].sum())
            for name, rows in parts.items()
            if rows.any()
        }
        for arm in study.arms
    }
    return {name: int(rows.sum()) for name, rows in parts.items()} | {"experiments": losses}


def _by_quality(labels: NDArray[np.str_], scores: Floats) -> dict[str, object]:
    return {
        str(quality): {
            "num_rows": int((labels == quality).sum()),
            "mean_score": float(scores[labels == quality].mean()),
        }
        for quality in sorted(set(labels))
    }


def _areas(pool: pa.Table, known: NDArray[np.bool_], clean: NDArray[np.bool_]) -> dict[str, object]:
    """By measure: the AUC of finding the clean rows among the known ones."""
    areas = {name: auc(pool[name].to_numpy().astype(np.float64)[known], clean) for name in MEASURES}
    reasons = {name: "all rows are of one kind" for name, area in areas.items() if area is None}
    return with_reasons(areas, reasons)


def planted_truth(
    pool: pa.Table, truth: Mapping[str, str], study: Study
) -> dict[str, object] | None:
    """How well the score found the planted truth; None where no row of the pool is in it."""
    qualities: Sequence[str | None] = [truth.get(key) for key in pool["hash"].to_pylist()]
    known = np.array([quality is not None for quality in qualities])
    if not known.any():
        return None
    labels = np.array([quality for quality in qualities if quality is not None])
    scores = pool["score"].to_numpy().astype(np.float64)[known]
    tiers = {arm.tier_name: arm for arm in study.arms}
    return {
        "num_known": int(known.sum()),
        "num_rows": len(qualities),
        "auc": _areas(pool, known, labels == CLEAN),
        "qualities": _by_quality(labels, scores),
        "pool": _clean_share(qualities),
        "test": _losses_by_truth(truth, study),
        "tiers": {
            name: {"rule": arm.rule, "num_rows": arm.num_rows}
            | _clean_share(qualities[row] for draw in arm.draws for row in read_draw(draw))
            for name, arm in tiers.items()
        },
    }
