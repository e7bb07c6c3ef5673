"""Every declared score on trial: its worth, its cost, and what it follows."""

from pathlib import Path
from typing import Any

import pytest
from made_up import build, near
from scipy import stats
from test_analysis import analysis, page

from winnow.__main__ import main
from winnow.analyze import stage
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import scores
from winnow.analyze.study import read_draw, read_pool

SETTINGS = AnalyzeConfig(resamples=100)
LOSSES = {
    "high_1k_1M": near(3.0),
    "matched_1k_1M": near(2.8),
    "rated_1k_1M": near(2.5),
    "like_rated_1k_1M": near(2.8),
    "all_100pct_1M": near(2.9),
}


def test_every_score_is_held_against_random_rows_of_its_lengths(study: Any) -> None:
    found, losses = study(LOSSES)
    trials = scores.trials(found, SETTINGS)
    assert list(trials) == ["rating", "documented"], "the one that helped first"
    rating, documented = trials["rating"], trials["documented"]
    assert (rating.helped, rating.hurt) == (1, 0)
    assert (documented.helped, documented.hurt) == (0, 1)
    margin = losses.margin("rated_1k_1M", "like_rated_1k_1M", 0.95)
    assert rating.worth[0].margin.low == pytest.approx(margin.low)
    assert (rating.worth[0].confidence, rating.worth[0].control) == (0.95, "matched")
    assert (rating.seconds, documented.seconds) == (1.0, 8.2)
    said = scores.sentence(trials, "nats per token")
    assert said.startswith("rating helps: surely better than random rows in 1 ")
    assert "; documented hurts: " in said


def test_ranks_are_those_of_scipy(study: Any) -> None:
    found, losses = study(LOSSES)
    trials, pool = scores.trials(found, SETTINGS), read_pool()
    score, rating, length = (pool[name].to_numpy() for name in ("score", "rating", "num_tokens"))
    by = trials["rating"]
    assert by.rank_correlation_with_length == stats.spearmanr(rating, length).statistic
    assert by.rank_correlation_with == {"documented": stats.spearmanr(rating, score).statistic}
    means, reached = [], []
    for arm in found.arms:
        means.append(sum(rating[read_draw(draw)].mean() for draw in arm.draws) / len(arm.draws))
        reached.append(-losses.value(arm.name).value)
    expected = stats.spearmanr(means, reached).statistic
    assert by.rank_correlation_with_learning == {"1M": pytest.approx(expected)}


def test_a_score_without_a_tier_says_so(study: Any) -> None:
    found, _ = study({"high_1k_1M": near(3.0), "matched_1k_1M": near(2.8)})
    rating = scores.trials(found, SETTINGS)["rating"]
    assert not rating.worth
    assert rating.reasons["worth"] == "no tier by it was run beside random rows"
    learning = rating.rank_correlation_with_learning
    assert learning["1M"] is None and "fewer than 3 arms" in str(learning["reasons"])


def test_the_command_prints_the_table_that_the_report_has(
    tmp_path: Path, tracker: Any, capsys: Any
) -> None:
    build(tmp_path, list(LOSSES), [0, 1, 2])
    assert main(["score", "--compare"]) == 0
    said = capsys.readouterr().out
    assert not Path("analysis").exists()
    stage.run()
    found = analysis()["scores"]
    assert list(found) == ["documented", "rating"]
    assert f"{found['documented']['worth'][0]['margin']['value']:+.3f}" in said
    words = page().words
    assert "Every score on trial" in words and "rated_1k" in words
