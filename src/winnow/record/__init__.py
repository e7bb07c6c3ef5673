"""The record of what is published, in MLflow, which only this folder imports, and only when a run
is recorded. No result depends on it."""

import sys
from pathlib import Path

from winnow.core.errors import Refusal
from winnow.core.layout import STATE

NOTES = STATE / "record"
"""A file for each folder whose record may not be complete; a training's holds its run's token."""


class Unrecorded(Refusal):
    """Work is published and its record is not complete: the tracking server failed."""


def record(folder: Path, note: Path | None = None) -> None:
    """Make the run of a published folder whole: find or create it, log what it lacks, end it.

    It may be called any number of times, and be killed anywhere: there is one run, with each point
    and each model version once. Where MLflow is not installed, a line says that there is no record.

    Args:
        folder: what generate, train, evaluate or analyze published.
        note: removed when the record is complete.

    Raises:
        Unrecorded: the tracking server is away, or goes away.
    """
    try:
        from winnow.record import published

        published.record(folder, note.read_text() if note else "")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "mlflow":
            raise
        print(f"{folder}: no record, as mlflow is not installed", file=sys.stderr)
    except Unrecorded as error:
        how = "the same command with --skip-existing" if note else "the same command"
        raise Unrecorded(
            f"{folder} is published, but its record is not complete ({error}); {how} completes it"
        ) from None
    if note:
        note.unlink()
