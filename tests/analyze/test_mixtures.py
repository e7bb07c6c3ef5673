"""What a mixture's losses follow, which one is proposed, and means over sources.

pytest tests/analyze/test_mixtures.py
"""

import importlib
import json
import random
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from scipy import stats
from tiny import ROOT, write_jsonl, write_params

from winnow.analyze import mixtures
from winnow.analyze.intervals import Estimates
from winnow.core.experiments import declared_seeds, experiment_names, resolve
from winnow.core.params import load
from winnow.select.params import SelectConfig

STUDY = ROOT / "studies/mixing"


def drawn(number: int, sources: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(sources), number)


def planted(shares: np.ndarray) -> np.ndarray:
    """Losses of three sources that mostly need their own rows."""
    slopes = np.array([[-2.0, 0.3, 0.1], [0.2, -1.5, 0.4], [0.3, 0.1, -1.0]])
    return np.array([2.0, 3.0, 1.0]) + np.exp(shares @ slopes.T)


def test_a_planted_law_is_recovered_and_its_best_mixture_found() -> None:
    shares = drawn(24, 3)
    fitted = mixtures.fit(shares, planted(shares))
    new = drawn(50, 3, seed=1)
    assert np.abs(fitted.losses(new) - planted(new)).max() < 0.02
    free = mixtures.best(fitted.mean, np.zeros((3, 3)) + 1, np.eye(3))
    grid = [
        np.array([a, b, 100 - a - b]) / 100 for a in range(101) for b in range(101 - a)
    ]  # all mixtures, to a hundredth
    least = min(grid, key=lambda one: planted(one[None]).mean())
    assert abs(free - least).max() < 0.03
    assert mixtures.left_out(shares, planted(shares)) == pytest.approx(
        planted(shares).mean(axis=1), abs=0.02
    )


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(50, 500), st.integers(5, 300)), min_size=2, max_size=6),
    st.floats(0.2, 1.9),
    st.integers(0, 1000),
)
def test_no_proposal_repeats_rows_above_the_cap(
    sources: list[tuple[int, int]], part: float, seed: int
) -> None:
    rows, lengths = (np.array(column, float) for column in zip(*sources, strict=True))
    number, repeat = part * rows.sum(), 2.0
    slopes = np.random.default_rng(seed).normal(0, 2, (3, len(rows)))
    fitted = mixtures.Fit(np.zeros(3), slopes)
    start = rows * lengths / (rows @ lengths)
    allowed = mixtures.limits(number, rows, lengths, repeat)
    every = drawn(300, len(rows), seed)
    tried = np.stack([start, *every[(every @ allowed.T >= 0).all(axis=1)][:24]])
    proposed = mixtures.best(fitted.mean, allowed, tried)
    assert proposed.sum() == pytest.approx(1) and proposed.min() >= 0
    assert mixtures.taken(proposed, number, rows, lengths).max() <= repeat * 1.001
    assert fitted.mean(proposed[None])[0] <= fitted.mean(start[None])[0] + 1e-9
    assert (tried.min(axis=0) - 1e-6 <= proposed).all()
    assert (proposed <= tried.max(axis=0) + 1e-6).all()
    for other in every:  # none that is allowed and within what was tried is better
        within = (tried.min(axis=0) <= other) & (other <= tried.max(axis=0))
        if (allowed @ other >= 0).all() and within.all():
            assert fitted.mean(other[None])[0] >= fitted.mean(proposed[None])[0] - 1e-5


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any))
def test_shares_in_thousandths_add_up(parts: list[int]) -> None:
    exact = np.array(parts) / sum(parts)
    whole = mixtures.whole(exact)
    assert round(whole.sum() * 1000) == 1000 and abs(whole - exact).max() < 0.001 + 1e-9


def test_rank_correlation_is_spearmans_with_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=24)
    b = a + rng.normal(size=24)
    found = mixtures.rank_correlation(a, b, 0.9)
    assert found is not None and found.value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert -1 < found.low < found.value < found.high < 1
    assert mixtures.rank_correlation(a[:4], b[:4], 0.9) is None
    assert mixtures.rank_correlation(a, np.ones(24), 0.9) is None


