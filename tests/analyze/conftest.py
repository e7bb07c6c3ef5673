"""A stand-in for the tracker, and a fresh working folder."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

import winnow


class Tracker(types.ModuleType):
    """Stands where winnow.tracking is, and remembers."""

    def __init__(self) -> None:
        super().__init__("winnow.tracking")
        self.calls: list[tuple[Any, ...]] = []

    def record_analysis(self, *arguments: Any) -> None:
        """As the real one."""
        self.calls.append(arguments)


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """No mlflow; and the working folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    made = Tracker()
    monkeypatch.setitem(sys.modules, "winnow.tracking", made)
    monkeypatch.setattr(winnow, "tracking", made, raising=False)
    return made
