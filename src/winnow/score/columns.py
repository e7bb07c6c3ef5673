"""One column of the score table: its numbers, which lie in a file, and what they took."""

import functools
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from winnow.core import engine, mapped
from winnow.core.errors import at
from winnow.core.progress import progress
from winnow.score.corpus import SPLITS, Corpus, RowGroup
from winnow.score.params import Item
from winnow.score.scorers import Ready

REASONS = 100
"""Reasons without a score that are counted one by one."""
REASON_CHARACTERS = 200
OTHERS = "(other reasons)"
T = TypeVar("T", bound=Sized)


@dataclass(frozen=True, slots=True)
class Scored:
    """Some rows' numbers, and how many rows have none by reason."""

    numbers: pa.Array
    """Floats, null where there is none."""
    unscored: Counter[str]

    def __len__(self) -> int:
        return len(self.numbers)


def work_on_rows(
    work: Callable[[pa.RecordBatch], T], corpus: Corpus, splits: Sequence[str], rows: int
) -> Iterator[T]:
    """Do some work on all rows of the splits, by the engine, and give the results in their order.

    Args:
        work: on a batch, which another machine can be sent.
        corpus: whose files every machine reads by itself, a row group at a time.
        splits: the names of the splits.
        rows: of a batch, at most.
    """
    groups = (group for split in splits for group in corpus.row_groups(split))
    on_group = functools.partial(_on_group, work, rows)
    return itertools.chain.from_iterable(engine.each(on_group, groups))


def _on_group(work: Callable[[pa.RecordBatch], T], rows: int, group: RowGroup) -> list[T]:
    return [work(batch) for batch in group.batches(rows)]


def shown(results: Iterable[T], name: str, total: int) -> Iterator[T]:
    """Give the results of `total` rows on, and show how many rows have one."""
    with progress(None, f"score: {name}", "rows", total) as bar:
        for result in results:
            bar.update(len(result))
            yield result


def by_split(table: pa.Table, sizes: Mapping[str, int]) -> dict[str, pa.Table]:
    """Cut the rows of all splits, one behind the other, where each of them ends."""
    ends = itertools.accumulate(sizes.values())
    return {
        split: table.slice(end - size, size)
        for (split, size), end in zip(sizes.items(), ends, strict=True)
    }


@dataclass(frozen=True, slots=True)
class _Work:
    """A scorer's work on a batch, as another machine can be sent it."""

    name: str
    ready: Ready

    def __call__(self, rows: pa.RecordBatch) -> Scored:
        """Score rows.

        Raises:
            TypeError: the scorer gives anything but a finite number or a reason for each, which is
                a bug of the scorer.
        """
        scores = self.ready(rows)
        if len(scores) != len(rows):
            raise TypeError(f"{self.name}: expected {len(rows)} scores, found {len(scores)}")
        unscored, numbers = Counter[str](), list[float | None]()
        for score in scores:
            if isinstance(score, str):
                unscored[score[:REASON_CHARACTERS]] += 1
            elif not math.isfinite(score):
                raise TypeError(
                    f"{self.name}: expected a finite number or a reason, found {score!r}"
                )
            numbers.append(None if isinstance(score, str) else float(score))
        return Scored(pa.array(numbers, pa.float64()), unscored)


def _found(work: _Work, corpus: Corpus, splits: Sequence[str], rows: int) -> Iterator[Scored]:
    """A scorer's work on all rows of the splits, where the scorer says."""
    if work.ready.is_parallel and not work.ready.reads_scores:
        return work_on_rows(work, corpus, splits, rows)
    read = _with_scores if work.ready.reads_scores else Corpus.batches
    return map(work, (batch for split in splits for batch in read(corpus, split, rows)))


def _with_scores(corpus: Corpus, split: str, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a split beside what was scored of them before."""
    start = 0
    for batch in corpus.batches(split, rows):
        scores = corpus.scores[split].slice(start, len(batch)).combine_chunks()
        start += len(batch)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in scores.column_names:
            column = scores[name].combine_chunks()
            columns[name] = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        yield pa.RecordBatch.from_pydict(columns)


def cost(
    corpus: Corpus, seconds: float, flops: float | None = None, splits: Sequence[str] = SPLITS
) -> dict[str, Any]:
    """What the scoring of the rows that were kept took, of the time and work on all of `splits`."""
    total = sum(len(corpus.scores[split]) for split in splits)
    kept = corpus.num_rows() - len(corpus.scores["dropped"])
    return {
        "rows": kept,
        "rows_per_second": total / seconds if total else None,
        "seconds": kept * seconds / total if total else None,
        "flops": None if flops is None else kept * flops / total if total else 0.0,
    }


def score(
    item: Item, corpus: Corpus, rows: int
) -> tuple[dict[str, pa.Table], dict[str, Any], dict[str, Any]]:
    """Score all rows by one scorer.

    Args:
        item: the scorer and the name of its column.
        corpus: the rows, and the columns that there are.
        rows: of a batch, which is what is in memory at once.

    Returns:
        The score tables with the column; its cost, learning and loading among it; and what the card
        says of it.
    """
    began = time.perf_counter()
    schema, unscored = pa.schema([(item.column, pa.float64())]), Counter[str]()
    with at(item.place):
        ready = item.settings.prepare(corpus)
        splits = SPLITS if ready.scores_dropped else SPLITS[:-1]
        total = sum(len(corpus.scores[split]) for split in splits)
        found = _found(_Work(item.name, ready), corpus, splits, rows)

        def numbers() -> Iterator[pa.RecordBatch]:
            for part in shown(found, item.column, total):
                _add(unscored, part.unscored)
                yield pa.record_batch([part.numbers], schema)
            yield pa.record_batch([pa.nulls(corpus.num_rows() - total, pa.float64())], schema)

        scored = mapped.written(schema, numbers())
        notes = ready.notes()
    columns = by_split(scored, {split: len(table) for split, table in corpus.scores.items()})
    tables = {
        split: table.append_column(item.column, columns[split][item.column])
        for split, table in corpus.scores.items()
    }
    taken = cost(corpus, time.perf_counter() - began, ready.flops, splits)
    return tables, taken, {"best": item.settings.best, "unscored": unscored, **notes}


def _add(total: Counter[str], more: Mapping[str, int]) -> None:
    """Count reasons, no more than REASONS of them by name: a scorer may have one a row."""
    for reason, number in more.items():
        known = reason in total or len(total) < REASONS
        total[reason if known else OTHERS] += number
