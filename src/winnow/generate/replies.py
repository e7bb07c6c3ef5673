"""Replies to requests, of before or of now: none is bought twice, and no more than a budget allows.

A reply is a file below .winnow/generate/replies from the moment it is there, in the folder of its
backend and under the hash of backend and request; it is sealed, so that a torn or foreign file is
none. It costs an inode, a block or two of the disk (4 to 8 KB) and two fsyncs; a run with a budget
reads all of its backend's first. A text is kept, and a failure that the request would meet again;
any other failure is asked again by the next run.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from winnow.core import files, layout
from winnow.core.errors import Refusal
from winnow.core.progress import progress
from winnow.generate.backends import OWN_FAULTS, Backend, Reply, Request
from winnow.generate.params import Budget

CACHE = layout.STATE / "generate/replies"
A_MILLION = 1_000_000
TURN = 16
"""Tokens that a chat format may put around a turn's words, as a budget reckons before it buys."""


class Spent(Refusal):
    """A budget is spent: what was bought is kept, and a larger one goes on where this one ends."""


@dataclass(slots=True)
class Spend:
    """Replies and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.reply_tokens + other.reply_tokens,
        )

    def dollars(self, price: tuple[float, float]) -> float:
        """By dollars a million tokens of prompts and of replies."""
        return (self.prompt_tokens * price[0] + self.reply_tokens * price[1]) / A_MILLION


@dataclass(slots=True)
class Totals:
    """What was asked for and what came back; one that is put in its place counts anew."""

    asked: int = 0
    """Requests; equal ones of one call are one."""
    kept: int = 0
    """Of these, answered by what was kept before."""
    failures: Counter[str] = field(default_factory=Counter)
    """By reason, of those that were kept as well."""
    all: Spend = field(default_factory=Spend)
    """Of all replies, those of before as well: the same however often a run was killed."""
    bought: Spend = field(default_factory=Spend)
    """Of those that were bought now."""
    dollars: float = 0.0
    """For those that were bought now."""
    seconds: float = 0.0
    """Of waiting for them."""


class Replies:
    """Answers requests together from the cache and a backend: `ask` is what methods are given.

    Args:
        backend: answers what is not kept.
        budget: of what may be bought.
        price: dollars a million tokens of prompts and of replies.
        tell: what the bar says beside the count, such as rows a minute; called after each reply.

    Raises:
        Refusal: dollars are to be bounded, and there is no price.
    """

    def __init__(
        self,
        backend: Backend,
        budget: Budget,
        price: tuple[float, float] = (0.0, 0.0),
        tell: Callable[[], str] | None = None,
    ) -> None:
        if budget.dollars is not None and not any(price):
            raise Refusal("budget.dollars: expected a price of the backend, found none")
        self.backend, self.budget, self.price, self.tell = backend, budget, price, tell
        self.totals = Totals()
        self.folder = CACHE / files.bytes_hash(backend.identity.encode())[:16]
        self.spent = _held(self.folder) if budget != Budget() else Spend()

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer requests, in their order; equal ones are asked once.

        Raises:
            Spent: the budget does not reach; what it reached for is bought and kept.
            Refusal: no request would be answered.
        """
        names = [self._name(request) for request in requests]
        found: dict[str, Reply] = {}
        missing: dict[str, Request] = {}
        for name, request in zip(names, requests, strict=True):
            if name in found or name in missing:
                continue
            if (reply := _read(self._path(name))) is None:
                missing[name] = request
            else:
                found[name] = reply
        self.totals.asked += len(found) + len(missing)
        self.totals.kept += len(found)
        self._buy(missing, found)
        for reply in found.values():
            self.totals.all += _spend(reply)
            if reply.failure is not None:
                self.totals.failures[reply.failure] += 1
        return [found[name] for name in names]

    def _name(self, request: Request) -> str:
        return files.fingerprint({"backend": self.backend.identity, "request": request})

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.json"

    def _buy(self, missing: dict[str, Request], found: dict[str, Reply]) -> None:
        """Have the missing replies answered, in as few parts as the budget surely reaches for."""
        names, begun = list(missing), time.monotonic()
        with progress(None, "generate", "replies", len(missing)) as bar:
            try:
                while names:
                    number = self._affordable([missing[name] for name in names])
                    part, names = names[:number], names[number:]
                    asked = [missing[name] for name in part]
                    for place, reply in self.backend.answer(asked):
                        found[part[place]] = reply
                        self._keep(part[place], reply)
                        bar.update()
                        if self.tell:
                            bar.tell(self.tell())
            finally:
                self.totals.seconds += time.monotonic() - begun

    def _keep(self, name: str, reply: Reply) -> None:
        if reply.failure is not None and reply.failure not in OWN_FAULTS:
            return
        files.write_sealed(self._path(name), asdict(reply))
        bought = _spend(reply)
        self.spent += bought
        self.totals.bought += bought
        self.totals.dollars += bought.dollars(self.price)
        is_counted = self.budget.tokens or self.budget.dollars
        if is_counted and not reply.prompt_tokens + reply.reply_tokens:
            raise Refusal(
                "budget: the backend does not say how many tokens it took, so that only `requests` "
                "can be bounded: what was bought is kept"
            )

    def _affordable(self, requests: Sequence[Request]) -> int:
        """How many of the first requests the budget surely reaches for: 1 or more.

        Raises:
            Spent: it does not reach for the first one.
        """
        if self.budget == Budget():
            return len(requests)
        ahead = self.spent
        for number, request in enumerate(requests):
            ahead += _most(request)
            beyond = self._beyond(ahead)
            if beyond and number:
                return number
            if beyond:
                raise Spent(
                    f"budget.{beyond}: {getattr(self.budget, beyond):,} may not reach for the next "
                    f"of {len(requests)} requests, {self._said()} are spent and what they bought "
                    "is kept: raise it, and the same command goes on"
                )
        return len(requests)

    def _said(self) -> str:
        """What was spent, for people."""
        spent = self.spent
        tokens = spent.prompt_tokens + spent.reply_tokens
        dollars = spent.dollars(self.price)
        return f"{spent.requests:,} requests, {tokens:,} tokens and {dollars:,.4f} dollars"

    def _beyond(self, spend: Spend) -> str | None:
        """The key of the budget that it exceeds."""
        amounts = {
            "requests": spend.requests,
            "tokens": spend.prompt_tokens + spend.reply_tokens,
            "dollars": spend.dollars(self.price),
        }
        for key, amount in amounts.items():
            limit = getattr(self.budget, key)
            if limit is not None and amount > limit:
                return key
        return None


def _spend(reply: Reply) -> Spend:
    is_bought = reply.failure is None or reply.failure in OWN_FAULTS
    return Spend(int(is_bought), reply.prompt_tokens, reply.reply_tokens)


def _most(request: Request) -> Spend:
    """The most that a reply may take: no token is shorter than a byte."""
    words = [request.text, *(text for turn in request.chat for text in turn)]
    prompt = sum(len(text.encode()) for text in words) + TURN * (1 + len(request.chat))
    return Spend(1, prompt, request.sampling.max_tokens)


def _read(path: Path) -> Reply | None:
    """A reply of before; None where there is none, or the file is torn or not of this place."""
    try:
        value: dict[str, Any] = files.read_sealed(path, "winnow generate")
        return Reply(**value)
    except (Refusal, TypeError, OSError):
        return None


def _held(folder: Path) -> Spend:
    """What the replies of a backend took, in all runs."""
    total = Spend()
    for path in sorted(folder.rglob("*.json")):
        if (reply := _read(path)) is not None:
            total += _spend(reply)
    return total
