"""Rows as vectors of length 1: by a sentence-transformers model, or by their words alone."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core.errors import Refusal, at, loading
from winnow.core.progress import progress
from winnow.core.texts import CHUNK_ROWS, PARTS, Texts, each
from winnow.core.words import classes
from winnow.curate.kernels import SIZE, project_words, slots_of
from winnow.curate.verdict import Positions
from winnow.models import pretrained

Vectors = NDArray[np.float32]

SLOTS = 1 << 20
"""Words are counted by the first 20 bits of their hashes."""


def by_words(table: pa.Table, rows: Positions, order: NDArray[np.int64]) -> Vectors:
    """TF-IDF of words, projected at random to 256 numbers: lexical, no model of a language.

    The cosine of two vectors is that of their TF-IDF vectors, (1 + log tf) * (1 + log(n / df)), but
    for the error of a projection by random signs (Achlioptas 2003, Database-friendly random
    projections). A word is a run of letters and digits in NFKC and lower case. A row without words
    is all zero, like nothing else.

    Args:
        table: has texts.
        rows: their ascending positions.
        order: which of `rows` each vector is of.
    """
    frequencies = np.zeros(SLOTS, np.int64)
    for slots in each(table, rows, lambda texts: slots_of(*texts, classes()), "words", bare=True):
        frequencies += np.bincount(slots, minlength=SLOTS)
    weights = 1 + np.log(len(rows) / np.maximum(frequencies, 1))
    weights = weights.astype(np.float32)

    def project(texts: Texts) -> Vectors:
        found: Vectors = project_words(*texts, classes(), weights)
        return found

    places, at = np.argsort(order), 0
    vectors = np.empty((len(rows), SIZE), np.float32)
    for found in each(table, rows, project, "vectors", bare=True):
        vectors[places[at : at + len(found)]] = found
        at += len(found)
    return vectors


def _load(model: str, revision: str | None) -> Any:
    """The model, of a folder or of a commit on the hub; its weights are safetensors, no code runs.

    Raises:
        Refusal: it cannot be had in this way.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise Refusal(
            "model: sentence-transformers is not installed: pip install -e '.[semantic]'"
        ) from None
    with at("model"):
        folder = pretrained.folder(model, revision)
    with loading(f"model: {model!r} cannot be loaded"):
        return SentenceTransformer(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )


def by_model(table: pa.Table, order: Positions, model: str, revision: str | None = None) -> Vectors:
    """What a sentence-transformers model makes of the rows at `order`, read as one text each.

    It reads a text only up to its own limit of tokens; the GPU is taken if there is one.

    Args:
        table: has texts.
        order: positions; batches are made in it, as a batch decides the last bits.
        model: a folder, or a hub id together with `revision`.
        revision: the hub id's commit, 40 hex digits.

    Raises:
        Refusal: the model cannot be had.
    """
    encoder = _load(model, revision)
    found = []
    with progress(None, "vectors", "rows", len(order)) as bar:
        for start in range(0, len(order), CHUNK_ROWS):
            chosen = order[start : start + CHUNK_ROWS]
            parts = table.select(PARTS).take(chosen).columns
            texts = pc.binary_join_element_wise(*parts, "\n").to_pylist()
            vectors = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
            if not np.isfinite(vectors).all():
                raise Refusal(f"the model {model} gives vectors that are no numbers")
            found.append(np.asarray(vectors, np.float32))
            bar.update(len(chosen))
    return np.concatenate(found)
