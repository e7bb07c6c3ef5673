"""Random wrong params.yaml: each is refused in one line and in a moment, or the stage works.

nice python -m benchmarks.params [--number 2000]    (make bench-params; docs/reliability.md)

Half of the files are versions of this repository's, half of a tiny project's. Each goes through the
check that every command begins with; of some the command itself is run, a tiny project's to its
end.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from faults.wrong_params import wrong_params  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402
from tiny import TINY, corpus, make_until, write_jsonl, write_params  # noqa: E402

from winnow import STAGES, check  # noqa: E402
from winnow.__main__ import user_reason  # noqa: E402

LIMIT = 2.0
"""Seconds that a refusal may take."""
FATES = ("accepted", "refused", "works")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    "HF_HUB_OFFLINE": "1",
}


def checked(stage: str) -> tuple[str, float]:
    """What the check of a command finds, and its seconds of processor time."""
    began = time.process_time()
    try:
        check.before(stage)
        fate = "accepted"
    except Exception as error:
        fate = "refused" if user_reason(error) else f"{type(error).__name__}: {str(error)[:300]}"
    return fate, time.process_time() - began


def run(stage: str) -> tuple[str, float]:
    """How a command ends, and its seconds."""
    names = ["all"] if stage in ("train", "evaluate") else []
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "winnow", stage, *names],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    last = done.stderr.rstrip().rpartition("\n")[2]
    seconds = time.perf_counter() - began
    if "Traceback" not in done.stderr:
        if done.returncode == 0:
            return "works", seconds
        if done.returncode == 2 and last.startswith(f"winnow {stage}: "):
            return "refused", seconds
    return f"exit code {done.returncode}: {done.stderr[-1000:]}", seconds


def campaign(number: int, runs: int, seed: int) -> None:
    """Try files, and print what became of them; one that is neither refused nor works is kept."""
    rng, fates, slowest = random.Random(seed), collections.Counter[str](), 0.0
    sample = YAML(typ="safe").load(ROOT / "params.yaml")
    sample["train"]["init"] = "scratch"  # the base lies in another folder
    for base, is_tiny in ((sample, False), (json.loads(json.dumps(TINY)), True)):
        ran = set(rng.sample(range(number // 2), runs // 2))
        for place, data in enumerate(wrong_params(base, number // 2, seed)):
            Path("params.yaml").write_bytes(data)
            stage = rng.choice(list(STAGES))
            found = [("check", *checked(stage))]
            if place in ran and (is_tiny or found[0][1] == "refused"):
                found.append(("command", *run(stage)))
            for what, fate, seconds in found:
                slow = fate == "refused" and seconds > LIMIT
                if slow or fate not in FATES:
                    kept = Path(tempfile.gettempdir()) / f"params-{seed}-{place}-{stage}.yaml"
                    kept.write_bytes(data)
                    print(f"{kept}: {what} {seconds:.1f} s: {fate}")
                    fate = "slow" if slow else "neither"
                if fate == "refused":
                    slowest = max(slowest, seconds)
                fates[f"{what} {fate}"] += 1
    print(dict(sorted(fates.items())), f"slowest refusal {slowest:.2f} s")


def main() -> None:
    """The campaign, in a tiny project that is evaluated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=2000, help="files")
    parser.add_argument("--runs", type=int, default=60, help="of which the command is run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_params(Path(), TINY)
        write_jsonl(Path("data/a.jsonl"), corpus())
        Path("corpora").symlink_to(ROOT / "corpora")
        if given.runs:
            with contextlib.redirect_stdout(sys.stderr):
                make_until("select")
            for stage in ("train", "evaluate"):
                run(stage)
        campaign(given.number, given.runs, given.seed)


if __name__ == "__main__":
    main()
