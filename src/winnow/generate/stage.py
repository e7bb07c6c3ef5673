"""Make rows by the recipes of params.yaml, shard by shard.    winnow generate [--report [CORPUS]]

Writes artifacts/generate: rows/<recipe>/<seed>.jsonl, a corpus like any other;
made/<recipe>.parquet with all that was made and why some of it is no row; report.json, how unique
it is and what more shards would bring; a figure a recipe; card.json. And
artifacts/generate_metrics.json with what it cost. With --forecast N it says how many more shards N
unique rows take.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, files, params, sources
from winnow.core.errors import Refusal, at
from winnow.core.layout import GENERATED, GENERATION_METRICS, STATE
from winnow.generate import aligned, critics, quality, report
from winnow.generate.critics import BestOf
from winnow.generate.methods import PROMPTS, Asking, Candidate
from winnow.generate.novelty import Novelty, plain
from winnow.generate.params import GenerateConfig, Item
from winnow.generate.replies import Replies, Spent, Totals
from winnow.record import record

SHARDS = STATE / "generate/shards"
MADE = "made.parquet"
COMMAND = "winnow generate"
SEEN = f"{quality.DUPLICATE} of an earlier row"
PARTS = ("instruction", "input", "response", "rejected")
MADE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", *PARTS, "parent")]
    + [("shard", pa.int64()), ("reason", pa.string())]
)
"""What was made: the reason is null of a row that is published."""


class Pace:
    """What the bar says: unique rows of the shards that were made now, and how many a minute."""

    def __init__(self) -> None:
        self._unique, self._began = set[str](), time.monotonic()

    def add(self, instructions: Iterable[str]) -> None:
        """Count those of a shard that is done."""
        self._unique |= {plain(text) for text in instructions}

    def __call__(self) -> str:
        number, seconds = len(self._unique), time.monotonic() - self._began
        return f"{number:,} unique rows, {60 * number / max(seconds, 1):.0f} a minute"


def run(show: str | None = None, forecast: int | None = None, sample: int | None = None) -> None:
    """Make what is missing of every recipe's shards, and publish all of it.

    Args:
        show: only print how unique a corpus is: a folder or file, "" for what was made here.
        forecast: only print what this many unique rows take.
        sample: only print the first so many requests' rows of every recipe, with what the checks
            say of each.

    Raises:
        Refusal: the backend does not answer, the budget is spent, a recipe's first shard fails, or
            recipes that are aligned share too few rows.
    """
    for name, number in (("--forecast", forecast), ("--sample", sample)):
        if number is not None and number not in params.COUNTS:
            raise Refusal(f"{name}: expected a whole number {params.COUNTS}, found {number}")
    if show is not None or forecast is not None:
        return report.tell(Path(show) if show else GENERATED, forecast)
    settings: GenerateConfig | None = params.load("generate", GenerateConfig | None)  # type: ignore[arg-type]
    if sample is not None:
        return _show(settings, sample)
    card: dict[str, Any] = {"stage": "generate", "recipes": {}}
    with cards.lock("generate"):
        made: dict[str, list[Path]] = {}
        spent = _make(settings, card, made) if settings else None
        parents = aligned.parents(settings, made, card) if settings and settings.aligned else None
        with cards.publish_folder(GENERATED, card) as folder:
            for item in settings.items() if settings else ():
                if item.name in made:
                    _write(folder, item, made[item.name], parents)
            metrics = report.write(folder, made, settings.repeating() if settings else ())
        files.write_sealed(GENERATION_METRICS, metrics)
        if settings:
            record(GENERATED)
    if spent:
        rows = sum(one["rows"] for one in metrics.values())
        raise Refusal(f"{spent}; {GENERATED} holds {rows:,} rows of the shards that are done")
    if not settings:
        print(f"generate: params.yaml declares nothing to be made -> {GENERATED} without rows")


def _make(
    settings: GenerateConfig, card: dict[str, Any], made: dict[str, list[Path]]
) -> Spent | None:
    """Make the shards that are not there; `made` takes the folders of each recipe's.

    Returns:
        That the budget was spent before all were made, where it was.
    """
    pace = Pace()
    replies = _opened(settings, None, pace)
    card["backend"] = {"name": settings.backend["name"], "identity": replies.backend.identity}
    for item in settings.items():
        shards: list[Path] = []
        own = _opened(settings, item, pace) if item.backend else replies
        try:
            _recipe(item, settings, own, card, shards, pace)
        except Spent as spent:
            return spent
        finally:
            if shards:
                made[item.name] = shards
    return None


def _opened(settings: GenerateConfig, item: Item | None, pace: Pace | None) -> Replies:
    """The replies of the section's backend, or of a recipe's own."""
    declared = item.settings() if item else settings.settings()
    with at(f"{item.place}.backend" if item else "params.yaml: generate.backend"):
        return Replies(declared.open(), settings.budget, declared.prices(), pace)


def _critic_place(item: Item) -> str:
    return f"generate.recipes.{item.name}.critic"


def _asking(item: Item, replies: Replies) -> Asking:
    """Whom a recipe asks."""
    best = BestOf(item.recipe.best_of, item.recipe.critic, replies.ask, _critic_place(item))
    return Asking(
        replies.ask,
        replies.backend.question_prefix(),
        best.respond if item.recipe.best_of > 1 else None,
    )


def _show(settings: GenerateConfig | None, number: int) -> None:
    """Print a few rows of every recipe, with what the checks say of each; a service's replies are
    kept, so that the run itself buys them no second time."""
    for item in settings.items() if settings else ():
        assert settings
        replies = _opened(settings, item if item.backend else None, None)
        short = replace(item.recipe, shards=1, requests=number)
        with at(item.place):
            for one in short.candidates(short.seed, _asking(item, replies)):
                verdict = quality.reason_of(one, settings.checks) or "a row"
                print(f"{item.name}: {verdict}")
                print("".join(f"  {part}\n" for part in one.whole.split("\n")), end="")


def _recipe(
    item: Item,
    settings: GenerateConfig,
    replies: Replies,
    card: dict[str, Any],
    folders: list[Path],
    pace: Pace,
) -> None:
    """Make the shards of a recipe that are not there; `folders` takes those of all.

    Raises:
        Spent: the budget does not reach for all of them.
        Refusal: its first shard fails.
    """
    read = {key: files.file_hash(Path(path)) for key, path in item.recipe.files().items()}
    declared = {"method": item.method, "settings": asdict(item.recipe), "files": read}
    if item.recipe.best_of > 1:
        declared |= {"critic": critics.identity(item.recipe.critic, _critic_place(item))}
    own = (
        {"name": item.backend["name"], "identity": replies.backend.identity} if item.backend else {}
    )
    card["recipes"][item.name] = declared | ({"backend": own} if own else {})
    novelty = Novelty(item.recipe.unique) if item.recipe.unique else None
    asking = _asking(item, replies)
    prompts = {path.name: files.file_hash(path) for path in sorted(PROMPTS.glob("*.txt"))}
    previous, earlier = "", dict[str, None]()
    for seed in range(item.recipe.seed, item.recipe.seed + item.recipe.shards):
        # How many shards there are decides nothing about any; what came before does.
        key = declared | {
            "settings": asdict(replace(item.recipe, shards=1)),
            "backend": replies.backend.identity,
            "checks": asdict(settings.checks),
            "code": sources.code_hash("generate"),
            "prompts": prompts,
            "seed": seed,
            "previous": previous,
        }
        folder = SHARDS / item.name / str(seed)
        if cards.is_made_of(folder, key):
            if novelty:
                novelty.add([_compared(item, row) for row in kept_rows(folder)])
        else:
            with at(item.place):
                known = replace(asking, earlier=[*earlier])
                _shard(item, seed, known, replies, settings, novelty, key)
            pace.add(row["instruction"] for row in kept_rows(folder))
        failures = cards.read_card(folder, COMMAND)["failures"]
        if failures and not folders:  # the others would cost as much
            raise Refusal(
                f"{item.place}: its first shard fails: {failures[0]}; {folder / MADE} holds what "
                "was made: change the recipe, or generate.checks"
            )
        folders.append(folder)
        earlier |= dict.fromkeys(row["instruction"] for row in kept_rows(folder))
        previous = files.fingerprint(key)


def _shard(
    item: Item,
    seed: int,
    asking: Asking,
    replies: Replies,
    settings: GenerateConfig,
    novelty: Novelty | None,
    key: dict[str, Any],
) -> None:
    """Make and check a shard; its rows are none where it fails."""
    totals = replies.totals = Totals()
    candidates = list(item.recipe.candidates(seed, asking))
    reasons = [quality.reason_of(one, settings.checks) for one in candidates]
    if novelty:
        sound = [place for place, reason in enumerate(reasons) if reason is None]
        part = item.recipe.compared
        news = novelty.add([getattr(candidates[place], part) for place in sound])
        for place, is_new in zip(sound, news, strict=True):
            reasons[place] = None if is_new else SEEN
    ledger = cards.Ledger(rows_in=len(candidates))
    ledger.dropped.update(reason for reason in reasons if reason)
    ledger.rows_out = len(candidates) - ledger.dropped.total()
    failures = quality.verdict(ledger, settings.checks)
    card = {
        "stage": "generate",
        "key": key,
        "ledger": ledger.close(),
        "failures": failures,
        # asdict would make a counter of pairs of a counter.
        "totals": asdict(replace(totals, failures=Counter()))
        | {"failures": dict(sorted(totals.failures.items()))},
        "dollars": totals.all.dollars(replies.price),
    }
    folder = SHARDS / item.name / str(seed)
    with cards.publish_folder(folder, card) as partial:
        pq.write_table(_table(item.name, seed, candidates, reasons), partial / MADE)
    rows = f"{ledger.rows_out} of {ledger.rows_in} candidates"
    print(f"generate: {item.name} {seed}: {rows}" + "".join(f"; fails: {one}" for one in failures))


def _table(
    name: str, seed: int, candidates: Sequence[Candidate], reasons: Sequence[str | None]
) -> pa.Table:
    """MADE_SCHEMA of a shard's candidates."""
    return pa.Table.from_pylist(
        [
            {
                "id": f"{name}-{seed}-{place}",
                "instruction": one.instruction,
                "input": one.input,
                "response": one.response,
                "rejected": one.rejected,
                "parent": one.parent,
                "shard": seed,
                "reason": reason,
            }
            for place, (one, reason) in enumerate(zip(candidates, reasons, strict=True))
        ],
        MADE_SCHEMA,
    )


