"""Say how much to keep, with an interval, and write the report.    winnow analyze

Reads results/ for every experiment and seed of params.yaml, and the cards of the stages before.
Writes analysis/ (report.html, removed.html, analysis.json, figures, curves.csv, tiers.csv),
results/experiment_summary.json and metrics.json. Two questions are answered without writing:

    winnow analyze --power                    what could the grid see, and what will it cost?
    winnow analyze --hours 0.5 --model 10M    what is to be kept for a budget?
"""

import dataclasses
import math
import sys
from typing import Any

import numpy as np

from winnow.analyze import (
    audit,
    confounds,
    curation,
    documented,
    power,
    proxy,
    scaling,
    tables,
    truth,
)
from winnow.analyze.advice import recommendations
from winnow.analyze.answer import Verdict, headline, judge
from winnow.analyze.bootstrap import Bootstrap
from winnow.analyze.dial import dial, dials
from winnow.analyze.drawing import Drawing
from winnow.analyze.figures import all_figures
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.report import environment, light, render
from winnow.analyze.results import Study, read_pilot, read_pool, read_study, read_texts
from winnow.core import cards, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import declared_budgets, declared_seeds, experiment_names, resolve
from winnow.core.layout import ANALYSIS, METRICS, RESULTS

SUMMARY = RESULTS / "experiment_summary.json"
PUBLISHED = ("exp2_quality_vs_quantity", "exp2_training_efficiency", "score_audit")
"""The documented figures and the score's audit, as PNG; the report holds all of them as SVG."""
Json = dict[str, Any]


def draw_bootstrap(study: Study, settings: AnalyzeConfig) -> Bootstrap:
    """One joint bootstrap of all arms."""
    return Bootstrap.of(
        [arm.name for arm in study.arms],
        np.stack([arm.losses for arm in study.arms]),
        study.tokens,
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
    )


def documented_analysis(study: Study, losses: Bootstrap, threshold: float) -> Json:
    """The documented parts of the analysis; what is judged within a model is by model."""
    by_model = {
        "quality_threshold": documented.quality_threshold,
        "quality_threshold_interval": documented.quality_threshold_interval,
        "hypothesis": documented.hypothesis,
    }
    found: Json = {
        "performance_vs_size": documented.performance_vs_size(study, losses),
        "efficiency_metrics": documented.efficiency_metrics(study, losses, threshold),
    }
    for key, rule in by_model.items():
        found[key] = {name: rule(arms, losses) for name, arms in study.models().items()}
    return found


def analyse(
    study: Study, losses: Bootstrap, verdicts: dict[str, Verdict], settings: AnalyzeConfig
) -> Json:
    """Everything that is known, as analysis.json holds it."""
    found = documented_analysis(study, losses, settings.perplexity_threshold)
    found["confounds"] = confounds.confound_grid(study, losses, verdicts, declared_budgets())
    grid = {arm.name: arm.model_name for arm in study.arms}
    found["power"] = power.power(study.arms, grid, study.seeds, study.tokens, settings.confidence)
    pool = read_pool()
    planted = truth.read(settings.truth) if settings.truth else {}
    return {
        "answer": headline(verdicts, len(study.seeds))
        | {"models": {name: verdict.to_json() for name, verdict in verdicts.items()}},
        **found,
        "recommendations": recommendations(study, verdicts, found),
        "dial": dials(study, losses),
        "receipt": tables.receipt(study),
        "experiments": tables.experiments(study, losses),
        "scaling": scaling.scaling(study, losses),
        "proxy": proxy.proxy_trust(study, losses),
        "strata": tables.strata(study),
        "ledgers": study.ledgers,
        "columns_not_used": curation.columns_not_used(),
        "source_files": curation.source_files(),
        "curation": curation.gains(),
        "curation_warnings": files.read_json(curation.CURATED / cards.CARD)["warnings"],
        "leakage": curation.leakage([arm.tier_name for arm in study.arms]),
        "tiers": {arm.tier_name: study.statistics[arm.tier_name] for arm in study.arms},
        "scoring": study.scoring,
        "score_audit": audit.score_audit(pool),
        "length_audit": audit.length_audit(pool),
        "script_audit": audit.script_audit(read_texts()),
        "planted_truth": audit.planted_truth(pool, planted, study) if planted else None,
        "bootstrap": {
            "num_items": study.num_items,
            "num_seeds": len(study.seeds),
            "over": "test rows and seeds" if len(study.seeds) > 1 else "test rows",
            "resamples": settings.resamples,
            "confidence": settings.confidence,
            "seed": settings.seed,
        },
    }


def summary_of(analysis: Json) -> Json:
    """What results/experiment_summary.json holds: the documented names, and each experiment."""
    keys = (
        "answer",
        "performance_vs_size",
        "efficiency_metrics",
        "quality_threshold",
        "quality_threshold_interval",
        "hypothesis",
        "recommendations",
        "experiments",
        "bootstrap",
    )
    return {key: analysis[key] for key in keys}


