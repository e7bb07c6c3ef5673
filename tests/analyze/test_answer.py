"""The headline in every case that it can be in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import MODELS, TIERS, build, near, params, seal

from winnow.analyze import stage
from winnow.analyze.intervals import Estimates
from winnow.analyze.questions import answer
from winnow.analyze.questions.headline import Headline, headline
from winnow.analyze.report import numbers
from winnow.analyze.study import Study
from winnow.core import metrics
from winnow.core.errors import Refusal
from winnow.core.metrics import METRICS

TOPS = ["ultra_300_1M", "high_1k_1M", "medium_4k_1M"]


def decide(name: str, arms: Any, losses: Estimates, margin: float = 0.0) -> answer.Verdict:
    """The verdict where scoring costs a second and training as much as there are rows."""
    return answer.judge(
        name,
        arms,
        losses,
        margin=margin,
        cost=lambda arm: arm.num_rows + float(arm.tier.is_scored),
    )


def open_with(verdicts: dict[str, answer.Verdict], study: Study) -> Headline:
    """The headline over losses."""
    return headline(verdicts, study, "nats per token")


def judge(study: tuple[Study, Estimates], margin: float = 0.0) -> answer.Verdict:
    """The verdict of the first model."""
    name, arms = next(iter(study[0].models().items()))
    return decide(name, arms, study[1], margin)


def test_a_clear_winner_with_its_control(study: Any) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}
    verdict = judge(study(losses))
    assert verdict.kind == "keep"
    assert verdict.sentence == "Of what was run, keep the top 1,000 rows (17% of the curated pool)."
    assert verdict.score_helped is True
    assert verdict.score_sentence.startswith(
        "The score earns it: as many random rows of the same lengths do worse (margin +0."
    )
    assert verdict.score_sentence.endswith("3 seeds).")
    assert "high_1k is the mildest filter that was tried." in verdict.notes


def test_a_tier_that_its_control_ties_is_too_close(study: Any) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(2.7)}
    verdict = judge(study(losses))
    assert verdict.kind == "too close" and verdict.score_helped is False
    assert "the top 1,000 rows (17%)" in verdict.sentence
    assert "1,000 random rows with the lengths of high_1k (17%)" in verdict.sentence
    assert "The score itself did not help: the top 1,000 rows cannot" in verdict.score_sentence


@pytest.mark.parametrize("control", ["matched_1k_1M", "random_1k_1M"])
def test_a_tier_that_random_rows_of_its_number_beat_is_no_advice(study: Any, control: str) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        control: near(2.5),
        "all_100pct_1M": near(2.1),
    }
    verdict = judge(study(losses))
    assert verdict.is_score_refuted and verdict.best.name == "all_100pct_1M"
    assert verdict.sentence == "Do not filter by this score: keep all 6,000 rows."
    assert verdict.score_sentence.startswith("The top 1,000 rows do worse than as many random rows")
    assert "(margin −0.2" in verdict.score_sentence and "interval" in verdict.score_sentence
    without = judge(study({name: loss for name, loss in losses.items() if "all" not in name}))
    assert without.sentence.startswith("Do not filter by this score: of what was run, keep 1,000 r")


def test_a_beaten_tier_is_not_among_those_too_close(study: Any) -> None:
    # All rows cannot be told from any arm, but the control surely beats the tier.
    losses = {
        "high_1k_1M": near(2.9),
        "matched_1k_1M": near(2.4),
        "all_100pct_1M": [2.55, 2.30, 2.40],
    }
    verdict = judge(study(losses))
    assert verdict.kind == "too close" and verdict.is_score_refuted
    assert verdict.sentence.startswith(
        "Do not filter by this score. Too close to call between 1,000 random rows with the lengths "
        "of high_1k (17%) and all 6,000 rows. With 1,000 random rows with the lengths of high_1k "
        "(17%) at most "
    )


def test_all_rows_still_say_what_the_score_did(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.2),
        "matched_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        "matched_1k_1M": near(2.8),
        "all_100pct_1M": near(2.1),
    }
    verdict = judge(study(losses))
    assert verdict.sentence == "Keep all 6,000 rows." and not verdict.is_score_refuted
    assert verdict.score_sentence.startswith("Yet the score does better than chance: as many")
    assert verdict.score_sentence.endswith(
        "Of the 2 tiers that have such a control, it surely helps in 1 and surely hurts in 1."
    )


@pytest.mark.parametrize("rule", ["random_2k", "matched_1k"])
def test_every_arm_is_a_candidate(study: Any, rule: str) -> None:
    losses = {"high_1k_1M": near(2.9), f"{rule}_1M": near(2.5), "all_100pct_1M": near(2.8)}
    verdict = judge(study(losses))
    assert verdict.kind == "keep" and verdict.best.tier_name == rule


def test_a_grid_without_all_rows_says_so(study: Any) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7)}
    for ending in ("", "_300_steps"):
        named = {f"{name}{ending}": loss for name, loss in losses.items()}
        made = study(named)
        verdict = judge(made)
        said = open_with({verdict.model_name: verdict}, made[0])
        opening = said.opening
        assert "all_100pct_1M" in said.next.command
        assert opening.endswith(
            f"No arm of all rows was run: add all_100pct_1M{ending} to experiments."
        )
    made = study(losses | {"all_100pct_1M": near(2.8)})
    whole = judge(made)
    said = open_with({"1M": whole}, made[0])
    assert whole.has_all_rows and "No arm" not in said.opening
    assert said.next.command == "winnow train high_1k_1M"
    assert (
        said.why[0] == whole.score_sentence and "all_100pct_1M, is worse by 0.100" in said.why[-1]
    )


def test_too_close_to_call_names_all_that_are(study: Any) -> None:
    losses = {
        "ultra_300_1M": [3.0, 2.8, 2.9],
        "high_1k_1M": [2.8, 3.0, 2.9],
        "medium_4k_1M": near(4.0),
        "matched_300_1M": near(2.8),
    }
    verdict = judge(study(losses))
    assert verdict.kind == "too close"
    assert verdict.sentence.startswith(
        "Too close to call between 300 random rows with the lengths of ultra_300 (5%), the top 300 "
        "rows (5%) and the top 1,000 rows (17%). With 300 random rows with the lengths of "
        "ultra_300 (5%) at most 0."
    )


def test_what_nothing_beats_by_more_than_the_margin_is_kept_if_it_costs_least(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(2.905),
        "high_1k_1M": near(2.9),
        "medium_4k_1M": near(2.899),
        "all_100pct_1M": near(3.5),
    }
    noisy = study(
        {name: [loss[0], loss[1] + 0.01, loss[2] - 0.01] for name, loss in losses.items()}
    )
    near_enough = judge(noisy, margin=0.2)
    assert near_enough.kept and near_enough.kept.tier_name == "ultra_300"
    assert near_enough.best.tier_name == "medium_4k" and not near_enough.is_sure
    assert near_enough.sentence == (
        "Keep the top 300 rows (5% of the curated pool). No other choice is better by more than "
        "0.2 nats per token, and this one costs least."
    )
    undecided = judge(noisy, margin=0.001)
    assert undecided.kept is None and undecided.kind == "too close"
    least = min(undecided.regrets.values())
    assert f"at most {least:.3f} nats per token are given away." in undecided.sentence


def test_every_score_is_named_and_tested_at_a_stricter_level(study: Any) -> None:
    losses = {
        "high_1k_1M": near(3.0),
        "matched_1k_1M": near(2.8),
        "rated_1k_1M": near(2.5),
        "like_rated_1k_1M": near(2.8),
        "all_100pct_1M": near(2.9),
    }
    verdict = judge(study(losses))
    assert verdict.sentence == "Keep the top 1,000 rows by rating (17% of the curated pool)."
    assert "The score rating earns it" in verdict.score_sentence
    assert (
        "The top 1,000 rows by the documented score do worse than as many random rows"
        in verdict.score_sentence
    )
    assert "95% interval" in verdict.score_sentence and verdict.control.confidence == 0.95


def test_all_scores_are_refuted_together(study: Any) -> None:
    losses = {
        "high_1k_1M": near(3.0),
        "matched_1k_1M": near(2.8),
        "rated_1k_1M": near(3.1),
        "like_rated_1k_1M": near(2.8),
        "all_100pct_1M": near(2.5),
    }
    assert judge(study(losses)).sentence == (
        "Do not filter by the documented score or the score rating: keep all 6,000 rows."
    )


def test_an_exact_tie_is_too_close_and_takes_the_smaller(study: Any, base: Path) -> None:
    found, _ = study({name: near(3.0) for name in TOPS})
    same = np.stack([found.arms[0].losses] * 3)
    drawn = Estimates.of(
        dict.fromkeys(TOPS, "1M"), same, found.tokens, resamples=100, confidence=0.9, seed=0
    )
    verdict = decide("1M", found.arms, drawn)
    assert verdict.best.name == "ultra_300_1M"
    assert len(verdict.tied) == 2 and verdict.kind == "too close"


@pytest.mark.parametrize(
    ("control", "kind", "said"),
    [
        ("random_1k_1M", "same size", "as many random rows whose lengths are not matched do worse"),
        ("random_2k_1M", "other size", "it says nothing about the score itself"),
        ("matched_300_1M", None, "No random control was run beside high_1k"),
    ],
)
def test_without_the_matched_control(study: Any, control: str, kind: str, said: str) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), control: near(2.9)}
    verdict = judge(study(losses))
    assert (verdict.control.kind if verdict.control else None) == kind
    assert said in verdict.score_sentence
    assert verdict.score_helped is (True if kind == "same size" else None)


def test_many_epochs_and_the_hardest_filter_are_noted(study: Any) -> None:
    verdict = judge(study({"ultra_300_1M": near(2.5), "medium_4k_1M": near(2.9)}))
    assert "ultra_300 is the hardest filter that was tried." in verdict.notes
    assert any(note.startswith("ultra_300 was repeated for 10 epochs") for note in verdict.notes)
    assert any("330k to 440k tokens each" in note for note in verdict.notes)


def test_one_top_arm_is_nothing_to_compare(study: Any) -> None:
    verdict = judge(study({"high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}))
    assert verdict.kind == "nothing to compare"
    assert verdict.sentence.startswith("Nothing to compare: only arms of 1,000 rows")
    assert verdict.score_helped is True


def test_no_top_arm_is_said_so(study: Any) -> None:
    verdict = judge(study({"random_1k_1M": near(2.7)}))
    assert verdict.kind == "nothing to compare" and verdict.control is None
    assert (
        verdict.score_sentence
        == "No tier of top rows was run, so nothing is known about the score."
    )


def test_several_models_are_never_pooled(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(2.7),
        "high_1k_1M": near(3.0),
        "ultra_300_4M": near(2.9),
        "high_1k_4M": near(2.5),
    }
    found, drawn = study(losses)
    models = found.models()
    assert list(models) == ["4M", "1M"], "the largest first"
    verdicts = {name: decide(name, arms, drawn) for name, arms in models.items()}
    said = open_with(verdicts, found)
    assert said.opening.startswith("The model sizes 4M and 1M do not share one answer. No arm")
    assert said.opening.endswith("add all_100pct_4M and all_100pct_1M to experiments.")
    assert said.why[0].startswith("4M: Of what was run, keep the top 1,000 rows")
    assert said.why[1].startswith("1M: Of what was run, keep the top 300 rows")


def test_models_that_agree_open_with_one_answer(study: Any) -> None:
    losses = {
        f"{tier}_{model}": near(loss)
        for model in MODELS
        for tier, loss in (("ultra_300", 3.0), ("high_1k", 2.5), ("all_100pct", 2.7))
    }
    found, drawn = study(losses)
    verdicts = {name: decide(name, arms, drawn) for name, arms in found.models().items()}
    said = open_with(verdicts, found)
    assert said.opening.startswith("At every model size, 4M and 1M: keep the top 1,000 rows")


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_are_flagged(study: Any, seeds: int) -> None:
    found = study({name: near(3.0)[:seeds] for name in TOPS})
    flag = open_with({"1M": judge(found)}, found[0]).flag
    assert (flag is None) == (seeds == 3)
    assert flag is None or flag.startswith(
        f"Not a finding: {numbers.plural(seeds, 'seed')}; 3 or more"
    )
    assert flag is None or ("test rows only" in flag) == (seeds == 1)


def test_a_control_that_shares_rows_is_called_out(
    study: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = base / "artifacts/select/statistics.json"
    kept = path.read_text()
    changed = json.loads(kept)
    for seed, overlap in enumerate((0.3, 0.4, 0.5)):
        changed[f"matched_1k/{seed}"]["overlap_with_of"] = overlap
    path.write_text(json.dumps(changed))
    seal(base, "artifacts/select")
    try:
        losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}
        assert "matched_1k shares 40% of its rows" in judge(study(losses)).notes[0]
    finally:
        path.write_text(kept)
        seal(base, "artifacts/select")


def test_tiers_of_the_fixture_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from winnow.core.experiments import resolve_one

    monkeypatch.chdir(tmp_path)
    params(tmp_path, TOPS, [0])
    assert resolve_one("matched_1k_4M").tier.of == "high_1k"
    assert set(TIERS) >= {"ultra_300"}


@pytest.mark.parametrize(
    ("metric", "unit", "shown"),
    [
        ("response_loss", "nats per token of the response", "lowest perplexity of responses"),
        ("bits_per_byte", "bits per byte", "lowest bits per byte"),
        ("task_completion", "of the samples", "highest task completion"),
    ],
)
def test_arms_are_compared_by_the_metric_that_is_asked(
    tmp_path: Path, tracker: Any, capsys: Any, metric: str, unit: str, shown: str
) -> None:
    names = ["high_1k_1M", "matched_1k_1M", "all_100pct_1M"]
    build(tmp_path, names, [0, 1, 2], metric=metric, margin=0.0)
    stage.run()
    found = json.loads(Path("analysis/analysis.json").read_text())
    assert found["method"]["metric"] == metric and f" {unit}, " in capsys.readouterr().out
    control = found["answer"]["models"]["1M"]["control"]
    means = {}
    for name in names:
        items = [metrics.read(Path(f"results/{name}/{s}"), METRICS[metric]) for s in (0, 1, 2)]
        values = [one.numerators.sum() / one.denominators.sum() for one in items]
        means[name] = sum(values) / 3
    margin = means["matched_1k_1M"] - means["high_1k_1M"]
    sign = 1 if METRICS[metric].lower_is_better else -1
    assert control["margin"]["value"] == pytest.approx(sign * margin, abs=1e-9)
    best = min(means, key=lambda name: sign * means[name])
    assert f"Figure 1. {best} has the {shown}, " in Path("analysis/report.html").read_text()


def test_a_metric_without_items_is_refused(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ["high_1k_1M", "all_100pct_1M"], [0], metric="task_completion")
    for path in Path("results").rglob("samples.jsonl"):
        rows = [
            json.loads(line) | {"passed": None} for line in path.read_text().strip().split("\n")
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        seal(tmp_path, str(path.parents[1]))
    with pytest.raises(Refusal, match="analyze.metric: task_completion has no items"):
        stage.run()
