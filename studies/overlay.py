"""Lay a file of values over params files, in place.    python ../overlay.py documented.yaml

The file holds a params file a key, and the values that it gets; a mapping is merged with what is
there, but for `recipes`, `tiers` and `models`, whose entries are named by the overlay alone; a key
such as `recipes.dpo` is one of them, and leaves the others.
"""

import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

WHOLE = ("recipes", "tiers", "models", "backend")


def lay(over: dict[str, Any], values: dict[str, Any]) -> None:
    """Put values over others, in place."""
    for key, value in values.items():
        outer, _, inner = key.partition(".")
        if inner:
            lay(over[outer], {inner: value})
        elif isinstance(value, dict) and isinstance(over.get(key), dict) and key not in WHOLE:
            lay(over[key], value)
        else:
            over[key] = value


yaml = YAML()
for name, values in yaml.load(Path(sys.argv[1])).items():
    params = yaml.load(Path(name))
    lay(params, values)
    yaml.dump(params, Path(name))
    print(f"{name}: {', '.join(values)}")
