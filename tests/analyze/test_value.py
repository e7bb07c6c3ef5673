"""What each investment brought, against plain oracles and on made-up studies; and the composite.

pytest tests/analyze/test_value.py
"""

import json
import math
import random
from collections.abc import Callable
from itertools import combinations, permutations, product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import build, seal
from scipy import sparse, stats
from test_analysis import page, undefined

from winnow.analyze import stage
from winnow.analyze.params import AnalyzeConfig, Composite, Link
from winnow.analyze.questions import composite as composites
from winnow.analyze.questions import investments
from winnow.analyze.report.values import plain
from winnow.analyze.study import Study, read_pool, read_study
from winnow.core import files, params
from winnow.core.composite import PARTS, PHI, TARGET, maximum, scaled
from winnow.core.errors import Refusal
from winnow.record.names import finite
from winnow.record.published import QUESTIONS as RECORDED

START, SCORING, ALIGNMENT, BOTH = "all_100pct_1M", "high_1k_1M", "random_1k_1M", "ultra_300_1M"
CHAIN = [
    {"name": "start", "arm": START},
    {"name": "scoring", "arm": SCORING},
    {"name": "alignment", "arm": BOTH},
]
ARMS = [START, SCORING, ALIGNMENT, BOTH]


def answered(name: str) -> Any:
    """What analysis.json holds under a question's name."""
    return json.loads(Path("analysis/analysis.json").read_text(encoding="utf-8"))[name]


def asked(question: Any, study: Study, config: AnalyzeConfig) -> Any:
    """The values of a question alone, as analysis.json would hold them."""
    config.check()
    return plain(question.ask(study, config).values)


def links(*names: str) -> tuple[Link, ...]:
    """A chain of arms that are named by their places."""
    return tuple(Link(name=f"step{place}", arm=name) for place, name in enumerate(names))


def change(root: Path, name: str, file: str, edit: Callable[[Any], None]) -> None:
    """Edit a JSON file of each seed of an experiment, and seal its folder again."""
    for folder in sorted((root / "results" / name).iterdir()):
        value = json.loads((folder / file).read_text())
        edit(value)
        (folder / file).write_text(json.dumps(value))
        seal(root, f"results/{name}/{folder.name}")


@given(st.integers(1, 4), st.integers(0, 10_000))
def test_shapley_values_are_mean_gains_over_all_orders(number: int, seed: int) -> None:
    rng, names = random.Random(seed), [f"i{place}" for place in range(number)]
    sets = {
        frozenset(c): rng.gauss(0, 1) for k in range(number + 1) for c in combinations(names, k)
    }
    labels = {one: "+".join(sorted(one)) for one in sets}
    orders, total = [*permutations(names)], 0.0
    for name in names:
        before = [frozenset(order[: order.index(name)]) for order in orders]
        expected = fmean(sets[one | {name}] - sets[one] for one in before)
        weights = investments.shapley(name, labels, frozenset(names))
        found = sum(weights[labels[one]] * value for one, value in sets.items())
        assert found == pytest.approx(expected)
        total += found
    assert total == pytest.approx(sets[frozenset(names)] - sets[frozenset()])


def test_gains_costs_and_shapley_values_of_a_chain(
    tmp_path: Path, tracker: Any, capsys: Any
) -> None:
    more = [{"of": ["alignment"], "arm": ALIGNMENT}]
    build(tmp_path, ARMS, [0, 1, 2], chain=CHAIN, combinations=more, price_per_hour=60.0)
    stage.run()
    said, found = capsys.readouterr().out, answered("investments")
    losses = {name: answered("experiments")[name]["loss"]["value"] for name in ARMS}
    first, second = (found["investments"][name] for name in found["order"])
    assert found["order"] == ["scoring", "alignment"]
    assert first["gain"]["value"] == pytest.approx(losses[START] - losses[SCORING])
    assert second["gain"]["value"] == pytest.approx(losses[SCORING] - losses[BOTH])
    alone = losses[START] - losses[ALIGNMENT]
    late = losses[SCORING] - losses[BOTH]
    assert second["shapley"]["value"] == pytest.approx((alone + late) / 2)
    total = found["total"]
    assert total["gain"] == total["shapley"]
    for key in ("gain", "shapley"):
        sums = first[key]["value"] + second[key]["value"]
        assert total[key]["value"] == pytest.approx(sums)
        assert first[key]["low"] < first[key]["value"] < first[key]["high"]
    # 110 tokens a row, 6e6 operations a token, 60,000 tokens a second; scoring takes 8.2 s.
    tokens = {START: 6000 * 110, SCORING: 3 * 1000 * 110, BOTH: 10 * 300 * 110}
    assert first["cost"]["flops"] == pytest.approx(6e6 * (tokens[SCORING] - tokens[START]))
    hours = ((tokens[SCORING] - tokens[START]) / 60_000 + 8.2) / 3600
    assert first["cost"]["hours"] == pytest.approx(hours)
    assert first["cost"]["money"] == pytest.approx(60 * hours)
    assert second["cost"]["hours"] == pytest.approx((tokens[BOTH] - tokens[SCORING]) / 216e6)
    assert first["documented"][0] == "Quality classifier" and "+37% average" in total["documented"]
    assert "What each investment brought, in this order, from all_100pct_1M on" in said
    assert said.index("scoring +") < said.index("alignment −") < said.index("Together −")
    assert "What each investment brought" in page().words and "+13% AlpacaEval" in page().words
    assert undefined(found) == [] and undefined(answered("composite")) == []
    logged = finite({name: answered(name) for name in RECORDED})
    assert logged["investments.investments.scoring.gain.low"] == first["gain"]["low"]
    assert logged["composite.scale.maximum"] == pytest.approx(PHI)


