"""A project whose whole grid takes seconds, and the skip-or-fail rule."""

import copy
import importlib
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]

Winnow = Callable[..., subprocess.CompletedProcess[str]]

GENERATE = {
    "backend": {
        "name": "local",
        "model": str(ROOT / "base/models/all_100pct_1M/0"),
        "context": 256,
        "batch": 8,
    },
    "recipes": {
        "plain": {"method": "magpie", "shards": 4, "requests": 8, "max_tokens": 100}
        | {"repetition_penalty": 1.0},
        "new": {"method": "magpie", "shards": 2, "requests": 8, "max_tokens": 100, "seed": 7}
        | {"repetition_penalty": 1.0, "unique": {"by": "near"}},
    },
}
"""Rows by the sample's base model, in seconds."""


def need(condition: bool, reason: str) -> None:
    """Skip where a server or a file is missing; fail where everything must run."""
    if not condition:
        if os.environ.get("WINNOW_REQUIRE_ALL"):
            pytest.fail(f"needed here: {reason}")
        pytest.skip(reason)


TINY = {
    "engine": "local",
    "seeds": [0, 1],
    "experiments": ["high_40_tiny", "matched_40_tiny"],
    "generate": None,
    "ingest": {"source": "data"},
    "curate": {
        "steps": [{"name": "exact"}, {"name": "near", "threshold": 0.8}],
        "validation": 20,
        "test": 20,
        "vocab_size": 320,
    },
    "score": {"scorers": [{"name": "documented"}]},
    "select": {
        "tiers": {
            "high_40": {"rule": "top", "count": 40, "recipe": "quick"},
            "all_100pct": {"rule": "top", "share": 1.0, "recipe": "slow"},
            "matched_40": {"rule": "matched", "of": "high_40", "recipe": "quick"},
            "random_30": {"rule": "random", "count": 30, "recipe": "quick"},
            "longest_30": {"rule": "longest", "count": 30, "recipe": "quick"},
            "low_30": {"rule": "bottom", "count": 30, "recipe": "quick"},
            "huge_9k": {"rule": "top", "count": 9000, "recipe": "quick"},
        }
    },
    "train": {
        "max_hours": 1,
        "init": "scratch",
        "flops_per_second": 1e9,
        "budgets": ["7_steps", "3k_tokens", "60_seconds"],
        "models": {
            "tiny": {
                "num_layers": 1,
                "hidden_size": 32,
                "num_heads": 2,
                "context": 64,
                "dropout": 0.1,
            },
            "1B": {"num_layers": 24, "hidden_size": 1792, "num_heads": 28, "context": 1024},
        },
        "recipes": {
            name: {
                "learning_rate": 0.003,
                "num_train_epochs": 2,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": accumulation,
                "eval_steps": 10,
                "save_steps": 5,
            }
            for name, accumulation in (("quick", 2), ("slow", 1))
        },
    },
    "evaluate": {"num_prompts": 3, "num_samples": 2, "max_new_tokens": 8},
    "analyze": {"resamples": 200, "confidence": 0.9, "truth": None},
}
"""params.yaml of a project whose whole grid takes seconds."""

WORDS = """
river stone lamp paper green north quick slow small large bread water light house garden window
music number letter forest winter summer engine bridge market doctor teacher
""".split()  # noqa: SIM905


def corpus(num_rows: int = 160, seed: int = 0) -> list[dict[str, str]]:
    """Rows of varied length and score."""
    dice = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(dice.choice(WORDS) for _ in range(dice.randint(low, high)))

    return [
        {
            "instruction": f"{dice.choice(['Explain', 'Name', 'Why is'])} {words(3, 8)}?",
            "input": words(2, 5) if dice.random() < 0.2 else "",
            "output": ". ".join(words(2, 12) for _ in range(dice.randint(1, 4))) + ".",
        }
        for _ in range(num_rows)
    ]


def heeds_sigterm(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, as a training has in its loop."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_params(folder: Path, params: dict[str, object]) -> None:
    """Write params.yaml."""
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(json.loads(json.dumps(params)), file)


def write_pairs(project: Path, every: int = 1, **recipe: Any) -> dict[str, Any]:
    """Write a corpus of which each so many-th row has a rejected answer, and the tiny params.yaml
    with the tier `pairs_40`, whose recipe has other values; returns these params."""
    rows = corpus()
    for at, row in enumerate(rows):
        row["chosen"] = row.pop("output")
        if at % every == 0:
            row["rejected"] = " ".join(reversed(row["chosen"].split()[: 3 + at % 7])) + " no"
    write_jsonl(project / "data/a.jsonl", rows)
    params: Any = copy.deepcopy(TINY)
    params["experiments"] = ["pairs_40_tiny"]
    params["ingest"]["keep"] = ["rejected"]
    params["curate"]["steps"].append({"name": "pairs", "threshold": 0.8})
    params["select"]["tiers"]["pairs_40"] = {"rule": "pairs", "count": 40, "recipe": "pairs"}
    params["train"]["recipes"]["pairs"] = params["train"]["recipes"]["quick"] | recipe
    write_params(project, params)
    return cast("dict[str, Any]", params)


def change(project: Path, path: str, value: Any) -> None:
    """Write the tiny params.yaml with one other value."""
    params: Any = copy.deepcopy(TINY)
    *parents, last = path.split(".")
    place = params
    for key in parents:
        place = place[key]
    place[last] = value
    write_params(project, params)


def make_until(stage: str, *experiments: str) -> None:
    """Run the data stages in this process, up to `stage`."""
    for name in ("ingest", "curate", "score", "select"):
        module = importlib.import_module(f"winnow.{name}.stage")
        module.run(list(experiments)) if name == "select" else module.run()
        if name == stage:
            return


def wait_in_score(project: Path, engine: str = "local") -> dict[str, str]:
    """Declare a scorer of half a minute that makes a file `begun`; returns the environment."""
    package = project / "package"
    package.mkdir()
    (package / "waiting.py").write_text(
        "import pathlib, time\n"
        "from winnow.score.scorers import Scorer\n"
        "def score(rows):\n"
        f"    pathlib.Path({str(project / 'begun')!r}).touch()\n"
        "    time.sleep(10)\n"
        "wait = Scorer(score=score)\n"
    )
    scorers = {"scorers": [{"name": "waiting:wait"}]}
    write_params(project, TINY | {"engine": engine, "score": scorers})
    return {"PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
