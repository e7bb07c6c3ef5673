"""The stage through its command: rows of real models and services, reports, what goes on.

pytest tests/generate/test_generate.py
"""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from generate.service import Service, serving
from mlflow import MlflowClient
from tiny import GENERATE, TINY, Winnow, write_jsonl, write_params

from winnow.core import cards
from winnow.core.files import read_json
from winnow.generate import stage

OF_NO_RESPONSE = {"method": "free", "examples": "a.jsonl", "best_of": 2}
OUTPUT = Path("artifacts/generate")


def _declare(project: Path, **generate: Any) -> None:
    write_params(project, TINY | {"generate": GENERATE | generate})


def _rows(folder: Path) -> list[dict[str, str]]:
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_rows_of_a_model_are_a_corpus_that_is_counted_and_foretold(
    project: Path, winnow: Winnow
) -> None:
    _declare(project)
    done = winnow("generate")
    assert done.returncode == 0, done.stderr[-3000:]
    made = pq.read_table(OUTPUT / "made/plain.parquet").to_pylist()
    rows = _rows(OUTPUT / "rows/plain")
    assert len(made) == 32 and rows and all(row["source"] == "plain" for row in rows)
    assert [row["id"] for row in rows] == [row["id"] for row in made if row["reason"] is None]
    kept = [row["instruction"] for row in _rows(OUTPUT / "rows/new")]
    assert len({text.lower() for text in kept}) == len(kept)
    told = read_json(OUTPUT / "report.json")["plain"]
    passed = sum(not row["reason"] for row in made)
    assert told["duplication"]["exact"]["total"] == passed
    assert (OUTPUT / "figures/plain.png").is_file()

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("winnow").experiment_id])
    assert run.info.run_name == "generate" and run.info.status == "FINISHED"
    assert run.data.metrics["plain.exact.total"] == passed

    before = {path: path.read_bytes() for path in OUTPUT.rglob("*") if path.is_file()}
    again = winnow("generate")
    assert again.returncode == 0 and "plain 100" not in again.stdout  # nothing is made again
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert {path: path.read_bytes() for path in OUTPUT.rglob("*") if path.is_file()} == before

    report = winnow("generate", "--report")
    assert report.returncode == 0 and "share of candidates" in report.stdout
    assert f"{passed:,}" in report.stdout and "new in each shard" in report.stdout
    target = winnow("generate", "--forecast", "100000")
    assert target.returncode == 0 and "plain" in target.stdout
    corpus = winnow("generate", "--report", "data")
    assert corpus.returncode == 0 and "a.jsonl" in corpus.stdout

    write_params(project, TINY | {"ingest": {"source": str(OUTPUT / "rows")}})
    ingested = winnow("ingest")
    assert ingested.returncode == 0, ingested.stderr
    assert f"{len(rows) + len(kept)} rows" in ingested.stdout


@pytest.mark.slow
def test_a_service_writes_rows_and_what_it_said_is_not_asked_again(
    project: Path, winnow: Winnow
) -> None:
    with serving(Service()) as service:
        backend = {"name": "openai", "url": service.url, "model": "m", "template": "<user>"}
        recipes = {"told": {"method": "magpie", "shards": 2, "requests": 12}}
        _declare(project, backend=backend, recipes=recipes)
        done = winnow("generate")
        assert done.returncode == 0, done.stderr[-3000:]
        asked = service.served.total()
        assert asked and set(service.served.values()) == {1}
        cost = read_json(Path("artifacts/generate_metrics.json"))["told"]
        assert cost["candidates"] == 24 and cost["requests"] == asked

        recipes["told"]["shards"] = 3
        _declare(project, backend=backend, recipes=recipes)
        more = winnow("generate")
        assert more.returncode == 0 and "told 101" not in more.stdout and "told 102" in more.stdout
        assert set(service.served.values()) == {1}

        _declare(project, backend=backend, recipes=recipes, budget={"requests": asked})
        recipes["told"]["shards"] = 9
        _declare(project, backend=backend, recipes=recipes, budget={"requests": 2 * asked})
        spent = winnow("generate")
        assert spent.returncode == 2 and "budget.requests" in spent.stderr
        rows = len(_rows(OUTPUT / "rows/told"))
        assert cards.is_complete(OUTPUT) and rows and f"holds {rows} rows" in spent.stderr


