"""The command line: `winnow <stage> [selectors]`, one subcommand per stage, and `winnow plan`.

Selectors choose what to work on; numbers live in params.yaml. A stage's module is imported only
when its command is called and nothing that can be known is wrong, so that help and refusals take a
moment.
"""

import argparse
import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from winnow import STAGES, __version__, check
from winnow.core import params, terminal
from winnow.core.errors import Refusal, Stopped
from winnow.core.masking import mask, mask_output

FULL_DISK = ("No space left on device", "database or disk is full")
"""As the system says it, and SQLite; safetensors and MLflow raise it as no OSError."""

NO_MEMORY = ("Cannot allocate memory", "can't allocate memory", "out of memory")
"""As the system says it, and torch of a processor and of a GPU."""

PLACES = {
    errno.EACCES: "allow it, or work elsewhere",
    errno.EPERM: "allow it, or work elsewhere",
    errno.EROFS: "work where files can be written",
    errno.EDQUOT: "make room, then the same command goes on",
    errno.ENOTDIR: "a file is in the place of a folder: move it away",
    errno.EEXIST: "a file is in the place of a folder: move it away",
    errno.EISDIR: "a folder is in the place of a file: move it away",
    errno.ENAMETOOLONG: "choose a shorter one",
}
"""Errors of the system that only a user can mend, and how; any other one is a bug until shown."""

PLAN = "say what the experiments will take, and what they could see, before they run"

DECLARED = {"nargs": "*", "metavar": "experiment"}
CELLS: dict[str, dict[str, Any]] = {
    "experiments": {
        "nargs": "+",
        "metavar": "experiment",
        "help": "declared experiments, or: all",
    },
    "--seed": {"type": int, "help": "one seed; without it, those of params.yaml"},
    "--skip-existing": {"action": "store_true", "help": "leave alone what is done and unchanged"},
}
SELECTORS: dict[str, dict[str, dict[str, Any]]] = {
    "generate": {
        "--report": {
            "nargs": "?",
            "const": "",
            "metavar": "CORPUS",
            "dest": "show",
            "help": "only print how unique a corpus is: a file or folder, else what was made here",
        },
        "--forecast": {
            "type": int,
            "metavar": "N",
            "help": "only print how many more shards N unique rows take",
        },
        "--sample": {
            "type": int,
            "metavar": "N",
            "help": "only print N requests' rows of every recipe, and what the checks say of each",
        },
    },
    "ingest": {
        "--max-samples": {
            "type": int,
            "metavar": "N",
            "help": "read no more than N rows, from all files alike",
        },
    },
    "score": {
        "--explain": {
            "metavar": "FILE",
            "help": "say what moved the score of the pair in a JSON file",
        },
        "--compare": {
            "action": "store_true",
            "help": "print what every score brought over random rows, once its tiers are judged",
        },
    },
    "select": {
        "experiments": DECLARED | {"help": "also cut the tiers of these declared experiments"},
    },
    "train": CELLS
    | {
        "--init": {
            "default": "",
            "help": "scratch, a folder or a hub id with its commit; else params.yaml's",
        },
    },
    "evaluate": CELLS,
    "analyze": {
        "--hours": {
            "type": float,
            "metavar": "H",
            "help": "only say what to keep for H hours of the device",
        },
        "--model": {"help": "for which model; else for every one"},
        "--power": {
            "action": "store_true",
            "help": "say what the experiments could see, from the seeds that are finished",
        },
    },
    "plan": {"experiments": DECLARED | {"help": "declared ones; else: all"}},
}
"""What each command takes beside its name, as argparse has it; numbers live in params.yaml."""

CHECKED = ("experiments", "seed", "init", "max_samples")
"""Selectors that are checked along with params.yaml."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, terminal.line(f"{self.prog}: error: {message}") + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; each stage's selectors and nothing else."""
    main = _Parser(prog="winnow", description="How hard should I filter my data?")
    main.add_argument("--version", action="version", version=f"winnow {__version__}")
    stages = main.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in {**STAGES, "plan": PLAN}.items():
        command = stages.add_parser(name, help=text, description=text)
        for selector, settings in SELECTORS.get(name, {}).items():
            command.add_argument(selector, **settings)
    return main


def enter_project() -> Path:
    """Work in the nearest folder, from here upwards, that holds a params.yaml, as git does with
    its own; here, where none does.

    Returns:
        The way back, from the project's folder to where the command was given.
    """
    here = Path.cwd()
    project = next((f for f in (here, *here.parents) if (f / params.PARAMS).exists()), here)
    os.chdir(project)
    return here.relative_to(project)


def from_project(selectors: dict[str, Any], here: Path) -> None:
    """Let paths of the command line mean what they did where it was given."""
    for name in ("explain", "init", "show"):
        path = selectors.get(name)
        if path and path != "scratch" and "@" not in path:  # which is of the hub
            selectors[name] = os.path.normpath(here / path)


def run(command: str, selectors: dict[str, Any]) -> None:
    """Check what can be known wrong, then import what the command needs, and run it."""
    named = {key: selectors[key] for key in CHECKED if key in selectors}
    check.before(command if command in STAGES else "ingest", **named)
    module = f"winnow.{command}.stage" if command in STAGES else f"winnow.{command}"
    importlib.import_module(module).run(**selectors)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's error is one line on stderr and exit code 2."""
    terminal.hold()
    mask_output()
    selectors = vars(parser().parse_args(arguments))
    command = selectors.pop("command")
    if selectors.pop("compare", False):  # a question about scores, which the analysis answers
        command, selectors = "analyze", {"scores": True}
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # Threads that spin long at barriers starve each other on a busy machine; those that do not
    # spin at all sleep through half of a small model's step.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    here = enter_project()
    from_project(selectors, here)
    try:
        run(command, selectors)
        return 0
    except Stopped as stop:
        code, message = stop.exit_code, str(stop)
    except KeyboardInterrupt:
        code, message = 130, "stopped; the same command goes on from here"
    except Exception as error:
        if (reason := user_reason(error)) is None:
            raise
        code, message = 2, reason + (f" (in {Path.cwd()})" if here != Path() else "")
    # Said after the error is gone, and with it the progress bar that it interrupted.
    # Masked before it is cut to its length: half of a secret is not known for one.
    print(terminal.line(mask(f"winnow {command}: {message}")), file=sys.stderr)
    return code


def user_reason(error: Exception) -> str | None:
    """What a user can do about an error; None of a bug."""
    if any(words in str(error) for words in FULL_DISK):
        return "No space left on device: make room, then the same command goes on"
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return "out of memory: give it more, then the same command goes on"
    if isinstance(error, OSError) and error.errno in PLACES:
        return f"{error}: {PLACES[error.errno]}"
    return str(error) if isinstance(error, Refusal) else None


if __name__ == "__main__":
    sys.exit(main())
