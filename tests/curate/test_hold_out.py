"""What is held out: whole clusters, every source's share, as many rows as are asked for."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.core.errors import Refusal
from winnow.curate import draws


def table(sizes: list[int], sources: list[str]) -> pa.Table:
    """Clusters of these sizes, each of one source."""
    cluster = [number for number, size in enumerate(sizes) for _ in range(size)]
    return pa.table(
        {
            "cluster": [f"c{number}" for number in cluster],
            "source": [sources[number] for number in cluster],
        }
    )


def hold_out(rows: pa.Table, asked: dict[str, int], seed: int = 0) -> Any:
    """Draw from all rows of a table."""
    return draws.hold_out(rows, np.arange(len(rows)), asked, seed)[0]


def test_pairs_and_sources_share_what_is_held_out() -> None:
    rows = table([2] * 100, ["big"] * 75 + ["small"] * 25)
    split = hold_out(rows, {"validation": 20, "test": 40})
    assert (split[::2] == split[1::2]).all()
    assert np.bincount(split).tolist() == [140, 20, 40]
    assert (split[:150] == 2).sum() == 30 and (split[150:] == 2).sum() == 10
    assert (hold_out(rows, {"validation": 20, "test": 40}, seed=1) != split).any()


SIZES = st.one_of(
    st.lists(st.just(1), min_size=20, max_size=60),
    st.lists(st.integers(1, 4), min_size=10, max_size=40),
    st.lists(st.sampled_from([1, 2, 30, 200]), min_size=5, max_size=40),
    st.lists(st.sampled_from([7, 50]), min_size=2, max_size=12),
)


@st.composite
def corpora(draw: Any) -> tuple[list[int], list[str]]:
    """Clusters of all kinds: of few sources, of one, of a source each."""
    sizes = draw(SIZES)
    several = st.lists(st.sampled_from("abc"), min_size=len(sizes), max_size=len(sizes))
    each = [f"https://{number:03}.example.org" for number in range(len(sizes))]
    return sizes, draw(st.one_of(several, st.just(["one"] * len(sizes)), st.just(each)))


@settings(max_examples=400, deadline=None)
@given(corpora(), st.integers(1, 30), st.integers(1, 60), st.integers(0, 3))
def test_a_split_is_as_asked_within_one_cluster_or_refused(
    corpus: tuple[list[int], list[str]], validation: int, test: int, seed: int
) -> None:
    sizes, sources = corpus
    asked = {"validation": validation, "test": test}
    rows = table(sizes, sources)
    try:
        split = hold_out(rows, asked, seed)
    except Refusal as refusal:
        numbers = str(refusal).split()
        if "more than half" in str(refusal):
            assert (validation + test) * 2 > sum(sizes)
            assert str(validation + test) in numbers and str(sum(sizes)) in numbers
        else:
            # Had every cluster been of one row, it could have been met.
            assert max(sizes) > 1
            assert str(validation) in numbers or str(test) in numbers
        return
    by_cluster = defaultdict(set)
    for name, number in zip(rows["cluster"].to_pylist(), split.tolist(), strict=True):
        by_cluster[name].add(number)
    assert all(len(numbers) == 1 for numbers in by_cluster.values())
    for index, number in enumerate(asked.values(), 1):
        missing = number - int((split == index).sum())
        left = [
            size
            for name, size in Counter(rows["cluster"].to_pylist()).items()
            if not 0 < min(by_cluster[name]) <= index
        ]
        assert 0 <= missing <= number / 2
        assert missing < min(left)
    order = np.random.default_rng(seed).permutation(len(rows))
    assert (hold_out(rows.take(order), asked, seed) == split[order]).all()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=2),
    st.integers(1, 30),
    st.integers(0, 2**32),
)
def test_every_source_gives_its_share(rows: dict[str, int], number: int, seed: int) -> None:
    total = sum(rows.values())
    number = min(number, total // 2)
    sources = [name for name, size in rows.items() for _ in range(size)]
    split = hold_out(table([1] * total, sources), {"test": number}, seed) if number else []
    drawn = Counter(np.array(sources)[np.flatnonzero(split)].tolist())
    assert all(abs(drawn[name] - size * number / total) < 1 for name, size in rows.items())


def test_no_row_has_a_better_chance_for_its_source() -> None:
    """Sources of one row beside sources of three: half of the rows each."""
    sources = [f"small{number}" for number in range(60)]
    sources += [f"large{number // 3}" for number in range(60)]
    rows, times = table([1] * 120, sources), np.zeros(120)
    seeds = 600
    for seed in range(seeds):
        times += hold_out(rows, {"validation": 10, "test": 30}, seed) == 2
    # A quarter each; of 120 counts none is five deviations off.
    assert np.abs(times / seeds - 0.25).max() < 5 * (0.25 * 0.75 / seeds) ** 0.5


def test_a_source_a_row_is_drawn_by_seed_and_not_by_name() -> None:
    names = [f"https://{number:04}.example.org" for number in range(1000)]
    rows = table([1] * 1000, names)
    one, two = (hold_out(rows, {"validation": 50, "test": 150}, seed) for seed in (0, 1))
    assert np.bincount(one).tolist() == np.bincount(two).tolist() == [800, 50, 150]
    assert (one != two).any()
    assert np.flatnonzero(one).mean() == pytest.approx(500, abs=100)


def test_a_cluster_that_does_not_fit_is_passed_over() -> None:
    rows = table([400] + [1] * 600, ["s"] * 601)
    for seed in range(20):
        split = hold_out(rows, {"validation": 100, "test": 200}, seed)
        assert np.bincount(split).tolist() == [700, 100, 200]
        assert (split[:400] == 0).all()


def test_what_a_source_of_giants_cannot_give_others_do() -> None:
    rows = table([300, 300] + [1] * 600, ["giants"] * 2 + ["singles"] * 600)
    split = hold_out(rows, {"validation": 20, "test": 100})
    assert np.bincount(split).tolist() == [1080, 20, 100]
    assert (split[:600] == 0).all()


def test_a_split_that_clusters_cannot_fill_is_warned_of_or_refused() -> None:
    rows = table([7] * 100, ["s"] * 100)
    split, (warning,) = draws.hold_out(rows, np.arange(len(rows)), {"test": 20}, 0)
    assert (split == 1).sum() == 14
    words = "test holds 14 of the 20 rows asked for: the smallest cluster left has 7 rows"
    assert warning.startswith(words)
    with pytest.raises(Refusal, match="curate.test: .* give 0 of the 6 rows asked for: .* has 7"):
        hold_out(rows, {"test": 6})
    with pytest.raises(Refusal, match="400 rows to hold out of 700 is more than half"):
        hold_out(rows, {"test": 400})


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(0, 3))
def test_rows_of_named_sources_alone_are_held_out(
    corpus: tuple[list[int], list[str]], seed: int
) -> None:
    """Of a cluster that another source shares none is."""
    sizes, sources = corpus
    rows = table(sizes, sources)
    mixed = [source if n % 3 else "other" for n, source in enumerate(rows["source"].to_pylist())]
    rows = rows.set_column(1, "source", pa.array(mixed))
    named = {sources[0]}
    by_cluster = defaultdict(set)
    for name, source in zip(rows["cluster"].to_pylist(), mixed, strict=True):
        by_cluster[name].add(source)
    want = [by_cluster[name] <= named for name in rows["cluster"].to_pylist()]
    everything = np.arange(len(rows))
    if not any(want):
        with pytest.raises(Refusal, match=r"hold_out_sources: .* the sources are"):
            draws.of_sources(rows, everything, [*named])
    else:
        assert draws.of_sources(rows, everything, [*named]).tolist() == want
