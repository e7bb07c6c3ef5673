"""Paraphrases: the questions of a file's rows in other words, with their inputs and responses.

What is kept of a row is what people wrote, but for the wording of its question.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from winnow.core.words import bare
from winnow.generate.backends import Reply
from winnow.generate.methods import Asking, Candidate, failure_of, prompt
from winnow.generate.rows import Given, OfRows

UNCHANGED = "the question as it was"
NO_QUESTION = "no question, where one was to be reworded"
LINES = "more lines than the question has"

QUESTION_MARKS = ("?", "\N{FULLWIDTH QUESTION MARK}", "\N{ARABIC QUESTION MARK}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paraphrase(OfRows):
    """Which questions are put in other words."""

    def needed(self) -> tuple[str, ...]:
        return ("response",)

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        return (made for _, made in reworded(self, seed, asking))


def reworded(
    recipe: OfRows, seed: int, asking: Asking, text: str = "paraphrase"
) -> Iterator[tuple[Given, Candidate]]:
    """The rows of a shard, each with what a model makes of its question; the rest is kept.

    Args:
        recipe: has the rows.
        seed: of the shard.
        asking: whom to ask.
        text: of generate/prompts, which holds {question}.
    """
    given = recipe.shard(seed)
    requests = [recipe.chat(prompt(text, question=row.instruction), one) for row, one in given]
    for (row, _), reply in zip(given, asking.ask(requests), strict=True):
        yield (
            row,
            Candidate(
                instruction=_unquoted(reply.text.strip(), row.instruction),
                input=row.input,
                response=row.response,
                parent=row.id,
                failure=failure_of(reply) or _failure(reply, row),
            ),
        )


def _unquoted(text: str, question: str) -> str:
    """A text without the quotation marks round it, where the question has none."""
    quoted = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
    return text[1:-1].strip() if quoted and '"' not in question else text


def _failure(reply: Reply, row: Given) -> str | None:
    """Why a reply is no paraphrase: it says more than the question, or nothing else."""
    text = reply.text.strip()
    if len(text.splitlines()) > len(row.instruction.splitlines()):
        return LINES
    if row.instruction.endswith(QUESTION_MARKS) and not text.strip('"').endswith(QUESTION_MARKS):
        return NO_QUESTION
    same = bare(text.lower()).split() == bare(row.instruction.lower()).split()
    return UNCHANGED if same else None
