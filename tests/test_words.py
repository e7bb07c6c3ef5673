"""Words are cut alike by Python and by every kernel, in scripts with spaces and without."""

import re
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.core import shingles, texts
from winnow.core.words import bare, classes, cut
from winnow.score import QualityScorer

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("ab1_ \t\n\x1f\u3000,.(\"é'冰激凌。「ひカーｶ々ที่ำ๑ກຂខ្មែမြန်한국हिन्दी़一𠀀"),
    ),
    max_size=20,
)
SPACELESS = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "BOPOMOFO",
    "YI",
    "JAVANESE",
    "TAI",
    "NEW TAI",
)


def is_alone(char: str) -> bool:
    """Whether a character is a letter of a script without spaces, by its name."""
    if unicodedata.category(char) not in ("Lo", "Lm", "Nl", "No"):
        return False
    return unicodedata.name(char, "").startswith(tuple(f"{name} " for name in SPACELESS))


def letter_by_letter(text: str) -> list[str]:
    """The rule itself."""
    found, alone, space = list[str](), False, True
    for char in text:
        letter = char.isalnum() or char == "_"
        own = bool(classes()[ord(char)] & 8)
        if char.isspace():
            space = True
            continue
        if space or own or (alone and letter):
            found.append("")
            alone = False
        found[-1] += char
        space, alone = False, own or alone
    return found


@given(TEXTS)
def test_words_are_cut_letter_by_letter(text: str) -> None:
    assert cut(text) == letter_by_letter(text)


@given(st.text(st.characters(max_codepoint=0xDFF, exclude_categories=["Cs"])))
def test_where_there_are_spaces_words_stand_between_them(text: str) -> None:
    assert cut(text) == text.split()


def test_scripts_without_spaces_are_cut_into_letters() -> None:
    assert cut("冰激凌，很好！ok") == ["冰", "激", "凌，", "很", "好！", "ok"]
    assert cut("API接口3个「新」") == ["API", "接", "口", "3", "个「", "新」"]
    assert cut("ひらがなカー") == list("ひらがなカー")
    assert cut("น้ำดี") == ["น้", "ำ", "ดี"]
    assert cut("한국어 문장") == ["한국어", "문장"]
    assert cut("हिन्दी में") == ["हिन्दी", "में"]


def test_the_letters_that_stand_alone_are_those_of_the_named_scripts() -> None:
    table = classes()
    for code in (*range(0x3400), *range(0x4E00, 0x9000), *range(0xA000, 0xAC00)):
        if unicodedata.name(chr(code), "") and is_alone(chr(code)):
            assert table[code] & 8, hex(code)
    for code in (*range(0xE00), *range(0xAC00, 0xD7A4), *range(0x1200, 0x1380)):
        assert not table[code] & 8


def test_bare_texts_keep_letters_digits_and_their_marks() -> None:
    assert bare("it's 1.5, हिन्दी_में น้ำ!").split() == ["it", "s", "1", "5", "हिन्दी", "में", "น้ำ"]


@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
def test_kernels_cut_as_python_does(responses: list[str], only_letters: bool) -> None:
    columns = {name: [""] * len(responses) for name in texts.PARTS} | {"response": responses}
    rows = pa.RecordBatch.from_pydict(columns)
    data, starts, ends = texts.fold(rows, only_letters)
    out = np.empty(200, np.uint64)
    seen: dict[Any, str] = {}
    for start, end in zip(starts, ends, strict=True):
        words = cut(bytes(data[start:end]).decode())
        count = shingles.shingle(data, start, end, classes(), 1, out)
        assert count == max(1, len(words))
        for value, word in zip(out[:count], words, strict=False):
            assert seen.setdefault(value, word) == word


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> QualityScorer:
    from tokenizers import Tokenizer, models

    return QualityScorer(Tokenizer(models.BPE()))


@given(response=TEXTS)
def test_the_score_counts_the_words_of_a_response(scorer: QualityScorer, response: str) -> None:
    columns = {"instruction": ["say"], "input": [""], "response": [response]}
    scored = scorer.score_rows(pa.RecordBatch.from_pydict(columns))
    assert scored["num_response_words"].to_pylist() == [len(cut(response))]
    assert re.fullmatch(r"\S*", "".join(cut(response)))
