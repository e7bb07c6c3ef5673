"""The scorer equals the documented formulas, offline, and the stage survives being killed."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import textstat
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import score as oracle
from tiny import TINY, Winnow, corpus, make_until, write_jsonl, write_params
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from winnow.core.records import DIMENSIONS
from winnow.score import QualityScorer, stage
from winnow.score.flesch import flesch_reading_ease


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = [row["output"] for row in corpus(50)] + ["a_b _ __ a b"]
    tokenizer.train_from_iterator(texts, BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return tokenizer


TOKENIZER = _tokenizer()
SCORER = QualityScorer(TOKENIZER)


def difference(
    instruction: str, response: str, tokenizer: Tokenizer, scorer: QualityScorer
) -> float:
    """The largest difference of the five figures to the oracle's."""
    row = {"instruction": instruction, "input": "", "response": response}
    (scored,) = scorer.score_rows(pa.RecordBatch.from_pylist([row])).to_pylist()
    total, parts = scored["score"], {name: scored[name] for name in DIMENSIONS}
    wanted, dimensions = oracle(instruction, response, lambda text: tokenizer.encode(text).tokens)
    assert list(parts) == list(dimensions)
    return max(abs(total - wanted), *(abs(parts[name] - dimensions[name]) for name in parts))


PIECES = st.sampled_from(
    [
        "first",
        "Then",
        "step",
        "explain",
        "why",
        "python",
        "def ",
        "```",
        "\n\n",
        "\n1.",
        "- ",
        "?",
        ". ",
        "a_b",
        "_",
        " ",
        "word",
        "Straße",
        "日本",
        "\x00",
        "1.",
        "how",
    ]
)
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=40).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_equals_the_documented_formulas(instruction: str, response: str) -> None:
    assert difference(instruction, response, TOKENIZER, SCORER) <= 1e-9


def test_equals_the_documented_formulas_on_real_rows(winnow_data: Path) -> None:
    folder = winnow_data / "tokenizers/gpt2"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    scorer = QualityScorer(folder)
    worst, count = 0.0, 0
    for path in sorted((winnow_data / "instructions").glob("*.parquet")):
        batch = next(pq.ParquetFile(path).iter_batches(240))
        for row, scored in zip(
            batch.to_pylist(), scorer.score_rows(batch).to_pylist(), strict=True
        ):
            question = row["instruction"] + (f"\n{row['input']}" if row["input"] else "")
            total, parts = oracle(question, row["response"], lambda t: tokenizer.encode(t).tokens)
            wanted = {"score": total} | parts
            worst = max(worst, *(abs(scored[name] - wanted[name]) for name in wanted))
            count += 1
    print(f"{count} real rows, maximum difference {worst:.2e}")
    assert count > 5_000 and worst <= 1e-9


def test_a_transformers_tokenizer_a_folder_and_a_tokenizer_agree(project: Path) -> None:
    make_until("curate")
    from transformers import AutoTokenizer

    folder = project / "artifacts/curate/tokenizer"
    sample = {"instruction": "Why?", "input": "the lamp", "response": "green river stone."}
    tokenizers = (folder, str(folder), AutoTokenizer.from_pretrained(folder))
    assert len({QualityScorer(item).score_sample(sample)[0] for item in tokenizers}) == 1


def test_the_input_is_the_instructions_last_line() -> None:
    joined = {"instruction": "Why is it?\nthe lamp", "response": "green."}
    apart = {"instruction": "Why is it?", "input": "the lamp", "response": "green."}
    assert SCORER.score_sample(joined) == SCORER.score_sample(apart)


def test_an_unknown_tokenizer_is_named() -> None:
    with pytest.raises(ValueError, match="no tokenizer 'no/such'"):
        QualityScorer("no/such")


def test_flesch_needs_no_network_and_keeps_its_figures() -> None:
    # Figures of the locked textstat and its dictionary: a change of either changes every score.
    assert textstat.flesch_reading_ease("The cat sat on the mat.") == pytest.approx(116.145)
    assert textstat.flesch_reading_ease("Explain photosynthesis to a child.") == pytest.approx(
        32.56
    )


WORDS = st.sampled_from(
    [
        "river",
        "River's",
        "don't",
        "'ve",
        "'",
        "naïve",
        "İstanbul",
        "\u212aelvin",
        "x1",
        "42",
        "a_b",
        "e.g.",
        "...",
        "?!",
        "-",
        "(yes)",
        "日本語",
        "\u2028",
        "\x1c",
        "unhappiness",
        "rhythm",
        "ﬁsh",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text(max_size=30) | st.lists(WORDS, max_size=12).map(" ".join), min_size=1))
def test_flesch_is_textstats_to_the_last_bit(texts: list[str]) -> None:
    found = flesch_reading_ease(pa.array(texts))
    assert found.tolist() == [textstat.flesch_reading_ease(text) for text in texts]


def test_flesch_of_real_words(winnow_data: Path) -> None:
    words: set[str] = set()
    for path in sorted((winnow_data / "instructions").glob("*.parquet")):
        batch = next(pq.ParquetFile(path).iter_batches(1500))
        words.update(word for text in batch["response"].to_pylist() for word in text.split())
    texts = sorted(words)
    found = flesch_reading_ease(pa.array(texts))
    wanted = [textstat.flesch_reading_ease(text) for text in texts]
    print(f"{len(texts)} real words, one text each")
    assert len(texts) > 50_000 and found.tolist() == wanted


def test_one_pair_is_explained(project: Path, winnow: Winnow) -> None:
    make_until("curate")
    pair = {"instruction": "Explain tides?", "response": "First the moon.\n\nThen the sun. So. `"}
    (project / "pair.json").write_text(json.dumps(pair))
    done = winnow("score", "--explain", "pair.json")
    assert done.returncode == 0, done.stderr
    scorer = QualityScorer(project / "artifacts/curate/tokenizer")
    total, dimensions = scorer.score_sample(pair)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["score", f"{total:.3f}"] and len(lines) == 5
    assert "question or directive 1.00" in lines[1] and "paragraphs or list 1.00" in lines[2]
    assert "steps 0.60" in lines[4] and "code 0.60" in lines[4]
    for name, parts in scorer.explain(pair).items():
        assert sum(parts.values()) / 3 == pytest.approx(dimensions[name])
    (project / "pair.json").write_text("[]")
    done = winnow("score", "--explain", "pair.json")
    assert done.returncode == 2 and "pair.json: expected one JSON object" in done.stderr
    assert not (project / "artifacts/score").exists()


def test_batches_and_threads_change_no_byte(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = {"name": "composite", "weights": {"length": 1, "clarity": 1}, "as": "mix"}
    write_params(project, TINY | {"score": {"scorers": [{"name": "length"}, mix]}})
    write_jsonl(project / "data/a.jsonl", corpus(500))
    found = []
    for batch_rows, threads in ((500, 1), (37, 3)):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        monkeypatch.setattr(stage, "BATCH_ROWS", batch_rows)
        make_until("score")
        found.append(pq.read_table(project / "artifacts/score/train.parquet"))
    assert found[0].equals(found[1])
    costs = json.loads(Path("artifacts/score_metrics.json").read_text())
    parts = costs["seconds"] + costs["scorers"]["length"]["seconds"]
    assert costs["scorers"]["mix"]["seconds"] > parts > 0, "its cost is that of its columns too"
