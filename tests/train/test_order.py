"""A curriculum: rows go through an epoch by their score, packed or not, killed or not.

pytest tests/train/test_order.py
"""

import copy
import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY, change, make_until, write_params

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.core.experiments import Model, Recipe, resolve_one
from winnow.core.layout import TOKENIZER
from winnow.models import gpt2, sequences
from winnow.models.family import declare
from winnow.select import stage as select
from winnow.train import draws, loop, stage

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(SIZES)
def test_packing_in_order_keeps_it_and_fills_what_it_can(sizes: list[int]) -> None:
    documents = [np.full(size, at + 1, np.int32) for at, size in enumerate(sizes)]
    packed = sequences.pack(documents, 12, 0, in_order=True)[:]
    filled = packed.labels != sequences.IGNORED
    assert packed.labels[filled].tolist() == np.concatenate(documents).tolist()
    # A document begins at position 0, in the row before where it had fitted there.
    rooms = 12 - filled.sum(axis=1)
    for row in range(1, len(packed)):
        assert min(12, (packed.labels[row] == packed.labels[row, 0]).sum()) > rooms[row - 1]
    assert (packed.positions[:, 0] == 0).all()


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, math.nan]), min_size=1, max_size=30))
def test_keys_order_documents_and_the_seed_orders_ties(keys: list[float]) -> None:
    plain = sequences.shuffled(list(range(len(keys))), 3)
    found = sequences.shuffled(list(range(len(keys))), 3, np.array(keys))
    scored = [at for at in plain if not math.isnan(keys[at])]
    assert found == sorted(scored, key=lambda at: keys[at]) + [a for a in plain if a not in scored]


def _recipe(project: Path, **numbers: Any) -> None:
    """Train the tiny project's quick recipe in some order."""
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"] |= numbers
    write_params(project, params)


@pytest.mark.parametrize(("order", "sign"), [("ascending", 1), ("descending", -1)])
@pytest.mark.parametrize("packing", [True, False])
def test_every_epoch_goes_by_the_score(project: Path, order: str, sign: int, packing: bool) -> None:
    _recipe(project, order=order, packing=packing)
    make_until("select")
    arm = resolve_one("matched_40_tiny")
    model = declare(arm.model, TOKENIZER)
    train = draws.Draw(arm, 1, model).train(packing)
    with Path("artifacts/select/matched_40/1_scores.csv").open() as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert len(set(scores)) == 40  # no tie whose order the oracle would have to know
    rows = load_from_disk("artifacts/select/matched_40/1")["train"].data.table
    documents = model.documents(rows, "next_token")
    wanted = [documents[at].ids for at in sorted(range(40), key=lambda at: sign * scores[at])]
    if not packing:
        wanted = [ids[: arm.model.context] for ids in wanted]
    for epoch in (0, 1):
        at = sequences.epoch_order(len(train), 1, epoch, arm.recipe.is_ordered)
        labels = train[at].labels
        assert labels[labels != sequences.IGNORED].tolist() == np.concatenate(wanted).tolist()
    first, rest = train[:1].num_targets, train.num_targets
    assert sequences.steps_to(train, rest + first, 1, 1, in_order=True) == len(train) + 1


def test_a_run_goes_on_in_the_order_to_the_same_bytes(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    documents = [dice.integers(1, 60, size).astype(np.int32) for size in range(4, 44)]
    tiny = Model(num_layers=1, hidden_size=32, num_heads=2, context=48, dropout=0.1)
    recipe = Recipe(
        learning_rate=1e-3,
        num_train_epochs=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        eval_steps=1,
        save_steps=2,
        order="ascending",
    )

    def fit(folder: str, recipe: Recipe, stop_at: int = 0) -> tuple[list[Any], str]:
        def on_point(point: dict[str, float]) -> None:
            if point["step"] == stop_at:
                raise InterruptedError

        torch.manual_seed(0)
        packed = sequences.pack(documents, 48, 0, in_order=True)
        plan = loop.Plan(
            model=gpt2.build(tiny, 64, 0),
            recipe=recipe,
            train=packed,
            validation=packed[:2],
            seed=0,
            precision="fp32",
            state=tmp_path / folder,
            key={},
        )
        curve = [point | {"seconds": 0} for point in loop.train(plan, on_point).curve]
        last = max((tmp_path / folder).glob("step-*"))
        return curve, files.file_hash(last / "model.safetensors")

    whole = fit("whole", recipe)
    for stop_at in (3, 9):
        with pytest.raises(InterruptedError):
            fit("cut", recipe, stop_at)
    assert fit("cut", recipe) == whole
    # Short documents come first, so the first step of an epoch has other tokens than a drawn one.
    assert fit("drawn", replace(recipe, order="random"))[1] != whole[1]


def test_the_scores_that_order_are_what_a_training_is_made_of(project: Path) -> None:
    _recipe(project, order="ascending", by="loud")
    make_until("score")
    with pytest.raises(Refusal, match=r"train.recipes.quick.by: loud scored no row, but clarity"):
        select.run([])
    _recipe(project, order="ascending")
    select.run([])
    card = json.loads(Path("artifacts/select/experiments/high_40_tiny.json").read_text())
    scores = files.file_hash(Path("artifacts/select/high_40_scores.csv"))
    arm = resolve_one("high_40_tiny")
    assert card["data"]["high_40"]["scores"] == stage._data_hashes(arm, 0)["scores"] == scores
    _recipe(project, order="random", by="quality")
    with pytest.raises(Refusal, match="by: expected an order by quality, ascending or descending"):
        resolve_one("high_40_tiny")
    change(project, "seeds", [0])
    assert "scores" not in stage._data_hashes(resolve_one("high_40_tiny"), 0)