def _estimates(numerators: np.ndarray, tokens: np.ndarray) -> Estimates:
    return Estimates.of(
        {"x": "m", "y": "m", "z": "m"},
        numerators,
        tokens,
        resamples=100,
        confidence=0.9,
        seed=0,
    )


def test_a_mean_over_sources_takes_each_for_a_stratum() -> None:
    rng = np.random.default_rng(3)
    parts, rows = [], (40, 90)
    for number, gap in zip(rows, (0.5, -0.1), strict=True):
        tokens = np.full(number, 10.0)
        base = 10 * rng.normal(3, 0.5, (1, 1, number))
        arms = np.array([0.0, gap, 1.0])[:, None, None] * 10 + rng.normal(0, 1, (3, 1, number))
        parts.append(_estimates(base + arms, tokens))
    mean = Estimates.mean_of(parts)
    found = mean.margin("x", "y")
    single = [part.margin("x", "y") for part in parts]
    assert found.value == pytest.approx(sum(one.value for one in single) / 2)
    # Of one seed only rows vary: the variances of the strata add up, a quarter of each.
    errors = [
        (one.high - one.low) / 2 / stats.t.ppf(0.95, number - 1)
        for one, number in zip(single, rows, strict=True)
    ]
    expected = stats.t.ppf(0.95, sum(rows) - 1) * (sum(error**2 for error in errors) / 4) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.03)
    alone = Estimates.mean_of(parts[:1])
    assert alone.margin("x", "y").high == pytest.approx(single[0].high)


def test_the_study_is_declared_in_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(STUDY)
    arms = resolve(experiment_names())
    tiers = load("select", SelectConfig).tiers
    assert {arm.tier_name for arm in arms} == set(tiers)
    proxies = [arm for arm in arms if arm.tier.draw is not None]
    sources = tiers["even_800"].weights
    assert sources and len(proxies) * len(declared_seeds()) == 4 * (len(sources) + 1)
    left_out = {arm.tier.without for arm in arms if arm.tier.without}
    added = {source for arm in arms for source in arm.tier.plus or ()}
    general = {*(tiers["general_800"].sources or ())}
    assert left_out == {*sources} and added == {*sources} - general


def test_the_documented_instruction_mixture_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "tulu.yaml"):
        shutil.copyfile(STUDY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["overlay.py", "tulu.yaml"])
    runpy.run_path(str(STUDY.parent / "overlay.py"))
    arms = resolve(experiment_names())
    tiers = load("select", SelectConfig).tiers
    assert {arm.tier_name for arm in arms} == set(tiers)
    shares = tiers["tulu_800"].weights
    assert shares and sorted(shares.values()) == [0.1, 0.1, 0.15, 0.2, 0.2, 0.25]
    assert {tier.without for tier in tiers.values() if tier.without} == {*shares}
    cut = {(tier.rule, tier.of, tier.by_source) for tier in tiers.values()}
    assert {("top", None, False), ("matched", "top_800", True)} <= cut
    assert {("top", None, True), ("matched", "within_800", True)} <= cut


def _corpus(root: Path) -> None:
    """Two sources, each of words of its own."""
    dice = random.Random(0)
    for name, words in (("rivers", "stone water bank flow deep"), ("towns", "road brick tower")):
        own = [f"{word}{n}" for word in words.split() for n in range(6)]
        rows = [
            {
                "instruction": f"Tell of {' '.join(dice.choices(own, k=3))}",
                "output": " ".join(dice.choices(own, k=dice.randint(8, 20))) + ".",
            }
            for _ in range(260)
        ]
        write_jsonl(root / f"data/{name}.jsonl", rows)


