"""Packed documents go through attention by themselves, with the loss and gradients of a mask.

pytest tests/train/test_attention.py
"""

from pathlib import Path
from typing import Any

import attention_cases as cases
import pytest
import torch
from tiny import make_until
from tiny_models import write_model

from winnow.core.experiments import Model, Pretrained
from winnow.models import attention, family, gpt2
from winnow.models.loss import WithLoss

KINDS = ("gpt2", "llama", "qwen3")
FIT = {"llama": True, "qwen2": True, "granite": True, "gpt_neox": True, "phi": True}
FIT |= {"mistral": False, "gemma2": False, "opt": False, "bloom": False, "mamba": False}
"""Windows and caps are not lost; what does not pack has no borders."""


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_the_mask(kind: str) -> None:
    model, packed = cases.network(kind).eval(), cases.batch()
    (loss, slope), (found, other) = (cases.learned(model, packed, by) for by in (False, True))
    assert found == pytest.approx(loss, rel=1e-6)
    assert float((other - slope).abs().max() / slope.abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_in_double_precision_nothing_but_rounding_is_left(kind: str) -> None:
    model, packed = cases.network(kind).eval().double(), cases.batch()
    (loss, slope), (found, other) = (cases.learned(model, packed, by) for by in (False, True))
    # The sum of the loss itself is in fp32.
    assert found == pytest.approx(loss, rel=1e-6)
    assert float((other - slope).abs().max() / slope.abs().max()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_in_bf16_both_are_as_far_from_fp32(kind: str) -> None:
    """Queries and keys that were rotated in fp32 go into one call with values in bf16."""
    model, packed = cases.network(kind).eval(), cases.batch()
    _, truth = cases.learned(model, packed, False)
    masked, by_document = (
        cases.learned(model, packed, by, half=True)[1] - truth for by in (False, True)
    )
    assert float(by_document.norm()) < 1.2 * float(masked.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_no_document_sees_another_one(kind: str) -> None:
    model, packed = cases.network(kind).eval(), cases.batch()
    changed, is_own = cases.one_changed(packed)
    before, after = (cases.token_losses(model, one) for one in (packed, changed))
    assert torch.equal(before[~is_own], after[~is_own])
    assert not torch.equal(before[is_own], after[is_own])


def test_a_checkpointed_layer_is_computed_again_the_same_way() -> None:
    model, packed = cases.network("gpt2", dropout=0.1).train(), cases.batch()
    found = []
    for is_on in (False, True):
        if is_on:
            model.gradient_checkpointing_enable()
        torch.manual_seed(3)
        found.append(cases.learned(model, packed, True))
    assert found[0][0] == found[1][0]
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


def test_dropout_is_that_of_the_seed_and_the_same_both_ways() -> None:
    mean, apart, other = cases.dropped(0.2, "cpu", torch.float32)
    assert mean == pytest.approx(1, abs=0.05) and apart < 1e-5 and other > 0.1
    model, packed = cases.network("gpt2", dropout=0.5), cases.batch()
    for part in model.modules():  # but that of the attention's weights
        if isinstance(part, torch.nn.Dropout):
            part.p = (
                0.5 if part in [block.attn.attn_dropout for block in model.transformer.h] else 0
            )
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(cases.learned(model.train(), packed, True)[0])
    assert losses[0] == losses[1] != losses[2]


def test_the_operator_for_cuda_takes_what_it_is_given_and_has_a_gradient() -> None:
    """Shapes alone, as there is no such operator on a CPU."""
    query, key, value = (
        torch.empty(40, heads, 8, dtype=torch.bfloat16, device="meta", requires_grad=True)
        for heads in (4, 2, 2)
    )
    starts = torch.empty(5, dtype=torch.int32, device="meta")
    attention._flash(query, key, value, starts, 40, 0.1, None).sum().backward()
    for tokens in (query, key, value):
        assert tokens.grad is not None and tokens.grad.shape == tokens.shape


def test_without_borders_the_same_network_attends_as_before() -> None:
    """Sampling and evaluation, with a cache and a padded mask."""
    model = cases.network("llama").eval()
    ids = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    given: Any = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False}
    before = model.generate(ids, pad_token_id=0, **given)
    WithLoss(model, by_document=True)
    assert model.config._attn_implementation == attention.NAME
    assert torch.equal(model.generate(ids, pad_token_id=0, **given), before)


@pytest.mark.parametrize("kind", FIT)
def test_windows_caps_and_other_layers_keep_their_masks(project: Path, kind: str) -> None:
    make_until("curate")
    spec = Pretrained(family="causal", weights=str(write_model(project / kind, kind)), context=64)
    model = family.declare(spec, project / kind)
    model.build(0)
    assert model.by_document is FIT[kind]
    assert model.network.config._attn_implementation != attention.NAME, "it was but tried"


def test_what_a_layer_asks_beyond_plain_attention_is_refused() -> None:
    layer, tokens = torch.nn.Module(), torch.randn(1, 2, 8, 8)
    starts = attention.borders(torch.arange(8)[None])
    for more in ({"sliding_window": 4}, {"softcap": 30.0}, {"s_aux": torch.ones(2)}):
        with pytest.raises(ValueError, match=next(iter(more))):
            attention._attend(layer, tokens, tokens, tokens, starts, **more)
    with pytest.raises(ValueError, match="causal"):
        attention._attend(layer, tokens, tokens, tokens, starts, is_causal=False)
    attention._attend(layer, tokens, tokens, tokens, starts, sliding_window=None, use_cache=False)


def test_a_window_longer_than_the_probe_is_seen_in_the_configuration() -> None:
    model = cases.network("llama")
    assert attention.fits(model)
    model.config.sliding_window = 4096
    assert not attention.fits(model)
    odd = Model(num_layers=1, hidden_size=36, num_heads=3, context=32)
    assert not attention.fits(gpt2.build(odd, 64, 0)), "heads of 12 numbers"
