"""Parts of a user's own package that params.yaml names as `package.module:name`."""

import importlib
import re
import sys
from pathlib import Path
from typing import TypeVar

from winnow.core.errors import Refusal
from winnow.core.files import file_hash

T = TypeVar("T")


def is_path(name: str) -> bool:
    """Whether a name has the form `package.module:name`, which no part of winnow has."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name, re.ASCII) is not None


def load(path: str, kind: type[T]) -> T:
    """Import what `package.module:name` names; the package is installed or on PYTHONPATH.

    Raises:
        Refusal: there is no such module, or nothing of this name and kind in it.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise Refusal(
            f"{path}: no module {error.name!r}: install its package or set PYTHONPATH"
        ) from None
    found = getattr(module, name, None)
    if not isinstance(found, kind):
        raise Refusal(f"{path}: {module_name} has no {kind.__name__} of the name {name!r}")
    return found


def code_hash(path: str) -> str:
    """The SHA-256 of the file that a loaded path lies in, for the card of what is made with it."""
    file = sys.modules[path.partition(":")[0]].__file__
    assert file is not None
    return file_hash(Path(file))
