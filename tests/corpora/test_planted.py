"""The planted corpus is what it says: pytest tests/corpora"""

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from corpora.planted.dice import Dice
from corpora.planted.family import FAMILIES, Item, passes
from corpora.planted.files import BROKEN, write_corpus
from corpora.planted.plant import (
    NEAR,
    NUM_EXACT,
    NUM_NEAR,
    RATINGS,
    SOURCES,
    Planted,
    overlap,
    plant,
    plant_base,
)
from winnow.core.records import content_hash

ROOT = Path(__file__).parents[2] / "corpora"
FILES = ["sample/textbook.jsonl", "sample/chat.jsonl", "sample/forum.csv", "tasks.jsonl"]
FILES += ["truth.jsonl"]
Texts = tuple[str, str, str]


@pytest.fixture(scope="module")
def planted() -> tuple[list[Planted], list[Item]]:
    return plant()


@pytest.fixture(scope="module")
def rows(planted: tuple[list[Planted], list[Item]]) -> list[Planted]:
    return planted[0]


@pytest.fixture(scope="module")
def readable() -> dict[str, list[Texts]]:
    """Per source, what a strict reader finds in the committed files."""
    texts: dict[str, list[Texts]] = {"textbook": [], "chat": [], "forum": []}
    for source in ("textbook", "chat"):
        for line in (ROOT / f"sample/{source}.jsonl").read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                if source == "textbook":
                    found = row["instruction"], row["input"], row["output"]
                    allowed = {"instruction", "input", "output", "rating"}
                else:
                    user, assistant = row["messages"]
                    found = user["content"], "", assistant["content"]
                    allowed = {"messages", "rating"}
                    assert [set(turn) for turn in row["messages"]] == [{"role", "content"}] * 2
                if all(isinstance(text, str) for text in found) and found[0] and found[2]:
                    assert set(row) == allowed and row["rating"] in range(1, 6), row
                    texts[source].append(found)
            except (ValueError, KeyError, TypeError):
                continue
    with (ROOT / "sample/forum.csv").open(encoding="utf-8", newline="") as file:
        header, *records = csv.reader(file)
    assert header == ["instruction", "response", "rating"]
    pairs = [record for record in records if len(record) == 3]
    texts["forum"] = [(pair[0], "", pair[1]) for pair in pairs if all(map(str.strip, pair[:2]))]
    return texts


def truth() -> dict[str, dict[str, str]]:
    lines = (ROOT / "truth.jsonl").read_text().splitlines()
    return {row["hash"]: row for row in map(json.loads, lines)}


def test_making_it_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert sum((ROOT / name).stat().st_size for name in FILES) < 4_000_000


def test_clean_rows_pass_their_check_and_wrong_ones_fail_it(rows: list[Planted]) -> None:
    retyped = {id(row) for row in rows if row.origin == row.hash}
    for row in rows:
        if row.quality in ("clean", "vague_instruction") and id(row) not in retyped:
            assert row.correct, row
        if row.quality in ("wrong", "off_topic"):
            assert not row.correct, row


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_replies_rightly_and_wrongly_in_every_phrasing(name: str) -> None:
    dice = Dice(7)
    for item in (FAMILIES[name].draw(dice) for _ in range(200)):
        assert passes(item.check, item.answer, item.response), item
        assert not passes(item.check, item.answer, item.wrong), item
        assert "{" not in item.question + item.response, item


def test_checks() -> None:
    assert passes("number", "12", "First 3 + 9, so it is 12.")
    assert not passes("number", "3", "First 3 + 9, so it is 12.")
    assert not passes("number", "3", "no idea")
    assert passes("contains", "mice", "Mice, of course.")
    assert passes("exact", "1, 2", " 1, 2\n")
    assert not passes("exact", "1, 2", "It is 1, 2")


def test_truth_holds_every_readable_row_and_no_other(readable: dict[str, list[Texts]]) -> None:
    hashes = {content_hash(*texts) for found in readable.values() for texts in found}
    assert hashes == set(truth())


def test_what_is_read_is_what_was_planted(
    rows: list[Planted], readable: dict[str, list[Texts]]
) -> None:
    for source in SOURCES:
        made = Counter(content_hash(*texts) for texts in readable[source])
        assert made == Counter(row.hash for row in rows if row.source == source), source
    known = truth()
    for row in rows:
        entry = known[row.hash]
        assert (entry["quality"], entry["family"]) == (row.quality, row.family)


