"""Rows that say the same go, whatever the order of the table; unlike ones stay; no code is run."""

import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

from winnow.core import texts
from winnow.core.texts import PARTS
from winnow.curate import steps
from winnow.curate.embeddings import by_words
from winnow.curate.semantic import BLOCK, most_similar, semantic

WORDS = [
    f"{a}{b}" for a in ("blue", "red", "warm", "old") for b in ("fox", "sea", "oak", "road", "star")
]


def table(rows: list[tuple[str, str]]) -> pa.Table:
    """Rows of an instruction and a response."""
    made = pa.table(
        {
            "id": [f"x:{number}" for number in range(len(rows))],
            "instruction": [instruction for instruction, _ in rows],
            "input": [""] * len(rows),
            "response": [response for _, response in rows],
        }
    )
    hashes = texts.content_hashes(made)
    return made.append_column("hash", hashes).append_column("cluster", hashes)


def dropped(rows: pa.Table, **numbers: object) -> dict[str, str]:
    """By id, the id of the row that stays."""
    _, _, verdict = steps.apply({"name": "semantic", **numbers}, rows, np.arange(len(rows)))
    assert not set(verdict.because.to_pylist()) & set(rows["id"].take(verdict.gone).to_pylist())
    return dict(
        zip(rows["id"].take(verdict.gone).to_pylist(), verdict.because.to_pylist(), strict=True)
    )


def slow_most_similar(vectors: np.ndarray, threshold: float) -> list[int]:
    """One row after the other against all that stay."""
    stays, found = list[int](), list[int]()
    for row, vector in enumerate(vectors):
        cosines = [float(vector @ vectors[other]) for other in stays]
        similar = max(cosines, default=-1) >= threshold
        found.append(stays[int(np.argmax(cosines))] if similar else -1)
        if not similar:
            stays.append(row)
    return found


def test_pairs_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(0)
    vectors = dice.normal(size=(3 * BLOCK + 7, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = slow_most_similar(vectors, 0.97)
    assert 100 < sum(row < 0 for row in wanted) < len(vectors) - 100
    monkeypatch.setattr("winnow.curate.semantic.WIDE", 50)
    assert most_similar(vectors.copy(), 0.97).tolist() == wanted


def test_a_row_goes_only_for_one_that_stays() -> None:
    angles = np.radians([0, 15, 30])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert most_similar(chain, float(np.cos(np.radians(20)))).tolist() == [-1, 0, -1]


def test_vectors_have_the_cosines_of_plain_tf_idf() -> None:
    dice = random.Random(0)
    bags = [dice.choices(WORDS, k=dice.randrange(5, 40)) for _ in range(60)]
    bags += [[*bag, dice.choice(WORDS)] for bag in bags]
    rows = table([(" ".join(bag[:3]).title() + "!", " ".join(bag[3:])) for bag in bags])
    frequencies = Counter(word for bag in bags for word in set(bag))
    plain = np.zeros((len(bags), len(WORDS)))
    for row, bag in enumerate(bags):
        for word, count in Counter(bag).items():
            weight = 1 + np.log(len(bags) / frequencies[word])
            plain[row, WORDS.index(word)] = (1 + np.log(count)) * weight
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(bags))
    vectors = by_words(rows, np.arange(len(bags)), order)
    wanted = (plain @ plain.T)[np.ix_(order, order)]
    assert (np.abs(vectors @ vectors.T - wanted) <= 5 * (1 - wanted**2) / 16 + 1e-5).all()


def test_rows_of_the_same_words_go_and_the_longest_response_stays() -> None:
    rows = table(
        [
            ("Name the capital of France.", "The capital of France is Paris."),
            ("Name the capital of Peru.", "The capital of Peru is Lima."),
            ("Capital of France: name the", "Paris is the capital of France!!"),
            ("?!", "…"),
            ("!?", "—"),
            ("", "∞"),
        ]
    )
    assert dropped(rows, threshold=1.0) == {"x:0": "x:2"}
    assert dropped(rows.slice(0, 1)) == {} and dropped(rows.slice(0, 0)) == {}
    verdict = semantic(rows, np.array([0, 1]), threshold=0.01)
    assert verdict.gone.tolist() == [1] and verdict.because.to_pylist() == ["x:0"]
    assert verdict.reasons == ["near in words, by TF-IDF"] and verdict.clusters is None


@pytest.fixture(scope="module")
def planted(winnow_data: Path) -> pa.Table:
    """Real rows, and after them some again with the words of the response in another order."""
    real = pq.read_table(winnow_data / "instructions/alpaca_random_9k.parquet").to_pylist()
    real = [row for row in real if len(set(row["response"].split())) > 20][:3000]
    dice = random.Random(0)
    pairs = [(row["instruction"] + row["input"], row["response"]) for row in real]
    for instruction, response in pairs[:200]:
        words = response.split()
        dice.shuffle(words)
        pairs.append((instruction, " ".join(words)))
    return table(pairs)


def test_planted_rows_are_found_among_real_ones(planted: pa.Table) -> None:
    one, several = (dropped(planted, buckets=number) for number in (1, 8))
    copies = {f"x:{3000 + number}": f"x:{number}" for number in range(200)}
    pairs = copies.items() | {(original, copy) for copy, original in copies.items()}
    assert len(one.items() & pairs) == 200 and len(several.items() & pairs) > 190
    assert len(one) < 205  # of the others nearly none


def test_neither_the_order_of_rows_nor_the_cores_decide(
    planted: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = planted.take(np.random.default_rng(0).permutation(len(planted)))
    whole = dropped(planted, buckets=8, threshold=0.5)
    assert dropped(rows, buckets=8, threshold=0.5) == whole and len(whole) > 205
    for threads in (1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        with threadpool_limits(threads):
            assert dropped(planted, buckets=8, threshold=0.5) == whole


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of one word's width: it knows a text by its first words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

    set_seed(0)
    folder = tmp_path_factory.mktemp("model")
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    ).save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder / "bert")
    made = SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(32)])
    made.save(str(folder / "sentences"))
    return folder / "sentences"


