"""Cut the tiers that the experiments need.    winnow select [experiment ...]

Writes artifacts/select: <tier>/ (a dataset with train and the shared validation split) and
<tier>_scores.csv, or where chance chooses the rows <tier>/<seed>/ and <tier>/<seed>_scores.csv for
every seed; statistics.json, histogram.png, experiments/<experiment>.json, card.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from winnow.core import cards, engine, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, Tier, declared_seeds, resolve
from winnow.core.layout import CURATED, SCORED, SELECTED, scores_name
from winnow.core.progress import progress
from winnow.core.records import CURATED_SCHEMA, CUTTING, DIMENSIONS, REJECTED, TierStatistics
from winnow.select.params import SelectConfig
from winnow.select.tiers import Cuts


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


def _statistics(
    tier: Tier,
    rows: pd.DataFrame,
    pool: int,
    of: pd.Index | None,
    components: dict[str, dict[str, Any]],
) -> TierStatistics:
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
        sources=_by_source(rows) if tier.sources or components else None,
        components=components or None,
        overlap_with_of=None if of is None else float(rows.index.isin(of).mean()),
    )


def _by_source(rows: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(number) for name, number in rows["source"].value_counts().items()}


def _histogram(path: Path, scores: dict[str, pd.Series]) -> None:
    """Draw the scores of every tier's rows, of a control's those of its first draw."""
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


def _check_scorers(arm: Experiment, scorers: Mapping[str, Any]) -> None:
    """Refuse an arm whose rows are cut or ordered by scores that are not there."""
    recipe = arm.recipe_name or arm.tier.recipe
    columns = {*scorers, *CUTTING}
    for key, name in (
        (f"select.tiers.{arm.tier_name}.by", arm.tier.scorer),
        (f"train.recipes.{recipe}.by", arm.order_scorer),
    ):
        if name and name not in columns:
            raise Refusal(
                f"{params.PARAMS}: {key}: {name} scored no row, but "
                f"{', '.join(sorted(columns))}: name it in score.scorers and run `winnow score`"
            )


def run(experiments: list[str]) -> None:
    """Cut every tier that the experiments of params.yaml, and those named, are trained on: once
    for each seed of params.yaml where chance chooses its rows.

    Raises:
        Refusal: an unknown experiment, or a tier that is larger than the pool; nothing is
            written then.
    """
    settings = params.load("select", SelectConfig)
    arms, seeds = resolve(["all", *experiments]), declared_seeds()
    scored = cards.read_card(SCORED, "winnow score")
    cards.check_inputs(SCORED, scored, "winnow score")
    cards.read_card(CURATED, "winnow curate", "train.parquet", "validation.parquet")
    scores = pq.read_table(SCORED / "train.parquet").to_pandas()
    scores["is_pair"] = _are_pairs()
    scorers = scored["scorers"]
    lowest = [name for name in scorers if scorers[name]["best"] == "lowest"]
    cuts = Cuts(settings.tiers, scores, settings.seed, lowest)
    for arm in arms:
        _check_scorers(arm, scorers)
        cuts.size(arm.tier_name)
    card: dict[str, Any] = {
        "stage": "select",
        "params": {"seed": settings.seed},
        "inputs": {str(SCORED): files.fingerprint(scored["files"])},
    }
    with cards.lock("select"), engine.running(), cards.publish_folder(SELECTED, card) as folder:
        statistics = _write_draws(folder, cuts, arms, seeds, [*scorers])
        files.write_json(folder / "statistics.json", statistics)
        _histogram(
            folder / "histogram.png",
            {arm.tier_name: scores["score"][cuts.rows(arm.tier_name, seeds[0])] for arm in arms},
        )
        for arm in arms:
            # What dvc.yaml lets a training depend on: another number in a recipe changes the cards
            # of the arms that use it, and no others.
            data: dict[str, Any] = {draw: asdict(statistics[draw]) for draw in map(arm.draw, seeds)}
            if arm.order_scorer:
                for draw, one in data.items():
                    one["scores"] = files.file_hash(folder / scores_name(draw))
            resolved = asdict(arm) | {"data": data}
            files.write_json(folder / "experiments" / f"{arm.name}.json", resolved)
    for draw, one in statistics.items():
        print(
            f"{draw}: {one.num_rows} rows, score {one.min:.3f} - {one.max:.3f}, "
            f"mean {one.mean:.3f}, standard deviation {one.std:.3f}"
        )
        for source, said in (one.components or {}).items():
            if said["rows"] != said["wanted"] or said["rows"] > said["different"]:
                print(
                    f"  {source}: {said['wanted']} rows asked for, {said['rows']} taken, "
                    f"{said['different']} of them different"
                )
    number = len({arm.tier_name for arm in arms})
    print(f"select: {number} tiers for {len(arms)} experiments -> {SELECTED}")


def _are_pairs() -> Any:
    """Which curated rows have a rejected answer beside their response."""
    file = pq.ParquetFile(CURATED / "train.parquet")
    if REJECTED not in file.schema_arrow.names:
        return False
    return pc.not_equal(file.read([REJECTED])[REJECTED], "").to_numpy()


def _rows(split: str) -> pa.Table:
    """Curated rows; of what ingest kept beside them the rejected answer, which a training reads."""
    file = pq.ParquetFile(CURATED / f"{split}.parquet")
    pairs = [name for name in file.schema_arrow.names if name == REJECTED]
    return file.read([*CURATED_SCHEMA.names, *pairs])


def _write_draws(
    folder: Path,
    cuts: Cuts,
    arms: Sequence[Experiment],
    seeds: Sequence[int],
    scorers: list[str],
) -> dict[str, TierStatistics]:
    """Write the rows and scores of every draw that a training learns; returns what they are like,
    by the name of the draw."""
    draws: dict[str, tuple[str, int]] = {}
    for arm in arms:
        for seed in seeds:
            draws.setdefault(arm.draw(seed), (arm.tier_name, seed))
    for cell in draws.values():  # before any text is in memory
        cuts.rows(*cell)
    texts, validation = _rows("train"), _rows("validation")
    statistics = {}
    for draw, (name, seed) in progress(draws.items(), "select", "draws"):
        tier, index = cuts.tiers[name], cuts.rows(name, seed)
        of = cuts.rows(tier.of, seed) if tier.of else None
        chosen = cuts.scores.loc[index]
        _save(folder / draw, texts.take(pa.array(index)).combine_chunks(), validation)
        _write_scores(folder / scores_name(draw), chosen, scorers)
        statistics[draw] = _statistics(tier, chosen, len(cuts.scores), of, cuts.ledgers[draw])
    return statistics
