"""A trained judge of quality drops what it gives a low score, and a folder cannot run code."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from judges import CONTEXT, bert_folder, rows
from tiny import WORDS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from winnow.core.texts import plain
from winnow.curate.classifier import classifier
from winnow.models.classifier import Classifier


def some_rows(number: int) -> pa.Table:
    """Rows of 2 to 80 words: some are longer than the model's limit."""
    dice = random.Random(0)
    texts = [" ".join(dice.choices(WORDS, k=dice.randint(1, 40))) for _ in range(2 * number)]
    return rows(*((a, "", b) for a, b in zip(texts[::2], texts[1::2], strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("judge"), problem_type="regression")


def one_by_one(folder: Path, texts: list[str]) -> list[float]:
    """The scores as the model's card computes them: alone, without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [
            model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=CONTEXT))
            .logits.squeeze()
            .item()
            for text in texts
        ]


def test_a_score_depends_on_its_text_alone(folder: Path) -> None:
    texts = plain(some_rows(60), np.arange(60))
    judge = Classifier.load(str(folder), None)
    alone = one_by_one(folder, texts.to_pylist())
    assert np.ptp(alone) > 1
    for batch in (1, 7, 64):
        np.testing.assert_allclose(judge.scores(texts, batch)[:, 0], alone, rtol=0, atol=1e-5)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(
        judge.scores(texts.take(pa.array(order)), 7), judge.scores(texts, 7)[order]
    )


def test_rows_below_the_minimum_go(folder: Path) -> None:
    table = some_rows(32)
    texts = plain(table, np.arange(32)).to_pylist()
    assert texts[0] == f"{table['instruction'][0]}\n\n{table['response'][0]}"
    scores = np.array(one_by_one(folder, texts))
    given = np.arange(32)[::2]
    minimum = float(np.median(scores[given]))
    verdict = classifier(table, given, model=str(folder), minimum=minimum, batch=4)
    assert verdict.gone.tolist() == [row for row in given if scores[row] < minimum]
    assert set(verdict.reasons) == {f"classifier below {minimum:g}"}
    assert verdict.because.to_pylist() == [f"{scores[row]:.2f}" for row in verdict.gone]
    assert not len(classifier(table, given, model=str(folder), minimum=-1e9).gone)
    assert not len(classifier(table, given[:0], model=str(folder)).gone)


def test_what_is_no_such_model_is_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    def refused(reason: str, **numbers: object) -> None:
        with pytest.raises(ValueError, match=reason) as error:
            classifier(some_rows(2), np.arange(2), **numbers)  # type: ignore[arg-type]
        assert "params.yaml: curate.steps" in str(error.value) and "\n" not in str(error.value)

    for model, revision in (("some/id", None), ("some/id", "main"), (str(folder), "0" * 40)):
        refused("revision of 40 hex digits", model=model, revision=revision)
    refused("cannot be had", model="no/such-model", revision="0" * 40)
    refused("one label", model=str(bert_folder(tmp_path / "two", ("a", "b"))))

    pickled = bert_folder(tmp_path / "pickled")
    weights = AutoModelForSequenceClassification.from_pretrained(pickled).state_dict()
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    refused("holds no .*safetensors", model=str(pickled))

    headless = tmp_path / "headless"
    bert = AutoModelForSequenceClassification.from_pretrained(folder)
    bert.bert.save_pretrained(headless)
    AutoTokenizer.from_pretrained(folder).save_pretrained(headless)
    refused("no trained classifier.*classifier.weight", model=str(headless))


def test_code_in_a_folder_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    folder = bert_folder(tmp_path / "model")
    table = some_rows(3)
    plainly = classifier(table, np.arange(3), model=str(folder), minimum=1e9)
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    for name, key in (
        ("config", "AutoModelForSequenceClassification"),
        ("config", "AutoConfig"),
        ("tokenizer_config", "AutoTokenizer"),
    ):
        path = folder / f"{name}.json"
        config = json.loads(path.read_text())
        config.setdefault("auto_map", {})[key] = "evil.Evil"
        path.write_text(json.dumps(config))
    again = classifier(table, np.arange(3), model=str(folder), minimum=1e9)
    assert again.because.equals(plainly.because)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(ValueError, match="cannot be loaded"):
        classifier(table, np.arange(3), model=str(folder))
    assert not ran.exists()
