"""Ctrl-C and SIGTERM while a training runs: it may go on to where it can be continued."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noted() -> Iterator[Callable[[], int]]:
    """Note the first SIGINT and the first SIGTERM of the block instead of ending by them.

    A second one of the same kind ends the process as it would without this. Whoever forwards a
    Ctrl-C as a SIGTERM, as MLflow does, is one that asks once. What nobody heeded is sent again
    at the end of the block. A signal that the process was told to ignore stays ignored.

    Yields:
        A function that gives the number of the first signal so far, 0 if there was none.
    """
    first = 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        nonlocal first
        first = first or number
        signal.signal(number, handlers[signal.Signals(number)])

    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield lambda: first
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if first:
        signal.raise_signal(first)
