"""Forecasts of unique rows against what came.    python -m benchmarks.forecast

Ten real columns of $WINNOW_DATA/instructions that repeat as generated texts do, each cut into
shards, of which some forecast the others: random halves, a fifth of the rows at random for the
other four, and the first half in the file's order for the second, where shards drift. Errors are
those of the number of new texts. The rate of Good and Turing (m f_1 / n) is what comes to mind.

    --documented    the case of 3,968 rows with 1,311 unique ones, under three tails
    --simulated     coverage of the interval where shards have favourites of their own
    --matches       how unique instructions are by each kind of match, and CPU seconds
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import optimize, special

from winnow.generate import forecast
from winnow.generate.duplication import MATCHES, Corpus, measure
from winnow.generate.estimators import ESTIMATORS, Frequencies, fit_pitman_yor, good_toulmin
from winnow.generate.forecast import HEADLINE, Shards

SETS = {
    "medquad": "input",
    "tldr_pages_en": "input",
    "wikisql": "input",
    "t0_train_50k": "response",
    "llm_adapters": "response",
    "open_trivia_qa": "response",
    "tldr_pages_i18n": "response",
    "text2sql_advising": "response",
    "natural_instructions_v1_gpt3": "response",
    "schema_guided_dialogue": "instruction",
}
MATCHED = (
    ("medquad", 20_000),
    ("nl2bash", 20_000),
    ("wikisql", 20_000),
    ("schema_guided_dialogue", 20_000),
    ("schema_guided_dialogue", 100_000),
)
DRAWS = 5
"""Random cuts into shards."""
Codes = NDArray[np.int64]


def rate(frequencies: Frequencies, more: int) -> float:
    """As many new texts a row as now, for ever."""
    return more * frequencies[1] / frequencies.draws


EVERY = {"rate": rate, **ESTIMATORS}


def read(name: str, column: str) -> Codes:
    """The texts of a column, numbered."""
    folder = Path(os.environ["WINNOW_DATA"]) / "instructions"
    texts = pq.read_table(folder / f"{name}.parquet", columns=[column])[column]
    codes = texts.combine_chunks().dictionary_encode().indices
    return np.asarray(codes.to_numpy(), np.int64)


def trial(codes: Codes, seen: int, number: int) -> tuple[dict[str, float], bool, float]:
    """The error of every estimator where the first of some shards forecast the others; whether the
    headline's interval held what came, and its width as a share of that."""
    shard = np.arange(len(codes)) * number // len(codes)
    before = shard < seen
    shards = Shards.of(codes[before], shard[before], seen)
    whole, rest = shards.first(seen), int((~before).sum())
    total = len(np.unique(codes))
    truth = total - whole.unique
    errors = {name: call(whole, rest) / truth - 1 for name, call in EVERY.items()}
    found = forecast.estimate(shards, number - seen)
    assert found.low is not None and found.high is not None
    return errors, found.low <= total <= found.high, (found.high - found.low) / truth


def show(title: str, trials: list[tuple[dict[str, float], bool, float]]) -> None:
    """A line: median and worst error by estimator, coverage and median width."""
    cells = []
    for name in EVERY:
        errors = [abs(found[name]) for found, _, _ in trials]
        cells.append(f"{statistics.median(errors):6.1%} /{max(errors):5.0%}")
    held = statistics.mean(held for _, held, _ in trials)
    width = statistics.median(width for _, _, width in trials)
    print(f"{title:<24}" + "".join(f"{cell:>24}" for cell in cells), end="")
    print(f"{held:>8.0%} of {len(trials)}{width:>8.0%}", flush=True)


def real() -> None:
    """The table of real columns."""
    print(f"{'':<24}" + "".join(f"{name:>24}" for name in (*EVERY, "interval holds, width")))
    read_in = {name: read(name, column) for name, column in SETS.items()}
    cuts = {"random halves": (10, 20), "t = 4, at random": (10, 50)}
    for title, (seen, number) in cuts.items():
        found = [
            trial(np.random.default_rng(seed).permutation(codes), seen, number)
            for codes in read_in.values()
            for seed in range(DRAWS)
        ]
        show(title, found)
    show("halves in file order", [trial(codes, 10, 20) for codes in read_in.values()])


HEADS = (273, 157, 124, 120)
ROWS, UNIQUE, CLEAN, SHARDS = 3968, 1311, 1120, 10
Tail = Callable[[NDArray[np.float64], float], NDArray[np.float64]]
TAILS: dict[str, tuple[Tail, tuple[float, float]]] = {
    "heavy: as Pitman-Yor": (
        lambda k, d: np.exp(special.gammaln(k - d) - special.gammaln(k + 1)),
        (0.01, 0.99),
    ),
    "middle: geometric": (lambda k, q: q**k, (0.01, 0.99)),
    "light: all alike": (lambda k, r: np.exp(k * np.log(r) - special.gammaln(k + 1)), (0.1, 20.0)),
}
"""By how much more often a text comes k times than another, with a number that the mean decides."""


