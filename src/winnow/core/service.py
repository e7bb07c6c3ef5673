"""A service of OpenAI's protocol: asked with patience, by several workers at once.

A request that fails for no fault of its own is repeated after pauses. The key is in an environment
variable and nowhere else: it goes into a header, and no message of ours quotes what the service
says.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from winnow.core import http
from winnow.core.errors import Refusal

T = TypeVar("T")
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each repetition of a request that failed for no fault of its own."""
LONGEST_PAUSE = 600.0
"""Seconds that the service may ask for; beyond that it is for the user to come back."""
PATIENCE = 5
"""Requests in a row without an answer, after which the service is taken to be down."""
PASSING = (408, 429)
"""Statuses below 500 that say nothing against the request."""


def key_of(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named.

    Raises:
        Refusal: there is none, or it is no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise Refusal(
            f"key: the environment variable {variable} " + ("holds no key" if key else "is not set")
        )
    return key


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or none that can be read."""

    reason: str
    """In a few words that can be counted."""


@dataclass(slots=True)
class Service:
    """A service, and how long it has been silent."""

    url: str
    """Up to and without /chat/completions."""
    key: str | None = field(repr=False)
    timeout: float
    """Seconds for a request as a whole, however slowly its answer drips."""
    pauses: Sequence[float] = PAUSES
    unit: str = "requests"
    """What a request is to the user."""
    of_one: Sequence[int] = ()
    """Statuses that speak against one request alone, until PATIENCE of them come in a row."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Once it is set, no request that failed is repeated."""
    silent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, path: str, body: bytes, read: Callable[[bytes], T | None]) -> T | Unanswered:
        """Ask until there is an answer, or no more pause.

        Args:
            path: such as /chat/completions.
            body: JSON.
            read: what an answer's body says; None where it is not what the protocol promises.

        Raises:
            Refusal: no request would be answered, PATIENCE in a row were not, or the service asks
                to come back in more than LONGEST_PAUSE seconds.
        """
        for pause in (*self.pauses, None):
            got = self._sent(path, body)
            answer = self._read(got, read)
            is_final = not isinstance(answer, Unanswered) or got.status in self.of_one
            if is_final or pause is None or self._waits(max(pause, http.seconds(got.retry_after))):
                break
        self._count(answer)
        return answer

    def _sent(self, path: str, body: bytes) -> http.Answer:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return http.post(f"{self.url.rstrip('/')}{path}", body, headers, self.timeout)

    def _read(self, got: http.Answer, read: Callable[[bytes], T | None]) -> T | Unanswered:
        if got.status == 200:
            answer = read(got.body)
            return Unanswered("an answer that is not of the protocol") if answer is None else answer
        is_ours = 300 <= got.status < 500 and got.status not in PASSING
        if is_ours and got.status not in self.of_one:
            self._refuse(got.status)
        return Unanswered(got.failure or f"HTTP {got.status}")

    def _refuse(self, status: int) -> NoReturn:
        raise Refusal(
            f"{self.url} refuses (HTTP {status}): check url, model and the key's variable"
        )

    def _waits(self, seconds: float) -> bool:
        """Wait; whether there was a stop meanwhile."""
        if seconds > LONGEST_PAUSE:
            raise Refusal(
                f"{self.url} asks to come back in {seconds:.0f} s: run this again then, what it "
                "answered is kept"
            )
        return self.stopped.wait(seconds)

    def _count(self, answer: object) -> None:
        with self.lock:
            self.silent = self.silent + 1 if isinstance(answer, Unanswered) else 0
            if self.silent >= PATIENCE and isinstance(answer, Unanswered):
                raise Refusal(
                    f"{self.url} does not answer ({PATIENCE} {self.unit} in a row): the last time "
                    f"it was {answer.reason}; run this again later, what it answered is kept"
                )


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer to a chat, or to a text that goes on, holds."""

    text: str | None
    """None where there is null."""
    ended: str | None
    """By what: its finish_reason."""
    prompt_tokens: int
    reply_tokens: int


def said(body: bytes) -> Said | None:
    """Read an answer; None where it is not what the protocol promises."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        used = answer.get("usage") or {}
        tokens = [int(used.get(f"{part}_tokens") or 0) for part in ("prompt", "completion")]
        if text is not None:
            text.encode()  # JSON can spell halves of characters, which no file takes
        ended: Any = choice.get("finish_reason")
    # What a stranger's JSON can do: be deep, hold other types, or a number that has no end.
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ):
        return None
    if not isinstance(text, str | None) or not isinstance(ended, str | None) or min(tokens) < 0:
        return None
    return Said(text, ended, *tokens)
