"""Progress of a long job: rows or tokens a second and the time left, on stderr."""

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SILENCE = 10
"""Seconds after which a bar is drawn again, even if nothing moved it."""


class _Bar(tqdm):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ended = threading.Event()
        super().__init__(*arguments, **options)
        if not self.disable:
            known = weakref.ref(self), self.ended
            threading.Thread(target=_keep_drawn, args=known, daemon=True).start()

    def tell(self, text: str) -> None:
        """Say something beside the count, when the bar is next drawn."""
        self.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        self.ended.set()
        super().close()


def _keep_drawn(bar: "weakref.ref[_Bar]", ended: threading.Event) -> None:
    """Draw a bar that nothing moves. It is not held: one that an error left is closed with it."""
    while not ended.wait(SILENCE):
        shown = bar()
        if shown is None:
            return
        if shown._time() - shown.last_print_t >= SILENCE:
            shown.refresh()
        del shown


def progress(
    items: Iterable[Any] | None, name: str, unit: str, total: int | None = None, shown: bool = True
) -> Any:
    """A tqdm bar, in a log file a line every ten seconds; none where the total is known to be 0."""
    quiet = not sys.stderr.isatty()
    return _Bar(
        items,
        name,
        total,
        unit=unit,
        unit_scale=True,
        disable=not shown or total == 0,
        mininterval=SILENCE if quiet else 0.1,
        dynamic_ncols=not quiet,
    )
