"""Losses that depend on nothing but the model and the text; metrics that are what they say."""

import copy
import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY, corpus, make_until, write_params
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import GPT2Config, GPT2LMHeadModel

from winnow.core import params
from winnow.core.errors import Refusal
from winnow.core.experiments import Model
from winnow.core.metrics import METRICS
from winnow.core.metrics import read as read_metric
from winnow.core.records import ROW_SCHEMA, Row
from winnow.core.rouge import rouge_l
from winnow.evaluate import generation, losses, stage
from winnow.evaluate.tasks import Prompt
from winnow.models.gpt2 import GPT2
from winnow.models.judged import Judged
from winnow.models.tokenizer import Vocabulary, encoder
from winnow.train import stage as train

CONTEXT = 48


def _vocabulary() -> Vocabulary:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([row["output"] for row in corpus(40)], trainer)
    return Vocabulary(tokenizer, tokenizer.get_vocab_size(), 0, encoder(tokenizer))


VOCABULARY = _vocabulary()
ROWS = [
    Row(
        str(number),
        "ab"[number % 2],
        row["instruction"],
        row["input"],
        row["output"] * (number % 4),
    )
    for number, row in enumerate(corpus(12))
] + [Row("x", "a", "Ünï 日本", "", "ok")]


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    shape = {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY.size, **shape)).eval()


