"""A language model on this machine, and on its GPU where there is one: batched, nothing is sent.

A completion's random numbers come from its request's seed, so that what stands beside it in a batch
decides nothing but the rounding of sums.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from winnow.core.errors import Refusal, at
from winnow.core.params import Range, Text
from winnow.generate.backends import CUT, Backend, Reply, Request, Sampling, Settings

if TYPE_CHECKING:
    from winnow.models.judged import Judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Local(Settings):
    """Which model, and how many texts it writes at once."""

    model: Text
    """A folder in Hugging Face's format, org/name@<40 hex digits> of the hub, or a folder
    models/<experiment>/<seed> that winnow trained."""
    family: Literal["causal", "seq2seq"] = "causal"
    """Of somebody else's model."""
    context: Annotated[int, Range("[2, 1000000]")] = 1024
    """Tokens of a prompt and its reply; no more than the model has positions."""
    batch: Annotated[int, Range("[1, 10000]")] = 32
    """Texts at a time: for the memory and the speed, no text depends on it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and keys: bf16 takes half of the memory, and draws other texts."""

    def open(self) -> Backend:
        """Load the model.

        Raises:
            Refusal: it cannot be had, or is not to be trusted.
        """
        import torch

        from winnow.models import judged, pretrained

        with at("model"):
            if Path(self.model).is_dir() or "@" in self.model:
                found = judged.find(self.model, self.family, self.context)
            else:
                raise Refusal(f"no folder {self.model!r}, and no hub id with its commit")
            identity = pretrained.identity(self.model)
            if self.precision == "bf16":
                found.network.to(torch.bfloat16)
                identity += " in bf16"
            return LocalBackend(found, identity, self.batch)


class LocalBackend(Backend):
    """A model that completes texts; see Backend.

    Args:
        model: ready to complete.
        identity: of its weights, and of their precision.
        batch: texts at a time.
    """

    def __init__(self, model: "Judged", identity: str, batch: int) -> None:
        from winnow.models.loaded import PLAIN, Loaded

        self.identity = identity
        self._model, self._batch = model, batch
        decode, encode = model.vocabulary.tokenizer.decode, model.vocabulary.tokenizer.encode
        if not isinstance(model.family, Loaded):  # winnow's own form, which is plain text
            self._prefix, answer, _ = PLAIN
            before = encode(self._prefix, add_special_tokens=False).ids
        else:
            before, between, _ = model.family.frame
            self._prefix = decode([model.begin, *before], skip_special_tokens=False)
            answer = decode(between, skip_special_tokens=True)
            if answer != decode(between, skip_special_tokens=False):
                answer = ""  # a special token ends the question
        self._opening = [model.begin, *before]
        """Token ids up to where a user's words begin."""
        self._answer = answer.strip()
        """The text before a response, where it is plain text: behind it no question goes on."""

    def question_prefix(self) -> str | None:
        """See Backend: the text stands for its tokens."""
        return self._prefix

    def _ids(self, request: Request) -> list[int]:
        """What the model reads."""
        if request.chat:
            # The project's form of a row has one question: a system's words stand before it.
            question = "\n\n".join(content for _, content in request.chat)
            return self._model.prompt_ids([question])[0]
        begin, text = [self._model.begin], request.text
        if text.startswith(self._prefix):
            begin, text = self._opening, text.removeprefix(self._prefix)
        encode = self._model.vocabulary.tokenizer.encode
        return [*begin, *encode(text, add_special_tokens=False).ids]

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """See Backend; requests that are drawn alike are batched, those of like length together."""
        alike = defaultdict(list)
        for place, request in enumerate(requests):
            is_question = request.text.startswith(self._prefix) and self._answer
            stop = (*request.stop, self._answer) if is_question else request.stop
            alike[request.sampling, stop].append((place, self._ids(request)))
        for (sampling, stop), asked in alike.items():
            room = self._model.context - sampling.max_tokens
            for place, ids in asked:
                if len(ids) > room:
                    yield place, Reply(failure="the prompt is too long", prompt_tokens=len(ids))
            asked = sorted(
                (one for one in asked if len(one[1]) <= room), key=lambda one: len(one[1])
            )
            for start in range(0, len(asked), self._batch):
                part = asked[start : start + self._batch]
                seeds = [requests[place].seed for place, _ in part]
                replies = self._write([ids for _, ids in part], seeds, sampling, stop)
                yield from zip((place for place, _ in part), replies, strict=True)

    def _write(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        sampling: Sampling,
        stop: tuple[str, ...],
    ) -> Iterator[Reply]:
        from winnow.models import sampling as models

        vocabulary = self._model.vocabulary
        end, decode = vocabulary.end_of_text, vocabulary.tokenizer.decode

        def ends(ids: Sequence[int]) -> bool:
            return any(text in decode(ids, skip_special_tokens=True) for text in stop)

        settings = models.Sampling(
            num_samples=1,
            max_new_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            batch_size=len(prompts),
            seed=0,
        )
        written = models.complete(
            self._model.decoder(),
            prompts,
            end,
            vocabulary.size,
            settings,
            seeds=seeds,
            ends=ends if stop else None,
            shown=False,
        )
        for ids, (completion,) in zip(prompts, written, strict=True):
            own = completion.tolist()
            length = own.index(end) if end in own else len(own)
            text = decode(own[:length], skip_special_tokens=True)
            kept, was_stopped = _before(text, stop)
            is_cut = length == len(own) and not was_stopped
            yield Reply(
                text="" if is_cut else kept,
                failure=CUT if is_cut else None,
                prompt_tokens=len(ids),
                reply_tokens=min(length + 1, len(own)),
            )


def _before(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of some texts, and whether one of them is in it."""
    places = [text.index(one) for one in stop if one in text]
    return (text[: min(places)], True) if places else (text, False)
