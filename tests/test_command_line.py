"""The command line: what it refuses and how soon, from where it works, and what `winnow plan` says.

pytest tests/test_command_line.py
"""

import copy
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY, Winnow, change, make_until, write_params

from winnow import __version__, check
from winnow.__main__ import main
from winnow.core.errors import Refusal, at, loading

HEAVY = {"torch", "transformers", "mlflow", "pandas", "numpy", "pyarrow", "numba", "datasets"}


def imported(folder: Path, *arguments: str) -> tuple[int, str, set[str]]:
    """Run a command; gives its exit code, what it said last, and which libraries it imported."""
    program = (
        "import sys, winnow.__main__ as m\n"
        "try: code = m.main(sys.argv[1:])\n"
        "except SystemExit as error: code = error.code\n"
        "print(code, *{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    code, *names = done.stdout.rstrip().rpartition("\n")[2].split()
    return int(code), done.stderr.rstrip().rpartition("\n")[2], set(names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "hihg_40_tiny"], "unknown experiment 'hihg_40_tiny'; nearest: high_40_tiny"),
        (["evaluate", "high_40_tiny", "high_40_tyni"], "unknown experiment 'high_40_tyni'"),
        (["select", "high_40_tiny", "x"], "unknown experiment 'x'"),
        (["plan", "x"], "unknown experiment 'x'"),
        (["train", "all", "--seed", "-1"], "--seed: expected a whole number in [0, "),
        (["train", "all", "--seed", "9" * 30], "--seed: expected a whole number in [0, "),
        (
            ["train", "all", "--seed", "7"],
            "--seed 7: every seed of params.yaml has its own rows of ",
        ),
        (["ingest", "--max-samples", "-1"], "--max-samples: expected a whole number in [1, "),
        (["train", "all", "--init", "gpt2@main"], "expected scratch, a folder, or a hub id"),
        (["train", "all", "--sede", "1"], "unrecognized arguments: --sede"),
        (["trian", "all"], "invalid choice: 'trian'"),
    ],
)
def test_a_typo_is_said_before_any_library_is_imported(
    project: Path, arguments: list[str], said: str
) -> None:
    code, line, names = imported(project, *arguments)
    assert code == 2 and said in line
    assert "winnow" in names and not names & HEAVY


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("analyze.confidence", 95, "analyze.confidence: expected a number in (0.5, 1), found 95"),
        ("analyze.truth", "t.jsonl", "analyze.truth: no file or folder 't.jsonl'"),
        ("evaluate.tasks", "t.jsonl", "evaluate.tasks: no file or folder 't.jsonl'"),
        ("evaluate.temperatur", 1, "unknown key evaluate.temperatur (near: temperature"),
        ("evaluate.benchmarks", [{"name": "PIQA", "path": "p"}], "PIQA: no file or folder 'p'"),
        ("train.init", "nowhere", "train.init: expected scratch, a folder, or a hub id"),
        ("train.max_hours", 0, "train.max_hours: expected a number in (0, 1e12], found 0"),
        ("train.models.tiny.num_heads", 3, "train.models.tiny.hidden_size: expected a multiple of"),
        ("train.recipes.quick.eval_steps", 0, "eval_steps: expected a whole number in [1, "),
        ("train.budgets", ["7_days"], "train.budgets: expected names such as"),
        ("select.tiers.low_30.count", 31, "select.tiers.low_30: expected the quantity that the"),
        ("select.tiers.low_30.recipe", "fast", "low_30.recipe: expected one of quick, slow"),
        ("experiments", ["high_40_2M"], "unknown experiment 'high_40_2M'"),
        ("seeds", [0, -1], "seeds[1]: expected a whole number in [0, 4294967295], found -1"),
        ("seeds", [0, 0], "seeds: expected one or more different numbers, found [0, 0]"),
        ("engine", "spark", "engine: expected one of local, ray, found 'spark'"),
        ("curate.steps", [{"name": "magic"}], "curate.steps[0]: unknown step 'magic'"),
        ("curate.steps", [{"name": "near", "threshold": "high"}], "near.threshold: expected a n"),
        ("curate.steps", [{"name": "linear", "labelled": "x"}], "linear.labelled: no file"),
        ("curate.steps", [{"name": "decontaminate", "benchmarks": ["x"]}], "benchmarks: no file"),
        ("curate.test", 0, "curate.test: expected a whole number in [1, "),
        ("score.scorers", ["length"], "score.scorers[0]: expected a mapping, found 'length'"),
        (
            "score.scorers",
            [{"name": "no"}],
            "scorers[0]: unknown scorer 'no'; known are documented",
        ),
        (
            "score.scorers",
            [{"name": "documented", "as": "x"}],
            "scorers[0] documented: expected no other key, found as",
        ),
        (
            "score.scorers",
            [{"name": "length", "as": "id"}],
            "scorers[0] length: there is a column id already",
        ),
        ("score.scorers", [{"name": "length"}] * 2, "[1] length: there is a column length already"),
        ("score.scorers", [{"name": "json:dump"}], "json has no Scorer of the name 'dump'"),
        (
            "score.scorers",
            [{"name": "column", "column": "x"}],
            "scorers[0] column.column: ingest keeps no column 'x': name it in ingest.keep",
        ),
        (
            "score.scorers",
            [{"name": "column", "column": "x", "file": "no.csv"}],
            "scorers[0] column: file: no file or folder 'no.csv'",
        ),
        (
            "select.tiers.high_40.by",
            "mine",
            "high_40.by: no scorer of score.scorers makes a column 'mine', but documented, clarity",
        ),
        ("ingest.max_line_mb", 0, "ingest.max_line_mb: expected a whole number in [1, "),
    ],
)
def test_what_is_wrong_further_down_is_said_before_the_first_stage_works(
    project: Path, capsys: pytest.CaptureFixture[str], path: str, value: Any, said: str
) -> None:
    change(project, path, value)
    for stage in ("ingest", "plan"):
        assert main([stage]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"winnow {stage}: params.yaml: ") or "unknown experiment" in line
        assert said in line and line.count("\n") == 1
    assert not (project / "artifacts").exists()


