"""Rows that are not like those that somebody chose: a judge learned here, without a download.

Logistic regression on hashed words, signs and pairs of them (Weinberger et al. 2009, Feature
hashing for large scale multitask learning), fitted on a labelled file of the user's. It tells kinds
of text apart, not truth from error: what it is worth is for a held-out part of the labels to say.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.ngrams import unit_vectors
from winnow.core.progress import progress
from winnow.core.records import prose
from winnow.core.texts import PARTS, content_hashes, parts, plain, taken
from winnow.curate.numbers import Linear
from winnow.curate.verdict import Positions, Verdict, step

KEY = "labelled"


def _records(path: Path) -> list[Any]:
    """The rows of a Parquet file, or of JSON lines."""
    try:
        if path.suffix == ".parquet":
            rows: list[Any] = pq.read_table(path).to_pylist()
            return rows
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        raise Refusal(f"{KEY}: no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise Refusal(f"{KEY}: {path} is no Parquet file and no JSON lines: {error}") from None


def _is_labelled(row: Any) -> bool:
    """Whether a record is a pair with a label; the input may be empty, null or missing."""
    if not isinstance(row, dict) or row.get("label") not in (True, False):
        return False
    texts = [row.get("instruction"), row.get("input") or "", row.get("response")]
    return all(isinstance(text, str) for text in texts) and bool(texts[0] and texts[2])


def read_labelled(path: Path) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The labelled rows, each content once and in the order of content hashes, and their labels.

    Raises:
        Refusal: the file is missing, a row is not as it should be, one content has two labels,
            or all have the same one.
    """
    rows = _records(path)
    for number, row in enumerate(rows, 1):
        if not _is_labelled(row):
            found = f"a {type(row).__name__}"
            if isinstance(row, dict):
                names = [f"{key} (empty)" if row[key] in ("", None) else str(key) for key in row]
                found = f"{', '.join(names)}, and label {row.get('label')!r}"
            raise Refusal(
                f"{KEY}: {path}, row {number}: expected an instruction and a response that are "
                f"not empty, maybe an input, and a label of true or false, found {found}"
            )
    table = pa.table(
        {name: pa.array([row.get(name) or "" for row in rows], pa.string()) for name in PARTS}
    )
    labels = np.array([bool(row["label"]) for row in rows], bool)
    hashes = np.array(content_hashes(table).to_pylist(), str)
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    differ = labels[order][1:] != labels[order][:-1]
    if (same & differ).any():
        first, second = sorted(order[np.flatnonzero(same & differ)[0] :][:2] + 1)
        raise Refusal(f"{KEY}: {path}: rows {first} and {second} are one text with two labels")
    once = order[np.append(True, ~same)[: len(order)]]
    if len(np.unique(labels)) < 2:
        raise Refusal(
            f"{KEY}: {path}: expected rows of both labels, found {len(rows)} rows, "
            f"{labels.sum()} of them true"
        )
    return table.take(once).append_column("hash", pa.array(hashes[once])), labels[once]


def fit(table: pa.Table, labels: NDArray[np.bool_], seed: int = 0) -> Any:
    """Fit scikit-learn's classifier; the order of the rows and the seed matter to the last bits."""
    from sklearn.linear_model import SGDClassifier

    texts = plain(table, np.arange(len(table))).to_pylist()
    return SGDClassifier(loss="log_loss", random_state=seed).fit(unit_vectors(texts), labels)


def probabilities(model: Any, table: pa.Table, rows: Positions) -> NDArray[np.float64]:
    """Of some rows, that their label would be true."""
    found = [np.zeros(0)]
    with progress(None, "linear", "rows", len(rows)) as bar:
        for part in parts(table.select(PARTS), rows):
            texts = prose(taken(part)).to_pylist()
            found.append(model.predict_proba(unit_vectors(texts))[:, 1])
            bar.update(len(texts))
    return np.concatenate(found)


def _places(table: pa.Table, rows: Positions, hashes: pa.Array) -> NDArray[np.int32]:
    """By row its content's place among some hashes, or -1."""
    found = [np.zeros(0, np.int32)]
    for part in parts(table.select(["hash"]), rows):
        found.append(pc.index_in(taken(part)["hash"], hashes).fill_null(-1).to_numpy())
    return np.concatenate(found)


@step
def linear(table: pa.Table, rows: Positions, numbers: Linear) -> Verdict:
    """Drop rows that are less probable than `minimum` to be labelled true.

    A row whose content is in the labelled file goes by its label, not by what was learned from it.

    Args:
        table: has texts and hashes; the question and the response are judged together, as
            `texts.plain`.
        rows: the positions of those that are left.
        numbers: see `Linear`.

    Raises:
        Refusal: see `read_labelled`.
    """
    known, labels = read_labelled(Path(numbers.labelled))
    found = probabilities(fit(known, labels, numbers.seed), table, rows)
    given = _places(table, rows, known["hash"].combine_chunks())
    gone = np.where(given < 0, found < numbers.minimum, ~labels[given])
    reasons = [
        f"linear model below {numbers.minimum:g}" if place < 0 else "labelled false"
        for place in given[gone]
    ]
    because = [
        f"{share:.2f}" if place < 0 else None
        for share, place in zip(found[gone], given[gone], strict=True)
    ]
    return Verdict(rows[gone], reasons, pa.array(because, pa.string()))
