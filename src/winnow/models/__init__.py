"""Families of models: what trains, scores and completes; only here transformers is known."""

import importlib
import importlib.abc
import sys

SPARED = {
    "transformers.generation.candidate_generator": "is_sklearn_available",  # assisted decoding
    "transformers.loss.loss_for_object_detection": "is_scipy_available",
}
"""Modules of transformers that import a large package which no model here has a use for."""


class _Spared(importlib.abc.MetaPathFinder):
    """Says to those modules that the package is not there: it would take every process that loads
    a model about two seconds to import both."""

    def find_spec(self, name: str, *_: object) -> None:
        """Find nothing, and leave the finding to others."""
        if name in SPARED:
            setattr(importlib.import_module("transformers.utils"), SPARED[name], lambda: False)


sys.meta_path.insert(0, _Spared())
