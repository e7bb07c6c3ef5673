"""Whatever engine encodes, the ids are the tokenizer's own."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from winnow.models.tokenizer import encoder

END = "<|endoftext|>"


def _bpe(**kind: object) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **kind)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=[END])
    tokenizer.train_from_iterator(["the green river runs over the stone"] * 3, trainer)
    return tokenizer


BPE = _bpe()
ENCODE = encoder(BPE)


def differ(tokenizer: Tokenizer, encode, texts: list[str]) -> int:  # type: ignore[no-untyped-def]
    """How many of the texts have other ids."""
    ids, offsets = encode(pa.array(texts, pa.large_string()))
    wanted = tokenizer.encode_batch(texts, add_special_tokens=False)
    parts = np.split(ids, offsets[1:-1]) if texts else []
    return sum(list(part) != item.ids for part, item in zip(parts, wanted, strict=True))


def test_the_fast_engine_is_the_one_in_use() -> None:
    assert ENCODE.__name__ == "fast"


TEXTS = st.lists(
    st.text(max_size=40) | st.sampled_from([END, f"a{END} b", "the river"]), min_size=1
)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_any_text(texts: list[str]) -> None:
    assert differ(BPE, ENCODE, texts) == 0


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_special_tokens_as_text(texts: list[str]) -> None:
    assert differ(PLAIN, ENCODE_PLAIN, texts) == 0


PLAIN = _bpe()
PLAIN.encode_special_tokens = True
ENCODE_PLAIN = encoder(PLAIN)


def test_real_rows(winnow_data: Path) -> None:
    tokenizer = Tokenizer.from_file(str(winnow_data / "tokenizers/gpt2/tokenizer.json"))
    encode, different, count = encoder(tokenizer), 0, 0
    for path in sorted((winnow_data / "instructions").glob("*.parquet")):
        texts = next(pq.ParquetFile(path).iter_batches(400))["response"].to_pylist()
        different, count = different + differ(tokenizer, encode, texts), count + len(texts)
    print(f"{count} real texts, {different} with other ids")
    assert count > 10_000 and different == 0


@pytest.mark.parametrize("reason", ["not installed", "another kind"])
def test_without_the_fast_engine(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason == "not installed":
        monkeypatch.setitem(sys.modules, "gigatoken", None)
    tokenizer = BPE if reason == "not installed" else _bpe(use_regex=False)
    encode = encoder(tokenizer)
    assert differ(tokenizer, encode, ["the river", "", END, "Straße"]) == 0
    assert reason != "not installed" or encode.__name__ == "slow"
