"""A scorer as the critic of single pairs, before there is a corpus that it could learn from.

The stage generate loads `check` and `marks` by their import path, as it loads a function of the
user's: so no stage imports another, and a critic's mark is what this stage would score the row.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.core import sources
from winnow.core.errors import Refusal, at
from winnow.core.experiments import DOCUMENTED
from winnow.core.extensions import is_path
from winnow.core.files import file_hash, fingerprint
from winnow.core.params import PARAMS
from winnow.score.params import Item, item

if TYPE_CHECKING:
    import pyarrow as pa

READY = ("length", "perplexity", "ifd", "classifier", "reward")
"""Kinds that learn nothing from the corpus, beside the documented one and the user's own."""
TOKENIZED = (DOCUMENTED, "length")
"""Kinds that count tokens, of which the corpus has no tokenizer yet."""


@dataclass(frozen=True, slots=True)
class _Critic:
    """Which scorer, and the tokenizer by which it counts, where it does."""

    item: Item | None
    """None is the documented one."""
    tokenizer: str


def check(given: Mapping[str, Any], place: str) -> None:
    """Refuse a scorer that there is not, that learns from a corpus, or whose keys are wrong.

    Args:
        given: as an item of score.scorers, with `tokenizer` where it counts tokens.
        place: of it in params.yaml.
    """
    _critic(given, place)


def identity(given: Mapping[str, Any], place: str) -> dict[str, str]:
    """What the marks depend on beside the pairs and the keys: this stage's code, and hashes of the
    folders that the scorer reads."""
    critic, found = _critic(given, place), {"code": sources.code_hash("score")}
    folders = {"model": str(given.get("model", "")), "tokenizer": critic.tokenizer}
    for key, folder in folders.items():
        if Path(folder).is_dir() and folder:
            hashes = {path.name: file_hash(path) for path in sorted(Path(folder).glob("*.*"))}
            found[key] = fingerprint(hashes)
    return found


def _critic(given: Mapping[str, Any], place: str) -> _Critic:
    keys, name = dict(given), given.get("name")
    tokenizer = keys.pop("tokenizer", "")
    found = item(keys, place)
    if found and found.name not in READY and not is_path(found.name):
        raise Refusal(
            f"{PARAMS}: {place}: {name} learns from a corpus, which there is not yet: take "
            f"{', '.join((DOCUMENTED, *READY))}, or package.module:name of your own"
        )
    if (name in TOKENIZED) != bool(tokenizer):
        needs = "needs" if name in TOKENIZED else "takes no"
        raise Refusal(f"{PARAMS}: {place}.tokenizer: {name} {needs} folder of a tokenizer")
    return _Critic(found, str(tokenizer))


def marks(given: Mapping[str, Any], pairs: Sequence[tuple[str, str]], place: str) -> list[float]:
    """The score of each pair, the higher the better; -inf for one that has none.

    Args:
        given: as in `check`; the scorer of the last one is kept.
        pairs: questions and responses.
        place: of it in params.yaml.

    Raises:
        Refusal: as in `check`, or the scorer cannot be loaded.
    """
    with at(f"{PARAMS}: {place}"):
        score = _ready(json.dumps(given, sort_keys=True), place)
    return [mark if isinstance(mark, float) else -math.inf for mark in score(_batch(pairs))]


@functools.lru_cache(1)
def _ready(given: str, place: str) -> Any:
    critic = _critic(json.loads(given), place)
    if critic.item is None:
        from winnow.score.scorers.documented import QualityScorer

        scorer = QualityScorer(critic.tokenizer)
        return lambda rows: scorer.score_rows(rows)["score"].to_pylist()
    from winnow.score.corpus import Corpus

    class NoCorpus(Corpus):
        """Of which there is a tokenizer alone."""

        tokenizer = Path(critic.tokenizer)

    settings = critic.item.settings
    ready = settings.prepare(NoCorpus(Path(), {}))
    sign = -1 if settings.best == "lowest" else 1

    def score(rows: "pa.RecordBatch") -> list[float | str]:
        return [one if isinstance(one, str) else float(sign * one) for one in ready(rows)]

    return score


def _batch(pairs: Sequence[tuple[str, str]]) -> "pa.RecordBatch":
    """Pairs as the stage hands rows to its scorers."""
    import pyarrow as pa

    from winnow.core.records import ROW_SCHEMA
    from winnow.core.texts import content_hashes

    rows = [
        dict.fromkeys(ROW_SCHEMA.names, "") | {"instruction": question, "response": response}
        for question, response in pairs
    ]
    table = pa.Table.from_pylist(rows, ROW_SCHEMA)
    return table.append_column("hash", content_hashes(table)).combine_chunks().to_batches()[0]
