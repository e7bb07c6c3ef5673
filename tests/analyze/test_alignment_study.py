"""The study of alignment: what it declares, its pairs, its judge, its tables, and two arms of it.

pytest tests/analyze/test_alignment_study.py
"""

import ast
import importlib
import json
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from tiny import ROOT, write_params

from corpora import form
from corpora.planted.dice import Dice
from corpora.planted.family import FAMILIES
from studies.alignment import iterations, rows, table
from winnow.analyze.judges import Answered, Pair
from winnow.analyze.params import AnalyzeConfig, Preferences
from winnow.analyze.study import read_study
from winnow.core.drawing import LIGHT
from winnow.core.experiments import experiment_names, resolve
from winnow.core.objectives import name_of
from winnow.core.params import load
from winnow.core.records import Row, Sample
from winnow.curate.params import CurateConfig
from winnow.evaluate.params import EvaluateConfig

STUDY = ROOT / "studies/alignment"
FAULTY = "faulty/tasks.jsonl", "faulty/base/rows.jsonl"
"""What the stages from a faulty base read of rows.py."""
PLAIN = YAML(typ="safe")


@pytest.mark.parametrize("folder", [STUDY, STUDY / "rates"])
def test_the_study_is_declared_in_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = PLAIN.load(folder / "params.yaml")
    monkeypatch.chdir(folder)
    arms = resolve(params["experiments"])
    assert {arm.recipe_name for arm in arms} == set(params["train"]["recipes"])
    assert {arm.tier_name for arm in arms} == set(params["select"]["tiers"])
    settings = load("analyze", AnalyzeConfig)
    assert settings.preferences and settings.preferences.baseline in params["experiments"]
    assert Path(params["train"]["init"]).is_dir()
    curate, tier = load("curate", CurateConfig), params["select"]["tiers"]["pairs_400"]
    assert curate.validation + curate.test + tier["count"] == rows.PAIRS * len(FAMILIES)
    number = rows.TASKS if folder == STUDY else rows.RATES
    assert load("evaluate", EvaluateConfig).max_tasks == number * len(FAMILIES)


def test_rates_are_tried_alike_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, tried = (PLAIN.load(STUDY / name) for name in ("params.yaml", "rates/params.yaml"))
    assert not set(grid["seeds"]) & set(tried["seeds"])
    methods, models = tried["train"]["recipes"], tried["train"]["models"]
    budgets = dict.fromkeys(("rloo", "grpo"), "_79_seconds")
    assert tried["experiments"] == [
        f"pairs_400_{model}_{name}{budgets.get(name, '')}" for name in methods for model in models
    ]
    for name, recipe in methods.items():
        declared = grid["train"]["recipes"][name]
        assert recipe | {"learning_rate": declared["learning_rate"]} == declared
        scales = [one["learning_rate_scale"] for one in models.values()]
        ratio = float(declared["learning_rate"]) / float(recipe["learning_rate"])
        assert min(scales) <= ratio <= max(scales) * 1.001
    monkeypatch.chdir(STUDY)
    names = {name_of(arm.recipe.objective) for arm in resolve(grid["experiments"])}
    assert names == {"response", "dpo", "simpo", "orpo", "kto", "rloo", "grpo"}


def _round(seed: int, start: str) -> Any:
    """params.yaml of a round, as rounds.sh makes it."""
    text = (STUDY / "spin/round.yaml").read_text()
    return PLAIN.load(text.replace("SEED", str(seed)).replace("START", start))


def test_reward_and_rounds_differ_from_the_grid_in_what_they_are_for_alone() -> None:
    grid, reward = (PLAIN.load(STUDY / name) for name in ("params.yaml", "reward/params.yaml"))
    recipes = grid["train"]["recipes"]
    assert recipes["rlhf"].pop("objective").pop("model") == "reward/models/pairs_320_1M/0"
    assert recipes["rlhf"] == {key: recipes["rloo"][key] for key in recipes["rlhf"]}
    assert reward["experiments"] == ["pairs_320_1M"] and reward["seeds"] == [0]
    numbers = reward["curate"]["validation"], reward["curate"]["test"], 320
    assert sum(numbers) == rows.PAIRS * len(FAMILIES)
    round_ = _round(1, "start")
    assert round_["train"]["recipes"]["dpo"] == recipes["dpo"]
    tasks = {"tasks": f"../../../{grid['evaluate']['tasks']}"}
    assert round_["evaluate"] == grid["evaluate"] | tasks
    assert round_["train"]["models"] == reward["train"]["models"] == grid["train"]["models"]
    assert round_["experiments"] == [iterations.ROUND] and round_["seeds"] == [1]
    assert {iterations.START, iterations.CONTROL} < {*grid["experiments"]}
    script = (STUDY / "spin/rounds.sh").read_text()
    assert f"models/{iterations.START}/$1" in script and f"models/{iterations.ROUND}/$1" in script
    numbers_of_rounds = " ".join(map(str, range(1, len(iterations.DOCUMENTED))))
    assert f"for round in {numbers_of_rounds};" in script


