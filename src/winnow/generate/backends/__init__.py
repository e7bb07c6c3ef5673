"""What a backend is: who writes the texts, a service or a model on this machine.

A backend is a file here with a class of `Settings`, and a line in BACKENDS of generate/params.py.
Nothing here takes long to import, as params.yaml is checked against the settings.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CUT = "cut at max_tokens"
"""Why a reply is none whose text did not end by itself."""
EMPTY = "an empty text"
WITHHELD = "withheld by the service"
BROKEN = "half a character in the text"
OWN_FAULTS = (CUT, EMPTY, WITHHELD, BROKEN)
"""Failures that the request itself met, and would meet again: such a reply is kept as a text is.
Any other failure is none of the request's, and the next run asks again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a text is drawn."""

    temperature: float
    top_p: float
    """Mass of the nucleus, in (0, 1]."""
    repetition_penalty: float
    """Divides the positive logits of tokens that are there, and multiplies the others (Keskar et
    al. 2019, arXiv 1909.05858, CTRL); 1 leaves them."""
    max_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked for: the reply to a chat, or how a text goes on."""

    chat: tuple[tuple[str, str], ...] = ()
    """Role and content of each turn; empty where `text` is asked to go on."""
    text: str = ""
    sampling: Sampling
    seed: int
    """Of this request's random numbers: equal requests of two seeds are two replies."""
    stop: tuple[str, ...] = ()
    """Texts before which a reply ends; it does not hold them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The text, or why there is none."""

    text: str = ""
    failure: str | None = None
    """Such as CUT, or that nothing was answered; then nothing may be made of the text."""
    prompt_tokens: int = 0
    reply_tokens: int = 0


class Backend(abc.ABC):
    """Ready to answer."""

    identity: str
    """What replies depend on beside the request: an address and a model, or the hash of weights."""

    @abc.abstractmethod
    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Answer requests in any order, each with its place among them, as soon as it is there.

        Raises:
            Refusal: no request would be answered.
        """

    def question_prefix(self) -> str | None:
        """The text of the model's chat format up to where a user's words begin, which Magpie lets
        the model go on from; None where the backend does not know it."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(abc.ABC):
    """What params.yaml says of a backend, beside its name."""

    @abc.abstractmethod
    def open(self) -> Backend:
        """Reach the service, or load the model.

        Raises:
            Refusal: that cannot be; the message begins with the key.
        """

    def prices(self) -> tuple[float, float]:
        """Dollars a million tokens of prompts and of replies."""
        return 0.0, 0.0

    def record(self) -> dict[str, Any]:
        """What a card says of the backend: never a key."""
        return {}
