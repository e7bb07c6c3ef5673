"""Arms of the same rows: what every recipe made of the same parents, and what each lost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from winnow.core import cards
from winnow.core.errors import Refusal
from winnow.core.files import fingerprint
from winnow.generate.params import GenerateConfig

SHOWN = 3
"""Reasons that a refusal names for each recipe."""


def _made(shards: Sequence[Path]) -> tuple[set[str], Counter[str]]:
    """The parents that a recipe has a row of, and why others have none; a shard that failed counts
    with all of its rows."""
    parents, reasons = set[str](), Counter[str]()
    for shard in shards:
        failed = bool(cards.read_card(shard, "winnow generate")["failures"])
        for row in pq.read_table(shard / "made.parquet").to_pylist():
            reason = row["reason"] or ("its shard failed" if failed else None)
            if reason:
                reasons[reason] += 1
            else:
                parents.add(row["parent"])
    return parents, reasons


def parents(
    settings: GenerateConfig, made: Mapping[str, Sequence[Path]], card: dict[str, Any]
) -> set[str]:
    """The parents whose rows are published, of which every recipe has one; the card takes what each
    recipe lost, and why.

    Args:
        settings: aligned.
        made: the folders of each recipe's shards.
        card: of what is published.

    Raises:
        Refusal: they are too few.
    """
    assert settings.aligned
    found = {item.name: _made(made.get(item.name, ())) for item in settings.items()}
    shared = set.intersection(*(rows for rows, _ in found.values()))
    asked = max(len(rows) + reasons.total() for rows, reasons in found.values())
    card["aligned"] = {
        "asked": asked,
        "rows": len(shared),
        "recipes": {
            name: {"rows": len(rows), "dropped": dict(sorted(reasons.items()))}
            for name, (rows, reasons) in found.items()
        },
    }
    said = "; ".join(
        f"{name} {len(rows):,}"
        + "".join(f", {count:,} {reason}" for reason, count in reasons.most_common(SHOWN))
        for name, (rows, reasons) in found.items()
    )
    if len(shared) < settings.aligned.min_yield * asked:
        raise Refusal(
            f"params.yaml: generate.aligned.min_yield: all recipes have {len(shared):,} of "
            f"{asked:,} rows, a share below {settings.aligned.min_yield}: {said}"
        )
    chosen = set(sorted(shared, key=fingerprint)[: settings.aligned.rows])
    card["aligned"]["published"] = len(chosen)
    print(f"generate: all recipes have {len(shared):,} of {asked:,} rows: {said}")
    return chosen
