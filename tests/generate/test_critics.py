"""The best of several responses is the one that the critic likes most, and failures are never it.

pytest tests/generate/test_critics.py
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import ROOT, TINY, corpus, make_until, write_jsonl, write_params

from winnow.core import params
from winnow.core.errors import Refusal
from winnow.generate.backends import CUT, Reply, Request, Sampling
from winnow.generate.critics import WORST, BestOf, Pairs, mark
from winnow.generate.params import GenerateConfig
from winnow.score.scorers import Scorer

SAMPLING = Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.0, max_tokens=9)
QUESTIONS = [
    Request(chat=(("user", f"Say {n}."),), sampling=SAMPLING, seed=n + (7 << 32)) for n in range(5)
]


class Model:
    """Says its seed's number of letters, cuts every third reply, and likes those of two."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        if "Question:" in request.chat[0][1]:
            return Reply(text="10" if "\naa\n" in request.chat[0][1] else "3 of 10")
        attempt, number = request.seed >> 64, request.seed & 7
        return Reply(failure=CUT) if attempt == 0 or number == 4 else Reply(text="a" * attempt)


def longest(pairs: Pairs) -> list[float]:
    return [len(response) for _, response in pairs]


def none(pairs: Pairs) -> list[float]:
    return []


def test_the_judge_chooses_and_a_failure_is_only_taken_where_there_is_nothing_else() -> None:
    model = Model()
    found = BestOf(4, "judge", model).respond(QUESTIONS)
    assert [reply.text for reply in found] == ["aa"] * 4 + [""]
    assert found[4].failure == CUT
    seeds = [request.seed for request in model.asked if len(request.chat[0][1]) < 10]
    assert len(seeds) == len(set(seeds)) == 20


def test_a_function_of_ones_own_chooses() -> None:
    found = BestOf(4, "generate.test_critics:longest", Model()).respond(QUESTIONS)
    assert [reply.text for reply in found] == ["aaa"] * 4 + [""]
    with pytest.raises(Refusal, match="0 marks to 12 responses"):
        BestOf(4, "generate.test_critics:none", Model()).respond(QUESTIONS)


BASE = str(ROOT / "base/models/all_100pct_1M/0")
SCORERS: dict[str, dict[str, Any]] = {
    "documented": {"tokenizer": BASE},
    "length": {"tokenizer": BASE},
    "perplexity": {"model": BASE, "context": 256},
    "generate.test_critics:SHORTEST": {},
}
SHORTEST = Scorer(score=lambda rows: [len(row.response) for row in rows], best="lowest")
ANSWERS = (
    "Rain falls from clouds, as drops join there and grow heavy.",
    "cat cat cat cat",
    "First, water turns to vapour. Then it cools.\n\nFinally it falls, because it is heavy.",
    "Rain.",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_chooses_what_its_stage_would_score_best(project: Path, name: str) -> None:
    """The four answers are also rows of a corpus, which the stage scores."""
    written = iter(ANSWERS * 2)
    critic = {"name": name} | SCORERS[name]
    best = BestOf(4, critic, lambda asked: [Reply(text=next(written)) for _ in asked])
    questions = [replace(QUESTIONS[n], chat=(("user", f"Explain rain {n}."),)) for n in range(2)]
    chosen = [reply.text for reply in best.respond(questions)]

    rows = [{"instruction": f"Explain rain {n}.", "output": a} for n in range(2) for a in ANSWERS]
    write_jsonl(project / "data/a.jsonl", rows + corpus(40))
    keys = {key: value for key, value in SCORERS[name].items() if key != "tokenizer"}
    declared: Any = copy.deepcopy(TINY)
    declared["curate"] |= {"steps": [], "tokenizer": BASE, "validation": 1, "test": 1}
    declared["score"]["scorers"] = [{"name": name, **keys}]
    write_params(project, declared)
    make_until("score")
    column = {"documented": "score", "generate.test_critics:SHORTEST": "SHORTEST"}.get(name, name)
    found = {}
    for split in ("train", "validation", "test"):
        texts = pq.read_table(f"artifacts/curate/{split}.parquet").to_pylist()
        scores = pq.read_table(f"artifacts/score/{split}.parquet")[column].to_pylist()
        for row, one in zip(texts, scores, strict=True):
            found[row["instruction"], row["response"]] = one
    sign = -1 if name in ("perplexity", "generate.test_critics:SHORTEST") else 1
    for n, one in enumerate(chosen):
        assert one == max(ANSWERS, key=lambda text: sign * found[f"Explain rain {n}.", text])


@pytest.mark.parametrize(
    ("critic", "words"),
    [
        ({"name": "none"}, "generate.recipes.r.critic: unknown scorer 'none'"),
        ({"name": "dsir", "target": "x"}, "generate.recipes.r.critic: dsir learns from a corpus"),
        ({"name": "length"}, "critic.tokenizer: length needs folder"),
        ({"name": "perplexity", "model": BASE, "batc": 1}, "unknown key"),
        (7, "generate.recipes.r.critic: expected text"),
    ],
)
def test_what_cannot_be_a_critic_is_refused(critic: Any, words: str) -> None:
    recipes = {"r": {"method": "magpie", "best_of": 2, "critic": critic}}
    section = {"backend": {"name": "local", "model": BASE}, "recipes": recipes}
    with pytest.raises(Refusal, match=words):
        params.build(GenerateConfig, section, "generate").items()


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("8.5 of 10", 8.5), ("Good: 9", 9), ("none", WORST), ("100", WORST), ("", WORST)],
)
def test_a_mark_is_a_number_up_to_ten(text: str, value: float) -> None:
    assert mark(Reply(text=text)) == value
