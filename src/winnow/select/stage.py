"""Cut the tiers that the experiments need.    winnow select [experiment ...]

Writes artifacts/select: <tier>/ (a dataset with train and the shared validation split) and
<tier>_scores.csv, or where chance chooses the rows <tier>/<seed>/ and <tier>/<seed>_scores.csv for
every seed; statistics.json, histogram.png, experiments/<experiment>.json, card.json.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import cards, files, params, rules
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, Tier, declared_seeds, resolve, score_column
from winnow.core.layout import CURATED, SCORED, SELECTED, scores_name
from winnow.core.records import CUTTING, REJECTED, TierStatistics
from winnow.select import draws
from winnow.select.arranged import PART_ROWS
from winnow.select.compact import compact, digits
from winnow.select.params import SelectConfig
from winnow.select.tiers import Cuts

COUNTS = ("score", "num_tokens", "num_response_words")
"""What every cut may read, beside what its tier names."""


def _statistics(
    cuts: Cuts, name: str, seed: int, components: dict[str, dict[str, Any]]
) -> TierStatistics:
    tier, rows = cuts.tiers[name], cuts.scores.loc[cuts.rows(name, seed)]
    of, score = cuts.rows(tier.of, seed) if tier.of else None, rows["score"]
    return TierStatistics(
        rule=tier.rule,
        sha256=draws.fingerprint(digits(rows["hash"])),
        num_rows=len(rows),
        num_tokens=int(rows["num_tokens"].sum()),
        share=len(rows) / len(cuts.scores),
        min=float(score.min()),
        max=float(score.max()),
        mean=float(score.mean()),
        std=float(score.std(ddof=0)),
        sources=_by_source(rows) if tier.sources or components else None,
        components=components or None,
        overlap_with_of=None if of is None else float(rows.index.isin(of).mean()),
    )


def _by_source(rows: pd.DataFrame) -> dict[str, int]:
    numbers = rows["source"].value_counts()
    return {str(name): int(number) for name, number in numbers.items() if number}


def _histogram(path: Path, scores: dict[str, pd.Series]) -> None:
    """Draw the scores of every tier's rows, of a control's those of its first draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, values in scores.items():
        # Counted before: matplotlib takes the rows' own memory several times.
        counts, edges = np.histogram(values, 60, (0, 1))
        axes.hist(
            edges[:-1], edges.tolist(), weights=counts, histtype="step", linewidth=1.5, label=name
        )
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
    scorers = scored["scorers"]
    lowest = [name for name in scorers if scorers[name]["best"] == "lowest"]
    cuts = Cuts(settings.tiers, _scores(settings.tiers.values()), settings.seed, lowest)
    for arm in arms:
        _check_scorers(arm, scorers)
        cuts.size(arm.tier_name)
    card: dict[str, Any] = {
        "stage": "select",
        "params": {"seed": settings.seed},
        "inputs": {str(SCORED): files.fingerprint(scored["files"])},
    }
    with cards.lock("select"), cards.publish_folder(SELECTED, card) as folder:
        statistics = _write_draws(folder, cuts, arms, seeds, [*scorers])
        files.write_json(folder / "statistics.json", statistics)
        shown = {arm.tier_name: cuts.rows(arm.tier_name, seeds[0]) for arm in arms}
        scores = {name: cuts.scores["score"][rows] for name, rows in shown.items()}
        _histogram(folder / "histogram.png", scores)
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


def _scores(tiers: Iterable[Tier]) -> pd.DataFrame:
    """The compact score table, with the columns that tiers are cut by: all where the rule is a
    user's own, which may read any."""
    path = SCORED / "train.parquet"
    tiers = [*tiers]
    is_own = any(rules.find(tier.rule).choose for tier in tiers)
    needed = {*COUNTS, *(score_column(tier.scorer) for tier in tiers)}
    names = [
        field.name
        for field in pq.read_schema(path)
        if not pa.types.is_string(field.type) and (is_own or field.name in needed)
    ]
    scores = compact(lambda name: pq.read_table(path, columns=[name])[name], names)
    scores["is_pair"] = _are_pairs()
    return scores


def _are_pairs() -> Any:
    """Which curated rows have a rejected answer beside their response."""
    file = pq.ParquetFile(CURATED / "train.parquet", pre_buffer=False)
    if REJECTED not in file.schema_arrow.names:
        return False
    parts = file.iter_batches(PART_ROWS, columns=[REJECTED])
    return np.concatenate([pc.not_equal(part[REJECTED], "").to_numpy(False) for part in parts])


def _write_draws(
    folder: Path, cuts: Cuts, arms: Sequence[Experiment], seeds: Sequence[int], scorers: list[str]
) -> dict[str, TierStatistics]:
    """Write the rows and scores of every draw that a training learns; returns what they are like,
    by the name of the draw."""
    cells: dict[str, tuple[str, int]] = {}
    for arm in arms:
        for seed in seeds:
            cells.setdefault(arm.draw(seed), (arm.tier_name, seed))
    orders = {draw: cuts.rows(*cell).to_numpy() for draw, cell in cells.items()}
    statistics = {
        draw: _statistics(cuts, *cell, cuts.ledgers[draw]) for draw, cell in cells.items()
    }
    draws.write(folder, orders, {draw: one.sha256 for draw, one in statistics.items()}, scorers)
    return statistics
