"""What else decides on which side of the hold-out a row stands: its group, such as the article that
it is about, or a hold-out that was drawn elsewhere."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import cards, files
from winnow.core.errors import Refusal
from winnow.core.mapping.fields import plain_name
from winnow.core.records import KEPT
from winnow.core.texts import parts
from winnow.core.texts import taken as taken_from
from winnow.curate.columns import codes
from winnow.curate.steps import replaced
from winnow.curate.verdict import Positions, marks

COMMAND = "winnow curate"


def joined(table: pa.Table, rows: Positions, group: str) -> pa.Table:
    """The table with larger clusters: rows of one group and rows of one cluster are together, and
    so is what hangs together by both. A row without a value is no part of a group.

    Args:
        table: has clusters, and the column that ingest kept.
        rows: the positions of those that are left, whose clusters count.
        group: the column's name.

    Raises:
        Refusal: ingest kept no such column, or it is empty.
    """
    # Here, as every other curation would wait for it too.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    name = f"{KEPT}{plain_name(group)}"
    if name not in table.column_names:
        raise Refusal(
            f"params.yaml: curate.group: ingest kept no column {group!r}: name it in ingest.keep"
        )
    left = table.select([name, "cluster"]).take(rows)
    filled = pc.not_equal(left[name], "").to_numpy(zero_copy_only=False)
    if not filled.any():
        raise Refusal(f"params.yaml: curate.group: the column {group!r} is empty in every row")
    by_group, by_cluster = codes(left[name]), codes(left["cluster"])
    clusters = by_cluster.indices.to_numpy()
    ends = clusters[filled], by_group.indices.to_numpy()[filled] + len(by_cluster.dictionary)
    number = len(by_cluster.dictionary) + len(by_group.dictionary)
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(number, number))
    _, component = connected_components(graph, directed=False)
    # A component goes by the first of its clusters' names, so that no order of rows decides.
    order = pc.sort_indices(by_cluster.dictionary).to_numpy()
    first = np.full(number, -1)
    first[component[order[::-1]]] = order[::-1]
    names = by_cluster.dictionary.take(pa.array(first[component[clusters]]))
    return replaced(table, "cluster", marks(len(table), rows), names)


@dataclass(frozen=True, slots=True)
class Taken:
    """A hold-out that was drawn elsewhere."""

    source: Path
    sizes: dict[str, int]
    """Rows by split."""
    fingerprint: str
    """Of the folder's files."""

    def copy(self, folder: Path) -> dict[str, int]:
        """Put it in the place of the empty splits of a folder, and say how many rows each has."""
        for name in self.sizes:
            shutil.copyfile(self.source / f"{name}.parquet", folder / f"{name}.parquet")
        return self.sizes


def taken(source: str, table: pa.Table, rows: Positions, splits: list[str]) -> Taken:
    """The hold-out of a folder that curate wrote.

    Args:
        source: the folder.
        table: has content hashes.
        rows: the positions of the rows to be trained on.
        splits: the names of the splits that are held out.

    Raises:
        Refusal: the folder is not what curate wrote, or a row to be trained on is held out there.
    """
    folder = Path(source)
    card = cards.read_card(folder, f"{COMMAND} in {folder}")
    held = {name: pq.read_table(folder / f"{name}.parquet", columns=["hash"]) for name in splits}
    hashes = pa.concat_arrays([part["hash"].combine_chunks() for part in held.values()])
    own = (taken_from(part)["hash"] for part in parts(table.select(["hash"]), rows))
    if number := sum(pc.is_in(part, value_set=hashes).true_count for part in own):
        raise Refusal(
            f"params.yaml: curate.held_out: {number} of the rows to be trained on are held out in "
            f"{source}: make the corpus of its train.parquet"
        )
    sizes = {name: len(part) for name, part in held.items()}
    return Taken(folder, sizes, files.fingerprint(card["files"]))
