"""Cut the tiers that the experiments need.    winnow select [experiment ...]

Writes artifacts/select: <tier>/ (a dataset with train and the shared validation split),
<tier>_scores.csv, statistics.json, histogram.png, experiments/<experiment>.json, card.json.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from winnow.core import cards, engine, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import Tier, resolve
from winnow.core.layout import CURATED, SCORED, SELECTED
from winnow.core.progress import progress
from winnow.core.records import CURATED_SCHEMA, DIMENSIONS, TierStatistics
from winnow.select import tiers
from winnow.select.params import SelectConfig


def _fingerprint(hashes: pa.ChunkedArray) -> str:
    """The SHA-256 of rows by their content hashes, in their order."""
    return files.bytes_hash("".join(hashes.to_pylist()).encode())


def _save(path: Path, train: pa.Table, validation: pa.Table) -> None:
    from datasets import Dataset, DatasetDict

    # A fingerprint from the content: the default one is random, and would change equal bytes.
    parts = {"train": train, "validation": validation}
    DatasetDict(
        {
            name: Dataset(table, fingerprint=_fingerprint(table["hash"])[:16])
            for name, table in parts.items()
        }
    ).save_to_disk(path)


def _spreadsheet_safe(texts: pa.Array) -> pa.Array:
    """Cells that no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""
    formulas = pc.match_substring_regex(texts, r"^[=+\-@\t\r\x00]")
    return pc.if_else(formulas, pc.binary_join_element_wise("'", texts, ""), texts)


def _write_scores(path: Path, rows: pd.DataFrame, scorers: list[str]) -> None:
    names = ("id", "score", *DIMENSIONS, *(name for name in scorers if name in rows))
    columns = {name: pa.array(rows[name], from_pandas=True) for name in names}
    columns = (
        {"idx": pa.array(rows.index)}
        | columns
        | {"id": _spreadsheet_safe(columns["id"].cast(pa.string()))}
    )
    csv.write_csv(pa.table(columns), path, csv.WriteOptions(quoting_style="needed"))


def _statistics(tier: Tier, rows: pd.DataFrame, pool: int, of: pd.Index | None) -> TierStatistics:
    score = rows["score"]
    return TierStatistics(
        rule=tier.rule,
        sha256=_fingerprint(pa.chunked_array([rows["hash"]])),
        num_rows=len(rows),
        num_tokens=int(rows["num_tokens"].sum()),
        share=len(rows) / pool,
        min=float(score.min()),
        max=float(score.max()),
        mean=float(score.mean()),
        std=float(score.std(ddof=0)),
        sources=_by_source(rows) if tier.sources or tier.weights else None,
        overlap_with_of=None if of is None else float(rows.index.isin(of).mean()),
    )


def _by_source(rows: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(number) for name, number in rows["source"].value_counts().items()}


def _histogram(path: Path, scores: dict[str, pd.Series]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, values in scores.items():
        axes.hist(values, bins=60, range=(0, 1), histtype="step", linewidth=1.5, label=name)
    axes.set(xlabel="quality score", ylabel="rows", yscale="log", title="Scores by tier")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def _check_scorer(name: str, tier: Tier, scorers: Mapping[str, Any]) -> None:
    if tier.scorer not in scorers:
        raise Refusal(
            f"{params.PARAMS}: select.tiers.{name}.by: {tier.scorer} scored no row, but "
            f"{', '.join(scorers)}: name it in score.scorers and run `winnow score`"
        )


def run(experiments: list[str]) -> None:
    """Cut every tier that the experiments of params.yaml, and those named, are trained on.

    Raises:
        Refusal: an unknown experiment, or a tier that is larger than the pool; nothing is
            written then.
    """
    settings = params.load("select", SelectConfig)
    arms = resolve(["all", *experiments])
    needed = dict.fromkeys(arm.tier_name for arm in arms)
    scored = cards.read_card(SCORED, "winnow score")
    cards.check_inputs(SCORED, scored, "winnow score")
    cards.read_card(CURATED, "winnow curate", "train.parquet", "validation.parquet")
    scores = pq.read_table(SCORED / "train.parquet").to_pandas()
    scorers = scored["scorers"]
    for name in needed:
        _check_scorer(name, settings.tiers[name], scorers)
        tiers.size(name, settings.tiers, scores)
    cut = partial(
        tiers.cut,
        tiers=settings.tiers,
        scores=scores,
        seed=settings.seed,
        reversed_columns=[name for name in scorers if scorers[name]["best"] == "lowest"],
    )
    card: dict[str, Any] = {
        "stage": "select",
        "params": {"seed": settings.seed},
        "inputs": {str(SCORED): files.fingerprint(scored["files"])},
    }
    with cards.lock("select"), engine.running(), cards.publish_folder(SELECTED, card) as folder:
        cuts = {name: cut(name) for name in needed}
        rows = pq.read_table(CURATED / "train.parquet", columns=CURATED_SCHEMA.names)
        validation = pq.read_table(CURATED / "validation.parquet")
        statistics = {}
        for name, index in progress(cuts.items(), "select", "tiers"):
            tier = settings.tiers[name]
            of = tier.of and cut(tier.of)
            chosen = scores.loc[index]
            _save(folder / name, rows.take(pa.array(index)).combine_chunks(), validation)
            _write_scores(folder / f"{name}_scores.csv", chosen, [*scorers])
            statistics[name] = _statistics(tier, chosen, len(scores), of)
        files.write_json(folder / "statistics.json", statistics)
        _histogram(folder / "histogram.png", {name: scores["score"][cuts[name]] for name in cuts})
        for arm in arms:
            # What dvc.yaml lets a training depend on: another number in a recipe changes the cards
            # of the arms that use it, and no others.
            resolved = asdict(arm) | {"data": statistics[arm.tier_name]}
            files.write_json(folder / "experiments" / f"{arm.name}.json", resolved)
    for name, one in statistics.items():
        print(
            f"{name}: {one.num_rows} rows, score {one.min:.3f} - {one.max:.3f}, "
            f"mean {one.mean:.3f}, standard deviation {one.std:.3f}"
        )
    print(f"select: {len(cuts)} tiers for {len(arms)} experiments -> {SELECTED}")
