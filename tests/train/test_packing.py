"""What the compiled packing makes is what a plain loop makes, whenever it is made.

pytest tests/train/test_packing.py
"""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.models.sequences import (
    IGNORED,
    Document,
    Documents,
    Sequences,
    pack,
    pad,
    shuffled,
    together,
)

END = 7


@st.composite
def documents(draw: st.DrawFn, most: int = 60) -> list[Document]:
    """Some documents, of which tokens at the beginning may be no targets."""
    sizes = draw(st.lists(st.integers(1, most), min_size=1, max_size=40))
    ids = [np.arange(size, dtype=np.int32) + 100 * at for at, size in enumerate(sizes)]
    if draw(st.booleans()):
        return [Document(one, one) for one in ids]
    return [Document.of(one, draw(st.integers(0, len(one)))) for one in ids]


def pieces_of(documents: list[Document], length: int) -> list[tuple[Document, int, int]]:
    """Windows: the document, the first token's place and the one behind the last."""
    return [
        (document, at, min(at + length, len(document.ids)))
        for document in documents
        for at in range(0, len(document.ids), length)
    ]


def best_fit(sizes: list[int], length: int) -> list[list[int]]:
    """The longest first, each into the bin where it leaves the least room; of several into the one
    that was filled last."""
    bins: list[list[int]] = []
    rooms: list[int] = []
    touched: list[int] = []
    for time, item in enumerate(sorted(range(len(sizes)), key=lambda at: -sizes[at])):
        fitting = [at for at in range(len(bins)) if rooms[at] >= sizes[item]]
        if fitting:
            at = min(fitting, key=lambda at: (rooms[at], -touched[at]))
        else:
            at = len(bins)
            bins.append([])
            rooms.append(length)
            touched.append(0)
        bins[at].append(item)
        rooms[at] -= sizes[item]
        touched[at] = time
    return bins


def next_fit(sizes: list[int], length: int) -> list[list[int]]:
    """One bin after the other."""
    bins: list[list[int]] = [[]]
    for item, size in enumerate(sizes):
        if sum(sizes[at] for at in bins[-1]) + size > length:
            bins.append([])
        bins[-1].append(item)
    return bins


def check(
    found: Sequences,
    pieces: list[tuple[Document, int, int]],
    bins: list[list[int]],
    length: int,
) -> None:
    """Compare with what a loop over tokens fills."""
    assert found.inputs.shape == (len(bins), length)
    for row, items in enumerate(bins):
        inputs, labels, positions = [], [], []
        for item in items:
            document, start, end = pieces[item]
            before = [document.ids[start - 1] if start else END]
            inputs += [*before, *document.ids[start : end - 1]]
            labels += [*document.labels[start:end]]
            positions += range(end - start)
        left = length - len(inputs)
        assert found.inputs[row].tolist() == inputs + [END] * left
        assert found.labels[row].tolist() == labels + [IGNORED] * left
        assert found.positions[row].tolist() == positions + [*range(left)]
    targets = [sum(pieces[item][0].num_targets for item in items) for items in bins]
    if all(start == 0 and end == len(one.ids) for one, start, end in pieces):
        assert found.targets.tolist() == targets and found.num_targets == sum(targets)


@settings(max_examples=200, deadline=None)
@given(documents(), st.integers(1, 40), st.booleans())
def test_packed_is_what_a_loop_fills(
    documents: list[Document], length: int, in_order: bool
) -> None:
    pieces = pieces_of(documents, length)
    sizes = [end - start for _, start, end in pieces]
    bins = (next_fit if in_order else best_fit)(sizes, length)
    check(pack(documents, length, END, in_order)[:], pieces, bins, length)


@settings(max_examples=50, deadline=None)
@given(documents(), st.integers(1, 40))
def test_padded_is_a_row_a_document(documents: list[Document], length: int) -> None:
    pieces = [(one, 0, min(length, len(one.ids))) for one in documents]
    check(pad(documents, length, END)[:], pieces, [[at] for at in range(len(pieces))], length)


@settings(max_examples=100, deadline=None)
@given(documents(most=30), st.booleans())
def test_together_says_whose_each_label_is(documents: list[Document], packing: bool) -> None:
    pieces = [(one, 0, len(one.ids)) for one in documents]
    sizes = [end for _, _, end in pieces]
    bins = best_fit(sizes, 30) if packing else [[at] for at in range(len(sizes))]
    width = max(sum(sizes[item] for item in items) for items in bins)
    found, owners = together(documents, 30, END, packing)
    check(found, pieces, bins, width)
    for row, items in zip(owners, bins, strict=True):
        wanted = [item for item in items for _ in range(sizes[item])]
        assert row.tolist() == wanted + [-1] * (width - len(wanted))


@settings(max_examples=50, deadline=None)
@given(documents(), st.integers(0, 2**32 - 1))
def test_flat_documents_are_those_of_a_list(documents: list[Document], seed: int) -> None:
    flat = Documents.of(documents)
    pairs = zip(shuffled(flat, seed), shuffled(documents, seed), strict=True)
    for one, other in pairs:
        assert one.ids.tolist() == other.ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
    assert flat.num_targets == sum(document.num_targets for document in documents)
    assert np.shares_memory(shuffled(flat, seed).ids, flat.ids)


@settings(max_examples=100, deadline=None)
@given(documents(), st.integers(1, 40), st.booleans(), st.integers(0, 2**32 - 1))
def test_some_of_the_packed_are_filled_alike(
    documents: list[Document], length: int, packing: bool, seed: int
) -> None:
    packed = pack(documents, length, END) if packing else pad(documents, length, END)
    whole = packed[:]
    assert packed.targets.tolist() == whole.targets.tolist()
    assert packed.num_targets == whole.num_targets
    chosen = np.random.default_rng(seed).permutation(len(packed))[::2]
    for some in (packed[chosen], packed.taken(chosen)[:]):
        assert some.inputs.tolist() == whole.inputs[chosen].tolist()
        assert some.labels.tolist() == whole.labels[chosen].tolist()
        assert some.positions.tolist() == whole.positions[chosen].tolist()
    silent = packed.silent()
    assert silent.num_targets == 0 and silent.inputs.tolist() == whole.inputs[:1].tolist()


def test_packing_holds_no_sequence() -> None:
    ids = np.arange(1, 900, dtype=np.int32)
    flat = Documents.cut(np.tile(ids, 3000), np.tile(ids, 3000), np.full(3000, len(ids)))
    pack(flat, 1000, END)  # compiles
    tracemalloc.start()
    packed = pack(flat, 1000, END)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(packed) == 3000 and held < 100 * len(packed), "of 12,000 bytes a sequence"
