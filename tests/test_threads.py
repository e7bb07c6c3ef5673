"""One thread makes what all of them use, and the next item is made beside the one in use."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from winnow.core.threads import ahead, once


def test_threads_that_ask_at_once_get_what_one_of_them_made() -> None:
    made, asking = list[int](), threading.Barrier(8)

    @once
    def square(number: int) -> int:
        made.append(number)
        return number * number

    def ask(number: int) -> int:
        asking.wait()
        return square(number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, [3, 4] * 4)) == [9, 16] * 4
    assert sorted(made) == [3, 4]


def test_the_next_item_is_made_while_one_is_used() -> None:
    third = threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        third.set()
        yield 3

    items = ahead(numbers())
    assert next(items) == 1 and not third.is_set()
    assert next(items) == 2 and third.wait(60)
    assert list(items) == [3]
    assert list(ahead(iter([]))) == []


def test_what_the_making_raises_is_raised_where_its_item_would_be() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    items = ahead(numbers())
    assert next(items) == 1
    with pytest.raises(KeyError, match="two"):
        next(items)
