"""A stage is a folder, a command, an entry point, a DVC stage and a section: the same verbs."""

from pathlib import Path

import yaml

from winnow import STAGES
from winnow.__main__ import parser

ROOT = Path(__file__).parents[1]


def _keys(name: str, section: str | None = None) -> list[str]:
    document = yaml.safe_load((ROOT / name).read_text())
    return list(document[section] if section else document)


def test_every_place_names_the_same_stages() -> None:
    verbs = list(STAGES)
    folders = {path.parent.name for path in (ROOT / "src/winnow").glob("*/stage.py")}
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    assert folders == set(verbs)
    assert list(commands) == [*verbs, "plan"]  # which looks ahead, and is no stage
    assert _keys("dvc.yaml", "stages") == verbs
    assert [name for name in _keys("MLproject", "entry_points") if name != "main"] == verbs
    assert [
        name for name in _keys("params.yaml") if name not in ("seeds", "experiments", "engine")
    ] == verbs
