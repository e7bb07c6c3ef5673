"""Reading comprehension: why a question, its context and its answer are no row.

The rules are asked of every recipe of such rows alike, of people's own rows too: a rule that only
one arm of a comparison meets is a part of what is compared.
"""

from winnow.core.words import bare
from winnow.generate.methods.paraphrase import QUESTION_MARKS

NO_CONTEXT = "no context"
ABSENT = "the answer is not in the context"
ASKS = "the answer is a question"
OVERLAP = "the question shares too many runs of words with the one it was made of"


def words(text: str) -> list[str]:
    """The words of a text in lower case, without signs."""
    return bare(text.lower()).split()


def overlap(text: str, other: str, size: int = 8) -> float | None:
    """The share of a text's runs of `size` words that the other one has too, in [0, 1]; None where
    it is too short to have any."""
    runs, others = (
        [tuple(cut[at : at + size]) for at in range(len(cut) - size + 1)]
        for cut in (words(text), words(other))
    )
    return len([run for run in runs if run in set(others)]) / len(runs) if runs else None


def reason_of(question: str, context: str, answer: str) -> str | None:
    """Why a row cannot teach to read; None where it can.

    An answer is in a context if its words stand there in one run, whatever their case and signs; an
    answer that ends as a question, or that is the question itself, is none.
    """
    if not context.strip():
        return NO_CONTEXT
    given = words(answer)
    if answer.rstrip().endswith(QUESTION_MARKS) or (given and given == words(question)):
        return ASKS
    if not given or f" {' '.join(given)} " not in f" {' '.join(words(context))} ":
        return ABSENT
    return None
