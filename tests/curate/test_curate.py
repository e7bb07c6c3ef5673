"""Duplicates and the tokenizer: whatever the order of the rows, and nothing lost."""

import importlib
import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, make_until, write_jsonl, write_params
from tokenizers import Tokenizer

from winnow.core import cards, minhash, shingles, texts
from winnow.core.records import content_hash, normalise
from winnow.core.words import cut
from winnow.curate import draws, duplicates, steps
from winnow.curate.params import check_step
from winnow.curate.verdict import NONE


def table(responses: list[str], sources: list[str] | None = None) -> pa.Table:
    size = len(responses)
    hashes = [content_hash("say it", "", text) for text in responses]
    return pa.table(
        {
            "id": [f"x:{number}" for number in range(size)],
            "source": sources or ["s"] * size,
            "instruction": ["say it"] * size,
            "input": [""] * size,
            "response": responses,
            "hash": hashes,
            "cluster": hashes,
        }
    )


def apply(step: dict[str, Any], rows: pa.Table) -> Any:
    """Run a step on all rows of a table."""
    return steps.apply(step, rows, np.arange(len(rows)))


def sample(rows: pa.Table, number: int, seed: int) -> list[str]:
    """Draw from all rows of a table; returns ids."""
    drawn = draws.sample(rows, np.arange(len(rows)), number, seed)
    return rows["id"].take(drawn).to_pylist()  # type: ignore[no-any-return]


def trigrams(text: str) -> set[tuple[str, ...]]:
    """The shingles of a text."""
    words = cut(normalise("", "", text).removeprefix("\x1f\x1f"))
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))} if words else set()


def jaccard(one: str, two: str) -> float:
    """Of two rows with the instruction of `table`: its word is one more shingle that they share."""
    left, right = trigrams(one), trigrams(two)
    return (1 + len(left & right)) / (1 + len(left | right))


def similar(one: str, two: str, threshold: float) -> bool:
    """Whether two rows with the instruction of `table` are duplicates."""
    left, right = trigrams(one), trigrams(two)
    parts_agree = len(left & right) >= threshold / 2 * len(left | right)
    return parts_agree and jaccard(one, two) >= threshold


def slow_clusters(texts: list[str], threshold: float) -> set[frozenset[int]]:
    """Connected components of the graph of similar pairs, by comparing all pairs."""
    groups = [{index} for index in range(len(texts))]
    for i in range(len(texts)):
        for j in range(i):
            if similar(texts[i], texts[j], threshold):
                one = next(group for group in groups if i in group)
                two = next(group for group in groups if j in group)
                if one is not two:
                    one |= two
                    groups.remove(two)
    return {frozenset(group) for group in groups}


def found_clusters(rows: pa.Table, **numbers: Any) -> set[frozenset[int]]:
    """The rows of every cluster that `near` marks."""
    groups = defaultdict(set)
    verdict = duplicates.near(rows, np.arange(len(rows)), keep="all", **numbers)
    assert verdict.clusters is not None and not len(verdict.gone)
    for index, name in enumerate(verdict.clusters.to_pylist()):
        groups[name].add(index)
    return {frozenset(group) for group in groups.values()}


ANY_TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(
            "aA \t\n\x1c\x1f\x85\xa0\u2028\u3000ΣσςİıßẞﬁÅé①½…Ａ가각\u1100\u1161\u11a8\u0301😀"
            "\xad\u200b\u200c\u200d\u200e\u2060\ufeff"
        ),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT), min_size=1, max_size=8))
def test_bulk_hashes_are_those_of_single_rows(rows: list[tuple[str, str, str]]) -> None:
    columns = dict(zip(texts.PARTS, map(list, zip(*rows, strict=True)), strict=True))
    found = texts.content_hashes(pa.table({name: pa.array(v) for name, v in columns.items()}))
    assert found.to_pylist() == [content_hash(*row) for row in rows]