def judged_gpt2(model: GPT2LMHeadModel, vocabulary: Vocabulary) -> Judged:
    """A GPT-2 that no training published."""
    end = vocabulary.tokenizer.id_to_token(vocabulary.end_of_text)
    spec = Model(num_layers=2, hidden_size=32, num_heads=2, context=model.config.n_positions)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary.tokenizer.save(f"{folder}/tokenizer.json")
        Path(folder, "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
        family = GPT2(spec, Path(folder), "scratch")
    family.network = model
    return Judged(family)


def item_losses(model: GPT2LMHeadModel, rows: list[Row], batch_size: int) -> pd.DataFrame:
    """The items of evaluation/items.parquet, with quintiles by turns."""
    quintiles = [number % 5 + 1 for number in range(len(rows))]
    table = pa.Table.from_pylist([asdict(row) for row in rows], ROW_SCHEMA)
    sums = judged_gpt2(model, VOCABULARY).row_losses(table, batch_size)
    return losses.table(table, quintiles, sums)


@torch.no_grad()
def slow_losses(model: GPT2LMHeadModel, row: Row) -> tuple[list[float], int]:
    """Loss of every token of a text and its end, one forward pass each; and the tokens that the
    prompt's characters start."""
    encoding = VOCABULARY.encodings([row.text])[0]
    stream = [0, *encoding.ids, 0]
    found = []
    for place in range(1, len(stream)):
        start = (place - 1) // CONTEXT * CONTEXT
        logits = model(input_ids=torch.tensor([stream[start:place]])).logits[0, -1]
        found.append(-torch.log_softmax(logits.double(), 0)[stream[place]].item())
    return found, sum(begin < len(row.prompt) for begin, _ in encoding.offsets)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_losses_are_those_of_one_token_at_a_time(model: GPT2LMHeadModel, batch_size: int) -> None:
    found = item_losses(model, ROWS, batch_size)
    assert max(found["num_tokens"]) > CONTEXT
    for row, item in zip(ROWS, found.itertuples(), strict=True):
        slow, before = slow_losses(model, row)
        assert item.num_tokens == len(slow) and item.num_bytes == len(row.text.encode())
        assert item.response_tokens == len(slow) - before
        assert item.loss / len(slow) == pytest.approx(sum(slow) / len(slow), abs=1e-5)
        assert item.response_loss == pytest.approx(sum(slow[before:]), abs=1e-3)


def test_a_batch_changes_no_loss() -> None:
    """Rows of 1 to 3,000 characters, alone and beside 31 others."""
    torch.manual_seed(1)
    shape = {"n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY.size, **shape)).eval()
    text = " ".join(row["output"] for row in corpus(60))
    rows = [Row(str(n), "a", "Say.", "", text[n : n + n**2 % 3001 + 1]) for n in range(80)]
    alone, beside = (item_losses(model, rows, batch_size) for batch_size in (1, 32))
    assert alone["num_tokens"].min() < 40 and alone["num_tokens"].max() > 512
    for loss, number in (("loss", "num_tokens"), ("response_loss", "response_tokens")):
        assert (alone[loss] - beside[loss]).abs().div(alone[number]).max() < 1e-5


def test_a_summary_is_per_token_and_strata_add_up(model: GPT2LMHeadModel) -> None:
    items = item_losses(model, ROWS, 4)
    whole = asdict(losses.summarise(items))
    assert whole["loss"] == pytest.approx(items["loss"].sum() / items["num_tokens"].sum())
    assert whole["perplexity"] == pytest.approx(math.exp(whole["loss"]))
    bits = whole["loss"] * whole["num_tokens"] / math.log(2) / whole["num_bytes"]
    assert whole["bits_per_byte"] == pytest.approx(bits)
    found = {
        kind: {name: asdict(part) for name, part in parts.items()}
        for kind, parts in losses.strata(items).items()
    }
    assert list(found) == ["quintile", "source", "length"]
    for parts in found.values():
        assert sum(part["num_tokens"] for part in parts.values()) == whole["num_tokens"]
        weighed = sum(part["loss"] * part["num_tokens"] for part in parts.values())
        assert weighed / whole["num_tokens"] == pytest.approx(whole["loss"])


def test_fifths_of_length_keep_equal_lengths_together() -> None:
    lengths = [5, 5, 5, 5, 9, 9, 12, 30, 31, 100]
    numbers = {name: 1 for name in ("num_bytes", "response_tokens", "quintile")}
    rows = [
        numbers | {"source": "a", "num_tokens": n, "loss": n * 2.0, "response_loss": 1.0}
        for n in lengths
    ]
    fifths = losses.strata(pd.DataFrame(rows))["length"]
    assert {name: part.num_tokens for name, part in fifths.items()} == {
        "1": 20,
        "3": 18,
        "4": 12 + 30,
        "5": 31 + 100,
    }
    backwards = losses.strata(pd.DataFrame(rows[::-1]))["length"]
    assert backwards == fifths


def test_the_unigram_baseline() -> None:
    train, test = ROWS[:5], ROWS[5:]
    arrays = [pa.array([row.text for row in rows], pa.large_string()) for rows in (train, test)]
    counts = [1] * VOCABULARY.size
    for row in train:
        for token in [*VOCABULARY.encodings([row.text])[0].ids, 0]:
            counts[token] += 1
    targets = [t for row in test for t in [*VOCABULARY.encodings([row.text])[0].ids, 0]]
    wanted = -sum(math.log(counts[t] / sum(counts)) for t in targets) / len(targets)
    targets = (np.concatenate(VOCABULARY.encode(array)) for array in arrays)
    assert losses.unigram_loss(*targets, VOCABULARY.size) == pytest.approx(wanted)


WORDS = st.lists(st.sampled_from("abc"), max_size=12)


@given(WORDS, WORDS)
def test_text_metrics_against_plain_definitions(one: list[str], two: list[str]) -> None:
    def longest(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return 0
        if a[-1] == b[-1]:
            return longest(a[:-1], b[:-1]) + 1
        return max(longest(a[:-1], b), longest(a, b[:-1]))

    one, two = one[:7], two[:7]
    first, second = " ".join(one), " ".join(two)
    common = longest(one, two)
    precision = common / len(one) if one else 0
    recall = common / len(two) if two else 0
    f1 = 2 * precision * recall / (precision + recall) if common else 0
    assert rouge_l(first, second) == pytest.approx(f1)
    sizes = sorted((len(one), len(two)))
    assert generation.length_ratio(first, second) == (sizes[0] / sizes[1] if sizes[1] else 1.0)
    grams = [tuple(one[i : i + 4]) for i in range(len(one) - 3)]
    repeated = 1 - len(set(grams)) / len(grams) if grams else None
    assert generation.repetition(first) == repeated
    pairs = [(a, b) for words in (one, two) for a, b in zip(words, words[1:], strict=False)]
    assert generation.distinct([first, second], 2) == (
        len(set(pairs)) / len(pairs) if pairs else None
    )
    whole = one + two
    assert generation.distinct([first, second], 1) == (
        len(set(whole)) / len(whole) if whole else None
    )


def test_bleu_by_hand() -> None:
    # Matches of 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples.
    wanted = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert generation.bleu([*"abcde"], [[*"abcdf"]]) == pytest.approx(wanted)
    # Half as long: exp(1 - 8/4). Clipped: of four words one. No match counts a tenth.
    assert generation.bleu([*"abcd"], [[*"abcdefgh"]]) == pytest.approx(math.exp(-1))
    clipped = (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert generation.bleu([*"aaaa"], [[*"abcd"]]) == pytest.approx(clipped)
    # The closest in length sets the penalty, of two as close the shorter one.
    assert generation.bleu([*"abcd"], [[*"abc"], [*"abcde"]]) == 1


TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=5)


@given(TEXTS)
def test_self_bleu_is_1_for_copies_and_less_for_others(texts: list[str]) -> None:
    found = generation.self_bleu(texts)
    long = [text for text in texts if len(text.split()) >= 4]
    assert (found is None) == (not long or len(texts) < 2)
    if found is not None:
        assert 0 < found <= 1
        assert generation.self_bleu([long[0]] * 5) == pytest.approx(1)
        assert generation.self_bleu([*texts, "x y z w"]) < 1
        assert generation.self_bleu(texts[::-1]) == pytest.approx(found)


def test_an_undefined_metric_is_null_with_its_reason() -> None:
    found = generation.analyse([Prompt("p", "some reference")], [["", "a"]])
    assert found.coherence is None and found.diversity is None
    assert found.task_completion is None
    assert found.reasons["task_completion"] == "no checkable task given"
    assert found.instruction_following == 0 and found.length_appropriateness == 0.25


@pytest.mark.parametrize(("key", "value"), [("temperature", 0.0), ("top_p", 0.0), ("seed", -1)])
def test_settings_that_sample_nothing_are_refused(key: str, value: float) -> None:
    with pytest.raises(Refusal, match=rf"evaluate.{key}: expected .* found {value}"):
        params.build(stage.EvaluateConfig, {key: value}, "evaluate")


def _with_tasks(project: Path, lines: list[str]) -> None:
    (project / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
    params: Any = copy.deepcopy(TINY)
    params["evaluate"]["tasks"] = "tasks.jsonl"
    write_params(project, params)


TASK = json.dumps({"instruction": "Say 7.", "input": "", "answer": "7", "check": "number"})


def test_the_stage_writes_what_is_documented(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    asked = {"prompt": "Hi.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    unchecked = asked | {"instruction_id_list": ["language:response_language"]}
    _with_tasks(project, [TASK, TASK, json.dumps(asked), json.dumps(unchecked)])
    make_until("select")
    with pytest.raises(ValueError, match="run `winnow train high_40_tiny --seed 0` first"):
        stage.run(["high_40_tiny"], 0, False)
    train.run(["high_40_tiny"], 0, False)
    stage.run(["high_40_tiny"], 0, True)
    out = project / "results/high_40_tiny/0"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "card.json",
        "experiment_config.json",
        "train_results.json",
        "evaluation/metrics.json",
        "evaluation/items.parquet",
        "quality_analysis/strata.json",
        "generation_analysis/metrics.json",
        "generation_analysis/samples.jsonl",
    }
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    assert metrics["num_rows"] == 20 and metrics["loss"] < metrics["baseline_loss"] + 1
    items = pq.read_table(out / "evaluation/items.parquet")
    assert np.bincount(items["quintile"].to_numpy())[1:].tolist() == [4] * 5
    samples = [json.loads(line) for line in (out / "generation_analysis/samples.jsonl").open()]
    assert len(samples) == 2 * (3 + 3)
    assert sum(sample["passed"] is not None for sample in samples) == 6
    assert {sample["answer"] for sample in samples} == {None, "7", "punctuation:no_comma"}
    generated = json.loads((out / "generation_analysis/metrics.json").read_text())
    assert 0 <= generated["task_completion"] <= 1 and generated["unchecked"] == 1
    assert 0 < generated["self_bleu"] < 1 and 0 < generated["distinct_1"] <= 1
    strata = json.loads((out / "quality_analysis/strata.json").read_text())
    assert sum(part["num_rows"] for part in strata["length"].values()) == 20
    for name, value in {**metrics, **generated}.items():
        if name in METRICS:
            read = read_metric(out, METRICS[name])
            assert len(read.ids) == (2 if name == "task_completion" else 20)
            assert read.numerators.sum() / read.denominators.sum() == pytest.approx(value), name
    capsys.readouterr()
    stage.run(["high_40_tiny"], 0, True)
    assert "is done and unchanged" in capsys.readouterr().out
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    (run,) = [run for run in runs if run.info.run_name == "evaluate@high_40_tiny-0"]
    assert run.data.metrics["test.loss"] == pytest.approx(metrics["loss"])
    assert {"loss_length.1", "generation.self_bleu"} <= set(run.data.metrics)
    assert run.data.params["tier.rule"] == "top"
