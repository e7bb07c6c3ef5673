"""What the score sees: its spread, where it saturates, and how much of it is length.

Also the planted truth, where a corpus comes with one: which rows were made clean and which were
not. It is read here, after every model is trained and judged, and by no other stage.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.analyze.documented import with_reasons
from winnow.analyze.results import Study, read_test_hashes, read_tier_rows
from winnow.core.records import DIMENSIONS, WEIGHTS

MEASURES = ("score", *DIMENSIONS)
CLEAN = "clean"
Json = dict[str, Any]
Floats = NDArray[np.float64]


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's rank correlation; None where one side never varies."""
    a, b = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else None


def auc(values: Floats, positive: NDArray[np.bool_]) -> float | None:
    """The chance that a positive row has the higher value, ties counting half (Mann and Whitney
    1947); None where all rows are of one kind."""
    wins, losses = int(positive.sum()), int((~positive).sum())
    if not wins or not losses:
        return None
    return float((ranks(values)[positive].sum() - wins * (wins + 1) / 2) / (wins * losses))


TOP = 0.1
"""The share of the pool that is its top where tops are compared."""


def _by_hash(pool: pa.Table) -> NDArray[np.int64]:
    """The place of every row in the order of content hashes."""
    ranks: NDArray[np.int64] = pc.rank(pool["hash"], tiebreaker="first").to_numpy()
    return ranks


def _top(values: Floats, ties: NDArray[np.int64]) -> set[int]:
    """The places of the highest values; ties go by hash, so the order of rows decides nothing."""
    order = np.lexsort((ties, -values))
    return set(order[: max(1, round(TOP * len(values)))].tolist())


def _share_by(groups: pa.ChunkedArray, values: Floats) -> float | None:
    """The share of the variance that lies between groups (eta squared); None where none varies."""
    codes = groups.combine_chunks().dictionary_encode().indices.to_numpy()
    total = float(((values - values.mean()) ** 2).sum())
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    return float((counts * (means - values.mean()) ** 2).sum() / total) if total > 0 else None


def score_audit(pool: pa.Table) -> Json:
    """Mean, spread, saturation, what follows length or source, and what each dimension decides."""
    lengths = pool["num_tokens"].to_numpy().astype(np.float64)
    scores, ties = pool["score"].to_numpy(), _by_hash(pool)
    top, found = _top(scores, ties), {}
    for name in MEASURES:
        values = pool[name].to_numpy().astype(np.float64)
        row = {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "share_at_maximum": float((values == values.max()).mean()),
            "rank_correlation_with_length": rank_correlation(values, lengths),
            "variance_between_sources": _share_by(pool["source"], values),
            "top_that_changes_without_it": None,
        }
        why = "it, or the length, is the same in all rows"
        reasons = {key: why for key, value in row.items() if value is None}
        reasons["top_that_changes_without_it"] = "it is the score"
        if name in WEIGHTS:
            del reasons["top_that_changes_without_it"]
            without = _top(scores - WEIGHTS[name] * values, ties)
            row["top_that_changes_without_it"] = 1 - len(top & without) / len(top)
        found[name] = with_reasons(row, reasons)
    return found


def script_audit(rows: pa.Table) -> Json:
    """The share of rows whose letters are mostly not Latin: the score was made for English.

    Letters are those of instruction and response. Costs a pass over the rows that are not ASCII.
    """
    texts = pc.binary_join_element_wise(rows["instruction"], rows["response"], " ")
    texts = texts.filter(pc.greater(pc.binary_length(texts), pc.utf8_length(texts)))
    letters, latin = (pc.count_substring_regex(texts, name) for name in (r"\p{L}", r"\p{Latin}"))
    other = pc.sum(pc.greater(letters, pc.multiply(latin, 2))).as_py() or 0
    return {"share_not_latin": other / len(rows)}


