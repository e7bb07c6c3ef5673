"""Samples come from the exact nucleus, whatever stands beside them in a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import VOCABULARY, judged_gpt2
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

from winnow.models import sampling
from winnow.models.sampling import Sampling
from winnow.models.tokenizer import Vocabulary, encoder

TEMPERATURE, TOP_P = 0.8, 0.9
WORDS = "abcdefghijk"


def _letters() -> Vocabulary:
    """A token a letter, with spaces between them; 0 is the end."""
    words = Tokenizer(models.WordLevel({"<end>": 0} | {w: n + 1 for n, w in enumerate(WORDS)}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["<end>"])
    return Vocabulary(words, len(WORDS) + 1, 0, encoder(words))


LETTERS = _letters()


def _model(size: int, positions: int) -> GPT2LMHeadModel:
    """One whose next tokens are far from equally likely."""
    torch.manual_seed(3)
    shape = {"n_positions": positions, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = GPT2Config(vocab_size=size, initializer_range=0.25, **shape)
    return GPT2LMHeadModel(config).eval()


def _sample(model: GPT2LMHeadModel, prompts: list[str], vocabulary: Vocabulary, **other: int):
    settings = {"num_samples": 5, "max_new_tokens": 12, "batch_size": 8, "seed": 0} | other
    ids = [[vocabulary.end_of_text, *one.ids] for one in vocabulary.encodings(prompts)]
    judged = judged_gpt2(model, vocabulary)
    return judged.complete(ids, Sampling(temperature=TEMPERATURE, top_p=TOP_P, **settings))


@torch.no_grad()
def _chances(model: GPT2LMHeadModel, ids: list[int]) -> np.ndarray:
    """The nucleus of the next token, written out: add the most probable until they hold top_p."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1, : LETTERS.size].double().numpy()
    chances = np.exp(logits / TEMPERATURE) / np.exp(logits / TEMPERATURE).sum()
    kept, mass = np.zeros(len(chances)), 0.0
    for token in sorted(range(len(chances)), key=lambda token: -chances[token]):
        if mass < TOP_P:
            kept[token] = chances[token]
            mass += chances[token]
    return kept / kept.sum()


def _distance(counts: dict[int, int], chances: np.ndarray) -> float:
    """Total variation between frequencies and chances."""
    total = sum(counts.values())
    return sum(abs(counts.get(t, 0) / total - p) for t, p in enumerate(chances)) / 2


def _bound(chances: np.ndarray, total: int) -> float:
    """What a fair sample exceeds in less than one of a thousand: its mean is at most the first
    term, and one draw moves it by at most 1/n (McDiarmid 1989)."""
    return np.sqrt(np.count_nonzero(chances) / total) / 2 + np.sqrt(np.log(1e3) / (2 * total))


@pytest.mark.parametrize("beside", [[], ["b a k c d e f a", "c c", "a b c d e f g h i j k a b"]])
def test_first_and_second_tokens_are_drawn_from_the_exact_nucleus(beside: list[str]) -> None:
    """Alone, and padded beside longer ones; the model has more words than the tokenizer."""
    number, model = 8000, _model(LETTERS.size + 4, 48)
    prompt = "a g c"
    found = _sample(model, [prompt, *beside], LETTERS, num_samples=number, max_new_tokens=2)[0]
    drawn = [[LETTERS.tokenizer.token_to_id(word) for word in text.split()] for text in found]
    given = [0, *LETTERS.encodings([prompt])[0].ids]
    chances = _chances(model, given)
    assert 1 < np.count_nonzero(chances) < LETTERS.size and chances.max() < 0.9
    firsts = {t: sum((d or [0])[0] == t for d in drawn) for t in range(LETTERS.size)}
    assert _distance(firsts, chances) < _bound(chances, number)
    assert not any(count for token, count in firsts.items() if chances[token] == 0)
    common = sorted(range(1, LETTERS.size), key=lambda token: -firsts[token])[:2]
    for first in common:
        after = [([*d, 0])[1] for d in drawn if d[:1] == [first]]
        seconds = {token: after.count(token) for token in range(LETTERS.size)}
        chances = _chances(model, [*given, first])
        assert len(after) > 500
        assert _distance(seconds, chances) < _bound(chances, len(after))


