"""What is drawn from the kept rows: validation and test by cluster, rows for the tokenizer."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.texts import rows_at
from winnow.curate.columns import codes_at, keys, keys_at
from winnow.curate.kernels import fill
from winnow.curate.verdict import Positions, marks


def sample(table: pa.Table, rows: Positions, number: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `number` of the rows, the same ones whatever the order of the table."""
    found = keys_at(table, "hash", rows, seed)
    if number < len(rows):
        among = found <= np.partition(found, number)[number]
        rows, found = rows[among], found[among]
    drawn = pa.table({"key": found, "id": rows_at(table.select(["id"]), rows)["id"]})
    order = pc.sort_indices(drawn, [("key", "ascending"), ("id", "ascending")])
    chosen: NDArray[np.int64] = rows[order[:number].to_numpy()]
    return chosen


def _quotas(names: pa.Array, rows: NDArray[np.int64], number: int, seed: str) -> NDArray[np.int64]:
    """Share `number` among sources by their rows: each one's share, rounded down or up by chance.

    Systematic sampling (Madow 1949, On the theory of systematic sampling II): the sources lie in a
    random order side by side on a line, and a comb of `number` teeth falls on it. So a source of
    one row has the chance of any other row, which the largest remainders would leave none.
    """
    order = np.argsort(keys(names, seed))
    start = int(keys(pa.array([""]), seed)[0] % rows.sum())
    teeth = (np.cumsum(rows[order]) * number + start) // rows.sum()
    quotas = np.empty_like(rows)
    quotas[order] = np.diff(teeth, prepend=0)
    return quotas


def of_sources(table: pa.Table, rows: Positions, sources: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the rows lie in a cluster that has rows of these sources alone.

    Raises:
        Refusal: none does.
    """
    source = codes_at(table, "source", rows)
    names, cluster = np.unique(keys_at(table, "cluster", rows, 0), return_inverse=True)
    is_other = ~pc.is_in(source.dictionary, pa.array(sources)).to_numpy(zero_copy_only=False)
    is_shared = marks(len(names), cluster[is_other[source.indices]])
    found: NDArray[np.bool_] = ~is_shared[cluster]
    if not found.any():
        known = ", ".join(sorted(source.dictionary.to_pylist())[:6])
        raise Refusal(
            "params.yaml: curate.hold_out_sources: no row of these sources alone is left; the "
            f"sources are {known}"
        )
    return found


def hold_out(
    table: pa.Table, rows: Positions, asked: dict[str, int], seed: int
) -> tuple[NDArray[np.int8], list[str]]:
    """Assign every row to a split: 0 for train, k for the k-th of `asked`; and what to warn of.

    Whole clusters are drawn, so that no near duplicate of a training row is tested:

        source a   [##][#][####][#][#]     [..] a cluster, # a row, the order is drawn
        quota 4     test       test        2 + 1, [####] does not fit the rest of 1, + 1
        source b   [#####][######]
        quota 2                            nothing fits: 2 rows are to be had elsewhere
        all        [#][####][#####]...     the smallest clusters that are left, by size, then drawn:
                   test                    [#] is taken, [####] is too large for the rest of 1

    Every source first fills its quota (see `_quotas`), passing over clusters that do not fit; what
    is missing then comes from the smallest clusters of all sources. So a split has as many rows
    as are asked for, or fewer by less than any cluster that is left. All orders are hashes of
    seed and names: the order of rows decides nothing. A cluster of several sources counts as of
    the first of them by name. Time is n log n in the clusters: a second for a million.

    Args:
        table: has clusters and sources.
        rows: the positions of those that are left.
        asked: the rows of every split, 1 or more.
        seed: of all orders.

    Raises:
        Refusal: more than half of the rows would be held out, or whole clusters give less than
            half of a split.
    """
    total = sum(asked.values())
    if total * 2 > len(rows):
        raise Refusal(
            f"params.yaml: curate: {total} rows to hold out of {len(rows)} is more than half; "
            "lower curate.validation and curate.test"
        )
    # A cluster is its key: of 10**8 two are alike once in 3,700 corpora, and then go together.
    drawn, cluster = np.unique(keys_at(table, "cluster", rows, seed), return_inverse=True)
    source = codes_at(table, "source", rows)
    by_name = pc.rank(source.dictionary, tiebreaker="first").to_numpy().astype(np.int64) - 1
    names = source.dictionary.take(np.argsort(by_name))
    sizes = np.bincount(cluster)
    sources = np.full(len(sizes), len(by_name))
    np.minimum.at(sources, cluster, by_name[source.indices])
    per_source = np.bincount(sources, sizes, len(names)).astype(np.int64)
    in_order, smallest_first = np.arange(len(sizes)), np.argsort(sizes, kind="stable")
    split, warnings = np.zeros(len(sizes), np.int8), []
    for index, (name, number) in enumerate(asked.items(), 1):
        room = _quotas(names, per_source, number, f"{seed}:{name}")
        fill(in_order, sizes, sources, room, split, index)
        missing = np.array([room.sum()])
        fill(smallest_first, sizes, np.zeros_like(sources), missing, split, index)
        warnings += _accept(name, number, number - int(missing[0]), sizes[split == 0])
    return split[cluster], warnings


def _accept(name: str, asked: int, drawn: int, left: NDArray[np.int64]) -> list[str]:
    """Warn of a split that has fewer rows than are asked for, or refuse less than half of them."""
    if drawn == asked:
        return []
    clusters = f"{drawn} of the {asked} rows asked for: the smallest cluster left has {left.min()}"
    if drawn * 2 < asked:
        raise Refusal(
            f"params.yaml: curate.{name}: whole clusters of duplicates give {clusters} rows; ask "
            "for more rows, or drop duplicates by a step (near with keep: one)"
        )
    return [f"{name} holds {clusters} rows, and clusters are not cut"]
