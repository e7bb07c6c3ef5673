"""Completions by nucleus sampling, several a prompt and many prompts at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import GPT2LMHeadModel
from transformers.cache_utils import Cache, DynamicLayer

from winnow.core.progress import progress
from winnow.models.tokenizer import Vocabulary

KEPT = 0.75
"""Once no more than this share of a batch goes on, the rest is taken out of it: to do so at every
end copies more than it saves, measured on a CPU."""


def nucleus(
    logits: torch.Tensor, draws: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    """Draw a token from the nucleus of each row: top-p sampling (Holtzman et al. 2020).

    The nucleus is the smallest set of most probable tokens that holds a mass of top_p. The draw
    inverts the cumulative distribution in the order of the vocabulary, where the noise of a float
    moves no token past another.

    Args:
        logits: (rows, vocabulary).
        draws: (rows,), uniform in [0, 1).
        temperature: that divides the logits.
        top_p: in (0, 1].
    """
    chances = torch.softmax(logits.double() / temperature, -1)
    # torch takes fourteen times as long as numpy to sort on a CPU.
    on_cpu = chances.device.type == "cpu"
    ranked = torch.from_numpy(np.sort(chances.numpy())) if on_cpu else chances.sort().values
    least = ranked.gather(-1, (ranked.cumsum(-1) <= 1 - top_p).sum(-1, keepdim=True))
    sums = chances.masked_fill(chances < least, 0).cumsum(-1)
    return torch.searchsorted(sums, draws[:, None] * sums[:, -1:], right=True)[:, 0]


class Reserve(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values, with room for those to come: a new one moves no old one.

    Args:
        room: positions that will be there at most.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the newest keys and values; those of the prompts are the first."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        else:
            seen = self.get_seq_length() + 1
            self.whole[0, :, :, seen - 1 : seen] = key_states
            self.whole[1, :, :, seen - 1 : seen] = value_states
            self.keys, self.values = self.whole[:, :, :, :seen]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Go on with some rows, or with a row several times."""
        _, heads, seen, width = self.keys.shape
        whole = self.keys.new_empty(2, len(indices), heads, self.room, width)
        for into, states in zip(whole, (self.keys, self.values), strict=True):
            into[:, :, :seen] = states[indices]
        self.whole, (self.keys, self.values) = whole, whole[:, :, :, :seen]


def _decode(
    model: GPT2LMHeadModel,
    ids: list[list[int]],
    draws: torch.Tensor,
    vocabulary: Vocabulary,
    temperature: float,
    top_p: float,
) -> torch.Tensor:
    """Sample for prompts (their ids) with draws (prompts, samples, tokens).

    Returns:
        (prompts x samples, tokens) ids, with end-of-text behind the end of each.
    """
    end, last = vocabulary.end_of_text, model.config.n_positions - 1
    device, (_, samples, steps) = draws.device, draws.shape
    draws, width = draws.flatten(0, 1), max(map(len, ids))
    padded = torch.tensor([[end] * (width - len(item)) + item for item in ids], device=device)
    lengths = torch.tensor([len(item) for item in ids], device=device)
    mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
    cache = Cache(layers=[Reserve(width + steps) for _ in range(model.config.n_layer)])
    logits = model(
        padded,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        logits_to_keep=1,
    ).logits
    # The rows that are computed: of the prompts, until each is repeated for its samples.
    rows = torch.arange(len(ids), device=device).repeat_interleave(samples)
    cache.batch_select_indices(rows)
    logits, mask, lengths = logits[rows], mask[rows], lengths[rows]
    rows = torch.arange(len(draws), device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    found = torch.full(draws.shape, end, device=device)
    for step in range(steps):
        # Not the words that only pad the vocabulary.
        known = logits[:, -1, : vocabulary.size]
        chosen = nucleus(known, draws[rows, step], temperature, top_p).masked_fill(ended, end)
        found[rows, step] = chosen
        ended |= (chosen == end) | (lengths + step > last)
        going = len(rows) - int(ended.sum())
        if not going or step == steps - 1:
            break
        if going <= KEPT * len(rows):
            stay = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(stay)
            rows, chosen, mask, lengths, ended = (
                part[stay] for part in (rows, chosen, mask, lengths, ended)
            )
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits = model(
            chosen[:, None],
            attention_mask=mask,
            position_ids=(lengths + step).clamp(max=last)[:, None],
            past_key_values=cache,
        ).logits
    return found


@torch.no_grad()
def complete(
    model: GPT2LMHeadModel,
    prompts: Sequence[str],
    vocabulary: Vocabulary,
    *,
    num_samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    seed: int,
) -> list[list[str]]:
    """Sample completions of every prompt; what they are does not depend on the batch size.

    A prompt is read once for all of its samples, prompts of like length side by side. Every token
    has its own random number, by seed, place of the prompt, sample and place of the token.

    Args:
        model: in evaluation mode.
        prompts: each shorter than the model's context.
        vocabulary: the tokenizer.
        num_samples: completions a prompt.
        max_new_tokens: where a completion is cut if it does not end by itself, at the latest the
            end of the context.
        temperature: of the softmax.
        top_p: mass of the nucleus.
        batch_size: prompts at a time; the keys and values of their samples are kept in memory.
        seed: of the draws.

    Returns:
        For each prompt its completions, in the order given.
    """
    device = next(model.parameters()).device
    ids = [[vocabulary.end_of_text, *one.ids] for one in vocabulary.encodings(list(prompts))]
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    found: list[list[str]] = [[] for _ in ids]
    for start in progress(range(0, len(order), batch_size), "generate", "batches"):
        places = order[start : start + batch_size]
        shape = (num_samples, max_new_tokens)
        draws = [np.random.default_rng([seed, at]).random(shape, np.float32) for at in places]
        tokens = _decode(
            model,
            [ids[place] for place in places],
            torch.from_numpy(np.stack(draws)).to(device),
            vocabulary,
            temperature,
            top_p,
        )
        texts = vocabulary.tokenizer.decode_batch(tokens.tolist(), skip_special_tokens=True)
        for number, place in enumerate(places):
            found[place] = texts[number * num_samples : (number + 1) * num_samples]
    return found