def _compared(item: Item, row: dict[str, Any]) -> str:
    """What a row that was made before is compared by."""
    parts = {part: row[part] for part in PARTS}
    text: str = getattr(Candidate(**parts), item.recipe.compared)
    return text


def _write(folder: Path, item: Item, shards: Sequence[Path], parents: set[str] | None) -> None:
    """Write a recipe's rows, a file a shard, and the table of all that was made.

    Args:
        folder: what is published.
        item: the recipe.
        shards: its folders.
        parents: whose rows are published alone, where recipes are aligned.
    """
    name = item.name
    for shard in shards:
        if cards.read_card(shard, COMMAND)["failures"]:
            continue
        with files.atomic_file(folder / "rows" / name / f"{shard.name}.jsonl", "w") as file:
            for row in kept_rows(shard):
                if parents is None or row["parent"] in parents:
                    named = {new: row[part] for part, new in item.recipe.names.items()}
                    line = {"id": row["id"], **named, "source": name}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    path = folder / "made" / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.concat_tables(pq.read_table(shard / MADE) for shard in shards), path)


def kept_rows(shard: Path) -> list[dict[str, Any]]:
    """What no check and no earlier row speaks against."""
    cards.read_card(shard, COMMAND)
    return [row for row in pq.read_table(shard / MADE).to_pylist() if row["reason"] is None]