def _publish(
    study: Study, analysis: Json, drawings: dict[str, Drawing], settings: AnalyzeConfig
) -> None:
    """Write the folder as a whole, then the two files beside it."""
    card = {
        "stage": "analyze",
        "params": dataclasses.asdict(settings),
        "inputs": {str(run.folder): run.sha256 for arm in study.arms for run in arm.runs},
    }
    with cards.publish_folder(ANALYSIS, card) as folder:
        (folder / "figures").mkdir()
        said = tables.receipt_line(analysis["receipt"])
        for name in PUBLISHED:
            drawings[name].save_png(folder / f"figures/{name}.png", said)
        files.write_json(folder / "analysis.json", analysis)
        tables.write_curves(folder / "curves.csv", study)
        tables.write_tiers(folder / "tiers.csv", analysis)
        (folder / "report.html").write_text(render(study, analysis, drawings), encoding="utf-8")
        removed = curation.removed_page(environment(), analysis["curation"], light())
        (folder / "removed.html").write_text(removed, encoding="utf-8")
    files.write_json(SUMMARY, summary_of(analysis))
    files.write_json(METRICS, tables.metrics(analysis))


def foresee(settings: AnalyzeConfig) -> str:
    """What the grid of params.yaml could see, from the seeds of it that are finished."""
    names, seeds = experiment_names(), declared_seeds()
    arms, tokens = read_pilot(names, seeds)
    grid = {experiment.name: experiment.group for experiment in resolve(names)}
    found = power.power(arms, grid, seeds, tokens, settings.confidence)
    return power.described(found, settings.confidence)


def run(power: bool = False, hours: float | None = None, model: str | None = None) -> None:
    """Judge all experiments of params.yaml and publish the answer.

    Args:
        power: publish nothing, and say what the experiments could see.
        hours: publish nothing, and say what to keep for a budget of the device's time.
        model: for which model, by its bare name such as 10M; None answers for all.

    Raises:
        Refusal: a result is missing; the message names the command that makes it. Or the budget
            lies outside of what was measured.
    """
    settings = params.load("analyze", AnalyzeConfig)
    if power:
        print(foresee(settings))
        return
    if hours is not None:
        return _ask(settings, hours, model)
    if model is not None:
        raise Refusal("--model goes with --hours: name a budget")
    with cards.lock("analyze"):
        study = read_study(experiment_names(), declared_seeds())
        losses = draw_bootstrap(study, settings)
        verdicts = {name: judge(name, arms, losses) for name, arms in study.models().items()}
        analysis = analyse(study, losses, verdicts, settings)
        threshold = settings.perplexity_threshold
        drawings = all_figures(study, losses, verdicts, analysis, threshold)
        _publish(study, analysis, drawings, settings)
        _record(study, analysis)
    print(analysis["answer"]["text"])
    print(f"Report: {ANALYSIS / 'report.html'}")


def _ask(settings: AnalyzeConfig, hours: float, model: str | None) -> None:
    """Print the answer for a budget: JSON on stdout, and last the sentence for people on stderr."""
    if not 0 < hours < math.inf:
        raise Refusal(f"--hours: expected a number above 0, found {hours}")
    study = read_study(experiment_names(), declared_seeds())
    losses = draw_bootstrap(study, settings)
    models = [model] if model else list(dict.fromkeys(arm.model for arm in study.arms))
    answers = [dial(study, losses, name, 3600 * hours) for name in models]
    if all(answer.kind == "refused" for answer in answers):
        raise Refusal(" ".join(answer.sentence for answer in answers))
    print(files.dump([answer.to_json() for answer in answers]), flush=True)
    for answer in answers:
        print(answer.sentence, file=sys.stderr)


def _record(study: Study, analysis: Json) -> None:
    """Tell the tracker: the summary, the score's audit, each run's loss, the answer, the pages."""
    # Imported here and nowhere above: the analysis itself needs no tracker.
    from winnow.record import runs

    losses = {
        arm.name: dict(zip(study.seeds, study.seed_losses(arm), strict=True)) for arm in study.arms
    }
    numbers: Json = {"experiments": tables.figures(analysis)} | {
        key: analysis[key] for key in ("performance_vs_size", "efficiency_metrics", "hypothesis")
    }
    numbers |= {key: analysis[key] for key in ("confounds", "power", "scaling", "proxy")}
    numbers["dial"] = {
        f"{row['model']} {3600 * row['hours']:.0f} s": row for row in analysis["dial"]
    }
    numbers["audit"] = analysis["score_audit"] | {"length": analysis["length_audit"]}
    numbers["audit"]["scripts"] = analysis["script_audit"]
    numbers["ingest"] = curation.file_counts(analysis["source_files"])
    runs.record_analysis(numbers, losses, analysis["answer"]["text"], ANALYSIS)
