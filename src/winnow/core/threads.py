"""What threads share: a value that one of them makes for all, and work behind what makes items."""

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function gave, as `functools.cache` does, and let one thread alone make it.

    `functools.cache` has every thread that comes before the first is done make the value too; in
    Python they do so by turns, and each waits for as long as all of them take.
    """
    kept, making = functools.cache(make), threading.RLock()

    @functools.wraps(make)
    def shared(*args: P.args, **kwargs: P.kwargs) -> T:
        with making:
            return kept(*args, **kwargs)  # type: ignore[arg-type]

    return shared


def behind(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do some work on every item, in their order, in another thread while the next is made here.

    Two items are in memory: what is worked on, and what is made. What the work raises is raised
    here, before another item is worked on.
    """
    with ThreadPoolExecutor(1) as worker:
        working = Future[object]()
        working.set_result(None)
        for item in items:
            working.result()
            working = worker.submit(work, item)
        working.result()
