"""Replies are bought once: in the order of a plain dictionary, within a budget, and through kills.

pytest tests/generate/test_replies.py
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from generate import reply_kills
from generate.service import FAULTS, SLOW, Service, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ROOT

from winnow.core.errors import Refusal
from winnow.generate.backends import (
    CUT,
    EMPTY,
    OWN_FAULTS,
    WITHHELD,
    Backend,
    Reply,
    Request,
    Sampling,
)
from winnow.generate.backends.openai import body
from winnow.generate.params import Budget
from winnow.generate.replies import Replies, Spent

SAMPLING = Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.0, max_tokens=20)
PASSING = "HTTP 500"
OUTCOMES = (None, None, CUT, EMPTY, WITHHELD, PASSING)
"""By the request's seed; PASSING is one that passes with the second attempt."""
PRICE = (1.0, 4.0)


def request(number: int) -> Request:
    return Request(text="go " * (1 + number % 3), sampling=SAMPLING, seed=number)


def outcome(number: int, attempt: int) -> Reply:
    """What the backend says to a request of this seed."""
    failure = OUTCOMES[number % len(OUTCOMES)]
    if failure == PASSING:
        if attempt == 1:
            return Reply(failure=PASSING)
        failure = None
    text = "" if failure == EMPTY else f"reply {number}"
    return Reply(text=text, failure=failure, prompt_tokens=2, reply_tokens=1 + number % 20)


