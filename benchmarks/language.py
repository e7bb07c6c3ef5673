"""Which detector tells English rows from others, and how fast.    python -m benchmarks.language

tldr's pages in English against those in 38 other languages ($WINNOW_DATA/instructions), 6,000 rows
of each, one core. fastText's small model is what winnow installs; lingua is set up in a folder of
its own, away from the lock.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from winnow.curate.language import detect

DATA = Path(os.environ["WINNOW_DATA"]) / "instructions"
ROWS = 6000


def lingua(low: bool) -> Callable[[list[str]], list[str]]:
    """lingua's detector of all its languages, in one of its two modes."""
    builder = importlib.import_module("lingua").LanguageDetectorBuilder.from_all_languages()
    builder = builder.with_low_accuracy_mode() if low else builder
    detector = builder.with_preloaded_language_models().build()

    def find(texts: list[str]) -> list[str]:
        found = map(detector.detect_language_of, texts)
        return [language.iso_code_639_1.name.lower() if language else "" for language in found]

    return find


def main() -> None:
    """Print precision and recall of English, and rows a second."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", folder]
        subprocess.run([*command, "lingua-language-detector==2.1.1"], check=True)
        sys.path.append(folder)
        sides = {
            "fastText lid.176.ftz": lambda texts: [code for code, _ in detect(texts)],
            "lingua, low accuracy": lingua(low=True),
            "lingua, high accuracy": lingua(low=False),
        }
        texts = []
        for name in ("en", "i18n"):
            table = pq.read_table(DATA / f"tldr_pages_{name}.parquet")
            rows = table.take(np.random.default_rng(0).permutation(len(table))[:ROWS]).to_pylist()
            texts += [
                " ".join(f"{row['instruction']} {row['input']} {row['response']}".split())
                for row in rows
            ]
        print(f"{'':24}{'precision':>10}{'recall':>10}{'rows/s':>10}")
        for name, find in sides.items():
            began = time.process_time()
            english = np.array([code == "en" for code in find(texts)])
            seconds = time.process_time() - began
            right = english[:ROWS].sum()
            print(
                f"{name:24}{right / english.sum():10.2%}{right / ROWS:10.2%}"
                f"{len(texts) / seconds:10,.0f}"
            )


if __name__ == "__main__":
    main()
