"""A service of OpenAI's protocol, near or far, as the writer of texts."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.core.http import check_url
from winnow.core.params import Form, Name, Range, Text
from winnow.core.service import Said, Service, Unanswered, key_of, said
from winnow.generate.backends import BROKEN, CUT, EMPTY, WITHHELD, Backend, Reply, Request, Settings

Dollars = Annotated[float, Range("[0, 100000]")]
Template = Annotated[
    str, Form(r"[^\x00\ud800-\udfff]{1,10000}", "of 1 to 10000 characters, line breaks among them")
]
ENDS = {"length": CUT, "max_tokens": CUT, "content_filter": WITHHELD}
"""What finish_reason says of a text that did not end by itself."""
WHOLE = (None, "stop", "eos", "eos_token", "stop_sequence", "end_turn")
"""What it says of one that did; some services say nothing."""
OF_ONE = (400, 413, 422)
"""Statuses that one request may meet alone, such as a prompt beyond the model's context."""
HALF = re.compile("[\\ud800-\\udfff]")
"""What JSON can spell and UTF-8 cannot hold."""
MAX_SEED = 2**31
"""Seeds that are sent are below, as services hold them in 32 bits with a sign."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a service takes, in dollars a million tokens."""

    prompt: Dollars = 0.0
    reply: Dollars = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Openai(Settings):
    """The service, and how it is asked."""

    url: Text
    """Its address up to and without /chat/completions, such as http://localhost:8000/v1."""
    model: Text
    """As the service names it."""
    key: Name | None = None
    """The environment variable that holds the key; its value is never in params.yaml."""
    workers: Annotated[int, Range("[1, 256]")] = 8
    """Requests at the same time."""
    timeout: Annotated[float, Range("[1, 3600]")] = 120.0
    """Seconds until a request counts as unanswered, however slowly its answer drips."""
    price: Price = Price()
    template: Template | None = None
    """The text of the model's chat format up to where a user's words begin, for Magpie."""

    def open(self) -> Backend:
        key = key_of(self.key)
        check_url(self.url, key is not None)
        return _Openai(self, Service(self.url, key, self.timeout, of_one=OF_ONE))

    def prices(self) -> tuple[float, float]:
        return self.price.prompt, self.price.reply

    def record(self) -> dict[str, Any]:
        return {"url": self.url, "model": self.model}


class _Openai(Backend):
    def __init__(self, settings: Openai, service: Service) -> None:
        self.settings, self.service = settings, service
        self.identity = f"{settings.url.rstrip('/')} {settings.model}"

    def question_prefix(self) -> str | None:
        return self.settings.template

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """At most `workers` requests are in flight or answered and not yet taken from here, so that
        a kill loses no more. Where the service refuses, what is in flight is still answered."""
        self.service.stopped.clear()
        ahead = iter(enumerate(requests))
        flying: dict[Future[Reply], int] = {}
        refusal: Refusal | None = None
        with ThreadPoolExecutor(self.settings.workers) as pool:
            try:
                while True:
                    if refusal is None:
                        for place, request in islice(ahead, self.settings.workers - len(flying)):
                            flying[pool.submit(self._reply, request)] = place
                    if not flying:
                        break
                    one = wait(flying, return_when=FIRST_COMPLETED).done.pop()
                    place = flying.pop(one)
                    try:
                        reply = one.result()
                    except Refusal as error:
                        refusal = refusal or error
                        self.service.stopped.set()
                        continue
                    yield place, reply
            finally:
                self.service.stopped.set()
                pool.shutdown(cancel_futures=True)
        if refusal is not None:
            raise refusal

    def _reply(self, request: Request) -> Reply:
        path = "/chat/completions" if request.chat else "/completions"
        got = self.service.ask(path, body(self.settings.model, request), _read)
        if isinstance(got, Unanswered):
            return Reply(failure=got.reason)
        text, failure = got.text or "", None
        if HALF.search(text):
            text, failure = "", BROKEN
        return Reply(
            text=text,
            failure=failure or _failure(got, text, request.sampling.max_tokens),
            prompt_tokens=got.prompt_tokens,
            reply_tokens=got.reply_tokens,
        )


def sent_seed(seed: int) -> int:
    """A request's seed in 31 bits. Its remainder would be the same in all shards, which differ in
    higher bits: the same prompt would have the same replies in each of them."""
    return int(files.bytes_hash(str(seed).encode()), 16) % MAX_SEED


def body(model: str, request: Request) -> bytes:
    """A request as JSON.

    repetition_penalty is an extension of vLLM, which OpenAI's own service and `transformers serve`
    refuse: it is sent only where it is not 1.
    """
    sampling = request.sampling
    asked: dict[str, Any] = {
        "model": model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sent_seed(request.seed),
    }
    if request.chat:
        asked["messages"] = [{"role": role, "content": text} for role, text in request.chat]
    else:
        asked["prompt"] = request.text
    if request.stop:
        asked["stop"] = list(request.stop)
    if sampling.repetition_penalty != 1:
        asked["repetition_penalty"] = sampling.repetition_penalty
    return json.dumps(asked, sort_keys=True).encode()


def _read(body: bytes) -> Said | None:
    """An answer with a text, or with the reason why it has none."""
    found = said(body)
    return found if found and (found.text is not None or found.ended in ENDS) else None


def _failure(got: Said, text: str, max_tokens: int) -> str | None:
    """Why the text of an answer is none."""
    if got.ended in ENDS:
        return ENDS[got.ended]
    if got.ended not in WHOLE:
        return "ended for another reason"
    if got.ended is None and got.reply_tokens >= max_tokens:
        return CUT
    return None if text.strip() else EMPTY
