"""What a corpus calls its sources becomes names that MLflow takes, each its own.

pytest tests/tracking/test_names.py
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric
from tiny import corpus, make_until, write_jsonl

from winnow.evaluate import stage as evaluate
from winnow.record import names
from winnow.train import stage as train

ODD = (
    "Q&A",
    "a\tb",
    "a b",
    "../../x",
    "/etc",
    "..",
    "a.",
    " a",
    "a",
    "A",
    "x:26",
    "x&",
    "50%",
    "é",
    "e\u0301",
    "中文",
    "nul\x00",
    "line\nend",
    "n" * 400,
    "n" * 401,
    "<b>",
    "$(touch x)",
)
TEXTS = st.text(st.characters(), max_size=300)


@given(st.lists(TEXTS, max_size=8, unique=True))
@example([*ODD, "", "\ud800", "n" * 200 + ":sha256-0"])
def test_different_texts_have_different_names_that_mlflow_takes(texts: list[str]) -> None:
    named = names.finite({"loss_source": {text: place for place, text in enumerate(texts)}})
    assert list(named.values()) == list(range(len(texts)))
    for name, text in zip(named, texts, strict=True):
        _validate_metric(name, 1.0, 0, 0)
        if ":sha256-" not in name:
            bare = name.removeprefix("loss_source.").replace(":", "%")
            assert unquote(bare, errors="surrogatepass") == text


def test_sources_of_any_name_are_judged_and_recorded(project: Path) -> None:
    rows = [
        row | {"source": ODD[place % len(ODD)]} for place, row in enumerate(corpus(22 * len(ODD)))
    ]
    write_jsonl(project / "data/a.jsonl", rows)
    make_until("select")
    train.run(["high_40_tiny"], 0, False)
    evaluate.run(["high_40_tiny"], 0, False)
    judged = project / "results/high_40_tiny/0/quality_analysis/strata.json"
    sources = json.loads(judged.read_text())["source"]
    assert len(sources) > 8
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("winnow")
    assert experiment
    (run,) = client.search_runs(experiment.experiment_id, "tags.stage = 'evaluate'")
    recorded = {key for key in run.data.metrics if re.match("loss_source", key)}
    assert len(recorded) == len(sources)
    for source, part in sources.items():
        (name,) = names.finite({"loss_source": {source: 0}})
        assert run.data.metrics[name] == part["loss"]
