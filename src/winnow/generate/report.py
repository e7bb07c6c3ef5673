"""How unique rows are, what was left out, what they cost, and what more shards would bring.

What is counted are the rows that passed quality control, repeats among them: these are what
deduplication leaves one of each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import cards, files
from winnow.core.cards import CARD, Ledger
from winnow.core.errors import Refusal
from winnow.generate import compare, duplication, figure, quality
from winnow.generate.compare import MATCH, Outcome
from winnow.generate.duplication import MATCHES, Corpus, Duplication
from winnow.generate.forecast import Forecast, Shards, forecast
from winnow.generate.rows import NAMES

COMMAND = "winnow generate"
REPORT = "report.json"
PAIRS = ": each instruction is asked several times, so a text is an instruction with its response"
SHOWN = 5
"""Of the most frequent texts, on a screen."""


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """What is said of a set of shards."""

    duplication: dict[str, Duplication]
    """By match."""
    forecast: dict[str, Forecast]
    """By match, for as many shards again."""


def look(corpus: Corpus, target: int | None = None, cost: float | None = None) -> Uniqueness:
    """Say how unique a corpus is and what as many shards again would bring.

    Args:
        corpus: by shard.
        target: unique rows in all that are wished for.
        cost: of a shard in dollars, where it is known.
    """
    measured, foretold = {}, {}
    for match in MATCHES:
        labels = corpus.labels(match)
        measured[match] = duplication.measure(corpus, match, labels)
        shards = Shards.of(labels, corpus.shard, len(corpus.names))
        foretold[match] = forecast(shards, len(corpus.names), match=match, target=target, cost=cost)
    return Uniqueness(measured, foretold)


def _by_shard(passed: pa.Table, seeds: Sequence[int], by_pairs: bool) -> Corpus:
    """Rows that passed quality control, repeats among them, by shard; one may be empty.

    Args:
        passed: the shards' rows one behind the other, in the order of their seeds.
        seeds: of all shards.
        by_pairs: whether each instruction is asked several times by design.
    """
    texts: dict[int, list[str]] = {seed: [] for seed in seeds}
    for seed, text in zip(
        passed["shard"].to_pylist(), passed["instruction"].to_pylist(), strict=True
    ):
        texts[seed].append(text)
    responses = passed["response"].to_pylist() if by_pairs else None
    return Corpus.of_shards([(str(seed), shard) for seed, shard in texts.items()], responses)


def _passed(made: pa.Table) -> pa.Table:
    reason = made["reason"]
    return made.filter(pc.or_kleene(pc.is_null(reason), pc.starts_with(reason, quality.DUPLICATE)))


def write(
    folder: Path, made: Mapping[str, Sequence[Path]], repeating: Collection[str] = ()
) -> dict[str, Any]:
    """Write report.json and a figure for each recipe.

    Args:
        folder: of the stage's output, which holds the tables of what was made.
        made: the folders of each recipe's shards.
        repeating: recipes that ask each instruction several times by design.

    Returns:
        What each recipe came to and cost, in plain numbers.
    """
    report, metrics = {}, {}
    for name, shards in made.items():
        found = [cards.read_card(shard, COMMAND) for shard in shards]
        passed = _passed(pq.read_table(folder / "made" / f"{name}.parquet"))
        corpus = _by_shard(passed, [int(shard.name) for shard in shards], name in repeating)
        cost = _dollars(found) / len(shards)
        outcome = compare.outcome(corpus, passed["response"].to_pylist(), found)
        said = look(corpus, cost=cost)
        ledgers = [Ledger(**card["ledger"]) for card in found]
        report[name] = asdict(said) | {
            "outcome": asdict(outcome),
            "cost": cost,
            "by_pairs": name in repeating,
            "shards": [
                {"seed": int(shard.name), "ledger": card["ledger"], "failures": card["failures"]}
                for shard, card in zip(shards, found, strict=True)
            ],
        }
        metrics[name] = _metrics(said, ledgers, found)
        _draw(folder, name, corpus)
    files.write_json(folder / REPORT, report)
    return metrics


def _dollars(found: Sequence[Mapping[str, Any]]) -> float:
    """What all replies of some shards cost, whichever run or recipe bought them."""
    return sum(float(card["dollars"]) for card in found)


def _seconds(found: Sequence[Mapping[str, Any]]) -> float | None:
    """Of waiting for replies; None where some were there before, as nothing says how long these
    took."""
    if any(card["totals"]["kept"] for card in found):
        return None
    return sum(float(card["totals"]["seconds"]) for card in found)


def _metrics(
    said: Uniqueness, ledgers: Sequence[Ledger], found: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    seconds = _seconds(found)
    unique = said.duplication[MATCH].unique
    return {
        "candidates": sum(ledger.rows_in for ledger in ledgers),
        "rows": sum(ledger.rows_out for ledger in ledgers),
        "failed_shards": sum(bool(card["failures"]) for card in found),
        "passed": said.duplication[MATCH].total,
        "unique": {match: one.unique for match, one in said.duplication.items()},
        "duplicate_rate": {match: one.duplicate_rate for match, one in said.duplication.items()},
        "requests": sum(card["totals"]["all"]["requests"] for card in found),
        "prompt_tokens": sum(card["totals"]["all"]["prompt_tokens"] for card in found),
        "reply_tokens": sum(card["totals"]["all"]["reply_tokens"] for card in found),
        "dollars": _dollars(found),
        "seconds": seconds,
        "unique_rows_per_minute": 60 * unique / seconds if seconds else None,
    }


def _draw(folder: Path, name: str, corpus: Corpus) -> None:
    labels = corpus.labels(MATCH)
    shards = Shards.of(labels, corpus.shard, len(corpus.names))
    said = forecast(shards, len(corpus.names), match=MATCH)
    more = len(corpus.names) if said.refusal is None else 0
    title = f"{name}: {said.unique:,} of {said.rows:,} rows are unique"
    path = folder / "figures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.unique_rows(shards, more, title).save_png(path, COMMAND)


def tell(path: Path, target: int | None) -> None:
    """Print how unique a corpus is, or what a number of unique rows takes.

    Args:
        path: artifacts/generate, or a corpus of files of rows with a column or key `instruction`.
        target: unique rows in all; None prints the report.
    """
    corpora, outcomes = _corpora(path)
    if target is None and outcomes:
        print("\n".join(compare.lines(outcomes)))
    for name, (corpus, cost) in corpora.items():
        said = look(corpus, target, cost)
        print(name + (PAIRS if corpus.responses is not None else ""))
        print("\n".join(lines(said) if target is None else needs(said)))
    if target is None and not outcomes:
        print(_pairs(path))


def lines(said: Uniqueness) -> list[str]:
    """The report in words and columns."""
    found = [f"  {'match':10}{'rows':>8}{'unique':>8}{'repeated':>10}{'once':>8}{'twice':>8}"]
    for match, one in said.duplication.items():
        rate = "-" if one.duplicate_rate is None else f"{one.duplicate_rate:.1%}"
        found.append(
            f"  {match:10}{one.total:8,}{one.unique:8,}{rate:>10}{one.once:8,}{one.twice:8,}"
        )
    nearest = said.duplication[MATCH]
    for text in nearest.top[:SHOWN]:
        found.append(f"  {text.count:6,} times ({text.share:.1%})  {text.instruction[:70]!r}")
    if nearest.yields:
        listed = ", ".join(f"{one.shard}: {one.new:,} of {one.rows:,}" for one in nearest.yields)
        found.append(f"  new in each shard: {listed}")
    return [*found, *(f"  {one.sentence}" for one in said.forecast.values())]


def needs(said: Uniqueness) -> list[str]:
    """What a number of unique rows takes, with how such forecasts came out before."""
    found = []
    for one in said.forecast.values():
        found.append(f"  {one.sentence}")
        tests = [test for test in one.back_tests if test.error is not None][-SHOWN:]
        if tests:
            errors = ", ".join(f"{test.shards}: {test.error:+.0%}" for test in tests)
            found.append(f"    after so many shards a forecast of the others erred by {errors}")
    return found


def _corpora(
    path: Path,
) -> tuple[dict[str, tuple[Corpus, float | None]], dict[str, Outcome]]:
    """Each set of shards of a folder or file with what one of its shards cost; of what was made
    here what each recipe came to."""
    if not ((path / REPORT).is_file() and (path / CARD).is_file()):
        return {str(path): (_any(path), None)}, {}
    cards.read_card(path, COMMAND)
    corpora, outcomes = {}, {}
    for name, told in files.read_json(path / REPORT).items():
        passed = _passed(pq.read_table(path / "made" / f"{name}.parquet"))
        shards = [one["seed"] for one in told["shards"]]
        corpora[name] = (_by_shard(passed, shards, told["by_pairs"]), told["cost"])
        outcomes[name] = Outcome(**told["outcome"])
    return corpora, outcomes


def _any(path: Path) -> Corpus:
    """Any corpus by its instructions, a shard each for the rows of a file."""
    shards = [(name, [text for text, _ in rows]) for name, rows in _files(path)]
    return Corpus.of_shards(shards)


def _pairs(path: Path) -> str:
    """How many rows of any corpus are unique with their responses: where prompts are answered
    several times, instructions repeat by design."""
    pairs = [pair for _, rows in _files(path) for pair in rows]
    instructions, responses = zip(*pairs, strict=True)
    labels = Corpus.of_shards([("", instructions)], responses).labels("exact")
    return (
        f"  {len(set(labels.tolist())):,} of {len(pairs):,} rows are unique by exact match as an "
        "instruction with its response"
    )


def _files(path: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Instructions and responses of every file of a corpus."""
    parts = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = [
        (str(part.relative_to(path.parent)), _rows(part))
        for part in parts
        if part.suffix in (".jsonl", ".parquet")
    ]
    if not any(rows for _, rows in found):
        raise Refusal(
            f"--report: {path} holds no .jsonl or .parquet file of rows with an instruction: run "
            f"`{COMMAND}`, or name such a file or folder"
        )
    return found


def _rows(path: Path) -> list[tuple[str, str]]:
    import pyarrow.json as pj

    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pj.read_json(path)
        instructions = table["instruction"].to_pylist()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise Refusal(f"--report: {path} cannot be read: {str(error).splitlines()[0]}") from None
    named = [name for name in NAMES["response"] if name in table.column_names]
    responses = table[named[0]].to_pylist() if named else [""] * len(table)
    pairs = zip(instructions, responses, strict=True)
    return [
        (str(one), "" if other is None else str(other)) for one, other in pairs if one is not None
    ]
