"""Public benchmarks by lm-eval: local files really asked, figures equal to a plain computation."""

import copy
import csv
import gzip
import importlib.util
import itertools
import json
import math
import socket
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from test_evaluate import judged_gpt2
from tiny import TINY, make_until, need, write_params
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import GPT2Config, GPT2LMHeadModel

from winnow.core import metrics
from winnow.evaluate import benchmarks, harness, sandbox, stage
from winnow.evaluate.benchmarks import Benchmark, BenchmarkItems
from winnow.models.tokenizer import Vocabulary, encoder
from winnow.train import stage as train

pytestmark = pytest.mark.slow

CONTEXT = 256
COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def lm_eval() -> None:
    """Skip or fail where lm-eval is not installed."""
    need(importlib.util.find_spec("lm_eval") is not None, "lm-eval is not installed")


@pytest.fixture(scope="module")
def local(winnow_data: Path) -> Path:
    """The folder of the benchmarks."""
    return winnow_data / "benchmarks"


@pytest.fixture(scope="module")
def vocabulary(local: Path) -> Vocabulary:
    """A small one, made of questions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=1000, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    with (local / "gsm8k/test.jsonl").open() as file:
        tokenizer.train_from_iterator(itertools.islice(file, 300), trainer)
    return Vocabulary(tokenizer, tokenizer.get_vocab_size(), 0, encoder(tokenizer))


@pytest.fixture(scope="module")
def model(vocabulary: Vocabulary) -> GPT2LMHeadModel:
    """One whose weights are drawn wide enough that it has opinions."""
    torch.manual_seed(0)
    shape = {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary.size, initializer_range=0.2, **shape)
    ).eval()


def asked(local: Path) -> list[Benchmark]:
    return [
        Benchmark(name="MMLU", path=str(local / "mmlu"), limit=1, num_fewshot=1),
        Benchmark(name="HellaSwag", path=str(local / "hellaswag"), limit=12),
        Benchmark(name="ARC", path=str(local / "eval_gauntlet"), limit=12),
        Benchmark(name="PIQA", path=str(local / "eval_gauntlet"), limit=12),
        Benchmark(name="GSM8K", path=str(local / "gsm8k"), limit=3, num_fewshot=0),
    ]


@torch.no_grad()
def slow_likelihood(
    model: GPT2LMHeadModel, vocabulary: Vocabulary, prompt: str, answer: str
) -> float:
    """Log-likelihood of an answer, one token and one forward pass at a time."""
    before = len(vocabulary.encodings([prompt])[0].ids)
    ids = vocabulary.encodings([prompt + answer])[0].ids
    total = 0.0
    for place in range(before, len(ids)):
        seen = ids[max(0, len(ids) - CONTEXT - 1) : place]
        logits = model(input_ids=torch.tensor([seen])).logits[0, -1]
        total += torch.log_softmax(logits.double(), 0)[ids[place]].item()
    return total


def plain_items(local: Path) -> dict[str, list[tuple[str, list[str], int]]]:
    """Prompt, answers and the right one of the first items, by the tasks' published forms."""
    found: dict[str, list[tuple[str, list[str], int]]] = {}
    for task, name in {
        "arc_easy": "world_knowledge/arc_easy",
        "arc_challenge": "world_knowledge/arc_challenge",
        "piqa": "commonsense_reasoning/piqa",
    }.items():
        with (local / f"eval_gauntlet/{name}.jsonl").open() as file:
            rows = [json.loads(line) for line in itertools.islice(file, 12)]
        found[task] = [
            (row["query"].rstrip("\n") + "\nAnswer:", row["choices"], row["gold"]) for row in rows
        ]
    with (local / "mmlu/dev.csv").open() as file:
        solved = next(csv.DictReader(file))
    first = "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    question = "Find the degree for the given field extension Q(sqrt(2), sqrt(3), sqrt(18)) over Q."
    shown = [
        "\n".join(
            [text, *(f"{letter}. {choice}" for letter, choice in zip("ABCD", four, strict=True))]
        )
        for text, four in [
            (solved["question"], [solved[f"choice{i}"] for i in range(4)]),
            (question, ["0", "4", "2", "6"]),
        ]
    ]
    example = f"{shown[0]}\nAnswer: {'ABCD'[int(solved['answer'])]}\n\n"
    found["mmlu_abstract_algebra"] = [
        (f"{first}{example}{shown[1]}\nAnswer:", ["A", "B", "C", "D"], 1)
    ]
    return found


