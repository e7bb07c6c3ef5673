"""Losses on the shared test set, row by row, so that arms can be compared in pairs."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.metrics import METRICS
from winnow.core.records import Losses
from winnow.models.row_losses import RowLosses


def table(rows: pa.Table, quintiles: list[int], losses: RowLosses) -> pd.DataFrame:
    """The test rows with their summed losses: the columns of ITEM_SCHEMA."""
    head = rows.select(["id", "source"]).to_pydict()
    return pd.DataFrame(head | {"quintile": quintiles} | asdict(losses))


def summarise(items: pd.DataFrame) -> Losses:
    """Losses over some test rows."""
    loss, bits, response = (
        METRICS[name].value(items) for name in ("loss", "bits_per_byte", "response_loss")
    )
    return Losses(
        loss=loss,
        perplexity=math.exp(loss),
        bits_per_byte=bits,
        response_loss=response,
        response_perplexity=math.exp(response),
        num_rows=len(items),
        num_tokens=int(items["num_tokens"].sum()),
        num_bytes=int(items["num_bytes"].sum()),
        response_tokens=int(items["response_tokens"].sum()),
    )


def strata(items: pd.DataFrame) -> dict[str, dict[str, Losses]]:
    """The same figures by score quintile, by source, and by fifths of length in tokens.

    Rows of one length are of one fifth, so that fifths differ in size where lengths repeat.
    """
    borders = np.quantile(items["num_tokens"], [0.2, 0.4, 0.6, 0.8])
    items = items.assign(length=np.searchsorted(borders, items["num_tokens"]) + 1)
    return {
        column: {str(name): summarise(part) for name, part in items.groupby(column)}
        for column in ("quintile", "source", "length")
    }


def unigram_loss(train: NDArray[np.int32], test: NDArray[np.int32], vocab_size: int) -> float:
    """Loss per token, in nats, of the training tokens' frequencies (plus one) on test tokens."""
    counts = np.bincount(train, minlength=vocab_size) + 1
    return float(-np.log(counts / counts.sum())[test].mean())