def length_audit(pool: pa.Table) -> Json:
    """How much of the score's top is only length, and what is left of the score without length.

    Length explains a part of the score's variance: that of a straight line on the logarithm of one
    plus the tokens. The residual is the score less that line; of it are told the share of the
    score's top that is in its own, and its rank correlation with the score.
    """
    lengths, scores = (pool[name].to_numpy().astype(np.float64) for name in ("num_tokens", "score"))
    top, longest = (_top(values, _by_hash(pool)) for values in (scores, lengths))
    logs = np.log1p(lengths)
    varies = logs.std() > 0 and scores.std() > 0
    row: Json = {
        "share": TOP,
        "top_among_longest": len(top & longest) / len(top),
        "explained": float(np.corrcoef(logs, scores)[0, 1] ** 2) if varies else None,
        "top_that_stays_without_length": None,
        "rank_correlation_without_length": None,
    }
    if not varies or row["explained"] > 1 - 1e-9:
        why = "length explains all of it" if varies else "one of both never varies"
        return with_reasons(row, {key: why for key, value in row.items() if value is None})
    slope = np.cov(logs, scores, ddof=0)[0, 1] / logs.var()
    residual = scores - slope * logs
    row["top_that_stays_without_length"] = len(top & _top(residual, _by_hash(pool))) / len(top)
    row["rank_correlation_without_length"] = rank_correlation(residual, scores)
    return with_reasons(row, {})


def _clean_share(known: Iterable[str | None]) -> Json:
    """The share of clean rows among those whose truth is known."""
    counts = Counter(quality for quality in known if quality is not None)
    if not counts:
        return with_reasons({"clean": None, "known": 0}, {"clean": "no row of known quality"})
    return {"clean": counts[CLEAN] / counts.total(), "known": counts.total()}


def _losses_by_truth(truth: dict[str, str], study: Study) -> Json:
    """Each experiment's loss per token on the clean test rows and on the damaged ones.

    The test set is the corpus as it is, its faults included: a model that never saw a fault is
    surprised by it. On the clean rows alone the same models may rank otherwise.
    """
    qualities = [truth.get(key) for key in read_test_hashes()]
    parts = {
        CLEAN: np.array([quality == CLEAN for quality in qualities]),
        "damaged": np.array([quality not in (None, CLEAN) for quality in qualities]),
    }
    found: Json = {name: int(rows.sum()) for name, rows in parts.items()}
    found["experiments"] = {
        arm.name: {
            name: float(arm.losses[:, rows].sum(axis=1).mean() / study.tokens[rows].sum())
            for name, rows in parts.items()
            if rows.any()
        }
        for arm in study.arms
    }
    return found


def planted_truth(pool: pa.Table, truth: dict[str, str], study: Study) -> Json | None:
    """How well the score found the planted truth; None where no row of the pool is in it."""
    qualities = [truth.get(key) for key in pool["hash"].to_pylist()]
    known = np.array([quality is not None for quality in qualities])
    if not known.any():
        return None
    labels = np.array([quality for quality in qualities if quality is not None])
    scores = {name: pool[name].to_numpy().astype(np.float64)[known] for name in MEASURES}
    areas = {name: auc(values, labels == CLEAN) for name, values in scores.items()}
    reasons = {name: "all rows are of one kind" for name, area in areas.items() if area is None}
    tiers = {arm.tier_name: arm for arm in study.arms}
    return {
        "num_known": int(known.sum()),
        "num_rows": len(qualities),
        "auc": with_reasons(areas, reasons),
        "qualities": {
            str(quality): {
                "num_rows": int((labels == quality).sum()),
                "mean_score": float(scores["score"][labels == quality].mean()),
            }
            for quality in sorted(set(labels))
        },
        "pool": _clean_share(qualities),
        "test": _losses_by_truth(truth, study),
        "tiers": {
            name: {"rule": arm.rule, "num_rows": arm.num_rows}
            | _clean_share(qualities[row] for row in read_tier_rows(name))
            for name, arm in tiers.items()
        },
    }
