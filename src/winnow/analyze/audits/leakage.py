"""Does a tier hold near-duplicates of held-out rows?"""

from collections.abc import Iterable

import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.analyze.study import SPLITS, read_draw
from winnow.core.layout import CURATED


def leakage(draws: Iterable[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Per draw of a tier and held-out split: its rows in a duplicate cluster of which the split has
    rows, and such clusters. The hold-out goes by cluster, so anything but 0 is a fault."""
    train, *held_out = (
        pq.read_table(CURATED / f"{split}.parquet", columns=["cluster"])["cluster"]
        for split in SPLITS
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for draw in draws:
        clusters = train.take(read_draw(draw))
        found[draw] = {}
        for split, others in zip(SPLITS[1:], held_out, strict=True):
            shared = clusters.filter(pc.is_in(clusters, value_set=others.combine_chunks()))
            found[draw][split] = {"rows": len(shared), "clusters": len(shared.unique())}
    return found