def _laid(folder: str, over: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """params.yaml of a folder, and what it is below an overlay; in the current folder."""
    Path("params.yaml").write_bytes((STUDY / folder / "params.yaml").read_bytes())
    monkeypatch.setattr(sys, "argv", ["overlay.py", str(STUDY / over)])
    runpy.run_path(str(STUDY.parent / "overlay.py"))
    return PLAIN.load(STUDY / folder / "params.yaml"), PLAIN.load(Path("params.yaml"))


@pytest.mark.parametrize("sweep", ["", "rates"])
def test_from_a_faulty_base_all_else_is_the_same(
    sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = STUDY / "faulty" / sweep
    plain, laid = _laid(sweep, f"faulty/{sweep}/overlay.yaml", monkeypatch)
    base = PLAIN.load(STUDY / "faulty/base/params.yaml")
    given = PLAIN.load(home / "overlay.yaml")["params.yaml"]
    assert {*given} <= {"experiments", "ingest", "curate", "train", "analyze"}
    assert given["ingest"].keys() | given["curate"].keys() == {"source", "tokenizer"}
    rates = {key.removeprefix("recipes."): value for key, value in given["train"].items()}
    assert rates.pop("init") == laid["train"]["init"]
    for name, recipe in laid["train"]["recipes"].items():
        assert recipe == plain["train"]["recipes"][name] | rates.get(name, {})
        assert rates.get(name, {"learning_rate": 1}).keys() == {"learning_rate"}
    (experiment,) = base["experiments"]
    start = (home / laid["train"]["init"]).resolve()
    assert start == STUDY / f"faulty/base/models/{experiment}/{base['seeds'][0]}"
    tokenizer = ROOT / "base/models/all_100pct_1M/0"
    assert (home / laid["curate"]["tokenizer"]).resolve() == tokenizer
    assert (STUDY / "faulty/base" / base["train"]["init"]).resolve() == tokenizer
    assert (home / laid["ingest"]["source"]).resolve() == STUDY / "corpus"
    cheaper = set() if sweep else {"pairs_400_1M_rloo_79_seconds"}
    assert {*laid["experiments"]} - {*plain["experiments"]} == cheaper


def test_dvc_depends_on_what_the_code_imports() -> None:
    stages = PLAIN.load(STUDY / "dvc.yaml")["stages"]
    used = {
        "rows": ["rows.py"],
        "rates": ["table.py", "rewards.py"],
        "grid": ["rewards.py"],
        "analysis": ["table.py", "iterations.py"],
        "faulty": ["table.py", "rewards.py"],
        "faulty_rates": ["table.py", "rewards.py"],
    }
    for stage, script in [(name, script) for name in used for script in used[name]]:
        home = STUDY / stages[stage].get("wdir", "")
        deps = [(home / dep).resolve() for dep in stages[stage]["deps"]]
        assert (STUDY / script).resolve() in deps
        for node in ast.walk(ast.parse((STUDY / script).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                base = ROOT / "src" if node.module.startswith("winnow") else ROOT
                path = base.joinpath(*node.module.split("."))
                path = path if path.exists() else path.with_suffix(".py")
                if path.exists():
                    assert any(path.is_relative_to(dep) for dep in deps), (stage, node.module)
    made = {f"{STUDY}/{out}" for out in stages["rows"]["outs"]}
    names = ("corpus", "answers.jsonl", "tasks.jsonl", "rates/tasks.jsonl")
    assert made == {f"{STUDY}/{name}" for name in (*names, *FAULTY)}


def test_pairs_are_a_clean_and_a_faulty_answer_and_no_question_stands_twice(tmp_path: Path) -> None:
    rows.main(tmp_path)
    read = [
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("corpus/pairs.jsonl", "tasks.jsonl", "rates/tasks.jsonl", FAULTY[1])
    ]
    asked = [(row["instruction"], row["input"]) for part in read for row in part]
    assert len(set(asked)) == len(asked)
    faults = [row["fault"] for row in read[0]]
    counts = {fault: faults.count(fault) for fault in rows.FAULTS}
    assert min(counts.values()) > len(faults) / len(rows.FAULTS) * 0.9, counts
    by_name = [*FAMILIES]
    for at, row in enumerate(read[0]):
        family = by_name[at % len(by_name)]
        assert form.is_well_formed(family, row["chosen"]) and row["chosen"] != row["rejected"]
    assert all(row["family"] in FAMILIES for row in read[1] + read[2])
    assert (tmp_path / "tasks.jsonl").read_bytes() == (tmp_path / FAULTY[0]).read_bytes()
    formed = [
        form.is_well_formed(by_name[at % 18], row["output"]) for at, row in enumerate(read[3])
    ]
    assert np.mean(formed) < 0.25, "a wrong answer has the form of a right one, others seldom"


def test_the_form_of_an_answer_tells_faults_but_not_wrong_facts() -> None:
    shares = form._shares(8)
    assert shares["clean"] == shares["wrong"] == 1
    assert max(shares[fault] for fault in ("off_topic", "rambling", "repetitive")) < 0.02
    assert max(shares["truncated"], shares["shuffled"]) < 0.15
    assert not any(form.is_well_formed(name, "") for name in FAMILIES)


def _tasks(folder: Path, number: int) -> list[dict[str, str]]:
    dice = Dice(5)
    items = [*rows.distinct(dice, number, set())]
    rows.write(folder / "tasks.jsonl", rows.asked(items))
    good = [item.response for item in items]
    return [task | {"good": text} for task, text in zip(rows.asked(items), good, strict=True)]


def _question(task: dict[str, str]) -> str:
    return Row("", "", task["instruction"], task["input"], "").question


def test_the_judge_wants_the_task_done_and_then_its_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for task in _tasks(tmp_path, 1):
        done, formed = Answered(f"{task['good']} {task['good']}", 1.0), Answered(task["good"], 0.0)
        bad, unknown = Answered("", 0.0), Answered("a")
        pairs = [(done, formed), (formed, done), (formed, bad), (bad, formed), (bad, bad)]
        question = _question(task)
        asked = [Pair(question, *each) for each in [*pairs, (bad, unknown)]]
        assert table.better(asked) == [1.0, 0.0, 1.0, 0.0, 0.5, None]


TRAINED: dict[str, Any] = {
    **dict.fromkeys(("train_time", "estimated_time", "estimated_memory_gb", "final_loss"), 1.0),
    **dict.fromkeys(("num_epochs", "tokens_per_second", "flops", "flops_per_second"), 1.0),
    **dict.fromkeys(("num_steps", "tokens_seen", "num_parameters"), 1),
    **dict.fromkeys(("peak_memory_gb", "validation_loss")),
    **{"gradient_checkpointing": False, "curve": []},
}


@dataclass(eq=False)
class Planted:
    """A study with samples and costs, and nothing else."""

    arms: tuple[Any, ...]
    seeds: tuple[int, ...]


def _planted(tasks: list[dict[str, str]], rates: dict[str, float]) -> Planted:
    dice, arms = np.random.default_rng(0), []
    for recipe, rate in rates.items():
        runs = []
        for _ in range(3):
            samples = []
            for task in tasks:
                is_done = bool(dice.random() < rate)
                text = task["good"] if is_done else ""
                prompt = Row("", "", _question(task), "", "").prompt
                samples.append(
                    Sample(
                        prompt=prompt,
                        completion=text,
                        passed=is_done,
                        reference=None,
                        answer=task["answer"],
                    )
                )
            cost = SimpleNamespace(flops=1e9 * (1 + len(arms)), train_time=2.0 * (1 + len(arms)))
            config = SimpleNamespace(recipe={"objective": "response"}, num_rows=40)
            runs.append(SimpleNamespace(samples=samples, train=cost, config=config))
        name = f"pairs_400_1M_{recipe}"
        arm = {"name": name, "model": "1M", "model_name": f"1M_{recipe}", "recipe": recipe}
        arms.append(
            SimpleNamespace(
                **arm, budget=None, runs=tuple(runs), mean=lambda of, r=runs: sum(map(of, r)) / 3
            )
        )
    return Planted(tuple(arms), (0, 1, 2))


def test_the_table_has_a_row_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = _tasks(tmp_path, 6)
    study: Any = _planted(tasks, {"sft": 0.5, "dpo": 0.8, "kto": 0.5})
    asked = Preferences(baseline="pairs_400_1M_sft", judge="studies.alignment.table:better")
    settings = AnalyzeConfig(preferences=asked, resamples=100)
    found = table.methods(study, settings, [arm.name for arm in study.arms])
    assert [*found] == ["sft", "dpo", "kto"]
    dpo = found["dpo"]
    passed = [one.passed for run in study.arms[1].runs for one in run.samples]
    assert dpo.tasks.value == pytest.approx(np.mean(passed))
    # An answer here is a clean one or none, so that both figures are the same.
    assert dpo.well_formed == dpo.tasks and dpo.flops == 2 and dpo.seconds == 2
    assert dpo.more_tasks and dpo.more_tasks.low > 0.1 and dpo.win_rate and dpo.win_rate.low > 0.55
    assert found["kto"].more_tasks and found["kto"].more_tasks.holds_zero
    assert found["sft"].more_tasks is found["sft"].win_rate is None
    said = table.table(found, "sft").splitlines()
    assert len(said) == 5 and "win rate against sft" in said[0] and said[3].startswith("| dpo | ")
    assert said[3].endswith("| 2.00 | 2.0 | 6.5 | 14% | 2 |")
    gains, costs = table._draw(found, "sft", LIGHT).axes
    assert [tick.get_text() for tick in gains.get_yticklabels()] == ["kto", "dpo"]
    (value,) = gains.lines[3].get_xdata()
    assert value == pytest.approx(100 * dpo.more_tasks.value)
    assert costs.lines[1].get_xdata() == [2]
    opening = table.opening(found, "sft")
    assert opening == "dpo surely completes more tasks than sft. None surely fewer."


def test_a_reward_model_is_charged_to_whom_it_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward/train_results.json").write_text(json.dumps(TRAINED | {"flops": 5e8}))
    study: Any = _planted(_tasks(tmp_path, 1), {"rlhf": 0.5})
    (run, *_) = study.arms[0].runs
    run.config.recipe["objective"] = {"name": "rloo", "check": "exact"}
    assert table._flops(run) == 1e9
    run.config.recipe["objective"] = {"name": "rloo", "model": "reward"}
    assert table._flops(run) == 1.5e9


def test_rounds_are_held_against_the_start_each_other_and_their_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planted = {"start": 0.3, "first": 0.8, "second": 0.8, "control": 0.3}
    study: Any = _planted(_tasks(tmp_path, 6), planted)
    start, first, second, control = study.arms
    for arm, name in ((start, iterations.START), (control, iterations.CONTROL)):
        arm.name = name
    study.arms = (start, control)
    rounds: Any = [SimpleNamespace(arm=arm, flops=3e9) for arm in (first, second)]
    found = iterations.iterations(study, rounds, AnalyzeConfig(resamples=100))
    assert [one.flops for one in found.values()] == [1, 4, 7, 4]
    assert [one.num_pairs for one in found.values()] == [None, 40, 40, None]
    one, two, none = [*found.values()][1:]
    assert one.more_than_start and one.more_than_start == one.more_than_last
    assert one.more_than_start.low > 0.1 and two.more_than_start.low > 0.1
    assert two.more_than_last.holds_zero and none.more_than_start.holds_zero
    assert none.more_than_last is None
    said = iterations.table(found).splitlines()
    assert len(said) == 6 and said[2].startswith("| 0: SFT | ") and said[2].endswith("| 5.2 |")
    assert said[4].endswith(" | 40 | 7.00 | 6.2 |") and said[5].endswith(" | – | 4.00 | – |")


def test_real_pairs_are_short_answers_of_one_length_judged_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(model: str, question: str, words: int, preference: float) -> dict[str, Any]:
        output = " ".join([model] * words)
        row = {"model": model, "instruction": question, "output": output}
        return row | {"preference": preference}

    judged = [
        *(said("good", "a", 10, 1.9), said("bad", "a", 9, 1.1), said("NullModel", "a", 9, 2.0)),
        *(said("good", "b", 10, 1.9), said("longer", "b", 40, 1.0), said("alike", "b", 10, 1.7)),
        *(said("good", "c", 10, 1.9), said("too_long", "c", 101, 1.0)),
        said("too_long", "d", 101, 1.0),
    ]
    (tmp_path / "preferences").mkdir()
    path = tmp_path / "preferences/alpaca_eval_2_judgements.parquet"
    pd.DataFrame(judged).to_parquet(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["alpaca_eval.py", str(tmp_path)])
    with pytest.raises(SystemExit):  # IFEval's prompts are missing
        runpy.run_path(str(STUDY / "alpaca_eval.py"))
    task = {"prompt": "Say no.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "benchmarks/ifeval").mkdir(parents=True)
    (tmp_path / "benchmarks/ifeval/input_data.jsonl").write_text(json.dumps(task) + "\n")
    runpy.run_path(str(STUDY / "alpaca_eval.py"))
    assert capsys.readouterr().out == (
        "1 pairs of 4 prompts; without one: 1 with no short answer, 1 with no two answers of about "
        "one length, 1 with verdicts that are close\n"
    )
    (pair,) = map(json.loads, Path("corpus/pairs.jsonl").read_text().splitlines())
    assert (pair["instruction"], pair["chosen"][:4], pair["rejected"][:3]) == ("a", "good", "bad")

    (tmp_path / "params.yaml").write_bytes((STUDY / "params.yaml").read_bytes())
    monkeypatch.setattr(sys, "argv", ["overlay.py", str(STUDY / "alpaca_eval.yaml")])
    runpy.run_path(str(STUDY.parent / "overlay.py"))
    arms = resolve(experiment_names())
    assert {name_of(arm.recipe.objective) for arm in arms} == {"response", "dpo", "orpo"}
    assert all(arm.model.weights == "weights/smollm2" for arm in arms)
    assert load("evaluate", EvaluateConfig).max_tasks == 60


def _go(*stages: str) -> None:
    arms: dict[str, list[Any]] = {
        "select": [[]],
        "train": [["all"], None, False],
        "evaluate": [["all"], None, False],
    }
    for name in stages:
        importlib.import_module(f"winnow.{name}.stage").run(*arms.get(name, []))


@pytest.mark.slow
def test_two_arms_and_a_round_go_through_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the pairs and tasks, one seed; paths of the base are those of the checkout."""
    for name, value in (("PAIRS", 5), ("TASKS", 1), ("RATES", 1), ("FAULTY", 1)):
        monkeypatch.setattr(rows, name, value)
    rows.main(tmp_path)
    params = PLAIN.load(STUDY / "params.yaml")
    base = str(ROOT / "base/models/all_100pct_1M/0")
    params["curate"] |= {"tokenizer": base, "validation": 4, "test": 4}
    params["train"] |= {"init": base}
    tiers = {"pairs_40": params["select"]["tiers"]["pairs_400"] | {"count": 40}}
    params |= {"seeds": [0], "select": {"tiers": tiers}}
    params["experiments"] = ["pairs_40_1M_sft", "pairs_40_1M_dpo"]
    params["evaluate"] |= {"max_new_tokens": 40}
    params["analyze"]["preferences"]["baseline"] = "pairs_40_1M_sft"
    params["analyze"]["questions"].remove("studies.alignment.iterations:ask")
    params["analyze"]["resamples"] = 100
    write_params(tmp_path, params)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    _go("ingest", "curate", "score", "select", "train", "evaluate", "analyze")
    told = json.loads(Path("analysis/analysis.json").read_text())["studies.alignment.table:ask"]
    assert {*told} == {"sft", "dpo"} and told["dpo"]["flops"] > 1
    assert 0 <= told["dpo"]["well_formed"]["value"] <= 1 and told["dpo"]["words"]["value"] > 1
    assert "win rate against sft" in Path("analysis/report.html").read_text()

    params = _round(0, "../../../models/pairs_40_1M_sft/0")
    params["curate"]["tokenizer"] = base
    params["generate"]["recipes"]["own"]["requests"] = 40
    params["evaluate"] |= {"max_new_tokens": 40}
    folder = tmp_path / "spin/0/1"
    folder.mkdir(parents=True)
    write_params(folder, params)
    monkeypatch.chdir(folder)
    _go("generate", "ingest", "curate", "score", "select", "train", "evaluate")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(iterations, "START", "pairs_40_1M_sft")
    monkeypatch.setattr(iterations, "CONTROL", "pairs_40_1M_dpo")
    monkeypatch.setattr(iterations, "DOCUMENTED", ("5.2", "5.8"))
    answer: Any = iterations.ask(
        read_study(experiment_names(), [0]), load("analyze", AnalyzeConfig)
    )
    start, first, _ = answer.values.values()
    assert start.flops == 1 and first.flops > 2 and 20 < first.num_pairs <= 40
    assert 0 <= first.tasks.value <= 1 and "1" in answer.sentence
