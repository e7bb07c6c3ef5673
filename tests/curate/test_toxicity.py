"""Toxic rows go by a classifier's labels or Perspective's, and no failure is ever a low score."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from judges import bert_folder, rows
from tiny import TINY, Winnow, write_params
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from winnow.core.texts import plain
from winnow.curate import perspective
from winnow.curate.toxicity import toxicity

KEY = "a-secret-Key_0"
TEXTS = ("peace and bread", "you fool", "a quiet river", "lamp of stone", "DIE you FOOL")
TABLE = rows(*((f"Say: {text}", "", text) for text in TEXTS))
ALL = np.arange(len(TEXTS))
LABELS = ("toxic", "insult", "female")

Answer = tuple[int, Any, dict[str, str]]


def logits(folder: Path) -> np.ndarray[Any, Any]:
    """Logits one by one, as [rows, labels]."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = plain(TABLE, ALL).to_pylist()
    with torch.no_grad():
        found = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    return np.array(found, np.float64)


def test_labels_of_a_classifier(tmp_path: Path) -> None:
    several = bert_folder(tmp_path / "a", LABELS, problem_type="multi_label_classification")
    sigmoid = 1 / (1 + np.exp(-logits(several)))
    one_of = bert_folder(tmp_path / "b", LABELS)
    powers = np.exp(logits(one_of))
    softmax = powers / powers.sum(axis=1, keepdims=True)
    for folder, expected in ((several, sigmoid), (one_of, softmax)):
        expected = expected[:, :2]
        maximum = float(np.sort(expected.max(axis=1))[2:4].mean())
        verdict = toxicity(
            TABLE, ALL, model=str(folder), labels=["toxic", "insult"], maximum=maximum
        )
        assert verdict.gone.tolist() == np.flatnonzero(expected.max(axis=1) > maximum).tolist()
        assert verdict.reasons == [f"toxicity above {maximum:g}"] * 2
        assert verdict.because.to_pylist() == [
            f"{LABELS[expected[row].argmax()]} {expected[row].max():.2f}" for row in verdict.gone
        ]
    single = bert_folder(tmp_path / "c", ("toxic",))
    sigmoid = 1 / (1 + np.exp(-logits(single)[:, 0]))
    maximum = float(np.sort(sigmoid)[2:4].mean())
    gone = toxicity(TABLE, ALL, model=str(single), maximum=maximum).gone
    assert gone.tolist() == np.flatnonzero(sigmoid > maximum).tolist() and len(gone) == 2


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    several = str(bert_folder(tmp_path / "a", LABELS, problem_type="multi_label_classification"))
    scale = str(bert_folder(tmp_path / "b", ("toxic",), problem_type="regression"))
    cases: list[tuple[str, dict[str, Any]]] = [
        ("expected some of toxic, insult, female", {"model": several}),
        ("expected some of toxic, insult, female.*rude", {"model": several, "labels": ["rude"]}),
        ("a label or more", {"model": several, "labels": []}),
        ("is a regression", {"model": scale}),
        ("one of them", {}),
        ("one of them", {"model": several, "perspective": True}),
    ]
    for reason, numbers in cases:
        with pytest.raises(ValueError, match=reason) as error:
            toxicity(TABLE, ALL, **numbers)
        assert "params.yaml: curate.steps toxicity" in str(error.value)