def documented_counts(tail: str) -> Codes:
    """How often each text came: the four heads as documented, the others by a tail, so that rows
    and unique ones come out right."""
    shape, (low, high) = TAILS[tail]
    times = np.arange(1, min(HEADS), dtype=np.float64)
    others, rows = UNIQUE - len(HEADS), ROWS - sum(HEADS)

    def excess(number: float) -> float:
        weights = shape(times, number)
        return float(weights @ times / weights.sum()) - rows / others

    weights = shape(times, optimize.brentq(excess, low, high))
    places = (np.arange(others) + 0.5) / others
    counts = 1 + np.searchsorted(np.cumsum(weights / weights.sum()), places)
    counts = np.minimum(counts, int(times[-1]))
    # Rounding leaves a few rows over: they go to the most frequent texts below the heads, one each.
    left = rows - int(counts.sum())
    largest = np.argsort(counts)[::-1][: abs(left)]
    counts[largest] += np.sign(left)
    return np.concatenate([np.array(HEADS), counts]).astype(np.int64)


def documented() -> None:
    """What ten and thirty more shards bring to the documented rows, under each tail."""
    clean = CLEAN / UNIQUE
    for tail in TAILS:
        counts = documented_counts(tail)
        whole = Frequencies.of(counts)
        assert (whole.draws, whole.unique) == (ROWS, UNIQUE)
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(UNIQUE), counts))
        shards = Shards.of(labels, np.arange(ROWS) * SHARDS // ROWS, SHARDS)
        fit = fit_pitman_yor(whole)
        print(
            f"{tail}: f1 {whole[1]}, f2 {whole[2]}, fifth most frequent {np.sort(counts)[-5]}, "
            f"Pitman-Yor d {fit.discount:.2f}, theta {fit.strength:.0f}"
        )
        for more in (10, 20, 30):
            every = [forecast.estimate(shards, more, name) for name in ESTIMATORS]
            said = [f"{x.estimator} {x.unique:,.0f} ({x.low:,.0f} to {x.high:,.0f})" for x in every]
            kept = "".join(f" {clean * (x.unique - UNIQUE):,.0f}" for x in every)
            print(f"  +{more} shards: {'; '.join(said)}; clean new rows:{kept}")
        print(f"  {forecast.need(shards, 6000).sentence}")


def favourites(seed: int, number: int, strength: float) -> tuple[Codes, Codes]:
    """Rows of some shards, 400 each, from a Zipf law that every shard bends to its own taste."""
    dice = np.random.default_rng(seed)
    law = 1 / np.arange(1, 20_001) ** 1.1
    rows = []
    for _ in range(number):
        weights = law * np.exp(strength * dice.standard_normal(len(law)))
        rows.append(dice.choice(len(law), 400, p=weights / weights.sum()))
    return np.concatenate(rows), np.repeat(np.arange(number), 400)


def simulated() -> None:
    """Coverage where truth is known."""
    for strength in (0.0, 1.0, 2.0):
        for seen, more in ((5, 5), (10, 10), (10, 40)):
            held, errors = [], []
            for seed in range(50):
                codes, shard = favourites(seed, seen + more, strength)
                shards = Shards.of(codes[shard < seen], shard[shard < seen], seen)
                found, total = forecast.estimate(shards, more), len(np.unique(codes))
                assert found.low is not None and found.high is not None
                held.append(found.low <= total <= found.high)
                new = good_toulmin(shards.first(seen), 400 * more)
                errors.append(abs(new / (total - shards.first(seen).unique) - 1))
            print(
                f"taste {strength}: {seen} shards for {more}: {HEADLINE} errs by "
                f"{statistics.median(errors):.1%}, interval holds {statistics.mean(held):.0%}",
                flush=True,
            )


def matches() -> None:
    """The first 20,000 instructions of some sets, and 100,000 of one."""
    folder = Path(os.environ["WINNOW_DATA"]) / "instructions"
    for name, rows in MATCHED:
        table = pq.read_table(folder / f"{name}.parquet", columns=["instruction"]).slice(0, rows)
        texts = table["instruction"].to_pylist()
        corpus = Corpus.of_shards([(name, texts)])
        cells = []
        for match in MATCHES:
            began = time.process_time()
            found = measure(corpus, match)
            cells.append(f"{match} {found.unique:,} ({time.process_time() - began:.1f} s)")
        print(f"{name}, {len(texts):,} rows: {', '.join(cells)}", flush=True)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser()
    kinds = {"documented": documented, "simulated": simulated, "matches": matches}
    for name in kinds:
        parser.add_argument(f"--{name}", action="append_const", dest="work", const=kinds[name])
    for work in parser.parse_args().work or [real]:
        work()


if __name__ == "__main__":
    main()
