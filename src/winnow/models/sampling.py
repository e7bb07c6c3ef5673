"""Completions by nucleus sampling, several a prompt and many prompts at a time."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from winnow.core.errors import Refusal
from winnow.core.progress import progress

KEPT = 0.75
"""Once no more than this share of a batch goes on, the rest is taken out of it: to do so at every
end copies more than it saves, measured on a CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How completions are drawn."""

    num_samples: int
    """Completions a prompt."""
    max_new_tokens: int
    """Where a completion is cut if it does not end by itself."""
    temperature: float
    top_p: float
    """Mass of the nucleus, in (0, 1]."""
    batch_size: int
    """Prompts at a time; the keys and values of all their samples are kept in memory."""
    seed: int
    """Of the random numbers."""
    repetition_penalty: float = 1.0
    """Divides the positive logits of tokens that the prompt or the completion holds, and multiplies
    the others (Keskar et al. 2019, arXiv 1909.05858, CTRL)."""


Ends = Callable[[Sequence[int]], bool]
"""Whether a completion's tokens so far hold a text that ends it."""
LOOK = 8
"""Tokens after which completions are looked at for such a text: what follows it is computed in
vain, and cut off by who asked."""

AT_ONCE = 16
"""Rows whose tokens are drawn at a time on a CPU: their chances stay in its caches."""


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
    if len(logits) > AT_ONCE and logits.device.type == "cpu":
        parts = zip(torch.split(logits, AT_ONCE), torch.split(draws, AT_ONCE), strict=True)
        return torch.cat([nucleus(*part, temperature, top_p) for part in parts])
    chances = torch.softmax(logits.double() / temperature, -1)
    if chances.device.type == "cpu":
        from winnow.models.nucleus import draw

        return torch.from_numpy(draw(chances.numpy(), draws.numpy(), top_p))
    ranked = chances.sort().values
    least = ranked.gather(-1, (ranked.cumsum(-1) <= 1 - top_p).sum(-1, keepdim=True))
    sums = chances.masked_fill(chances < least, 0).cumsum(-1)
    return torch.searchsorted(sums, draws[:, None] * sums[:, -1:], right=True)[:, 0]


