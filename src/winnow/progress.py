"""Progress of a long job: rows or tokens a second and the time left, on stderr."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    items: Iterable[Any] | None, name: str, unit: str, total: int | None = None, shown: bool = True
) -> Any:
    """A tqdm bar, in a log file a line every ten seconds; none where the total is known to be 0."""
    quiet = not sys.stderr.isatty()
    return tqdm(
        items,
        name,
        total,
        unit=unit,
        unit_scale=True,
        disable=not shown or total == 0,
        mininterval=10 if quiet else 0.1,
        dynamic_ncols=not quiet,
    )
