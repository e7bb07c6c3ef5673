"""dvc.yaml tells what a stage is made of, stages keep apart, and only the record imports mlflow."""

import shutil
from pathlib import Path

import pytest
from tiny import ROOT

from winnow import STAGES
from winnow.core import sources


def test_dvc_yaml_is_what_make_dvc_writes(tmp_path: Path) -> None:
    copy = tmp_path / "dvc.yaml"
    shutil.copyfile(ROOT / "dvc.yaml", copy)
    sources.write_dependencies(copy)
    assert copy.read_text() == (ROOT / "dvc.yaml").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_another(stage: str) -> None:
    rooms = {path.parts[0] for path in sources.modules(stage)}
    assert rooms & set(STAGES) == {stage}


def test_an_import_inside_a_function_of_a_module_that_is_reached_counts() -> None:
    assert Path("core/yaml_text.py") in sources.modules("select")


def test_only_the_record_imports_mlflow() -> None:
    users = {
        path.relative_to(sources.ROOT).parts[0]
        for path in sources.ROOT.rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in sources.imports(path))
    }
    assert users == {"record"}


def test_the_core_knows_no_stage_and_models_know_only_the_core() -> None:
    for room, below in (("core", {"core"}), ("models", {"core", "models"})):
        for path in (sources.ROOT / room).rglob("*.py"):
            names = {name.split(".")[1] for name in sources.imports(path) if "winnow." in name}
            assert {name for name in names if (sources.ROOT / name).is_dir()} <= below, path


def test_analyze_is_built_in_floors() -> None:
    floors = {"stage.py": 3, "controls.py": 2, "questions": 2, "audits": 2, "report": 1}
    for path in (sources.ROOT / "analyze").rglob("*.py"):
        room = path.relative_to(sources.ROOT / "analyze").parts[0]
        for name in sources.imports(path):
            if name.startswith("winnow.analyze."):
                other = name.split(".")[2]
                assert room == other or floors.get(other, 0) <= floors.get(room, 0), (path, name)
                assert {room, other} != {"questions", "audits"}, (path, name)
