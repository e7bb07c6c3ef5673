"""What models say of rows equals plain sums over one row at a time, whatever the batch.

pytest tests/score/test_language_models.py
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from curate.judges import bert_folder
from tiny import TINY, corpus, make_until, write_jsonl, write_params
from tiny_models import write_model, write_t5
from transformers import AutoModelForCausalLM, AutoTokenizer

from winnow.core.errors import Refusal
from winnow.core.layout import CURATED
from winnow.score.corpus import Corpus
from winnow.score.scorers.classifier import Classifier
from winnow.score.scorers.ifd import Ifd
from winnow.score.scorers.perplexity import Perplexity
from winnow.score.scorers.rds import Rds

CONTEXT = 64
LABELS = {"bert": ("LABEL_0",), "bert-two": ("bad", "good")}
CORPUS = Corpus(CURATED, {})


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pa.RecordBatch]:
    """Rows of a curation, in whose folder the tests run, with one whose question is too long."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("curated")
        patch.chdir(folder)
        write_params(folder, TINY)
        write_jsonl(folder / "data/a.jsonl", corpus(90))
        make_until("curate")
        rows = pq.read_table("artifacts/curate/train.parquet").slice(0, 6).to_pylist()
        rows[3]["instruction"] = "lamp " * 60
        yield pa.RecordBatch.from_pylist(rows)


def ids(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The tokens before a row's response, and those of the response."""
    question = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
    prompt = ["### Instruction:\n", question, "\n\n### Response:\n"]
    before = [i for part in prompt for i in tokenizer(part, add_special_tokens=False).input_ids]
    return before, tokenizer(row["response"], add_special_tokens=False).input_ids


def plain_losses(folder: Path, row: dict[str, Any], is_alone: bool) -> list[float]:
    """The loss of each token of a row's response, by the model's own logits."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    before, answer = ids(tokenizer, row)
    answer = answer[: max(0, CONTEXT - len(before))]
    shown = [tokenizer.bos_token_id, *([] if is_alone else before)]
    if not answer:
        return []
    with torch.no_grad():
        logits = model(torch.tensor([[*shown, *answer]])).logits[0].double().log_softmax(-1)
    return [-float(logits[len(shown) - 1 + place, token]) for place, token in enumerate(answer)]


def test_they_equal_plain_sums_over_a_row_at_a_time(curated: pa.RecordBatch) -> None:
    folder = write_model(Path("llama").absolute())
    rows = curated.to_pylist()
    asked = [plain_losses(folder, row, False) for row in rows]
    alone = [plain_losses(folder, row, True) for row in rows]
    declared: Any = {"model": str(folder), "context": CONTEXT, "batch": 4}
    ready = Ifd(**declared, maximum=1000).prepare(CORPUS)
    ifd, perplexity = ready(curated), Perplexity(**declared).prepare(CORPUS)(curated)
    by_itself = Perplexity(**declared, given="nothing").prepare(CORPUS)(curated)
    for place, (one, other) in enumerate(zip(asked, alone, strict=True)):
        if not one:
            assert ifd[place] == perplexity[place] == "no response within the context"
            continue
        assert ifd[place] == pytest.approx(sum(one) / sum(other), abs=1e-5)
        assert perplexity[place] == pytest.approx(math.exp(sum(one) / len(one)), rel=1e-5)
        assert by_itself[place] == pytest.approx(math.exp(sum(other) / len(other)), rel=1e-5)
    assert [place for place, one in enumerate(asked) if not one] == [3]
    assert ready.flops and ready.notes()["context"] == CONTEXT
    one_by_one = Ifd(**(declared | {"batch": 1}), maximum=1000).prepare(CORPUS)
    again = [one_by_one(curated.slice(place, 1))[0] for place in range(len(rows))]
    assert [x if isinstance(x, str) else round(x, 5) for x in again] == [
        x if isinstance(x, str) else round(x, 5) for x in ifd
    ]
    least = min(x for x in ifd if not isinstance(x, str))
    capped = Ifd(**declared, maximum=least + 1e-3).prepare(CORPUS)(curated)
    assert sum(x == f"difficulty of {least + 1e-3:g} or more" for x in capped) >= 3


def test_an_encoder_decoder_scores_and_a_missing_model_is_named(curated: pa.RecordBatch) -> None:
    folder = write_t5(Path("t5").absolute())
    scores = Ifd(model=str(folder), family="seq2seq", context=CONTEXT, maximum=1000)
    assert all(isinstance(score, float) for score in scores.prepare(CORPUS)(curated))
    with pytest.raises(Refusal, match="model: expected a folder, or a hub id"):
        Ifd(model="nowhere")


def test_similarity_to_a_target_equals_the_plain_cosine(curated: pa.RecordBatch) -> None:
    folder = write_model(Path("llama").absolute())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def vector(row: dict[str, Any]) -> Any:
        before, answer = ids(tokenizer, row)
        whole = [tokenizer.bos_token_id, *before, *answer, tokenizer.eos_token_id][:CONTEXT]
        with torch.no_grad():
            states = model.model(torch.tensor([whole])).last_hidden_state[0].double().numpy()
        weights = np.arange(1, len(whole) + 1)
        mean = (states * (weights / weights.sum())[:, None]).sum(0)
        return mean / np.linalg.norm(mean)

    rows = curated.to_pylist()
    names = ("instruction", "input", "response")
    write_jsonl(Path("target.jsonl"), [{name: row[name] for name in names} for row in rows[:2]])
    cosines = np.array([[vector(row) @ vector(other) for other in rows[:2]] for row in rows])
    for nearest, plain in (("one", cosines.max(1)), ("all", cosines.mean(1))):
        declared: Any = {"model": str(folder), "context": CONTEXT, "batch": 4, "nearest": nearest}
        ready = Rds(**declared, target="target.jsonl").prepare(CORPUS)
        assert ready(curated) == pytest.approx(plain, abs=1e-5)
        assert ready.notes()["target_rows"] == 2 and ready.flops
    test = pq.read_table("artifacts/curate/test.parquet").to_pylist()[:1]
    write_jsonl(Path("target.jsonl"), [{name: row[name] for name in names} for row in test])
    with pytest.raises(Refusal, match="target.jsonl, at 1: a row of the test split"):
        Rds(model=str(folder), target="target.jsonl").prepare(CORPUS)


def test_a_classifier_gives_its_output_or_a_labels_probability(curated: pa.RecordBatch) -> None:
    one, two = (bert_folder(Path(name).absolute(), labels) for name, labels in LABELS.items())
    ready = Classifier(model=str(one), batch=2).prepare(CORPUS)
    from winnow.core.records import prose
    from winnow.models.classifier import Classifier as Model

    outputs = Model.load(str(one), None).scores(prose(curated), 1)[:, 0]
    assert ready(curated) == pytest.approx(outputs, abs=1e-5) and ready.flops
    likely = torch.tensor(Model.load(str(two), None).scores(prose(curated), 1)).softmax(-1)
    found = Classifier(model=str(two), label="good").prepare(CORPUS)(curated)
    assert found == pytest.approx(likely[:, 1].tolist(), abs=1e-5)
    with pytest.raises(Refusal, match="label: expected one of bad, good, found None"):
        Classifier(model=str(two)).prepare(CORPUS)