def test_copies_are_copies(rows: list[Planted]) -> None:
    originals = {row.hash: row for row in rows if not row.origin}
    copies = [row for row in rows if row.origin]
    near = [row for row in copies if row.hash != row.origin]
    assert (len(copies), len(near)) == (NUM_EXACT + NUM_NEAR, NUM_NEAR)
    assert all(row.quality == originals[row.origin].quality for row in copies)
    assert all(overlap(row, originals[row.origin]) >= NEAR for row in near)


def test_few_clean_rows_are_alike(rows: list[Planted]) -> None:
    """Near-duplicate removal at 0.8 must not eat what was planted as distinct."""
    originals = [row for row in rows if not row.origin]
    shingles = [frozenset(zip(w, w[1:], w[2:])) for w in (row.words for row in originals)]  # noqa: B905
    frequency = Counter(shingle for found in shingles for shingle in found)
    holders: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    alike: set[int] = set()
    for i, found in enumerate(shingles):
        rarest = sorted(found, key=lambda shingle: (frequency[shingle], shingle))
        for shingle in rarest[: len(rarest) - int(0.8 * len(rarest)) + 1]:
            for j in holders[shingle]:
                common = len(found & shingles[j])
                if common >= 0.8 * (len(found) + len(shingles[j]) - common):
                    alike |= {i, j}
            holders[shingle].append(i)
    clean = [i for i, row in enumerate(originals) if row.quality == "clean"]
    assert sum(i in alike for i in clean) < 0.03 * len(clean)


def test_tasks_are_not_in_the_corpus(planted: tuple[list[Planted], list[Item]]) -> None:
    rows, tasks = planted
    written = [json.loads(line) for line in (ROOT / "tasks.jsonl").read_text().splitlines()]
    assert [task["instruction"] for task in written] == [task.instruction for task in tasks]
    assert {task["family"] for task in written} == set(FAMILIES)
    asked = " | ".join(
        {" ".join(f"{row.instruction} {row.input}".lower().split()): None for row in rows}
    )
    for task in tasks:
        assert " ".join(task.question.lower().split()) not in asked, task


def test_the_base_holds_no_row_and_no_task(planted: tuple[list[Planted], list[Item]]) -> None:
    rows, tasks = planted
    base = plant_base(5000)
    assert len({row.hash for row in base}) == 5000 and {row.family for row in base} == set(FAMILIES)
    assert all(row.quality == "clean" and row.correct for row in base)
    assert not {row.hash for row in base} & {row.hash for row in rows}
    assert not {row.question for row in base} & {row.question for row in rows}
    held_out = {task.question for task in tasks}
    assert not any(question in row.question for row in base for question in held_out)


def test_the_rating_is_as_stated_and_knows_more_than_chance(rows: list[Planted]) -> None:
    for quality, of_twenty in RATINGS.items():
        ratings = Counter(row.rating for row in rows if row.quality == quality)
        for rating, number in enumerate(of_twenty, 1):
            assert abs(ratings[rating] / ratings.total() - number / 20) < 0.06, (quality, rating)
    best = [row.quality == "clean" for row in rows if row.rating == 5]
    assert 0.75 < sum(best) / len(best) < 0.85


def test_about_thirty_lines_are_broken(readable: dict[str, list[Texts]]) -> None:
    num_cut = 2
    assert sum(map(len, BROKEN.values())) + num_cut == 31
    for source in ("textbook", "chat"):
        num_lines = len((ROOT / f"sample/{source}.jsonl").read_bytes().split(b"\n"))
        assert num_lines - len(readable[source]) == len(BROKEN[source]) + 1


def test_readme_counts(rows: list[Planted]) -> None:
    readme = (ROOT / "README.md").read_text()
    counts = Counter((row.quality, row.source) for row in rows)
    for quality in {row.quality for row in rows}:
        cells = [counts[quality, source] for source in SOURCES]
        line = f"| {quality} | " + " | ".join(map(str, [*cells, sum(cells)])) + " |"
        assert line in readme, line
    for quality, of_twenty in RATINGS.items():
        assert f"| {quality} | " + " | ".join(map(str, of_twenty)) + " |" in readme, quality