def test_figures_are_lm_evals_and_those_of_a_plain_computation(
    local: Path, model: GPT2LMHeadModel, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval

    whole, theirs = lm_eval.evaluate, {}

    def kept(*arguments: Any, **options: Any) -> Any:
        found = whole(*arguments, **options)
        theirs.update(found["results"])
        return found

    monkeypatch.setattr(lm_eval, "evaluate", kept)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it called somebody"))
    items, figures = harness.ask(
        judged_gpt2(model, vocabulary), benchmarks.read(asked(local), False), 16, 0
    )
    assert [figures[one.name]["num_items"] for one in asked(local)] == [57, 12, 24, 12, 3]
    assert items.num_rows == 108
    for part in figures.values():
        for task, ours in part["tasks"].items():
            exact = theirs[task].get("exact_match,strict-match")
            assert ours["accuracy"] == pytest.approx(theirs[task].get("acc,none", exact))
            assert ours["accuracy_norm"] == pytest.approx(theirs[task].get("acc_norm,none"))
    gsm8k = figures["GSM8K"]
    assert gsm8k["accuracy_flexible"] == theirs["gsm8k"]["exact_match,flexible-extract"]
    assert gsm8k["correct_prob"] is None
    assert gsm8k["reasons"]["correct_prob"] == "answers are written, not chosen"
    assert figures["MMLU"]["cut_prompts"] > 0
    assert 0 < sum(row["accuracy"] for row in items.to_pylist()) < 100
    plain = plain_items(local)
    rows = {(row["task"], row["item"]): row for row in items.to_pylist()}
    for task, known in plain.items():
        for place, (prompt, answers, gold) in enumerate(known[:3]):
            likelihoods = [
                slow_likelihood(model, vocabulary, prompt, f" {answer}") for answer in answers
            ]
            row, right = rows[task, place], likelihoods[gold]
            assert row["log_likelihood"] == pytest.approx(right, abs=1e-3), (task, place)
            size = len(answers[gold].encode())
            assert row["log_likelihood_per_byte"] == pytest.approx(right / size, abs=1e-3)
            assert row["correct_prob"] == pytest.approx(math.exp(right), rel=1e-3)
            norm = 1 / sum(math.exp(x - right) for x in likelihoods)
            assert row["norm_correct_prob"] == pytest.approx(norm, rel=1e-3)
            assert row["accuracy"] == float(max(likelihoods) == right)
    part = [row["norm_correct_prob"] for row in items.to_pylist() if row["benchmark"] == "PIQA"]
    mean = sum(part) / 12
    spread = math.sqrt(sum((x - mean) ** 2 for x in part) / 11 / 12)
    assert figures["PIQA"]["norm_correct_prob"] == pytest.approx(mean)
    assert figures["PIQA"]["norm_correct_prob_stderr"] == pytest.approx(spread)


def test_an_answer_longer_than_the_context_is_counted(
    local: Path, model: GPT2LMHeadModel, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    rows = [{"query": "Question: a", "choices": ["b", "c " * 300], "gold": 0}]
    rows.append({"query": "Question: a", "choices": ["yes", "no"], "gold": 1})
    (tmp_path / "piqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = benchmarks.read([Benchmark(name="PIQA", path=str(tmp_path))], False)
    items, figures = harness.ask(judged_gpt2(model, vocabulary), one, 4, 0)
    assert items["item"].to_pylist() == [1]
    assert figures["PIQA"]["too_long"] == 1
    assert figures["PIQA"]["accuracy_stderr"] is None
    assert figures["PIQA"]["reasons"]["accuracy_stderr"] == "one item"
    (tmp_path / "piqa.jsonl").write_text(json.dumps(rows[0]))
    one = benchmarks.read([Benchmark(name="PIQA", path=str(tmp_path))], False)
    items, figures = harness.ask(judged_gpt2(model, vocabulary), one, 4, 0)
    assert items.num_rows == 0 and figures["PIQA"]["accuracy"] is None
    assert figures["PIQA"]["reasons"]["accuracy"] == "no item fits the context"


def test_human_eval(local: Path, model: GPT2LMHeadModel, vocabulary: Vocabulary) -> None:
    try:
        sandbox.demand()
    except ValueError as error:
        need(False, str(error))
    wanted = Benchmark(name="HumanEval", path=str(local / "humaneval"), limit=2, samples=2)
    found = benchmarks.read([wanted], True)
    items, figures = harness.ask(judged_gpt2(model, vocabulary), found, 4, 0)
    assert [len(answers) for answers in items["answers"].to_pylist()] == [2, 2]
    assert figures["HumanEval"]["accuracy"] == 0
    with gzip.open(local / "humaneval/HumanEval.jsonl.gz", "rt") as file:
        problem = json.loads(next(file))
    given = [[problem["canonical_solution"], "    return None\n"]]
    assert harness._run_solutions(problem, given) == {"accuracy": 0.5}


@pytest.mark.parametrize(("k", "samples"), [(1, 1), (1, 6), (2, 5), (3, 4)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(k: int, samples: int) -> None:
    for passed in range(samples + 1):
        draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
        wanted = sum(map(any, draws)) / len(draws)
        assert harness.pass_at(k, samples, passed) == pytest.approx(wanted)


PIQA = json.dumps({"query": "Question: a", "choices": ["b", "c"], "gold": 1})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"name": "PIQA"}, r"benchmarks\[0\] PIQA: expected a path, or a revision"),
        ({"name": "PIQA", "path": "x", "revision": COMMIT}, "expected a path, or a revision"),
        ({"name": "PIQA", "revision": "main"}, "expected a commit of 40 hex digits, found 'main'"),
        ({"name": "PIQA", "path": "nowhere"}, "no file or folder 'nowhere'"),
        ({"name": "ARC", "path": "."}, "no file named arc_easy or arc_challenge"),
        ({"name": "PIQA", "path": "piqa.jsonl", "samples": 2}, "samples: expected 1, found 2"),
        ({"name": "MMLU", "path": "piqa.jsonl"}, "piqa.jsonl: item 1 is none of MMLU"),
        ({"name": "GSM8K", "path": "empty.jsonl"}, "empty.jsonl: no items of GSM8K"),
        ({"name": "HellaSwag", "path": "bad.txt"}, "bad.txt: item 2 is none of HellaSwag"),
        ({"name": "HumanEval", "path": "x"}, "runs the Python that the model writes.*run_code"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    wanted: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("piqa.jsonl").write_text(PIQA)
    Path("empty.jsonl").write_text("\n")
    Path("bad.txt").write_text("A: b c\n1\nd\ne\nf\ng\nA: h i\n7\nd\ne\nf\ng\n")
    with pytest.raises(ValueError, match=message) as caught:
        benchmarks.read([Benchmark(**wanted)], False)
    assert "\n" not in str(caught.value)


def test_what_lm_eval_cannot_load_is_one_line(tmp_path: Path) -> None:
    row = {"question": "a", "answer": "#### 1"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    one = Benchmark(name="GSM8K", path=str(tmp_path))
    with pytest.raises(ValueError, match="no file named dev or train.*set num_fewshot to 0"):
        harness._tasks(BenchmarkItems(one, benchmarks._local(one, "")), 0)
    hub = BenchmarkItems(Benchmark(name="PIQA", revision=COMMIT), {})
    with pytest.raises(ValueError, match=r"^PIQA: its items cannot be had \(.*baber/piqa"):
        harness._tasks(hub, 0)


def test_without_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ValueError, match=r"lm-eval is missing: pip install -e '.\[lm-eval\]'"):
        benchmarks.read([Benchmark(name="PIQA", path="x")], False)
    assert benchmarks.read([], False) == []


def test_the_stage_writes_them_and_a_changed_file_is_asked_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    (project / "piqa.jsonl").write_text(f"{PIQA}\n{PIQA}\n")
    params: Any = copy.deepcopy(TINY)
    params["evaluate"]["benchmarks"] = [{"name": "PIQA", "path": "piqa.jsonl"}]
    write_params(project, params)
    make_until("select")
    train.run(["high_40_tiny"], 0, False)
    stage.run(["high_40_tiny"], 0, True)
    out = project / "results/high_40_tiny/0/benchmarks"
    figures = json.loads((out / "metrics.json").read_text())["PIQA"]
    assert figures["num_items"] == 2 and 0 < figures["norm_correct_prob"] < 1
    items = pq.read_table(out / "items.parquet")
    assert items.schema == harness.SCHEMA and items["item"].to_pylist() == [0, 1]
    accuracy = metrics.read(out.parent, metrics.accuracy("PIQA"))
    assert accuracy.numerators.tolist() == items["accuracy"].to_pylist()
    assert accuracy.denominators.tolist() == [1, 1]
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    (run,) = [run for run in runs if run.info.run_name == "evaluate@high_40_tiny-0"]
    logged = run.data.metrics["benchmarks.PIQA.norm_correct_prob"]
    assert logged == pytest.approx(figures["norm_correct_prob"])
    capsys.readouterr()
    stage.run(["high_40_tiny"], 0, True)
    assert "is done and unchanged" in capsys.readouterr().out
    (project / "piqa.jsonl").write_text(f"{PIQA}\n")
    stage.run(["high_40_tiny"], 0, True)
    assert json.loads((out / "metrics.json").read_text())["PIQA"]["num_items"] == 1
