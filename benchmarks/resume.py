"""Whether a killed training ends in the same bytes, on whatever device there is.

python -m benchmarks.resume <experiment> [--kills 3]    in a project whose tiers are cut

`benchmarks.crashes` kills a tiny model at all of its points; this kills any experiment behind a few
of its checkpoints. It also trains twice without a kill: kernels of a GPU may add in any order, and
no resume can agree with what two undisturbed trainings do not agree on.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from winnow.core import files
from winnow.core.layout import MODELS, STATE

OWN = (".git", STATE.name, MODELS.name, "results", "analysis", "mlruns", "mlflow.db")
"""What a training writes, which a copy of the project does not share."""
SEED = "0"


def copied(folder: Path) -> Path:
    """A folder with links to all of this project that a training reads."""
    folder.mkdir()
    for path in Path.cwd().iterdir():
        if path.name not in OWN:
            (folder / path.name).symlink_to(path)
    return folder


def trained(folder: Path, experiment: str, kills: int) -> tuple[Path, int]:
    """Train in a folder, killed behind so many checkpoints; what was published, and the kills that
    hit."""
    command = [sys.executable, "-m", "winnow", "train", experiment, "--seed", SEED]
    command += ["--init", "scratch"]
    state, rng = folder / STATE / "train" / f"{experiment}-{SEED}", random.Random(0)
    seen: set[Path] = set()
    hit = 0
    for _ in range(kills):
        run = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        while run.poll() is None and not set(state.glob("step-*")) - seen:
            time.sleep(0.01)
        time.sleep(rng.random() / 4)
        seen |= set(state.glob("step-*"))
        run.kill()
        hit += run.wait() < 0
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return folder / MODELS / experiment / SEED, hit


def compared(one: Path, other: Path) -> str:
    """Whether two trainings ended in the same weights and losses, and how far they are apart."""
    name = "model.safetensors"
    if files.file_hash(one / name) == files.file_hash(other / name):
        return "equal bytes"
    left, right = load_file(one / name), load_file(other / name)
    weights = max(float((left[key] - right[key]).abs().max()) for key in left)
    curves = [json.loads((path / "train_results.json").read_text()) for path in (one, other)]
    losses = [curve["validation_loss"] for curve in curves]
    return f"weights differ by {weights:.1e} at most, losses by {abs(losses[0] - losses[1]):.1e}"


def main() -> None:
    """Train, and print what the trainings agree on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment")
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        found = []
        for side, kills in (("first", 0), ("second", 0), ("killed", options.kills)):
            found.append(trained(copied(place / side), options.experiment, kills))
            if side == "second":
                print(f"two undisturbed: {compared(found[0][0], found[1][0])}", flush=True)
        (first, _), _, (killed, hit) = found
        print(f"one, and one killed {hit} times: {compared(first, killed)}", flush=True)


if __name__ == "__main__":
    main()