@given(
    st.lists(st.integers(-6, 6), min_size=2, max_size=9),
    st.floats(0, 1, exclude_max=True, width=32),
    st.floats(0.05, 1),
)
def test_a_draw_inverts_the_cumulative_nucleus(
    logits: list[int], draw: float, top_p: float
) -> None:
    chances = np.exp(np.array(logits, float))
    chances /= chances.sum()
    above = np.array([chances[chances > chance].sum() for chance in chances])
    kept = np.where(above < top_p - 1e-9, chances, 0)  # ties stay together
    if np.any((np.abs(above - top_p) < 1e-6) & (above > 0)):
        return  # a border that floats cannot tell
    sums = np.cumsum(kept / kept.sum())
    (token,) = sampling.nucleus(
        torch.tensor([logits], dtype=torch.float32), torch.tensor([draw]), 1.0, top_p
    )
    low, high = np.concatenate([[0.0], sums])[[token, token + 1]]
    assert kept[token] > 0
    assert low - 1e-6 <= draw <= high + 1e-6


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.9, 1.0])
def test_a_draw_from_many_words_is_that_of_the_plain_sort(sharpness: float, top_p: float) -> None:
    randomness = np.random.default_rng(0)
    logits = sharpness * randomness.standard_normal((3 * sampling.AT_ONCE + 1, 5000))
    draws = randomness.random(len(logits), np.float32)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ranked = np.sort(chances)
    least = ranked[range(len(ranked)), (np.cumsum(ranked, 1) <= 1 - top_p).sum(1)]
    if sharpness == 0:  # every word is like every other, and so all are kept
        least[:] = 0
    sums = np.cumsum(np.where(chances < least[:, None], 0, chances), 1)
    expected = (sums <= draws[:, None] * sums[:, -1:]).sum(1)
    found = sampling.nucleus(torch.from_numpy(logits), torch.from_numpy(draws), 1.0, top_p)
    assert found.tolist() == expected.tolist()


def test_a_model_that_gives_no_numbers_draws_no_word() -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0], [0.0, 9.0, 1.0]])
    assert sampling.nucleus(logits, torch.tensor([0.5, 0.5]), 1.0, 0.9).tolist() == [-1, 1]


def test_samples_depend_on_the_seed_and_not_on_the_batch() -> None:
    model = _model(VOCABULARY.size, 64)
    prompts = ["stone " * n for n in (1, 9, 2, 12, 4, 4, 7)] + ["What is a river?"]
    alone = _sample(model, prompts, VOCABULARY, batch_size=1)
    for batch_size in (3, 8):
        assert _sample(model, prompts, VOCABULARY, batch_size=batch_size) == alone
    assert len({text for texts in alone for text in texts}) > 30
    assert [len(texts) for texts in alone] == [5] * len(prompts)
    assert _sample(model, prompts, VOCABULARY, seed=1) != alone


def test_a_sample_ends_at_end_of_text_and_at_the_context() -> None:
    model = _model(LETTERS.size, 16)
    prompts = ["a g c", "a b c d e f g h i j k a b c"]  # 4 and 15 tokens with the first
    found = _sample(model, prompts, LETTERS, num_samples=400, max_new_tokens=30)
    lengths = [{len(text.split()) for text in texts} for texts in found]
    # The last token needs no position of its own.
    assert max(lengths[0]) <= 13 and max(lengths[1]) == 2 and len(lengths[0]) > 5
    alone = _sample(model, prompts[:1], LETTERS, num_samples=400, max_new_tokens=30)
    assert found[0] == alone[0]


def test_a_sample_follows_the_plain_loop_token_by_token() -> None:
    """With its own draws, each from a forward pass over all that came before."""
    model = _model(LETTERS.size, 48)
    prompts = ["a g c", "k", "b a b a c d e f"]
    for place, texts in enumerate(_sample(model, prompts, LETTERS)):
        draws = np.random.default_rng([0, place]).random((5, 12), np.float32)
        for text, row in zip(texts, draws, strict=True):
            ids = [0, *LETTERS.encodings([prompts[place]])[0].ids]
            before = len(ids)
            for draw in row:
                ids.append(int(np.searchsorted(_chances(model, ids).cumsum(), draw, "right")))
                if ids[-1] == 0:
                    break
            wanted = [LETTERS.tokenizer.id_to_token(i) for i in ids[before:] if i]
            assert text.split() == wanted
