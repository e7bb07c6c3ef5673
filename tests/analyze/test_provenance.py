"""Who wrote the rows: differences in pairs, criteria, and the table, on planted answers."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.analyze.intervals import Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import provenance
from winnow.core.errors import Refusal

ROWS, SEEDS = 400, (0, 1, 2)


@dataclass(eq=False)
class Planted:
    """A study with answers on disk and nothing else."""

    arms: tuple[Any, ...]
    seeds: tuple[int, ...] = SEEDS

    def models(self) -> dict[str, tuple[Any, ...]]:
        return {"tiny": self.arms}


def planted(folder: Path, rates: dict[str, float]) -> Planted:
    """Arms whose models answer shares of the rows exactly; what is hard is so for all of them."""
    rng = np.random.default_rng(1)
    difficulty = rng.random(ROWS)
    arms = []
    for source, rate in rates.items():
        runs = []
        for seed in SEEDS:
            noise = rng.normal(0, 0.05, ROWS)
            right = (difficulty + noise < rate).astype(float)
            part = np.where(right, 1.0, rng.choice([0.0, 0.5], ROWS))
            table = {"id": [f"r{at}" for at in range(ROWS)], "exact_match": right}
            place = folder / source / str(seed)
            (place / "answers").mkdir(parents=True)
            pq.write_table(
                pa.table(table | {"f1": part, "rouge_l": part}), place / "answers/items.parquet"
            )
            runs.append(SimpleNamespace(folder=place, seed=seed))
        tier = SimpleNamespace(sources=(source,))
        arms.append(
            SimpleNamespace(
                name=f"{source}_tiny",
                model_name="tiny",
                rule="source",
                tier=tier,
                num_rows=100,
                runs=tuple(runs),
            )
        )
    return Planted(tuple(arms))


def settings(**other: Any) -> AnalyzeConfig:
    return AnalyzeConfig(metric="exact_match", resamples=100, **{"margin": 0.04} | other)


def test_planted_effects_are_seen_and_written_down(tmp_path: Path) -> None:
    rates = {"human": 0.7, "ai_contaminated": 0.4, "synthetic_from_human": 0.7}
    study: Any = planted(tmp_path, rates)
    answer = provenance.ask(study, settings())
    values: Any = answer.values
    found = values["tiny"]
    assert [one.verdict for one in found.criteria] == ["yes", "yes"]
    means = {
        letter: np.mean(
            [
                pq.read_table(tmp_path / source / str(seed) / "answers/items.parquet")["f1"]
                for seed in SEEDS
            ]
        )
        for letter, source in provenance.ARMS.items()
    }
    for pair, difference in found.differences["f1"].items():
        first, second = pair.split("-")
        assert difference.value == pytest.approx(means[first] - means[second])
        assert difference.low < difference.value < difference.high
    assert 0 < found.least_difference < 0.1
    rows = list(csv.DictReader(io.StringIO(answer.files["metrics_table.csv"])))
    assert [row["source"] for row in rows] == [*rates]
    assert float(rows[1]["f1"]) == pytest.approx(means["B"], abs=1e-6)
    assert answer.opening == (
        "Reworded rows teach more than rows that a model answered. "
        "They teach as much as people's own, within 0.04."
    )
    assert "C > B: yes" in answer.sentence and "C about A, within 0.04: yes" in answer.sentence
    figure = answer.figures[0]
    figure.save_png(tmp_path / "figure.png", "planted")
    assert "C &gt; B: yes" in figure.svg() and (tmp_path / "figure.png").stat().st_size > 10_000


def test_no_difference_is_not_decided_and_a_worse_arm_is_no(tmp_path: Path) -> None:
    same = dict.fromkeys(provenance.ARMS.values(), 0.5)
    one: Any = provenance.ask(planted(tmp_path / "a", same), settings(margin=1e-6)).values
    assert [found.verdict for found in one["tiny"].criteria] == ["not decided", "not decided"]
    worse = same | {"synthetic_from_human": 0.2}
    other: Any = provenance.ask(planted(tmp_path / "b", worse), settings()).values
    assert [found.verdict for found in other["tiny"].criteria] == ["no", "no"]


def test_verdicts_follow_the_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        low, high = np.sort(rng.normal(0, 1, 2))
        one, margin = Interval((low + high) / 2, low, high), abs(rng.normal())
        inside = all(abs(value) < margin for value in np.linspace(low, high, 50))
        outside = low >= margin or high <= -margin
        assert provenance.about(one, margin) == (
            "yes" if inside else "no" if outside else "not decided"
        )
        assert provenance.better(one) == ("yes" if low > 0 else "no" if high < 0 else "not decided")


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    rates = {"human": 0.5, "ai_contaminated": 0.5}
    study: Any = planted(tmp_path, rates)
    with pytest.raises(Refusal, match=r"analyze.metric: .* found 'loss'"):
        provenance.ask(study, AnalyzeConfig())
    with pytest.raises(Refusal, match="an arm of the rule source for each of human"):
        provenance.ask(study, settings())
