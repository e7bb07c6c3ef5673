"""The best-scored rows that differ most from each other: greedy k-center (Gonzalez 1985).

Of twice as many best-scored rows the first one is taken, then again and again the row whose nearest
chosen one is the farthest (as Sener and Savarese 2018 choose core-sets). A row is a vector of its
hashed words and pairs of words, in whole numbers: products are exact, so every machine chooses the
same rows. It costs rows chosen x candidates x 256 products, and 1 kB a candidate: see
docs/score.md for the time.
"""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.core import ngrams
from winnow.core.layout import CURATED
from winnow.core.records import ROW_SCHEMA, prose
from winnow.select.pool import Pool

CANDIDATES = 2
"""Times the rows to choose: of more, scores decide less."""
SIZE, LEVELS = 256, 127
"""Numbers of a vector, and their largest: a product of two vectors stays below 2^24, up to which
32-bit floats are exact."""
CHUNK_ROWS = 4096
"""Rows whose texts are in memory at once."""


def choose(pool: Pool) -> pd.Index:
    """Choose rows, in the order in which they are taken."""
    number = min(len(pool.rows), CANDIDATES * pool.number)
    candidates = pool.first(pool.scores, number, descending=True)
    return candidates[farthest_first(_vectors(candidates.to_numpy()), pool.number)]


def _vectors(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of curated rows at some places, as [rows, SIZE]; each is about of one length."""
    found = np.empty((len(rows), SIZE), np.float32)
    order, start, done = np.argsort(rows), 0, 0
    file = pq.ParquetFile(CURATED / "train.parquet", pre_buffer=False)
    for batch in file.iter_batches(CHUNK_ROWS, columns=ROW_SCHEMA.names):
        end = done + int(np.searchsorted(rows[order][done:], start + len(batch)))
        chosen = order[done:end]
        if len(chosen):
            texts = prose(batch.take(rows[chosen] - start)).to_pylist()
            found[chosen] = np.rint(ngrams.unit_vectors(texts, SIZE).toarray() * LEVELS)
        start, done = start + len(batch), end
    return found


def farthest_first(vectors: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """The first row, then the one that is least like its nearest chosen one; ties go to the first.

    Args:
        vectors: of all candidates, (candidates, size).
        number: rows to choose.

    Returns:
        Their places, in the order in which they are chosen.
    """
    chosen = np.zeros(number, np.int64)
    nearest = vectors @ vectors[0]
    nearest[0] = np.inf
    for place in range(1, number):
        chosen[place] = nearest.argmin()
        np.maximum(nearest, vectors @ vectors[chosen[place]], out=nearest)
        nearest[chosen[place]] = np.inf
    return chosen
