"""Losses that depend on nothing but the model and the text; metrics that are what they say."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
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

from winnow.evaluate import generation, perplexity, stage
from winnow.records import Row
from winnow.train import stage as train
from winnow.vocabulary import Vocabulary, encoder

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


@torch.no_grad()
def slow_losses(model: GPT2LMHeadModel, row: Row) -> tuple[list[float], int]:
    """Loss of every token of a text and its end, one forward pass each; and the tokens that the
    prompt's characters start."""
    encoding = VOCABULARY.encodings([row.text])[0]
    stream = [0, *encoding.ids, 0]
    losses = []
    for place in range(1, len(stream)):
        start = (place - 1) // CONTEXT * CONTEXT
        logits = model(input_ids=torch.tensor([stream[start:place]])).logits[0, -1]
        losses.append(-torch.log_softmax(logits.double(), 0)[stream[place]].item())
    return losses, sum(begin < len(row.prompt) for begin, _ in encoding.offsets)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_losses_are_those_of_one_token_at_a_time(model: GPT2LMHeadModel, batch_size: int) -> None:
    found = perplexity.item_losses(model, ROWS, [1] * len(ROWS), VOCABULARY, CONTEXT, batch_size)
    assert max(found["num_tokens"]) > CONTEXT
    for row, item in zip(ROWS, found.itertuples(), strict=True):
        losses, before = slow_losses(model, row)
        assert item.num_tokens == len(losses) and item.num_bytes == len(row.text.encode())
        assert item.response_tokens == len(losses) - before
        assert item.loss / len(losses) == pytest.approx(sum(losses) / len(losses), abs=1e-5)
        assert item.response_loss == pytest.approx(sum(losses[before:]), abs=1e-3)


def test_a_summary_is_per_token_and_strata_add_up(model: GPT2LMHeadModel) -> None:
    quintiles = [number % 5 + 1 for number in range(len(ROWS))]
    items = perplexity.item_losses(model, ROWS, quintiles, VOCABULARY, CONTEXT, 4)
    whole = perplexity.summarise(items)
    assert whole["loss"] == pytest.approx(items["loss"].sum() / items["num_tokens"].sum())
    assert whole["perplexity"] == pytest.approx(math.exp(whole["loss"]))
    bits = whole["loss"] * whole["num_tokens"] / math.log(2) / whole["num_bytes"]
    assert whole["bits_per_byte"] == pytest.approx(bits)
    for parts in perplexity.strata(items).values():
        assert sum(part["num_tokens"] for part in parts.values()) == whole["num_tokens"]
        weighed = sum(part["loss"] * part["num_tokens"] for part in parts.values())
        assert weighed / whole["num_tokens"] == pytest.approx(whole["loss"])


def test_the_unigram_baseline() -> None:
    train, test = ROWS[:5], ROWS[5:]
    arrays = [pa.array([row.text for row in rows], pa.large_string()) for rows in (train, test)]
    counts = [1] * VOCABULARY.size
    for row in train:
        for token in [*VOCABULARY.encodings([row.text])[0].ids, 0]:
            counts[token] += 1
    targets = [t for row in test for t in [*VOCABULARY.encodings([row.text])[0].ids, 0]]
    wanted = -sum(math.log(counts[t] / sum(counts)) for t in targets) / len(targets)
    assert perplexity.unigram_loss(*arrays, VOCABULARY) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("check", "answer", "completion", "passed"),
    [
        ("exact", "bells", " bells\n", True),
        ("exact", "bells", "the bells", False),
        ("contains", "bells", "It is Bells.", True),
        ("contains", "bell", "It is bells.", False),
        ("contains", "a+b", "so a+b it is", True),
        ("number", "7", "First 3, then 7.", True),
        ("number", "7", "First 7, then 3.", False),
        ("number", "-2", "That gives -2", True),
        ("number", "1200", "about 1,200", True),
        ("number", "7", "seven", False),
    ],
)
def test_answers_are_checked(check: str, answer: str, completion: str, passed: bool) -> None:
    assert generation.passes(generation.Prompt("p", None, answer, check), completion) is passed


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
    assert generation.rouge_l(first, second) == pytest.approx(f1)
    sizes = sorted((len(one), len(two)))
    assert generation.length_ratio(first, second) == (sizes[0] / sizes[1] if sizes[1] else 1.0)
    grams = [tuple(one[i : i + 4]) for i in range(len(one) - 3)]
    repeated = 1 - len(set(grams)) / len(grams) if grams else None
    assert generation.repetition(first) == repeated
    pairs = [(a, b) for words in (one, two) for a, b in zip(words, words[1:], strict=False)]
    assert generation.distinct([first, second]) == (len(set(pairs)) / len(pairs) if pairs else None)