class Service:
    """A server that speaks as Perspective does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.times: list[float] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answer: Callable[[str, int], Answer] = lambda text, _: score(0.9 * ("fool" in text))


def score(value: float, attribute: str = "TOXICITY") -> Answer:
    summary = {"summaryScore": {"value": value, "type": "PROBABILITY"}}
    return 200, {"attributeScores": {attribute: summary}, "languages": ["en"]}, {}


def failure(code: int, status: str, **detail: str) -> Answer:
    """An error as the service words it, quoting the key, as a careless one might."""
    error = {"code": code, "message": f"no, {KEY}", "status": status, "details": [detail]}
    return code, {"error": error}, {}


def unsupported(text: str = "", _: int = 0) -> Answer:
    return failure(400, "INVALID_ARGUMENT", errorType="LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service on this machine, and an empty cache."""
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.times.append(time.monotonic())
            text = request["comment"]["text"].partition("\n\n")[2]
            found.asked.append(text)
            found.requests.append(request)
            found.paths.append(self.path)
            if self.headers["X-Goog-Api-Key"] != KEY:
                status, body, headers = failure(403, "PERMISSION_DENIED", reason="SERVICE_DISABLED")
            else:
                status, body, headers = found.answer(text, found.asked.count(text))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def do_GET(self) -> None:
            found.paths.append(self.path)
            self.send_error(501)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    monkeypatch.setattr(perspective, "URL", f"http://127.0.0.1:{server.server_port}/analyze")
    monkeypatch.setattr(perspective, "PAUSES", (0.01, 0.02))
    yield found
    server.shutdown()
    server.server_close()


def ask(**numbers: Any) -> Any:
    return toxicity(TABLE, ALL, **{"perspective": True, "per_second": 1000} | numbers)


def test_perspective_is_asked_once(service: Service) -> None:
    verdict = ask()
    assert verdict.gone.tolist() == [1] and verdict.because.to_pylist() == ["TOXICITY 0.90"]
    assert service.asked == list(TEXTS) and set(service.paths) == {"/analyze"}
    assert service.requests[0] == {
        "comment": {"text": "Say: peace and bread\n\npeace and bread"},
        "requestedAttributes": {"TOXICITY": {}},
        "doNotStore": True,
    }
    assert ask(maximum=0.95).gone.tolist() == []
    assert len(service.asked) == len(TEXTS)
    service.answer = lambda text, _: score(0.6, "INSULT")
    assert ask(labels=["INSULT"]).because.to_pylist() == ["INSULT 0.60"] * len(TEXTS)


def test_a_run_that_ended_early_asks_for_the_rest(service: Service) -> None:
    def answer(text: str, _: int) -> Answer:
        return (404, b"gone", {}) if text == TEXTS[3] else score(0.1)

    service.answer = answer
    with pytest.raises(ValueError, match="refuses .HTTP 404"):
        ask()
    service.answer = lambda text, _: score(0.8)
    assert ask().gone.tolist() == [3, 4]
    assert service.asked == [*TEXTS[:4], *TEXTS[3:]]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"scores": 3}', '{"scores": [0.1, 0.2]}'])
def test_a_kept_answer_that_is_none_is_asked_for_again(service: Service, text: str) -> None:
    first = ask()
    for path in perspective.CACHE.rglob("*.json"):
        path.write_text(text)
    again = ask()
    assert again.gone.tolist() == first.gone.tolist()
    assert service.asked == [*TEXTS, *TEXTS]


def test_no_answer_is_no_low_score(service: Service) -> None:
    def answer(text: str, times: int) -> Answer:
        broken: dict[str, Answer] = {
            TEXTS[0]: unsupported(),
            TEXTS[1]: failure(503, "UNAVAILABLE"),
            TEXTS[2]: (200, {"attributeScores": {}}, {}),
            TEXTS[3]: (200, b"<html>", {}),
        }
        return broken.get(text, score(0.2))

    service.answer = answer
    verdict = ask()
    assert not len(verdict.gone)
    counts = "1 LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE, 3 no answer"
    assert verdict.warnings == (f"rows without a score stay: {counts}",)
    assert service.asked.count(TEXTS[1]) == 3
    texts = plain(TABLE, ALL)
    found, _ = perspective.Perspective(["TOXICITY"], 1000).scores(texts)
    assert np.isnan(found[:4]).all() and found[4] == 0.2
    verdict = ask(unscored="drop")
    assert verdict.gone.tolist() == [0, 1, 2, 3]
    assert verdict.reasons == ["toxicity not known"] * 4
    assert verdict.because.to_pylist() == [
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        "no answer",
        "no answer",
        "no answer",
    ]
    assert verdict.warnings == (f"rows without a score go: {counts}",)
    # What is a matter of the text is kept; what was no answer is asked for again.
    assert service.asked.count(TEXTS[0]) == 1 and service.asked.count(TEXTS[2]) == 3
    (first,) = [
        path
        for path in Path(".winnow/perspective").rglob("*.json")
        if "LANGUAGE" in path.read_text()
    ]
    assert json.loads(first.read_text()) == {"unscored": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}
    service.answer = unsupported
    with pytest.raises(ValueError, match="scored no row: 5 LANGUAGE"):
        ask(labels=["THREAT"])


