"""One thread makes what all of them use, and work goes on behind what makes its items."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from winnow.core.threads import behind, once


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


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made, worked = threading.Event(), list[int]()

    def numbers() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    def work(number: int) -> None:
        assert made.wait(60)
        worked.append(number)

    behind(work, numbers())
    assert worked == [1, 2]


def test_what_the_work_raises_ends_it() -> None:
    worked = list[int]()

    def work(number: int) -> None:
        worked.append(number)
        if number == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        behind(work, range(9))
    assert worked == [0, 1]
    with pytest.raises(OSError, match="full"):
        behind(work, [1])
