"""A user's own scorer, `package.module:name`."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from winnow.core import extensions, params
from winnow.score.scorers import Ready, Scorer, Scores, Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class _None:
    """The keys of a scorer that has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Own(Settings):
    """Which scorer, and its keys."""

    path: str
    keys: Any

    def prepare(self, corpus: "Corpus") -> Ready:
        return _Own(self.path, None if isinstance(self.keys, _None) else self.keys)


def settings(path: str, given: Mapping[str, Any], place: str) -> Own:
    """The settings of a user's scorer.

    Args:
        path: its import path.
        given: the keys in params.yaml.
        place: of it there.

    Raises:
        Refusal: there is no such scorer, or it has no such key.
    """
    scorer = extensions.load(path, Scorer)
    best = given.get("best", scorer.best)
    keys = {key: value for key, value in given.items() if key != "best"}
    built = params.build(scorer.settings or _None, keys, f"{place} {path}")
    return Own(path=path, keys=built, best=params.build(BEST, best, f"{place} {path}.best"))


BEST: Any = Settings.__dataclass_fields__["best"].type


@dataclass(frozen=True, slots=True)
class _Own(Ready):
    is_parallel = True
    path: str
    keys: Any

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        from winnow.core.records import ROW_SCHEMA, Row

        given = [Row(**row) for row in rows.select(ROW_SCHEMA.names).to_pylist()]
        score = _find(self.path).score
        return list(score(given) if self.keys is None else score(given, self.keys))

    def notes(self) -> Mapping[str, Any]:
        keys = {} if self.keys is None else asdict(self.keys)
        return {"code": extensions.code_hash(self.path)} | ({"keys": keys} if keys else {})


@functools.cache
def _find(path: str) -> Scorer:
    """Once in every process."""
    return extensions.load(path, Scorer)