def test_pace_and_patience(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    ask(per_second=20)  # five texts; on a busy machine two of them may arrive close together
    assert time.monotonic() - began >= 4 / 20

    def busy(text: str, times: int) -> Answer:
        code, body, _ = failure(429, "RESOURCE_EXHAUSTED")
        return (code, body, {"Retry-After": "1"}) if times == 1 else score(0.9, "INSULT")

    service.answer, service.times = busy, []
    service.asked.clear()
    verdict = toxicity(TABLE, ALL[:1], perspective=True, per_second=1000, labels=["INSULT"])
    assert verdict.gone.tolist() == [0] and np.diff(service.times)[0] >= 1

    for later in ("86400", formatdate(time.time() + 86400, usegmt=True)):
        service.answer = lambda text, _, later=later: (429, {}, {"Retry-After": later})
        with pytest.raises(ValueError, match="come back in 86[34]"):
            ask(labels=["THREAT"])
    service.answer = lambda text, _: failure(500, "INTERNAL")
    with pytest.raises(ValueError, match="does not answer .5 rows in a row"):
        ask(labels=["PROFANITY"])
    monkeypatch.setattr(perspective, "URL", "http://127.0.0.1:9/none")
    with pytest.raises(ValueError, match="does not answer"):
        ask(labels=["PROFANITY"])


def test_the_key_is_in_no_message_and_no_file(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(reason: str) -> None:
        with pytest.raises(ValueError, match=reason) as error:
            ask()
        told.append(f"{error.getrepr(style='long', showlocals=False)} {error.value!r}")
        assert "\n" not in str(error.value)

    told: list[str] = []
    service.answer = lambda text, _: failure(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")
    said("refuses .HTTP 400 API_KEY_INVALID INVALID_ARGUMENT.: check PERSPECTIVE_API_KEY")
    service.answer = lambda text, _: failure(400, "INVALID_ARGUMENT", errorType="INVALID_REQUEST")
    said("refuses .HTTP 400 INVALID_REQUEST")
    service.answer = lambda text, _: (302, b"", {"Location": f"{perspective.URL}/elsewhere"})
    said("refuses .HTTP 302")
    assert set(service.paths) == {"/analyze"}
    service.answer = lambda text, _: score(0.1)
    for key, reason in (
        ("", "PERSPECTIVE_API_KEY is not set"),
        (f"{KEY}\nX: y", "PERSPECTIVE_API_KEY holds no key"),
        (f"wrong{KEY}", "refuses .HTTP 403 SERVICE_DISABLED PERMISSION_DENIED"),
    ):
        monkeypatch.setenv("PERSPECTIVE_API_KEY", key)
        said(reason)
    monkeypatch.setenv("PERSPECTIVE_API_KEY", f" {KEY}\n")
    ask()
    told.extend(capsys.readouterr())
    told += [path.read_text() + str(path) for path in Path(".").rglob("*") if path.is_file()]
    assert len(told) == 6 + 2 + len(TEXTS)
    assert not any(KEY in text for text in told)


def test_a_key_in_the_parameters_is_refused(winnow: Winnow, project: Path) -> None:
    step = {"name": "toxicity", "perspective": True, "key": KEY}
    write_params(project, TINY | {"curate": TINY["curate"] | {"steps": [step]}})
    for stage in ("ingest", "curate"):
        done = winnow(stage, PERSPECTIVE_API_KEY="")
        assert done.returncode == 2 and KEY not in done.stdout + done.stderr
        assert "unknown key curate.steps[0] toxicity.key" in done.stderr
