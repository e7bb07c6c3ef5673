"""What a method is: how requests and their replies become rows.

A method is a file here with a class of `Recipe` that has its name, and a line in METHODS of
generate/params.py; what it says to a model is a text file in generate/prompts, to be read and
changed. Nothing here takes long to import, as params.yaml is checked against the recipes.
"""

import abc
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from winnow.core.errors import Refusal
from winnow.core.params import Count, Range, Seed, Share
from winnow.generate.backends import EMPTY, Reply, Request, Sampling

PROMPTS = Path(__file__).parents[1] / "prompts"

Ask = Callable[[Sequence[Request]], list[Reply]]
"""Answers requests together, in their order; replies of before are not bought again."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom a method asks."""

    ask: Ask
    question_prefix: str | None = None
    """The backend's; see `Backend.question_prefix`."""
    best: Ask | None = None
    """Answers questions with the best of several replies, where a recipe says so."""
    earlier: Sequence[str] = ()
    """Instructions of the recipe's earlier shards, each once."""

    @property
    def respond(self) -> Ask:
        """What answers the questions that become rows."""
        return self.best or self.ask


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A row that may be published, or why a reply gave none."""

    instruction: str = ""
    input: str = ""
    response: str = ""
    rejected: str = ""
    """Another answer, to which the response is preferred, where the row is a pair."""
    parent: str = ""
    """The id of the row that it was made of, where there is one."""
    failure: str | None = None
    """Why there is no row, in a few words that can be counted; what there was of one stands
    beside it."""

    @property
    def whole(self) -> str:
        """All of the row, a part a line."""
        return "\n".join((self.instruction, self.input, self.response))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """Which rows a recipe leaves out as made before."""

    by: Literal["exact", "near", "semantic"] = "exact"
    threshold: Annotated[float, Range("(0, 1]")] = 0.7
    """Of the similarity, from which on a text is no new one; `exact` has none."""
    compared: Annotated[int, Range("[1, 10000000]")] = 100_000
    """Texts that a new one is compared with, at most: the last ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(abc.ABC):
    """A method's settings in params.yaml: what all methods have."""

    compared: ClassVar[str] = "instruction"
    """The part of a row by which it may be a repeat; `whole` is all of it."""
    names: ClassVar[Mapping[str, str]] = {
        part: part for part in ("instruction", "input", "response")
    }
    """What a published row calls its parts."""
    has_responses: ClassVar[bool] = False
    """Whether it asks for responses by themselves, of which the best of several may be taken."""
    shards: Count = 10
    """Parts that are made, checked and published one after the other."""
    requests: Annotated[int, Range("[1, 100000]")] = 100
    """With which each shard begins; what a method asks behind them follows from their replies."""
    seed: Seed = 100
    """Of the first shard; the next one's is one higher."""
    temperature: Annotated[float, Range("(0, 5]")] = 0.7
    top_p: Share = 0.9
    repetition_penalty: Annotated[float, Range("[1, 5]")] = 1.1
    max_tokens: Annotated[int, Range("[1, 100000]")] = 256
    """Of a reply."""
    best_of: Annotated[int, Range("[1, 64]")] = 1
    """Replies to a question, of which the critic chooses one."""
    critic: Any = "judge"
    """The backend itself, `package.module:name` of one's own, or a scorer: a mapping of its `name`
    and keys as in score.scorers; see critics.py."""
    unique: Unique | None = None
    """Which rows are left out as made before; without it a repeat is a row."""

    def sampling(self) -> Sampling:
        """How this recipe's texts are drawn."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.max_tokens,
        )

    def chat(self, content: str, seed: int, stop: tuple[str, ...] = ()) -> Request:
        """A request for the reply to what a user says."""
        return Request(chat=(("user", content),), sampling=self.sampling(), seed=seed, stop=stop)

    @abc.abstractmethod
    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        """Make a shard: the same seed and replies give the same candidates.

        Args:
            seed: of the shard.
            asking: every request of a shard has a seed of its own, see `seeds`.

        Raises:
            Refusal: a file cannot be read, or the backend cannot do it; the message begins with
                the key.
        """

    def check(self) -> None:
        """Refuse files that are missing or do not hold what the method needs; the message begins
        with the key."""
        for key, file in self.files().items():
            if not Path(file).is_file():
                raise Refusal(f"{key}: no file {file!r}")

    def files(self) -> Mapping[str, str]:
        """The user's files that it reads, by key: the card holds their hashes."""
        return {}


def seeds(shard: int, number: int, part: int = 0) -> list[int]:
    """Seeds for the requests of a part of a shard, which no other shard or part has.

    Args:
        shard: the shard's seed.
        number: of requests, at most 2**20.
        part: such as the round, below 2**12.
    """
    assert number <= 1 << 20 and part < 1 << 12
    return [(shard << 32) + (part << 20) + place for place in range(number)]


def draw(seed: int, number: int, of: int) -> list[int]:
    """Different places below `of`, by chance: the hash of the seed and a count, not a library's
    random numbers, which another version may draw differently."""
    assert number <= of
    drawn: dict[int, None] = {}
    count = 0
    while len(drawn) < number:
        digest = hashlib.blake2b(f"{seed} {count}".encode(), digest_size=8).digest()
        drawn[int.from_bytes(digest) % of] = None
        count += 1
    return [*drawn]


def failure_of(reply: Reply) -> str | None:
    """Why nothing can be made of a reply, where that is so."""
    return reply.failure or (None if reply.text.strip() else EMPTY)


def prompt(name: str, **values: str) -> str:
    """A text of generate/prompts, without its last line break, with a value for each {name}.

    All are put in at once: a value that holds braces, or a name in them, is put in as it is.
    """
    text = (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)
