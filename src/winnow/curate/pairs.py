"""Pairs of a chosen and a rejected answer that say nothing, or the contrary, of what is better."""

import pyarrow as pa

from winnow.core import words
from winnow.core.errors import Refusal
from winnow.core.mapping.fields import plain_name
from winnow.core.records import KEPT, REJECTED, normalise
from winnow.core.texts import parts, taken
from winnow.curate.numbers import Pairs
from winnow.curate.verdict import Positions, Verdict, step


def _shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
    """The word n-grams of a text; of a shorter one all of it."""
    cut = words.bare(text).split()
    return {tuple(cut[at : at + ngram]) for at in range(max(1, len(cut) - ngram + 1))}


def _why(chosen: str, rejected: str, numbers: Pairs) -> str | None:
    """Why two answers are no pair; None where they are one."""
    one, other = (normalise("", "", text) for text in (chosen, rejected))
    if one == other:
        return "tie: both answers are the same"
    first, second = _shingles(one, numbers.ngram), _shingles(other, numbers.ngram)
    if len(first & second) >= numbers.threshold * len(first | second):
        return "both answers are nearly the same"
    return None


def _by_scores(chosen: str, rejected: str) -> str | None:
    """Why two scores are none of a pair."""
    try:
        ahead = float(chosen) - float(rejected)
    except ValueError:
        return "an answer has no score"
    if ahead > 0:
        return None
    if ahead != ahead:  # NaN
        return "an answer has no score"
    return "tie: both answers have one score" if ahead == 0 else "the rejected answer is better"


def _columns(table: pa.Table, names: list[str]) -> pa.Table:
    """Responses, and columns that ingest kept."""
    kept = [f"{KEPT}{plain_name(name)}" for name in names]
    for name, column in zip(names, kept, strict=True):
        if column not in table.column_names:
            raise Refusal(f"ingest kept no column {name!r}: name it in ingest.keep")
    return table.select(["response", *kept])


@step
def pairs(table: pa.Table, rows: Positions, numbers: Pairs) -> Verdict:
    """Drop pairs whose answers are the same, nearly the same, or scored alike or the wrong way
    round; rows that are no pairs stay.

    Args:
        table: has responses and, from ingest, rejected answers.
        rows: the positions of those that are left.
        numbers: see `Pairs`.

    Raises:
        Refusal: ingest kept no column of that name.
    """
    if len(numbers.scores) not in (0, 2):
        raise Refusal(f"scores: expected two columns, found {len(numbers.scores)}")
    columns = _columns(table, [REJECTED.removeprefix(KEPT), *numbers.scores])
    gone, reasons, at = [], [], 0
    for part in parts(columns, rows):
        cells = zip(*(column.to_pylist() for column in taken(part).columns), strict=True)
        for place, (chosen, rejected, *scores) in enumerate(cells, at):
            why = _why(chosen, rejected, numbers) if rejected else None
            if rejected and not why and scores:
                why = _by_scores(*scores)
            if why:
                gone.append(place)
                reasons.append(why)
        at += len(part.inside)
    return Verdict(rows[gone], reasons, pa.nulls(len(gone), pa.string()))
