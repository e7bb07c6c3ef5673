"""The backend of this machine, with a tiny model of fresh weights."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny import TINY, corpus, make_until, write_jsonl, write_params
from tiny_models import write_model

from winnow.generate.backends import Reply, Request, Sampling
from winnow.generate.backends.local import Local, LocalBackend

SAMPLING = Sampling(max_tokens=12, temperature=1.0, top_p=0.9, repetition_penalty=1.2)
QUESTIONS = ("Why is the sky blue?", "Name a river.", "What is a stone?")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, TINY)
    write_jsonl(tmp_path / "data/a.jsonl", corpus())
    make_until("curate")
    return write_model(tmp_path / "llama")


def answers(weights: Path, precision: Literal["fp32", "bf16"], batch: int) -> list[Reply]:
    backend = Local(model=str(weights), context=64, batch=batch, precision=precision).open()
    asked = [
        Request(chat=(("user", question),), sampling=SAMPLING, seed=seed)
        for seed, question in enumerate(QUESTIONS)
    ]
    return [reply for _, reply in sorted(backend.answer(asked), key=lambda one: one[0])]


def test_a_batch_decides_no_reply(weights: Path) -> None:
    together = answers(weights, "fp32", batch=3)
    assert together == answers(weights, "fp32", batch=1)
    assert all(reply.reply_tokens for reply in together)


def test_half_of_the_memory_is_another_model_to_the_cache(weights: Path) -> None:
    whole, half = (
        Local(model=str(weights), context=64, precision=precision).open()
        for precision in ("fp32", "bf16")
    )
    assert isinstance(half, LocalBackend) and half.identity == f"{whole.identity} in bf16"
    assert {one.dtype for one in half._model.network.parameters()} == {torch.bfloat16}
    again = answers(weights, "bf16", batch=2)
    assert again == answers(weights, "bf16", batch=2) and len(again) == len(QUESTIONS)