class Repetitions:
    """Which tokens each text holds, to make them less likely; see `Sampling.repetition_penalty`.

    Args:
        prompts: token ids of each text up to its completion.
        shape: (texts, vocabulary).
        penalty: at least 1, which changes nothing.
        device: of the logits.
    """

    def __init__(
        self, prompts: list[list[int]], shape: tuple[int, int], penalty: float, device: torch.device
    ) -> None:
        self._penalty = penalty
        if penalty == 1:
            return
        held = torch.zeros(len(prompts), shape[1], dtype=torch.bool)
        for row, ids in zip(held, prompts, strict=True):
            row[torch.tensor(ids)] = True
        self._held = held.to(device).repeat_interleave(shape[0] // len(prompts), 0)

    def penalise(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The logits of these texts' next tokens, (rows, vocabulary), those held less likely."""
        if self._penalty == 1:
            return logits
        less = torch.where(logits > 0, logits / self._penalty, logits * self._penalty)
        return torch.where(self._held[rows], less, logits)

    def add(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Note the newest token of each of these texts."""
        if self._penalty != 1:
            self._held[rows, tokens] = True


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

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Go on with some rows, or with a row several times."""
        _, heads, seen, width = self.keys.shape
        whole = self.keys.new_empty(2, len(beam_idx), heads, self.room, width)
        for into, states in zip(whole, (self.keys, self.values), strict=True):
            into[:, :, :seen] = states[beam_idx]
        self.whole, (self.keys, self.values) = whole, whole[:, :, :, :seen]


class Decoder(Protocol):
    """Texts of a batch that a model continues token by token."""

    def read(self, prompts: list[list[int]], num_new: int) -> torch.Tensor:
        """Start with these prompts; at most `num_new` tokens will follow each.

        Returns:
            Logits of the next token, (prompts, vocabulary).
        """

    def select(self, rows: torch.Tensor) -> None:
        """Go on with some texts, or with a text several times."""

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token to each text; logits of the one after it, (texts, vocabulary)."""

    def full(self) -> torch.Tensor:
        """Which texts have no room for a token to be appended, (texts,)."""


class CausalDecoder:
    """A decoder-only model; prompts are padded on the left.

    Args:
        model: in evaluation mode.
        context: positions of the model.
        padding: a token id.

    Raises:
        Refusal: the model has no attention, so that padding would change what it remembers.
    """

    def __init__(self, model: Any, context: int, padding: int) -> None:
        self._model, self._last, self._padding = model, context - 1, padding
        if "past_key_values" not in inspect.signature(model.forward).parameters:
            raise Refusal(
                f"a {model.config.model_type} keeps one state of all that it read, padding too, so "
                "that its completions cannot be sampled together: name a model with attention"
            )

    def read(self, prompts: list[list[int]], num_new: int) -> torch.Tensor:
        """See Decoder."""
        device, width = self._model.device, max(map(len, prompts))
        padded = [[self._padding] * (width - len(ids)) + ids for ids in prompts]
        self._lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        self._mask = (torch.arange(width, device=device) >= width - self._lengths[:, None]).long()
        self._cache = _cache(self._model.config, width + num_new)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        return self._logits(torch.tensor(padded, device=device), positions)

    def _logits(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(
            tokens,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """See Decoder."""
        self._cache.reorder_cache(rows)
        self._mask, self._lengths = self._mask[rows], self._lengths[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """See Decoder."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], 1)
        positions = self._lengths.clamp(max=self._last)[:, None]
        self._lengths = self._lengths + 1
        return self._logits(tokens[:, None], positions)

    def full(self) -> torch.Tensor:
        """See Decoder."""
        return self._lengths > self._last


def _cache(config: Any, room: int) -> Cache:
    """A cache in which nothing moves when a token is added, where every layer keeps all tokens."""
    cache = DynamicCache(config=config)
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return cache
    return Cache(layers=[Reserve(room) for _ in cache.layers])


class EncoderDecoder:
    """An encoder-decoder model: the encoder reads the prompts, padded on the right.

    Args:
        model: in evaluation mode, with relative positions or enough of them.
        padding: a token id.
    """

    def __init__(self, model: Any, padding: int) -> None:
        self._model, self._padding = model, padding

    def read(self, prompts: list[list[int]], num_new: int) -> torch.Tensor:
        """See Decoder."""
        device, width, config = self._model.device, max(map(len, prompts)), self._model.config
        padded = [ids + [self._padding] * (width - len(ids)) for ids in prompts]
        lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        self._mask = (torch.arange(width, device=device) < lengths[:, None]).long()
        encoder = self._model.get_encoder()
        read = encoder(torch.tensor(padded, device=device), attention_mask=self._mask)
        self._encoded = read.last_hidden_state
        self._cache = EncoderDecoderCache(
            DynamicCache(config=config.get_text_config(decoder=True)),
            DynamicCache(config=config.get_text_config(decoder=True)),
        )
        return self.step(torch.full_like(lengths, config.decoder_start_token_id))

    def select(self, rows: torch.Tensor) -> None:
        """See Decoder."""
        self._cache.reorder_cache(rows)
        self._mask, self._encoded = self._mask[rows], self._encoded[rows]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """See Decoder."""
        logits: torch.Tensor = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded),
            attention_mask=self._mask,
            decoder_input_ids=tokens[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits[:, -1]

    def full(self) -> torch.Tensor:
        """None is: a completion ends at max_new_tokens."""
        return torch.zeros(len(self._mask), dtype=torch.bool, device=self._mask.device)


def _decode(
    decoder: Decoder,
    prompts: list[list[int]],
    draws: torch.Tensor,
    end: int,
    vocab_size: int,
    sampling: Sampling,
    ends: Ends | None,
) -> torch.Tensor:
    """Sample for prompts with draws (prompts, samples, tokens).

    Returns:
        (prompts x samples, tokens) ids, with `end` behind the end of each.
    """
    _, samples, steps = draws.shape
    logits = decoder.read(prompts, steps)
    device = logits.device
    draws = draws.flatten(0, 1).to(device)
    # The rows that are computed: of the prompts, until each is repeated for its samples.
    rows = torch.arange(len(prompts), device=device).repeat_interleave(samples)
    decoder.select(rows)
    logits = logits[rows]
    rows = torch.arange(len(draws), device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    tokens = torch.full(draws.shape, end, device=device)
    shape = (len(draws), vocab_size)
    repetitions = Repetitions(prompts, shape, sampling.repetition_penalty, device)
    for step in range(steps):
        # Not the words that only pad the vocabulary.
        real = repetitions.penalise(logits[:, :vocab_size], rows)
        chosen = nucleus(real, draws[rows, step], sampling.temperature, sampling.top_p)
        chosen = chosen.masked_fill(ended, end)
        tokens[rows, step] = chosen
        repetitions.add(rows, chosen)
        if ends and (step + 1) % LOOK == 0:
            said = [ends(ids) for ids in tokens[rows, : step + 1].tolist()]
            ended |= torch.tensor(said, device=device)
        ended |= (chosen == end) | decoder.full()
        going = len(rows) - int(ended.sum())
        if not going or step == steps - 1:
            break
        if going <= KEPT * len(rows):
            stay = (~ended).nonzero()[:, 0]
            decoder.select(stay)
            rows, chosen, ended = (part[stay] for part in (rows, chosen, ended))
        logits = decoder.step(chosen)
    return tokens


@torch.no_grad()
def complete(
    decoder: Decoder,
    prompts: Sequence[list[int]],
    end: int,
    vocab_size: int,
    sampling: Sampling,
    *,
    seeds: Sequence[int] | None = None,
    ends: Ends | None = None,
    shown: bool = True,
) -> list[NDArray[np.int64]]:
    """Sample completions of every prompt; what they are does not depend on the batch size.

    A prompt is read once for all of its samples, prompts of like length side by side. Every token
    has its own random number, by seed, place of the prompt, sample and place of the token.

    Args:
        decoder: of the model.
        prompts: token ids, each shorter than the model's context.
        end: the token that ends a completion.
        vocab_size: ids below it are drawn; those above only pad the model's vocabulary.
        sampling: how.
        seeds: of each prompt's random numbers; else sampling.seed and the place decide them.
        ends: ends a completion beside `end`, soon after it says so.
        shown: whether a bar says how far it is.

    Returns:
        For each prompt the ids of its completions, (samples, tokens), in the order given; behind
        the end of one stands `end`.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    completions: dict[int, NDArray[np.int64]] = {}
    shape, size = (sampling.num_samples, sampling.max_new_tokens), sampling.batch_size
    for start in progress(range(0, len(order), size), "complete", "batches", shown=shown):
        places = order[start : start + size]
        draws = [
            np.random.default_rng(seeds[place] if seeds else [sampling.seed, place]).random(
                shape, np.float32
            )
            for place in places
        ]
        tokens = _decode(
            decoder,
            [prompts[place] for place in places],
            torch.from_numpy(np.stack(draws)),
            end,
            vocab_size,
            sampling,
            ends,
        )
        completions |= zip(places, tokens.cpu().numpy().reshape(-1, *shape), strict=True)
    return [completions[place] for place in range(len(prompts))]