def test_an_undefined_metric_is_null_with_its_reason() -> None:
    found = generation.analyse([generation.Prompt("p", "some reference")], [["", "a"]])
    assert found["coherence"] is None and found["diversity"] is None
    assert found["task_completion"] is None
    assert found["reasons"]["task_completion"] == "no checkable task given"
    assert found["instruction_following"] == 0 and found["length_appropriateness"] == 0.25


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

    _with_tasks(project, [TASK, TASK])
    make_until("select")
    with pytest.raises(ValueError, match="run `winnow train high_40_tiny --seed 0` first"):
        stage.run("high_40_tiny", 0, False)
    train.run("high_40_tiny", 0, False)
    stage.run("high_40_tiny", 0, True)
    out = project / "results/high_40_tiny/0"
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "card.json", "experiment_config.json", "train_results.json", "evaluation/metrics.json",
        "evaluation/items.parquet", "quality_analysis/strata.json",
        "generation_analysis/metrics.json", "generation_analysis/samples.jsonl",
    }  # fmt: skip
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    assert metrics["num_rows"] == 20 and metrics["loss"] < metrics["baseline_loss"] + 1
    items = pq.read_table(out / "evaluation/items.parquet")
    assert np.bincount(items["quintile"].to_numpy())[1:].tolist() == [4] * 5
    samples = [json.loads(line) for line in (out / "generation_analysis/samples.jsonl").open()]
    assert len(samples) == 2 * (3 + 2)
    assert sum(sample["passed"] is not None for sample in samples) == 4
    generated = json.loads((out / "generation_analysis/metrics.json").read_text())
    assert 0 <= generated["task_completion"] <= 1
    capsys.readouterr()
    stage.run("high_40_tiny", 0, True)
    assert "is done and unchanged" in capsys.readouterr().out
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    (run,) = [run for run in runs if run.info.run_name == "evaluate@high_40_tiny-0"]
    assert run.data.metrics["test.loss"] == pytest.approx(metrics["loss"])
    assert run.data.params["tier.rule"] == "top"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["not json"], r"tasks.jsonl:1: not a task"),
        ([TASK, '{"instruction": "x"}'], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace('"7"', "7")], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace('"7"', '"seven"')], r"tasks.jsonl:2: not a task"),
        ([TASK, TASK.replace("number", "regex")], r"tasks.jsonl:2: .*exact, contains or number"),
    ],
)
def test_a_bad_task_is_named(project: Path, lines: list[str], message: str) -> None:
    _with_tasks(project, lines)
    settings = stage.EvaluateConfig(tasks="tasks.jsonl")
    with pytest.raises(ValueError, match=message):
        stage._tasks(settings.tasks, settings.max_tasks)
    with pytest.raises(ValueError, match="evaluate.tasks: no file 'nowhere'"):
        stage._tasks("nowhere", 1)


def test_a_line_of_tasks_ends_where_json_says(project: Path) -> None:
    task = {"instruction": "a\u2028b", "answer": "x", "check": "exact"}
    _with_tasks(project, [json.dumps(task), json.dumps(task, ensure_ascii=False), "", TASK])
    first, second, last = stage._tasks("tasks.jsonl", 9)
    assert "a\u2028b" in first.text and first == second
    assert last.answer == "7"
