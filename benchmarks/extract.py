"""Which extractor finds the main text of a page, and how fast.    python -m benchmarks.extract

Three sets of real pages ($WINNOW_DATA/web): by word 4-grams against the expected text, as
scrapinghub's article-extraction-benchmark counts them, or by snippets that the text must and must
not contain, as trafilatura's evaluation does. Both engines beside all visible text; one core. The
interval of their difference is a paired bootstrap over pages.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.curate.extract import to_text

SETS = (
    "article_extraction_benchmark_first_half",
    "mozilla_readability_test_pages",
    "trafilatura_eval_pages",
)
DRAWS = 2000
"""Of pages, for the 95% interval of a difference."""


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)) if words)


def _harmonic(one: float, two: float) -> float:
    return 2 * one * two / (one + two)


def shingle_counts(expected: Sequence[str], found: Sequence[str]) -> NDArray[np.int64]:
    """Page by page the word 4-grams in both texts, in the found one and in the expected one."""
    pages = [(_shingles(one), _shingles(other)) for one, other in zip(expected, found, strict=True)]
    counts = [((wanted & got).total(), got.total(), wanted.total()) for wanted, got in pages]
    return np.array(counts)


def shingle_figures(pages: NDArray[np.int64]) -> dict[str, float]:
    """Precision and recall are means over pages, F1 is that of the two means.

    A page on which nothing was found has no precision, one on which nothing is expected no recall.
    """
    both, found, wanted = pages.T
    precision = np.mean(both[found > 0] / found[found > 0])
    recall = np.mean(both[wanted > 0] / wanted[wanted > 0])
    return {"precision": precision, "recall": recall, "F1": _harmonic(precision, recall)}


def snippet_counts(rows: list[dict[str, Any]], found: Sequence[str]) -> NDArray[np.int64]:
    """Page by page the snippets it must contain, those of them found; it must not, those found."""
    counts = []
    for row, text in zip(rows, found, strict=True):
        for name in ("must_contain", "must_not_contain"):
            counts += [len(row[name]), sum(snippet in text for snippet in row[name])]
    return np.array(counts).reshape(-1, 4)


def snippet_figures(pages: NDArray[np.int64]) -> dict[str, float]:
    """Over the snippets of all pages; `kept out` is of those that the text must not contain."""
    good, right, bad, wrong = pages.sum(axis=0)
    precision, recall = right / (right + wrong), right / good
    return {
        "precision": precision,
        "recall": recall,
        "F1": _harmonic(precision, recall),
        "accuracy": (right + bad - wrong) / (good + bad),
        "kept out": 1 - wrong / bad,
    }


def _visible() -> Callable[[str], str]:
    from resiliparse.extract.html2text import extract_plain_text

    return lambda page: extract_plain_text(page, alt_texts=False)


def main() -> None:
    """Print the figures of every set, the pages without text, and pages a second."""
    folder = Path(os.environ["WINNOW_DATA"]) / "web"
    sides = {
        "trafilatura": lambda page: to_text(page, "trafilatura"),
        "resiliparse": lambda page: to_text(page, "resiliparse"),
        "all visible text": _visible(),
    }
    for read in sides.values():
        read("<html>")  # imports
    for name in SETS:
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
        print(f"\n{name}, {len(rows)} pages")
        counts, figures = {}, shingle_figures if rows[0]["expected_text"] else snippet_figures
        for side, read in sides.items():
            texts, seconds = [], []
            for row in rows:
                began = time.process_time()
                texts.append(read(row["html"]))
                seconds.append(time.process_time() - began)
            if figures is shingle_figures:
                counts[side] = shingle_counts([row["expected_text"] for row in rows], texts)
            else:
                counts[side] = snippet_counts(rows, texts)
            shares = [f"{figure} {share:.1%}" for figure, share in figures(counts[side]).items()]
            empty = sum(not text.strip() for text in texts)
            speed = f"{len(rows) / sum(seconds):.0f} pages/s, slowest {max(seconds):.2f} s"
            print(f"  {side:18}{'  '.join(shares)}  without text {empty}  {speed}")
        dice, gains = np.random.default_rng(0), []
        for _ in range(DRAWS):
            drawn = dice.integers(len(rows), size=len(rows))
            one, other = (figures(counts[side][drawn])["F1"] for side in [*sides][:2])
            gains.append(one - other)
        low, high = np.quantile(gains, [0.025, 0.975])
        print(f"  F1 of trafilatura over resiliparse: {low:+.1%} to {high:+.1%}")


if __name__ == "__main__":
    main()