def test_files_of_stages_that_are_over_are_not_asked_for(project: Path) -> None:
    params: Any = copy.deepcopy(TINY)
    params["curate"]["steps"] = [{"name": "decontaminate", "benchmarks": ["gone.jsonl"]}]
    write_params(project, params)
    check.before("score")
    with pytest.raises(Refusal, match=r"no file or folder 'gone\.jsonl'"):
        check.before("curate")


@pytest.mark.parametrize("command", ["ingest", "curate", "score"])
def test_a_file_in_the_place_of_a_folder_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    make_until("curate")
    (project / "artifacts").rename(project / "old")
    (project / "artifacts").write_text("no folder")
    assert main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "artifacts" in line
    assert "move it away" in line or "winnow" in line.partition(": ")[2]


def test_a_bug_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("winnow.ingest.stage.find", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["ingest"])

    def missing(*_: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "ours.json")

    monkeypatch.setattr("winnow.ingest.stage.find", missing)
    with pytest.raises(FileNotFoundError):
        main(["ingest"])


def test_what_a_library_raises_is_told_from_a_bug() -> None:
    with (
        pytest.raises(Refusal, match="^train.init: it cannot be read: torn$"),
        at("train.init"),
        loading("it cannot be read"),
    ):
        raise Exception("torn\nand more")
    with pytest.raises(AssertionError), loading("it cannot be read"):
        raise AssertionError


def test_the_version_is_the_modules() -> None:
    done = subprocess.run([sys.executable, "-m", "winnow", "--version"], capture_output=True)
    assert done.stdout.decode() == f"winnow {__version__}\n"


