"""What threads share: a value that one of them makes for all, and items that are made ahead."""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Give the items in their order, while another thread makes the next one.

    One item more is in memory. What the making raises is raised here, in place of its item; when
    the caller ends early, it waits for the item that is being made.
    """
    made = iter(items)
    with ThreadPoolExecutor(1) as maker:
        following = maker.submit(_next, made)
        while item := following.result():
            following = maker.submit(_next, made)
            yield item[0]


def _next(made: Iterator[T]) -> tuple[T] | None:
    """The next item, or nothing at the end."""
    for item in made:
        return (item,)
    return None
