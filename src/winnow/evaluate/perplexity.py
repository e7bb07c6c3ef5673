"""Loss per token on the shared test set, row by row, so that arms can be compared in pairs."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.nn import functional

from winnow.core.progress import progress
from winnow.core.records import ITEM_SCHEMA, Row
from winnow.models.tokenizer import Vocabulary

IGNORED = -100

Window = tuple[list[int], list[int], int]
"""Inputs, targets, and the number of targets before the response."""


def _windows(
    ids: list[int], response_from: int, context: int, end_of_text: int
) -> Iterator[Window]:
    """Cut one document into windows of the context.

    The document starts behind an end-of-text, as in training, and ends with one, so that every
    token is a target once. Past the model's context a window starts with the last token alone.
    """
    stream = [end_of_text, *ids, end_of_text]
    for start in range(0, len(stream) - 1, context):
        inputs = stream[start : start + context]
        targets = stream[start + 1 : start + 1 + context]
        yield inputs[: len(targets)], targets, min(max(response_from - start, 0), len(targets))


@torch.no_grad()
def _token_losses(model: torch.nn.Module, windows: list[Window]) -> list[tuple[float, float]]:
    """Summed losses of some windows, in nats: of all targets, and of the response's.

    Padding is on the right, where causal attention cannot see it."""
    width = max(len(inputs) for inputs, _, _ in windows)
    inputs = torch.zeros(len(windows), width, dtype=torch.long)
    targets = torch.full((len(windows), width), IGNORED)
    for index, (given, wanted, _) in enumerate(windows):
        inputs[index, : len(given)] = torch.tensor(given)
        targets[index, : len(wanted)] = torch.tensor(wanted)
    device = next(model.parameters()).device
    logits = model(input_ids=inputs.to(device)).logits.float()
    losses = functional.cross_entropy(
        logits.transpose(1, 2), targets.to(device), ignore_index=IGNORED, reduction="none"
    ).double()
    return [
        (float(row[: len(given)].sum()), float(row[before : len(given)].sum()))
        for row, (given, _, before) in zip(losses.cpu(), windows, strict=True)
    ]


def item_losses(
    model: torch.nn.Module,
    rows: list[Row],
    quintiles: list[int],
    vocabulary: Vocabulary,
    context: int,
    batch_size: int,
) -> pd.DataFrame:
    """Summed losses of every test row (ITEM_SCHEMA), whatever the batch size.

    Args:
        model: in evaluation mode and fp32.
        rows: the test set.
        quintiles: each row's score quintile, 1 to 5.
        vocabulary: the tokenizer.
        context: the model's positions.
        batch_size: windows a forward pass.
    """
    encodings = vocabulary.encodings([row.text for row in rows])
    windows = []
    for index, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
        border = len(row.prompt)
        response_from = sum(start < border for start, _ in encoding.offsets)
        parts = _windows(encoding.ids, response_from, context, vocabulary.end_of_text)
        windows += [(index, part) for part in parts]
    windows.sort(key=lambda item: len(item[1][0]))
    table = pd.DataFrame(0, index=range(len(rows)), columns=ITEM_SCHEMA.names[3:])
    table[["loss", "response_loss"]] = 0.0
    values = table.to_numpy(dtype=float)
    place = {name: index for index, name in enumerate(table.columns)}
    for start in progress(range(0, len(windows), batch_size), "perplexity", "batches"):
        batch = windows[start : start + batch_size]
        losses = _token_losses(model, [part for _, part in batch])
        for (index, (_, targets, before)), (loss, response) in zip(batch, losses, strict=True):
            values[index, place["loss"]] += loss
            values[index, place["num_tokens"]] += len(targets)
            values[index, place["response_loss"]] += response
            values[index, place["response_tokens"]] += len(targets) - before
    values[:, place["num_bytes"]] = [len(row.text.encode()) for row in rows]
    found = pd.DataFrame(values, columns=table.columns).astype(
        {"num_tokens": "int64", "num_bytes": "int64", "response_tokens": "int64"}
    )
    head = {"id": [row.id for row in rows], "source": [row.source for row in rows]}
    return pd.concat([pd.DataFrame(head | {"quintile": quintiles}), found], axis=1)


def summarise(items: pd.DataFrame) -> dict[str, float]:
    """Loss per token in nats, its perplexity, bits per byte, over some test rows."""
    loss = items["loss"].sum() / items["num_tokens"].sum()
    response = items["response_loss"].sum() / items["response_tokens"].sum()
    return {
        "loss": float(loss),
        "perplexity": math.exp(loss),
        "bits_per_byte": float(items["loss"].sum() / math.log(2) / items["num_bytes"].sum()),
        "response_loss": float(response),
        "response_perplexity": math.exp(response),
        "num_rows": len(items),
        "num_tokens": int(items["num_tokens"].sum()),
        "num_bytes": int(items["num_bytes"].sum()),
        "response_tokens": int(items["response_tokens"].sum()),
    }


def strata(items: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """The same figures by score quintile, by source, and by fifths of length in tokens.

    Rows of one length are of one fifth, so that fifths differ in size where lengths repeat.
    """
    borders = np.quantile(items["num_tokens"], [0.2, 0.4, 0.6, 0.8])
    items = items.assign(length=np.searchsorted(borders, items["num_tokens"]) + 1)
    return {
        column: {str(name): summarise(part) for name, part in items.groupby(column)}
        for column in ("quintile", "source", "length")
    }


def unigram_loss(train: pa.Array, test: pa.Array, vocabulary: Vocabulary) -> float:
    """Loss per token on the test texts of token frequencies of the training texts (plus one)."""
    seen = np.concatenate(vocabulary.encode(train))
    counts = np.bincount(seen, minlength=vocabulary.size) + 1
    targets = np.concatenate(vocabulary.encode(test))
    return float(-np.log(counts / counts.sum())[targets].mean())