def _small() -> tuple[dict[str, Any], str]:
    """The study's parameters with two sources, smaller tiers and a tiny model; the base's name."""
    params = json.loads(json.dumps(YAML(typ="safe").load(STUDY / "params.yaml")))
    even = {"rivers": 0.5, "towns": 0.5}
    drawn = {"rule": "mixture", "unit": "tokens", "repeat": 2, "recipe": "brief"}
    tiers = {
        "even_80": drawn | {"weights": even, "count": 80},
        "no_towns_80": drawn | {"of": "even_80", "without": "towns"},
        "general_80": {"rule": "source", "sources": ["rivers"], "count": 80, "recipe": "brief"},
        "add_towns_80": drawn | {"of": "general_80", "plus": {"towns": 0.3}},
        "natural_80": {"rule": "random", "count": 80, "recipe": "brief"},
    }
    proxies = {f"draw{n}_80": drawn | {"draw": n, "count": 80} for n in range(6)}
    params["experiments"] = [f"{name}_tiny_40_steps" for name in tiers]
    params["experiments"] += [f"{name}_tiny_20_steps" for name in proxies]
    params |= {"seeds": [0, 1], "select": {"tiers": tiers | proxies}}
    params["curate"] |= {"test": 60, "validation": 10, "vocab_size": 320}
    params["train"] |= {
        "budgets": ["40_steps", "20_steps"],
        "models": {"tiny": {"num_layers": 1, "hidden_size": 32, "num_heads": 2, "context": 64}},
    }
    return params, "even_80_tiny_40_steps"


@pytest.mark.slow
def test_a_small_study_tells_what_sources_bring_and_proposes_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    params, base = _small()
    write_params(tmp_path, params)
    _corpus(tmp_path)
    for name in ("ingest", "curate", "score", "select", "train", "evaluate", "analyze"):
        stage = importlib.import_module(f"winnow.{name}.stage")
        arms: dict[str, list[Any]] = {
            "select": [[]],
            "train": [["all"], None, False],
            "evaluate": [["all"], None, False],
        }
        stage.run(*arms.get(name, []))
    told = json.loads(Path("analysis/analysis.json").read_text())
    without, plus = told["components"]["tiny_40_steps"]
    assert (without["kind"], without["component"], without["base"]) == ("without", "towns", base)
    assert without["share"] == pytest.approx(0.5, abs=0.05)
    assert plus["kind"] == "plus" and plus["share"] == pytest.approx(0.3, abs=0.05)
    for impact in (without, plus):  # words that a model never met surprise it
        assert impact["own"]["low"] > 0 and "towns" in impact["surely"]
        assert impact["own"] == impact["by_source"]["towns"]
        assert impact["tasks"] is None and "evaluate.tasks" in impact["reasons"]["tasks"]
    (proposal,) = told["proposal"].values()
    assert proposal["mixtures"] == proposal["needed"] == 12
    assert sum(proposal["shares"].values()) == pytest.approx(1)
    assert max(proposal["repeats"].values()) <= 2.01 and 0.2 < proposal["shares"]["towns"] < 0.8
    assert proposal["predicted"]["proposal"] <= proposal["predicted"]["even"]
    arms = proposal["retrained"]["tiny_40_steps"]
    assert len(arms) == 5 and -1 < proposal["left_out"]["low"] < proposal["left_out"]["high"] < 1
    assert arms["general_80_tiny_40_steps"]["predicted"] > arms[base]["predicted"]
    # The even arm is the proposal, if it is near enough; then its margin over others is measured.
    near = min(arms.values(), key=lambda one: one["distance"])
    assert ("margin" in arms["general_80_tiny_40_steps"]) == (near["distance"] <= 0.05)
    report = Path("analysis/report.html").read_text()
    assert "From which sources should the rows come, and in which shares?" in report
    assert "propos" in report.partition("<h1>")[2].partition("</h1>")[0]
    assert "What each component brings" in report and "rule: mixture, weights: {" in report
    said = capsys.readouterr().out
    assert "What each component brings (tiny_40_steps)" in said and "Trust: " in said
