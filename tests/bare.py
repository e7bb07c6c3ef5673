"""An environment that has a GPU machine's packages, what they need, and nothing else."""

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

PACKAGES = "torch transformers accelerate tokenizers numpy pandas pyarrow PyYAML numba ruamel.yaml"

HIDING = """\
# Python runs this file at its start: what is not there is not found.
from importlib.machinery import PathFinder

ABSENT = {absent}
find_spec = PathFinder.find_spec


@staticmethod
def find(name, path=None, target=None):
    found = find_spec(name, path, target)
    is_hidden = found and name.partition(".")[0] in ABSENT
    # setuptools brings copies of some packages along.
    return None if is_hidden and "_vendor" not in str(found.origin) else found


PathFinder.find_spec = find
"""


def _needed() -> set[str]:
    """The packages, and what they need, by their normal names."""
    found: set[str] = set()
    left = PACKAGES.split()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            needed = map(Requirement, importlib.metadata.requires(name) or [])
            left += [one.name for one in needed if not one.marker or one.marker.evaluate()]
    return found


def write_bare(folder: Path) -> None:
    """Write a folder that hides every other package from a Python that has it on PYTHONPATH."""
    needed = _needed()
    absent = sorted(
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if not needed & {name.lower().replace("_", "-") for name in packages}
        and module not in ("winnow", "_distutils_hack")
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HIDING.format(absent=set(absent)))