def test_every_character_is_folded_as_in_a_single_row() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    column = [f"a{char}b {char}" for char in characters]
    empty = [""] * len(column)
    found = texts.content_hashes(
        pa.table(dict(zip(texts.PARTS, (empty, column, empty), strict=True)))
    )
    assert found.to_pylist() == [content_hash("", text, "") for text in column]


@pytest.mark.parametrize("sign", "\xad\u200b\u200e\u2060\u2063\ufeff")
def test_what_is_invisible_makes_no_other_row(sign: str) -> None:
    plain = content_hash("Say so", "", "timber 0 e\u0301")
    assert (
        content_hash(f"{sign}Say {sign} so", sign, f"tim{sign}ber 0 e{sign}\u0301{sign}") == plain
    )


def test_joiners_stay_where_they_join() -> None:
    for text in ("می\u200cخواهم", "क्\u200dष", "👩\u200d💻", "PDF\u200cها"):
        bare = text.replace("\u200c", "").replace("\u200d", "")
        assert content_hash("", "", text) != content_hash("", "", bare)
    assert content_hash("", "", "tim\u200dber\u200c 0") == content_hash("", "", "timber 0")


def test_bulk_hashes_of_real_rows(winnow_data: Path) -> None:
    for name in ("tldr_pages_i18n", "alpaca_eval_outputs", "codealpaca_2k"):
        rows = pq.read_table(winnow_data / f"instructions/{name}.parquet").select(texts.PARTS)
        rows = rows.slice(len(rows) // 2, 5000)
        wanted = [content_hash(**row) for row in rows.to_pylist()]
        assert texts.content_hashes(rows).to_pylist() == wanted


def test_exact_keeps_the_longest_spelling() -> None:
    given_rows = table(["a b", "A  B", "other", "a B"])
    _, rows, verdict = apply({"name": "exact"}, given_rows)
    assert rows.tolist() == [1, 2]
    assert verdict.gone.tolist() == [0, 3]
    assert verdict.because.to_pylist() == [given_rows["id"][1].as_py()] * 2
    assert verdict.reasons == ["exact duplicate"] * 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=24), min_size=1, max_size=8),
    st.sampled_from([0.3, 0.55, 0.8, 1.0]),
)
def test_near_joins_nothing_but_pairs_over_the_threshold(
    lists: list[list[str]], threshold: float
) -> None:
    responses = [" ".join(words) for words in lists]
    responses += [f"{text} zzz" for text in responses]
    wanted = slow_clusters(responses, threshold)
    found = found_clusters(table(responses), threshold=threshold)
    # MinHash may miss a pair at the threshold, but what it joins belongs together.
    assert all(any(group <= other for other in wanted) for group in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 2**32))
def test_near_clusters_are_those_of_all_pairs(families: list[int], seed: int) -> None:
    # Within a family 98 of 100 words agree, so a pair is missed less than once in 10**9.
    dice = random.Random(seed)
    common = [[f"w{dice.randrange(10**6)}" for _ in range(100)] for _ in range(6)]
    responses = [" ".join([*common[k], f"end{dice.randrange(3)}"]) for k in families]
    wanted = slow_clusters(responses, 0.8)
    assert found_clusters(table(responses), threshold=0.8) == wanted
    assert len(wanted) == len(set(families))


def rows_of(*triples: tuple[str, str, str]) -> pa.Table:
    """Rows of an instruction, an input and a response each."""
    columns = dict(zip(texts.PARTS, map(list, zip(*triples, strict=True)), strict=True))
    return pa.table(columns | {"hash": [content_hash(*triple) for triple in triples]})


LONG = " ".join(f"rule{number} of the house" for number in range(100))


@pytest.mark.parametrize(
    "row",
    [
        ("Where is the {} kept?", LONG, "It is kept in {} by the {}."),  # a system prompt
        (LONG, "Where is the {} kept?", "It is kept in {} by the {}."),
        (LONG, "Is the {} in {} or in {}?", "yes"),
        (f"{LONG} Where is the {{}} kept?", "", "It is kept in {} by the {}."),
        ("Where is the {} or the {} kept?", "", f"{LONG} {{}}"),
    ],
)
def test_a_long_text_that_rows_share_makes_them_no_duplicates(row: tuple[str, str, str]) -> None:
    numbers = [tuple(f"w{3 * index + k}" for k in range(3)) for index in range(300)]
    triples = [tuple(part.format(*words) for part in row) for words in numbers]
    found = found_clusters(rows_of(*triples), threshold=0.8)  # type: ignore[arg-type]
    assert len(found) == 300