@pytest.mark.slow
def test_a_first_shard_that_fails_ends_the_run_before_others_are_paid(
    project: Path, winnow: Winnow
) -> None:
    with serving(Service(write=lambda _: "As an AI language model, I cannot do that.")) as service:
        backend = {"name": "openai", "url": service.url, "model": "m", "template": "<user>"}
        recipes = {"told": {"method": "magpie", "shards": 5, "requests": 10}}
        _declare(project, backend=backend, recipes=recipes)
        for _ in range(2):  # also where it is there already
            done = winnow("generate")
            last = done.stderr.splitlines()[-1]
            assert done.returncode == 2 and "Traceback" not in done.stderr
            assert "generate.recipes.told: its first shard fails: 10 of 10 candidates" in last
        assert service.served.total() == 20 and not OUTPUT.exists()


def test_a_prompt_that_is_answered_several_times_repeats_nothing(
    project: Path, capsys: Any
) -> None:
    """Three replies a prompt, of which every third says the same."""
    write_jsonl(project / "asked.jsonl", [{"prompt": f"Say the number {n}."} for n in range(8)])
    replies = count()
    with serving(Service(write=lambda _: f"It is {next(replies) % 6}.")) as service:
        backend = {"name": "openai", "url": service.url, "model": "m", "workers": 1}
        recipe = {"method": "answers", "rows": "asked.jsonl", "number": 3, "requests": 12}
        _declare(project, backend=backend, recipes={"told": recipe | {"shards": 2}})
        stage.run()
    rows = _rows(OUTPUT / "rows/told")
    unique = len({(row["instruction"], row["response"]) for row in rows})
    assert len(rows) == 24 and unique > 8
    told = read_json(OUTPUT / "report.json")["told"]
    assert told["duplication"]["exact"]["unique"] == unique
    assert read_json(Path("artifacts/generate_metrics.json"))["told"]["unique"]["exact"] == unique
    capsys.readouterr()
    stage.run(show="")
    assert "each instruction is asked several times" in capsys.readouterr().out
    stage.run(show=str(OUTPUT / "rows/told"))
    said = capsys.readouterr().out
    assert "exact           24       8" in said
    assert f"{unique} of 24 rows are unique by exact match as an instruction with its" in said


def test_nothing_declared_is_nothing_made(project: Path, capsys: Any) -> None:
    write_params(project, TINY | {"generate": None})
    stage.run()
    assert cards.is_complete(OUTPUT) and not (OUTPUT / "rows").exists()
    assert "declares nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": {"name": "none"}}, "generate.backend.name: expected one of openai, local"),
        ({"recipes": {"a": {"method": "poetry"}}}, "generate.recipes.a.method: expected one of"),
        ({"recipes": {"a": {"method": "magpie", "shard": 3}}}, "unknown key"),
        (
            {"recipes": {"a": {"method": "free", "examples": "none.jsonl"}}},
            "generate.recipes.a: examples: none.jsonl",
        ),
        ({"recipes": {"a": {"method": "magpie", "compared": "x"}}}, "unknown key"),
        ({"recipes": {"a": OF_NO_RESPONSE}}, "generate.recipes.a.best_of: free asks for no"),
        ({"budget": {"dollars": -1}}, "generate.budget.dollars"),
        ({"checks": {"max_failed": 2}}, "generate.checks.max_failed"),
        ({"checks": {"languages": ["eng"]}}, "generate.checks.languages: unknown language 'eng'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    project: Path, winnow: Winnow, change: dict[str, Any], words: str
) -> None:
    _declare(project, **change)
    done = winnow("generate")
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