def test_it_works_from_a_folder_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "notes/deep").mkdir(parents=True)
    pair = {"instruction": "Why?", "response": "So."}
    (project / "notes/pair.json").write_text(json.dumps(pair))
    for command in (["ingest"], ["curate"], ["score", "--explain", "../pair.json"]):
        monkeypatch.chdir(project / "notes/deep")
        assert main(command) == 0
    assert (project / "artifacts/curate/card.json").is_file()
    assert "response_quality" in capsys.readouterr().out
    assert not (project / "notes/deep/artifacts").exists()
    monkeypatch.chdir(project / "notes/deep")
    assert main(["train", "x"]) == 2
    assert capsys.readouterr().err.endswith(f"(in {project})\n")


def test_the_nearest_project_is_the_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = project / "inner"
    (inner / "data").mkdir(parents=True)
    change(inner, "experiments", ["low_30_2M"])
    monkeypatch.chdir(inner / "data")
    assert main(["ingest"]) == 2
    assert "unknown experiment 'low_30_2M'; nearest: low_30_1B" in capsys.readouterr().err


def test_several_experiments_are_trained_and_judged_by_one_command(
    project: Path, winnow: Winnow
) -> None:
    make_until("select", "random_30_tiny")
    names = ("high_40_tiny_7_steps", "matched_40_tiny_7_steps")
    for stage in ("train", "evaluate"):
        done = winnow(stage, *names, names[0], "--seed", "1")
        assert done.returncode == 0, done.stderr[-3000:]
        assert len(re.findall(rf"^{stage}: \S+ seed 1.* (took|loss)", done.stdout, re.M)) == 2
    for name in names:
        assert (project / "results" / name / "1/card.json").is_file()


def table(text: str) -> dict[str, list[str]]:
    """The lines of a plan's table, by experiment."""
    rows = (re.split(r" {2,}", line) for line in text.splitlines())
    return {first: cells for first, *cells in rows if first and len(cells) == 7}


def test_a_plan_says_what_is_known_and_why_the_rest_is_not(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "high_40_tiny", "matched_40_tiny_7_steps"]) == 0
    said = capsys.readouterr().out
    first, second = table(said).values()
    assert first == ["40", "?", "?", "?", "?", "0.0 GB", "0 of 2"]
    assert second[:3] == ["40", "?", "1.79k"]  # 7 steps of 4 sequences of 64 tokens
    assert "high_40_tiny: `winnow select` has to count the tokens of its tier first" in said
    assert "4 trainings to come" in said and "how long 2 of them take is not known yet" in said
    assert "least visible margin: not known yet: " in said
    assert not (project / "artifacts").exists() and not (project / "mlflow.db").exists()


def test_a_plan_is_near_what_trainings_then_say(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from winnow.evaluate import stage as evaluate
    from winnow.train import stage as train

    make_until("select")
    train.run(["all"], None, False)
    evaluate.run(["all"], None, False)
    capsys.readouterr()
    assert main(["plan"]) == 0
    said = capsys.readouterr().out
    for name, cells in table(said).items():
        done = json.loads((project / "models" / name / "0/train_results.json").read_text())
        tokens, flops = float(cells[2].removesuffix("k")) * 1000, float(cells[3])
        assert tokens == pytest.approx(done["tokens_seen"], rel=0.02)
        assert flops == pytest.approx(done["flops"], rel=0.1)
        assert cells[-1] == "2 of 2"
    assert "0 trainings to come" in said
    assert "FLOP/s, as its fastest finished training reached here" in said
    assert re.search(r"tiny: least visible margin 0\.\d{4} nats a token", said)


def test_models_are_loaded_without_packages_that_no_model_uses(tmp_path: Path) -> None:
    program = "import sys, winnow.models.judged, winnow.models.gpt2; print(*sys.modules)"
    names = subprocess.check_output([sys.executable, "-c", program], cwd=tmp_path, text=True)
    assert "transformers.generation.candidate_generator" in names.split()
    assert not {"sklearn", "scipy"} & {*names.split()}