def test_copies_within_a_shared_context_are_found() -> None:
    numbers = [[f"w{10 * index + k}" for k in range(10)] for index in range(500)]
    triples = [
        (f"Where is {a} {b} kept?", LONG, " ".join(words))
        for words in numbers
        for a, b in [words[:2]]
    ]
    triples += [(question, given, f"{answer} indeed") for question, given, answer in triples]
    found = found_clusters(rows_of(*triples), threshold=0.8)
    assert sum({index, index + 500} in found for index in range(500)) >= 495


def test_a_bucket_of_many_texts_is_joined_and_its_work_bounded() -> None:
    size = shingles.PIVOTS * 4
    dice = random.Random(0)
    template = " ".join(f"t{number}" for number in range(100))
    one = [f"{template} {dice.randrange(10**9)}" for _ in range(size)]
    rows = table(one)
    assert found_clusters(rows, threshold=0.8) == {frozenset(range(size))}


def test_near_finds_planted_copies() -> None:
    dice = random.Random(0)
    responses = [
        " ".join(dice.choice("abcdefghij") * 2 + str(dice.randrange(99)) for _ in range(60))
        for _ in range(300)
    ]
    given_rows = table(responses + [f"{text} and more" for text in responses])
    _, rows, verdict = apply({"name": "near", "threshold": 0.8}, given_rows)
    assert len(verdict.gone) >= 297
    assert len(rows) + len(verdict.gone) == 600
    # The longer one stays, so every drop is an original that names its copy.
    assert (verdict.gone < 300).all()
    assert verdict.because.equals(given_rows["id"].take(verdict.gone + 300).combine_chunks())


