"""dvc.yaml tells the truth about imports, stages keep apart, and three modules import mlflow."""

import ast
from pathlib import Path

import pytest
import yaml

from winnow import STAGES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/winnow"


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def reached(files: list[Path]) -> set[str]:
    """The winnow modules and packages that files reach, as paths below src/winnow."""
    seen: set[str] = set()
    todo = list(files)
    while todo:
        for name in imports(todo.pop()):
            parts = name.split(".")
            if parts[0] != "winnow" or len(parts) < 2:
                continue
            module = SOURCE / f"{parts[1]}.py"
            place = module.name if module.exists() else parts[1]
            if place not in seen and (module.exists() or (SOURCE / parts[1]).is_dir()):
                seen.add(place)
                todo += [module] if module.exists() else []
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_knows_what_a_stage_imports_and_no_stage_imports_another(stage: str) -> None:
    used = reached(sorted((SOURCE / stage).rglob("*.py"))) - {"__init__.py"}
    assert not used & (set(STAGES) - {stage})
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    deps = entry.get("do", entry)["deps"]
    listed = {dep.removeprefix("src/winnow/") for dep in deps if dep.startswith("src/winnow/")}
    assert listed == used | {stage}


def test_only_the_record_imports_mlflow() -> None:
    users = {
        path.name
        for path in SOURCE.rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in imports(path))
    }
    assert users == {"tracking.py", "spool.py", "project.py"}
