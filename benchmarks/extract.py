"""Which extractor finds the main text of a page, and how fast.    python -m benchmarks.extract

Three sets of real pages ($WINNOW_DATA/web): by word 4-grams against the expected text, as
scrapinghub's article-extraction-benchmark counts them, or by snippets that the text must and must
not contain, as trafilatura's evaluation does. Both engines beside all visible text; one core.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from winnow.curate.extract import to_text

SHINGLED = {
    "articles": "article_extraction_benchmark_first_half",
    "Readability's": "mozilla_readability_test_pages",
}
SNIPPETS = "trafilatura_eval_pages"


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)) if words)


def _harmonic(one: float, two: float) -> float:
    return 2 * one * two / (one + two)


def shingle_figures(expected: Sequence[str], found: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of word 4-grams, each as often as it is in a text.

    Precision and recall are means over pages, without those where nothing was found (precision) or
    expected (recall); F1 is that of the two means.
    """
    precisions, recalls = [], []
    for one, other in zip(expected, found, strict=True):
        wanted, got = _shingles(one), _shingles(other)
        right = (wanted & got).total()
        if got:
            precisions.append(right / got.total())
        if wanted:
            recalls.append(right / wanted.total())
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return precision, recall, _harmonic(precision, recall)


def snippet_figures(rows: list[dict[str, Any]], found: Sequence[str]) -> tuple[float, ...]:
    """Over the snippets of all pages: precision, recall, F1, accuracy, share kept out."""
    texts = [*zip(rows, found, strict=True)]
    good = [snippet in text for row, text in texts for snippet in row["must_contain"]]
    bad = [snippet in text for row, text in texts for snippet in row["must_not_contain"]]
    precision, recall = sum(good) / (sum(good) + sum(bad)), sum(good) / len(good)
    out = len(bad) - sum(bad)
    accuracy = (sum(good) + out) / (len(good) + len(bad))
    return precision, recall, _harmonic(precision, recall), accuracy, out / len(bad)


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
    for label, name in (*SHINGLED.items(), ("trafilatura's", SNIPPETS)):
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
        more = f"{'accuracy':>10}{'kept out':>10}" if name == SNIPPETS else ""
        print(f"{label + f': {len(rows)} pages':24}{'precision':>10}{'recall':>10}{'F1':>10}{more}"
              f"{'empty':>10}{'pages/s':>10}{'slowest':>10}")  # fmt: skip
        for side, read in sides.items():
            texts, seconds = [], []
            for row in rows:
                began = time.process_time()
                texts.append(read(row["html"]))
                seconds.append(time.process_time() - began)
            figures = (
                snippet_figures(rows, texts)
                if name == SNIPPETS
                else shingle_figures([row["expected_text"] for row in rows], texts)
            )
            empty = sum(not text.strip() for text in texts)
            line = "".join(f"{figure:10.1%}" for figure in figures)
            speed = f"{len(rows) / sum(seconds):10.0f}{max(seconds):9.2f}s"
            print(f"{side:24}{line}{empty:10}{speed}")


if __name__ == "__main__":
    main()