class Made(Backend):
    """Answers in another order than it is asked in."""

    identity = "made up"

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for place in reversed(range(len(requests))):
            seed = requests[place].seed
            self.asked[seed] += 1
            yield place, outcome(seed, self.asked[seed])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """An empty folder to work in, for each example of a property."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, contextlib.chdir(folder):
        yield


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 11), max_size=8)), max_size=6))
def test_as_a_dictionary_would(calls: list[tuple[bool, list[int]]]) -> None:
    """Calls of `ask`, before some of which the process is a new one."""
    with elsewhere():
        backend = Made()
        replies = Replies(backend, Budget(), PRICE)
        kept: dict[int, Reply] = {}
        attempts: Counter[int] = Counter()
        for is_new, numbers in calls:
            if is_new:
                replies = Replies(backend, Budget(), PRICE)
            before, totals = dict(kept), replies.totals
            earlier = (totals.asked, totals.kept, totals.bought.requests, totals.dollars)
            expected: dict[int, Reply] = {}
            for number in dict.fromkeys(numbers):
                if number not in kept:
                    attempts[number] += 1
                    expected[number] = outcome(number, attempts[number])
                    if expected[number].failure != PASSING:
                        kept[number] = expected[number]
                else:
                    expected[number] = kept[number]
            assert replies.ask([request(n) for n in numbers]) == [expected[n] for n in numbers]
            new = [kept[n] for n in kept if n not in before]
            cost = sum(one.prompt_tokens + 4 * one.reply_tokens for one in new) / 1e6
            now = (totals.asked, totals.kept, totals.bought.requests, totals.dollars)
            added = (len(expected), sum(n in before for n in expected), len(new), cost)
            assert now == pytest.approx([a + b for a, b in zip(earlier, added, strict=True)])
        assert backend.asked == attempts


def test_failures_are_counted_and_kept_ones_are_the_same_again() -> None:
    first = Replies(Made(), Budget())
    again = Replies(Made(), Budget())
    asked = [request(n) for n in range(6)]
    replies = first.ask(asked)
    assert first.totals.failures == {CUT: 1, EMPTY: 1, WITHHELD: 1, PASSING: 1}
    assert again.ask(asked) == replies and again.totals.kept == 5
    assert again.totals.failures == first.totals.failures and again.totals.all == first.totals.all
    assert (again.totals.bought.requests, first.totals.bought.requests) == (0, 5)
    assert all((reply.failure in OWN_FAULTS) == bool(reply.failure) for reply in replies[:5])


def test_another_backend_or_sampling_or_text_is_another_reply() -> None:
    other = Made()
    other.identity = "another one"
    Replies(Made(), Budget()).ask([request(0)])
    colder = Sampling(temperature=0.5, top_p=1.0, repetition_penalty=1.0, max_tokens=20)
    asked = [
        Request(text="go ", sampling=colder, seed=0),
        Request(text="go on", sampling=SAMPLING, seed=0),
        Request(chat=(("user", "go "),), sampling=SAMPLING, seed=0),
        Request(text="go ", sampling=SAMPLING, seed=0, stop=("a",)),
    ]
    replies = Replies(Made(), Budget())
    replies.ask(asked)
    assert replies.totals.kept == 0
    replies = Replies(other, Budget())
    replies.ask([request(0)])
    assert replies.totals.kept == 0


def test_a_torn_or_foreign_file_is_a_miss() -> None:
    asked = [request(n) for n in (0, 1, 2)]
    expected = Replies(Made(), Budget()).ask(asked)
    paths = sorted(Path(".winnow/generate/replies").rglob("*.json"))
    first, second = paths[0].read_bytes(), paths[1].read_bytes()
    flipped = first.replace(b'"prompt_tokens": 2', b'"prompt_tokens": 9')
    torn = [first[:length] for length in range(0, len(first) - 1, 40)]
    assert flipped != first
    for bad in (*torn, flipped, second, b"[]", b"\xff\xfe", b"[" * 100_000, b'{"text": "a"}'):
        paths[0].write_bytes(bad)
        replies = Replies(Made(), Budget())
        assert replies.ask(asked) == expected and replies.totals.kept == 2
        assert paths[0].read_bytes() == first


def amount(replies: Replies, key: str) -> float:
    """What was bought, as a budget counts it."""
    spent = replies.spent
    tokens = spent.prompt_tokens + spent.reply_tokens
    return {"requests": spent.requests, "tokens": tokens, "dollars": spent.dollars(PRICE)}[key]


@settings(max_examples=25)
@given(
    st.sampled_from(["requests", "tokens", "dollars"]),
    st.lists(st.integers(1, 10), min_size=1, max_size=4),
    st.integers(1, 15),
)
def test_a_budget_is_never_exceeded_and_a_larger_one_goes_on(
    key: str, steps: list[int], number: int
) -> None:
    asked, limit, backend = [request(6 * n) for n in range(number)], 0.0, Made()
    unit = {"requests": 1, "tokens": 30, "dollars": 60e-6}[key]
    most = {"requests": 1, "tokens": 20 + 9 + 16, "dollars": (4 * 20 + 9 + 16) / 1e6}[key]
    with elsewhere():
        for step in (*steps, 10_000):
            limit += step * unit
            budget = Budget(**{key: limit if key == "dollars" else int(limit)})
            replies = Replies(backend, budget, PRICE)
            try:
                assert len(replies.ask(asked)) == number
            except Spent as error:
                assert str(error).startswith(f"budget.{key}: ") and "goes on" in str(error)
                assert amount(replies, key) > limit - most
            assert amount(replies, key) <= limit + 1e-12
    assert set(backend.asked.values()) == {1} and len(backend.asked) == number


def test_what_nobody_counts_cannot_be_bounded() -> None:
    class Silent(Made):
        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
            yield from ((place, Reply(text="a")) for place in range(len(requests)))

    assert Replies(Silent(), Budget(requests=3)).ask([request(1)])[0].text == "a"
    with pytest.raises(Refusal, match="does not say how many tokens it took"):
        Replies(Silent(), Budget(tokens=1000)).ask([request(2)])
    with pytest.raises(Refusal, match="^budget.dollars: expected a price of the backend"):
        Replies(Made(), Budget(dollars=1.0))


def start(url: str, output: Path, *point: int) -> "subprocess.Popen[bytes]":
    folders = [str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, reply_kills.__file__, url, str(output), *map(str, point)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def held(replies: Replies) -> set[str]:
    """The bodies of the requests whose replies are kept."""
    from winnow.generate import replies as module

    return {
        body("m", one).decode()
        for one in reply_kills.REQUESTS
        if module._read(replies._path(replies._name(one))) is not None
    }


@pytest.mark.slow
def test_killed_before_every_commit_point_and_at_random_moments(tmp_path: Path) -> None:
    quick = [name for name in FAULTS if name not in (*SLOW, "a huge body")]
    with serving(Service()) as service:
        Path("undisturbed").mkdir()
        os.chdir("undisturbed")
        assert start(service.url, tmp_path / "expected.json").wait() == 0
        os.chdir("..")
    draw, kept, num_killed = random.Random(0), Counter[str](), 0
    with serving(Service(faults=quick, share=0.2, pause=0.05)) as service:
        found = reply_kills.replies(service.url)
        # A reply has five points or six; the first ones make folders.
        for attempt in range(20):
            point = (attempt + 1,) if attempt < 12 else ()
            process = start(service.url, tmp_path / "found.json", *point)
            assert process.stdout is not None and process.stdout.readline() == b"asking\n"
            if not point:
                time.sleep(draw.uniform(0, 0.3))
                process.kill()
            num_killed += process.wait() == -signal.SIGKILL
            process.stdout.close()
            for one in held(found):
                kept.setdefault(one, service.served[one])
        assert start(service.url, tmp_path / "found.json").wait() == 0
        assert num_killed >= 16 and len(held(found)) == 60
        assert all(service.served[one] == number for one, number in kept.items())
        assert service.served.total() <= 60 + num_killed * reply_kills.WORKERS
        total = service.served.total()
        assert start(service.url, tmp_path / "again.json").wait() == 0
        assert service.served.total() == total
    expected = (tmp_path / "expected.json").read_bytes()
    assert (tmp_path / "found.json").read_bytes() == expected
    assert (tmp_path / "again.json").read_bytes() == expected
    assert not list(Path(".winnow").rglob(".*.tmp"))
    print(f"{num_killed} kills, {total - 60} of 60 replies bought twice")