def test_the_interval_of_two_arms_of_many_rows_is_that_of_paired_seeds(study: Any) -> None:
    by_seed = {START: [2.9, 3.1, 2.8, 3.3], SCORING: [2.7, 3.2, 2.5, 3.0]}
    found, _ = study(by_seed)
    one = asked(investments, found, AnalyzeConfig(chain=links(START, SCORING)))
    step = one["investments"]["step1"]
    differences = np.subtract(*by_seed.values())
    ends = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert [step["gain"][key] for key in ("low", "high")] == pytest.approx([*ends], abs=0.02)
    assert step["cost"]["money"] is None and step["documented"] is None
    assert step["shapley"] == step["gain"], "of one investment they are one"
    assert undefined(one) == []


def test_a_chain_over_two_projects_charges_what_it_continues(
    tmp_path: Path, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, here = tmp_path / "raw", tmp_path / "here"
    for root in (raw, here):
        root.mkdir()
    build(raw, [START], [0, 1])
    chain = [
        {"name": "start", "arm": START, "folder": "../raw"},
        {"name": "curation", "arm": START},
        {"name": "alignment", "arm": SCORING},
    ]
    build(here, [START, SCORING], [0, 1], losses={START: 2.5}, chain=chain)
    (raw / "artifacts/curate_metrics.json").unlink()
    files.write_sealed(raw / "artifacts/curate_metrics.json", {"steps": []})
    monkeypatch.chdir(here)

    def again() -> Any:
        config = params.load("analyze", AnalyzeConfig)
        return asked(investments, read_study([START, SCORING], [0, 1]), config)

    apart = again()["investments"]
    assert apart["curation"]["gain"]["value"] == pytest.approx(0.4, abs=0.03)
    assert apart["curation"]["cost"]["hours"] == pytest.approx(4 / 3600), "1.5 and 2.5 seconds"
    assert apart["curation"]["before"] == f"../raw/{START}"
    for seed in (0, 1):
        folder = here / f"results/{SCORING}/{seed}/experiment_config.json"
        config = json.loads(folder.read_text()) | {"init": f"models/{START}/{seed}"}
        folder.write_text(json.dumps(config))
        seal(here, f"results/{SCORING}/{seed}")
    joined = again()["investments"]["alignment"]["cost"]
    assert joined["flops"] == pytest.approx(6e6 * 3 * 1000 * 110), "its own training alone"
    assert joined["hours"] > apart["alignment"]["cost"]["hours"]


@pytest.mark.parametrize(
    ("analyze", "message"),
    [
        ({"chain": CHAIN[:1]}, "two or more arms with a name each"),
        ({"chain": [*CHAIN, {"name": "more", "arm": BOTH}]}, "each arm once"),
        ({"chain": CHAIN, "combinations": [{"of": ["scoring"], "arm": "x"}]}, "no arm yet"),
        ({"chain": CHAIN, "combinations": [{"of": ["start"], "arm": "x"}]}, "no arm yet"),
        ({"composite": {"factors": {"Wit": "score.wit"}}}, "expected factors among"),
        ({"composite": {"factors": {"Honesty": "wit"}}}, "expected score.<name>"),
        ({"composite": {"ranges": {"Honesty": [1, 0]}}}, "expected [lowest, highest]"),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(analyze: Any, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        params.build(AnalyzeConfig, analyze, "analyze").check()
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_arms_that_cannot_be_compared_are_refused(study: Any) -> None:
    found, _ = study({START: [2.9, 2.9], BOTH: [3.0, 3.0]})
    with pytest.raises(Refusal, match="high_1k_1M is none of the experiments"):
        asked(investments, found, AnalyzeConfig(chain=links(START, SCORING)))
    elsewhere = (*links(START), Link(name="x", arm=BOTH, folder="nowhere"))
    with pytest.raises(Refusal, match=f"nowhere/results/{BOTH}/0 is missing or unfinished"):
        asked(investments, found, AnalyzeConfig(chain=elsewhere))
    arms = {frozenset({name}): investments.read((name, None), found, "loss") for name in ARMS[::3]}
    arms[frozenset({BOTH})].items[1].ids[0] = "another row"
    with pytest.raises(Refusal, match="not judged on the same items of loss"):
        investments.measure(arms, AnalyzeConfig())


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=8))
def test_dissimilarity_is_the_mean_over_all_pairs(rows: list[list[int]]) -> None:
    vectors = np.array([row if any(row) else [1, 0, 0] for row in rows], float)
    vectors /= np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    expected = fmean(1 - float(a @ b) for a, b in combinations(vectors, 2))
    found = composites.dissimilarity(sparse.csr_array(vectors))
    assert found == pytest.approx(min(1, max(0, expected)), abs=1e-6)


@given(
    st.dictionaries(
        st.sampled_from([name for names in PARTS.values() for name in names]),
        st.tuples(st.integers(-3, 5), st.integers(1, 4)),
    ),
    st.booleans(),
    st.integers(0, 1000),
)
def test_no_composite_is_above_the_maximum_and_one_reaches_it(
    chosen: dict[str, tuple[int, int]], literal: bool, seed: int
) -> None:
    every = [name for names in PARTS.values() for name in names]
    ranges = {name: (0.0, 1.0) for name in every}
    ranges |= {name: (float(low), float(low + width)) for name, (low, width) in chosen.items()}
    highest = maximum(PARTS.values(), ranges, literal)

    def value(raw: dict[str, float]) -> float:
        entered = {name: scaled(raw[name], ranges[name], literal) for name in every}
        parts = [composites.part(names, entered, {}) for names in PARTS.values()]
        return PHI * fmean(part.product or 0.0 for part in parts)

    rng = np.random.default_rng(seed)
    assert value({name: rng.uniform(*ranges[name]) for name in every}) <= highest + 1e-9
    best = {}
    for names in PARTS.values():
        corners = [dict(zip(names, c, strict=True)) for c in product(*(ranges[n] for n in names))]
        best |= max(
            corners,
            key=lambda one: math.prod(scaled(one[n], ranges[n], literal) for n in one),
        )
    assert value(best) == pytest.approx(highest)


FACTORS = {
    "FineWeb_Score": "score.rating",
    "Dedup_Factor": "curate.unique",
    "Honesty": "evaluate.task_completion",
    "Harmlessness": "score.clarity",
}


@pytest.mark.parametrize("literal", [False, True])
def test_a_composite_of_measured_factors(study: Any, base: Path, literal: bool) -> None:
    study({START: [2.9, 2.9], BOTH: [3.0, 3.0]})
    for accuracy in (0.5, 0.75):
        change(base, BOTH, "train_results.json", lambda value, at=accuracy: curve_of(value, at))
    found = read_study([START, BOTH], [0, 1])
    ranges = {"FineWeb_Score": (-5.0, 10.0)}
    chosen = Composite(factors=FACTORS, ranges=ranges, literal=literal)
    values = asked(composites, found, AnalyzeConfig(composite=chosen))
    one, pool = values["arms"][BOTH], read_pool()
    best = np.argsort(-pool["score"].to_numpy(), kind="stable")[:300]
    rating = float(pool["rating"].to_numpy()[best].mean())
    factors = {
        name: each for part in one["parts"].values() for name, each in part["factors"].items()
    }
    assert factors["FineWeb_Score"] == pytest.approx(rating if literal else (rating + 5) / 15)
    assert factors["Helpfulness"] == 0.75, "the last point's"
    assert factors["Dedup_Factor"] == pytest.approx(1 - 380 / (6000 + 3 + 380))
    products = [math.prod(part["factors"].values()) for part in one["parts"].values()]
    assert one["composite"] == pytest.approx(PHI * sum(products) / 3)
    for part in one["parts"].values():
        assert part["geometric_mean"] == pytest.approx(part["product"] ** (1 / 3))
    scale = values["scale"]
    assert scale["maximum"] == pytest.approx(PHI * (10 + 2) / 3 if literal else PHI)
    assert scale["target_share_of_maximum"] == pytest.approx(TARGET / scale["maximum"])
    assert scale["target_can_be_met"] is literal
    other = values["arms"][START]["parts"]["Alignment_Quality"]
    assert other["reasons"]["Helpfulness"] == "it was not trained on pairs of answers"
    assert values["arms"][START]["composite"] is None
    beyond = Composite(factors={"Honesty": "score.rating"})
    with pytest.raises(Refusal, match=r"ranges.Honesty: score.rating .* state its range"):
        asked(composites, found, AnalyzeConfig(composite=beyond))


def curve_of(results: Any, accuracy: float) -> None:
    """Give a curve one more point with an accuracy on pairs."""
    results["curve"].append(results["curve"][-1] | {"validation_accuracy": accuracy})


def test_a_composite_says_what_is_not_measured(study: Any) -> None:
    found, _ = study({START: [2.9], BOTH: [3.0]})
    said = composites.ask(found, AnalyzeConfig()).sentence
    assert "FineWeb_Score, no scorer of score.scorers gives a column edu" in said
    assert "Harmlessness, curate.steps has no toxicity" in said
    assert "is 162% of the maximum, 1.618, and cannot be met with factors in [0, 1]" in said
    assert "on the literal scale it is 69% of 3.775" in said
    assert investments.ask(found, AnalyzeConfig()).values == {}
