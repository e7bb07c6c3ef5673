"""What a stage's results are made of: its own modules, and all that these import.

    python -m winnow.core.sources dvc.yaml    (make dvc: writes the deps that follow from it)

One walk over the imports serves the keys of cards, the deps of dvc.yaml and the tests.
"""

import ast
import functools
import sys
from collections.abc import Iterable
from pathlib import Path

from winnow.core.files import file_hash, fingerprint
from winnow.core.layout import READS

ROOT = Path(__file__).parents[1]
SILENT = (
    "core/errors.py",
    "core/experiments.py",
    "core/extensions.py",
    "core/masking.py",
    "core/params.py",
    "core/progress.py",
    "core/rules.py",
    "core/terminal.py",
    "core/yaml_text.py",
)
"""What decides no byte of a result: messages, and what reads params.yaml, as the values themselves
are in a key. A training stays what it is when one of these changes."""


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, and every name that it takes of one."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def modules(stage: str) -> tuple[Path, ...]:
    """The files of a stage's folder and the modules of winnow that they reach, below ROOT; but for
    the record, on which no result depends."""
    reached = set((ROOT / stage).rglob("*.py"))
    unread = list(reached)
    while unread:
        for name in imports(unread.pop()):
            module = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
            if not name.startswith("winnow.") or name.startswith("winnow.record"):
                continue
            if module not in reached and module.is_file():
                reached.add(module)
                unread.append(module)
    return tuple(sorted(path.relative_to(ROOT) for path in reached))


def dependencies(stage: str) -> list[str]:
    """The deps of a stage in dvc.yaml: the data it reads, its folder, and what that reaches."""
    shared = [path.as_posix() for path in modules(stage) if path.parts[0] != stage]
    return [*READS[stage], *(f"src/winnow/{path}" for path in (stage, *shared))]


def _hash(paths: Iterable[Path]) -> str:
    return fingerprint({path.as_posix(): file_hash(ROOT / path) for path in paths})


@functools.cache
def code_hash(stage: str) -> str:
    """The SHA-256 of the sources that decide the result of a stage."""
    return _hash(path for path in modules(stage) if not path.as_posix().startswith(SILENT))


def kernels_hash() -> str:
    """The SHA-256 of the sources that compiled kernels are made of."""
    files = [path for folder in ("curate", "score") for path in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "core" / name for name in ("shingles.py", "utf8.py", "words.py")]
    files.append(ROOT / "models/packing.py")
    return _hash(path.relative_to(ROOT) for path in files)


def write_dependencies(path: Path) -> None:
    """Write every stage's deps into dvc.yaml; comments and order of the rest stay."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1000
    document = yaml.load(path)
    for stage, entry in document["stages"].items():
        entry.get("do", entry)["deps"][:] = dependencies(stage)
    yaml.dump(document, path)


if __name__ == "__main__":
    write_dependencies(Path(sys.argv[1]))
