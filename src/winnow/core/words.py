r"""Where words begin and end: the one cutter of words, for Python and for kernels.

Words stand between white space. In scripts without spaces every letter is a word of its own, and
signs and combining marks stay with what they follow: `ice-cream,冰"x` is cut into `ice-cream,`,
`冰"` and `x`.
"""

import re
import unicodedata

import numpy as np
import numpy.typing as npt

from winnow.core.threads import once

SPACE, DIGIT, WORD, ALONE = 1, 2, 4, 8
r"""Classes of characters: \s, \d, \w, and those that are words of their own."""

BLOCKS = (
    (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # iteration mark, closing mark and zero of Han
    (0x3041, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo, Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA980, 0xA9FF),  # Javanese, Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # Katakana
    (0x1B000, 0x1B16F),  # Hiragana, Katakana
    (0x20000, 0x323AF),  # Han
)
"""Where the scripts are that put no space between words."""

_BLOCKS = "".join(f"{chr(first)}-{chr(last)}" for first, last in BLOCKS)
_ALONE = rf"(?![\W\d])[{_BLOCKS}]"
_CUT = re.compile(rf"{_ALONE}[^\w\s]*|(?:(?!{_ALONE})\S)+")


def cut(text: str) -> list[str]:
    """The words of a text, in order."""
    return _CUT.findall(text)


class _Spaces(dict[int, str]):
    """By code point what is left of it: itself, or a space; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kept = char.isalnum() or unicodedata.category(char).startswith("M")
        return self.setdefault(code, char if kept else " ")


_spaces = _Spaces()


def bare(text: str) -> str:
    """A text's letters and digits with their combining marks, and a space for all else."""
    return text.translate(_spaces)


@once
def classes() -> npt.NDArray[np.uint8]:
    """The classes of every code point, asked of Python's own expressions: they can only agree."""
    everything = "".join(map(chr, range(0x110000)))
    found = np.zeros(len(everything), np.uint8)
    patterns = {SPACE: r"\s+", DIGIT: r"\d+", WORD: r"\w+", ALONE: rf"(?:{_ALONE})+"}
    for bit, pattern in patterns.items():
        for match in re.finditer(pattern, everything):
            found[slice(*match.span())] |= bit
    found.flags.writeable = False
    return found