def test_planted_pairs_are_found_at_least_as_often_as_by_datasketch() -> None:
    dice = random.Random(0)
    pairs, lsh = [], MinHashLSH(threshold=0.8, num_perm=128)
    while len(pairs) < 400:
        words = [f"w{dice.randrange(10**6)}" for _ in range(80)]
        copy = words.copy()
        for index in dice.sample(range(80), dice.randint(1, 3)):
            copy[index] = "planted"
        one, two = " ".join(words), " ".join(copy)
        if similar(one, two, 0.8):
            pairs.append((one, two))
    signatures = []
    for text in (text for pair in pairs for text in pair):
        signature = MinHash(num_perm=128)
        signature.update_batch([" ".join(gram).encode() for gram in trigrams(text)])
        signatures.append(signature)
    for index, signature in enumerate(signatures[::2]):
        lsh.insert(index, signature)
    theirs = sum(index in lsh.query(signature) for index, signature in enumerate(signatures[1::2]))
    found = found_clusters(table([text for pair in pairs for text in pair]), threshold=0.8)
    ours = sum({2 * index, 2 * index + 1} in found for index in range(len(pairs)))
    assert ours >= theirs
    assert ours >= 0.9 * len(pairs)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_bands_find_nine_of_ten_pairs_at_the_threshold(threshold: float) -> None:
    bands, rows = minhash.shape(threshold, 128)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.9
    wider = 1 - (1 - threshold ** (rows + 1)) ** (128 // (rows + 1))
    assert wider < 0.9


def test_unknown_steps_and_numbers_are_refused() -> None:
    for step, message in (
        ({"name": "magic"}, "unknown step 'magic'; known are extract, exact, near"),
        ("exact", "expected a mapping, found 'exact'"),
        ({"name": ["exact"]}, r"unknown step .*exact"),
        ({"name": "near", 1: 0.5}, "expected text, found 1"),
        ({"name": "near", "treshold": 0.5}, r"near.treshold \(near: threshold"),
        ({"name": "near"}, "near.threshold is missing"),
        ({"name": "no.such:step"}, "no module 'no'"),
        ({"name": "json:dumps"}, "json has no Step of the name 'dumps'"),
        ({"name": "near", "threshold": "high"}, "near.threshold: expected a number, found 'high'"),
        ({"name": "decontaminate", "benchmarks": "a.jsonl"}, "benchmarks: expected a list, found"),
    ):
        with pytest.raises(ValueError, match=rf"params.yaml: .*curate.steps\[2\].*{message}"):
            check_step(step, "curate.steps[2]")


@pytest.mark.parametrize(
    ("step", "key", "value", "expected"),
    [
        ({"name": "near"}, "threshold", 80, r"a number in \(0, 1\]"),
        ({"name": "near", "threshold": 0.8}, "keep", "some", "one of one, all"),
        ({"name": "semantic"}, "threshold", 0, r"a number in \(0, 1\]"),
        ({"name": "semantic"}, "buckets", 0, r"a whole number in \[1, 10000\]"),
        ({"name": "linear", "labelled": "x"}, "minimum", 50, r"a number in \[0, 1\]"),
        ({"name": "language"}, "keep", "en", "a list"),
        ({"name": "language"}, "threshold", float("nan"), r"a number in \[0, 1\]"),
        ({"name": "decontaminate"}, "benchmarks", "data", "a list"),
        ({"name": "extract"}, "engine", "boiler", "one of trafilatura, resiliparse"),
        ({"name": "toxicity"}, "labels", "toxic", "a list"),
        ({"name": "toxicity"}, "unscored", "zero", "one of keep, drop"),
        ({"name": "toxicity"}, "per_second", 0, r"a number in \[0.001, 1000\]"),
        ({"name": "classifier", "model": "x"}, "batch", 0, r"a whole number in \[1, 10000\]"),
    ],
)
def test_a_number_of_a_step_has_its_range(
    step: dict[str, Any], key: str, value: Any, expected: str
) -> None:
    place = rf"params.yaml: curate.steps\[0\] {step['name']}.{key}: "
    with pytest.raises(ValueError, match=f"^{place}expected {expected}, found"):
        check_step(step | {key: value}, "curate.steps[0]")


def test_a_wrong_file_of_the_last_step_is_said_before_the_first_one_works(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: list[int] = []

    def near(rows: pa.Table, positions: Any, **numbers: Any) -> Any:
        worked_on.append(len(positions))
        return NONE

    monkeypatch.setattr(duplicates, "near", near)
    recipe = [{"name": "near", "threshold": 0.8}, {"name": "linear", "labelled": "labels.jsonl"}]
    write_params(project, TINY | {"curate": TINY["curate"] | {"steps": recipe}})  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"linear.labelled: no file or folder 'labels.jsonl'"):
        make_until("curate")
    Path("labels.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"linear.labelled: labels.jsonl, row 1: expected an"):
        make_until("curate")
    assert worked_on == [0]


def test_the_tokenizer_sees_a_sample_that_no_order_decides() -> None:
    rows = table([f"text {number}" for number in range(100)])
    drawn = sample(rows, 10, seed=0)
    assert len(set(drawn)) == 10
    assert sample(rows.take(np.arange(99, -1, -1)), 10, seed=0) == drawn
    assert sample(rows, 10, seed=1) != drawn
    assert len(sample(rows, 1000, seed=0)) == 100


def test_neither_chunks_nor_threads_nor_shards_decide_anything(
    project: Path, winnow_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = winnow_data / "instructions/alpaca_random_9k.parquet"
    rows = pq.read_table(path).slice(0, 2000).to_pylist()
    rows += [row | {"response": row["response"] + " So it is."} for row in rows[::5]]
    write_jsonl(project / "data/a.jsonl", rows)
    make_until("ingest")
    folder = project / "artifacts/ingest"
    (shard,) = folder.glob("*.parquet")
    whole = pq.read_table(shard)

    def files() -> dict[str, bytes]:
        importlib.import_module("winnow.curate.stage").run()
        out = project / "artifacts/curate"
        return {p.name: p.read_bytes() for p in out.glob("*.*") if p.name != "card.json"}

    one = files()
    assert len(pq.read_table(pa.BufferReader(one["dropped.parquet"]))) > 300
    monkeypatch.setattr(texts, "CHUNK_ROWS", 7)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    card = cards.read_card(folder, "winnow ingest")
    with cards.publish_folder(folder, card) as other:
        pq.write_table(whole, other / shard.name, row_group_size=100)
    assert files() == one


def test_the_order_of_rows_decides_nothing(project: Path) -> None:
    def held() -> tuple[set[str], set[str], bytes]:
        make_until("curate")
        out = project / "artifacts/curate"
        tokenizer = (out / "tokenizer/tokenizer.json").read_bytes()
        splits = [
            set(pq.read_table(out / f"{n}.parquet")["hash"].to_pylist()) for n in ("train", "test")
        ]
        return splits[0], splits[1], tokenizer

    rows = corpus()
    rows += rows[:20]
    write_jsonl(project / "data/a.jsonl", rows)
    one = held()
    random.Random(1).shuffle(rows)
    write_jsonl(project / "data/a.jsonl", rows)
    assert held() == one
    assert not one[0] & one[1]


def test_the_ledger_names_every_row(project: Path) -> None:
    rows = corpus(100)
    rows += rows[:7] + [
        row | {"output": row["output"] + " extra"} for row in rows if len(row["output"]) > 150
    ]
    write_jsonl(project / "data/a.jsonl", rows)
    make_until("curate")
    out = project / "artifacts/curate"
    card = json.loads((out / "card.json").read_text())
    dropped = pq.read_table(out / "dropped.parquet").to_pylist()
    ledger = card["ledger"]
    assert ledger["rows_in"] == len(rows)
    assert ledger["dropped"]["exact duplicate"] == 7
    assert ledger["dropped"]["near duplicate"] > 0
    assert sum(ledger["dropped"].values()) == len(dropped)
    kept = {
        name
        for split in ("train", "validation", "test")
        for name in pq.read_table(out / f"{split}.parquet")["id"].to_pylist()
    }
    assert all(
        entry["because"] in kept or any(d["id"] == entry["because"] for d in dropped)
        for entry in dropped
    )
    assert ledger["held_out"] == card["splits"]["validation"] + card["splits"]["test"]


def test_a_tokenizer_folder_is_copied_and_a_missing_one_named(
    project: Path, winnow_data: Path
) -> None:
    source = winnow_data / "tokenizers/gpt2"
    write_params(project, TINY | {"curate": TINY["curate"] | {"tokenizer": str(source)}})  # type: ignore[operator]
    make_until("curate")
    made = Tokenizer.from_file(str(project / "artifacts/curate/tokenizer/tokenizer.json"))
    assert made.encode("Hello world").ids == [15496, 995]
    write_params(project, TINY | {"curate": TINY["curate"] | {"tokenizer": "no/such"}})  # type: ignore[operator]
    with pytest.raises(ValueError, match="no tokenizer 'no/such' here or on the hub"):
        make_until("curate")


def test_a_tokenizer_brings_no_code(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither by auto_map, nor by the key of CVE-2026-4372, nor by a class of its own."""
    source = tmp_path_factory.mktemp("tokenizer")
    canary = source / "ran"
    (source / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    code = {
        "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoConfig": "evil.Evil"},
        "_attn_implementation_internal": "evil/kernels",
        "tokenizer_class": "Evil",
        "model_type": "evil",
    }
    for name in ("config.json", "tokenizer_config.json"):
        (source / name).write_text(json.dumps(code))
    params = TINY["curate"] | {"tokenizer": str(source)}  # type: ignore[operator]
    write_params(project, TINY | {"curate": params})
    with pytest.raises(ValueError, match="no tokenizer"):
        make_until("curate")
    assert not canary.exists() and not (project / "artifacts/curate").exists()