def test_a_model_of_ones_own(model: Path) -> None:
    dice = random.Random(0)
    bags = [dice.sample(WORDS, 8) for _ in range(50)]
    # The last word is one that the model does not know: each pair is the same to it.
    rows = [(" ".join(bag[:3]), " ".join([*bag[3:], "of"])) for bag in bags]
    rows += [(ask, f"{answer[:-2]}unheard{number}") for number, (ask, answer) in enumerate(rows)]
    found = dropped(table(rows), model=str(model), threshold=0.9999)
    assert found == {f"x:{number}": f"x:{number + 50}" for number in range(50)}
    other = np.random.default_rng(0).permutation(100)
    assert dropped(table(rows).take(other), model=str(model), threshold=0.9999) == found
    verdict = semantic(table(rows), np.arange(100), model=str(model))
    assert set(verdict.reasons) == {"near in meaning"}


def test_what_no_model_can_be_had_from(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table([("a", "b")])
    for numbers, said in (
        ({"model": "some/model"}, "40 hex digits, found 'some/model', revision None"),
        ({"model": "some/model", "revision": "main"}, "40 hex digits.*'main'"),
        ({"model": str(tmp_path)}, "semantic.model: .* holds no .*safetensors"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            dropped(rows, **numbers)
        assert "\n" not in str(error.value)

    canary = tmp_path / "canary"
    code = shutil.copytree(model, tmp_path / "code")
    (code / "evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Module: pass\n")
    listed = (code / "modules.json").read_text()
    kinds = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    (code / "modules.json").write_text(listed.replace(kinds, "evil.Module"))
    assert listed != (code / "modules.json").read_text()
    pickled = shutil.copytree(model, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for folder, said in ((code, "cannot be loaded.*code"), (pickled, "pickles are never opened")):
        with pytest.raises(ValueError, match=said):
            dropped(rows, model=str(folder))
    assert not canary.exists()

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"pip install -e '.\[semantic\]'"):
        dropped(rows, model=str(model))


def test_the_parts_of_a_row_are_read_together() -> None:
    rows = table([("blue sea", "red fox"), ("red", "sea blue fox")])
    assert PARTS == ("instruction", "input", "response")
    assert dropped(rows) == {"x:0": "x:1"}
