"""What counts as one text, and what is counted of it, against plain counting."""

import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.generate import duplication, likeness
from winnow.generate.duplication import MATCHES, Corpus, Duplication, labels, measure

WORDS = [
    "name",
    "the",
    "capital",
    "of",
    "France",
    "Australia",
    "city",
    "two",
    "kinds",
    "energy",
    "weather",
    "climate",
]
INSTRUCTIONS = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
    st.text(max_size=8),
    st.sampled_from(["?", "...", "", " ", "Name  it.", "name it", "\uff2eame it!"]),
)
SHARDS = st.lists(st.lists(INSTRUCTIONS, max_size=8), max_size=5)


def corpus(shards: list[list[str]]) -> Corpus:
    return Corpus.of_shards([(f"s{place}", texts) for place, texts in enumerate(shards)])


def test_an_exact_match_looks_through_case_width_space_and_the_last_signs() -> None:
    same = [
        "What is the capital of France?",
        "what is  the capital of france",
        "\uff37hat is the capital of France.\n",
        "What is the capital\u200b of France?!",
    ]
    assert labels(same, "exact").tolist() == [0, 0, 0, 0]
    other = ["What is C?", "What is C#?", "What is C++?", "What, is C?", "?", "!", ""]
    assert len(set(labels(other, "exact").tolist())) == len(other)


@given(SHARDS)
def test_exact_figures_are_what_a_counter_says(shards: list[list[str]]) -> None:
    found = measure(corpus(shards), "exact")
    rows = [text for texts in shards for text in texts]
    counter = Counter(map(duplication.bare, rows))
    assert found.total == len(rows)
    assert found.unique == len(counter)
    assert found.once == sum(count == 1 for count in counter.values())
    assert found.twice == sum(count == 2 for count in counter.values())
    assert [top.count for top in found.top] == sorted(
        (count for count in counter.values() if count > 1), reverse=True
    )[: duplication.TOP]
    for top in found.top:
        assert counter[duplication.bare(top.instruction)] == top.count
        assert top.share == top.count / len(rows)
        assert top.instruction in rows
    seen: set[str] = set()
    for shard, brought in zip(shards, found.yields, strict=True):
        new = set(map(duplication.bare, shard)) - seen
        seen |= new
        assert (brought.rows, brought.new, brought.unique) == (len(shard), len(new), len(seen))


@pytest.mark.parametrize("match", MATCHES)
@settings(max_examples=25)
@given(SHARDS)
def test_rows_and_yields_balance_and_exact_matches_match(
    match: str, shards: list[list[str]]
) -> None:
    given_ = corpus(shards)
    found = measure(given_, match)
    assert found.unique + found.duplicates == found.total
    assert sum(brought.new for brought in found.yields) == found.unique
    assert sum(brought.rows for brought in found.yields) == found.total
    if found.total:
        assert found.duplicate_rate == pytest.approx(found.duplicates / found.total)
    else:
        assert found.duplicate_rate is None
    exact, coarse = (labels(given_.instructions, name) for name in ("exact", match))
    pairs = set(zip(exact.tolist(), coarse.tolist(), strict=True))
    assert len(pairs) == len(set(exact.tolist()))
    # Numbers are given in the order of first rows.
    assert list(dict.fromkeys(coarse.tolist())) == list(range(found.unique))
    assert np.array_equal(coarse, labels(given_.instructions, match))


def test_an_empty_shard_and_an_empty_corpus_have_figures() -> None:
    found = measure(corpus([["a", "a"], [], ["b"]]), "exact")
    assert [brought.new for brought in found.yields] == [1, 0, 1]
    empty = measure(corpus([]), "near")
    assert empty == Duplication("near", 0, 0, 0, None, 0, 0, (), ())


def _long(word: str) -> str:
    return f"write a short story of five paragraphs about a {word} who learns to sail alone at sea"


def test_near_joins_long_texts_that_differ_by_an_end_and_keeps_short_ones_apart() -> None:
    texts = [
        _long("boy"),
        _long("boy") + " again",
        "name the capital of France",
        "name the capital",
    ]
    assert labels(texts, "near").tolist() == [0, 0, 1, 2]


def test_near_does_not_depend_on_the_order_of_rows() -> None:
    texts = [_long(word) + end for word in ("boy", "girl") for end in ("", " again", " today")]
    one = labels(texts, "near")
    order = list(range(len(texts)))
    random.Random(1).shuffle(order)
    other = labels([texts[place] for place in order], "near")
    for a in range(len(texts)):
        for b in range(len(texts)):
            assert (one[order[a]] == one[order[b]]) == (other[a] == other[b])


@settings(max_examples=25)
@given(st.lists(INSTRUCTIONS, max_size=30, unique=True), st.sampled_from([0.5, 0.7, 0.85, 1.0]))
def test_leaders_are_what_all_pairs_say(texts: list[str], threshold: float) -> None:
    found = likeness.leaders(texts, threshold)
    if not texts:
        assert not len(found)
        return
    dense = likeness.vectors(texts).toarray()
    cosines = dense @ dense.T
    leaders: list[int] = []
    for place in range(len(texts)):
        near = [one for one in leaders if cosines[place, one] >= threshold - likeness.ROUNDING]
        if near:
            best = max(cosines[place, one] for one in near)
            assert cosines[place, found[place]] == pytest.approx(best, abs=1e-8)
            assert found[place] in near
        else:
            assert found[place] == place
            leaders.append(place)


def test_an_earlier_leader_does_not_change_by_the_rows_that_follow() -> None:
    texts = [f"{verb} the {thing} in a few words" for verb in WORDS for thing in WORDS]
    found = likeness.leaders(texts, 0.5)
    assert (found <= np.arange(len(texts))).all()
    assert (found[found] == found).all()
    assert len(set(found.tolist())) < len(texts)


def test_a_hundred_thousand_rows_are_counted_in_seconds() -> None:
    dice = random.Random(0)
    rows = [
        f"Name {dice.choice(WORDS)} number {int(dice.paretovariate(0.5))}?" for _ in range(10**5)
    ]
    began = time.process_time()
    found = measure(corpus([rows[:50_000], rows[50_000:]]), "exact")
    assert found.unique == len(set(map(duplication.bare, rows)))
    # It takes about half a second; the rest is for a busy machine.
    assert time.process_time() - began < 5


PAIRS = st.lists(st.tuples(INSTRUCTIONS, INSTRUCTIONS), max_size=12)


@given(PAIRS, st.sampled_from(MATCHES))
@settings(max_examples=40)
def test_where_instructions_repeat_by_design_a_text_is_a_pair(
    rows: list[tuple[str, str]], match: str
) -> None:
    asked, replies = [one for one, _ in rows], [other for _, other in rows]
    found = Corpus.of_shards([("s", asked)], replies).labels(match).tolist()
    parts = list(zip(labels(asked, match).tolist(), labels(replies, match).tolist(), strict=True))
    numbers: dict[tuple[int, int], int] = {}
    assert found == [numbers.setdefault(pair, len(numbers)) for pair in parts]
    assert Corpus.of_shards([("s", asked)]).labels(match).tolist() == [a for a, _ in parts]
