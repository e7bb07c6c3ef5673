"""The command line: `winnow <stage> [selectors]`, one subcommand per stage.

Selectors choose what to work on; numbers live in params.yaml. A stage's module is imported only
when its command is called, so that `winnow --help` stays quick.
"""

import argparse
import importlib
import os
import sys

from winnow import STAGES
from winnow.errors import Refusal

FULL_DISK = ("No space left on device", "database or disk is full")
"""As the system says it, and SQLite; safetensors and MLflow raise it as no OSError."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; each stage's selectors and nothing else."""
    main = argparse.ArgumentParser(prog="winnow", description="How hard should I filter my data?")
    stages = main.add_subparsers(dest="stage", required=True, metavar="stage")
    commands = {name: stages.add_parser(name, help=text, description=text) for name, text in
                STAGES.items()}  # fmt: skip
    commands["ingest"].add_argument(
        "--max-samples",
        type=int,
        metavar="N",
        help="read no more than N rows, from all files alike",
    )
    commands["score"].add_argument(
        "--explain", metavar="FILE", help="say what moved the score of the pair in a JSON file"
    )
    commands["select"].add_argument(
        "experiments", nargs="*", help="also cut the tiers of these declared experiments"
    )
    for name in ("train", "evaluate"):
        commands[name].add_argument(
            "experiments", nargs="+", metavar="experiment", help="declared experiments, or: all"
        )
        commands[name].add_argument(
            "--seed", type=int, help="one seed; without it, those of params.yaml"
        )
        commands[name].add_argument(
            "--skip-existing", action="store_true", help="leave alone what is done and unchanged"
        )
    commands["train"].add_argument(
        "--init",
        default="",
        help="scratch, a folder or a hub id with its commit; else params.yaml's",
    )
    commands["analyze"].add_argument(
        "--hours", type=float, metavar="H", help="only say what to keep for H hours of the device"
    )
    commands["analyze"].add_argument("--model", help="for which model; else for every one")
    commands["analyze"].add_argument(
        "--power",
        action="store_true",
        help="say what the experiments could see, from the seeds that are finished",
    )
    return main


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; a user's error is one line on stderr and exit code 2."""
    selectors = vars(parser().parse_args(arguments))
    stage = selectors.pop("stage")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # Threads that spin long at barriers starve each other on a busy machine; those that do not
    # spin at all sleep through half of a small model's step.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        importlib.import_module(f"winnow.{stage}.stage").run(**selectors)
        return 0
    except KeyboardInterrupt:
        code, message = 130, "stopped; the same command goes on from here"
    except Exception as error:
        code, message = 2, " ".join(str(error).split()) or type(error).__name__
        # What a corpus names its columns and files must not steer the terminal.
        message = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
        if any(words in message for words in FULL_DISK):
            message = "No space left on device: make room, then the same command goes on"
        elif not isinstance(error, (Refusal, PermissionError)):
            raise
    # Said after the error is gone, and with it the progress bar that it interrupted.
    print(f"winnow {stage}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
