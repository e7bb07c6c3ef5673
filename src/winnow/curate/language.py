"""Rows in a language that was not asked for, by fastText (Joulin et al. 2016, arXiv 1607.01759)."""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from winnow.core import engine
from winnow.core.errors import Refusal
from winnow.core.languages import check_codes, detect, reason
from winnow.core.progress import progress
from winnow.core.texts import PARTS, Part, parts, taken
from winnow.curate.numbers import Language
from winnow.curate.verdict import Positions, Verdict, step


def _detect_rows(model: str | None, part: Part) -> list[tuple[str, float]]:
    texts = pc.binary_join_element_wise(*taken(part).columns, " ")
    lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " "))
    return detect(lines.to_pylist(), model)


@step
def language(table: pa.Table, rows: Positions, numbers: Language) -> Verdict:
    """Drop rows whose most probable language is another one, or not probable enough.

    Args:
        table: has texts; the instruction, input and response are judged together.
        rows: the positions of those that are left.
        numbers: see `Language`.

    Raises:
        Refusal: a number or the model cannot be, or a code is none of the model's.
    """
    if not numbers.keep:
        raise Refusal("params.yaml: curate.steps language.keep: expected a language or more")
    check_codes("params.yaml: curate.steps language.keep", numbers.keep, numbers.model)
    gone, reasons, because, at = [], list[str](), list[str](), 0
    texts = parts(table.select(PARTS), rows)
    with progress(None, "language", "rows", len(rows)) as bar:
        for languages in engine.each(partial(_detect_rows, numbers.model), texts):
            for place, (code, share) in enumerate(languages, at):
                if why := reason(code, share, numbers.keep, numbers.threshold):
                    gone.append(place)
                    reasons.append(why)
                    because.append(f"{code} {share:.2f}")
            at += len(languages)
            bar.update(len(languages))
    return Verdict(rows[gone], reasons, pa.array(because, pa.string()))
