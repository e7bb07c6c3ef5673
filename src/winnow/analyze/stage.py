"""Say how much to keep, with an interval, and write the report.    winnow analyze

Reads results/ for every experiment and seed of params.yaml, and the cards of the stages before.
Writes analysis/ (report.html, removed.html, analysis.json, figures, curves.csv, tiers.csv),
results/experiment_summary.json and metrics.json. Three questions are answered without writing:

    winnow analyze --power                    what could the grid see, and what will it cost?
    winnow analyze --hours 0.5 --model 10M    what is to be kept for a budget?
    winnow score --compare                    what did every score bring?
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from winnow.analyze.audits import curation, length_audit, planted_truth
from winnow.analyze.audits.leakage import leakage
from winnow.analyze.audits.score_audit import score_audit
from winnow.analyze.audits.script_audit import script_audit
from winnow.analyze.params import QUESTIONS, AnalyzeConfig, read_truth
from winnow.analyze.questions import Answer
from winnow.analyze.questions import power as foresight
from winnow.analyze.questions import scores as trials
from winnow.analyze.questions.dial import dial
from winnow.analyze.report import figures, page, removed, tables
from winnow.analyze.report.values import plain
from winnow.analyze.study import (
    Study,
    estimates,
    read_pilot,
    read_pool,
    read_study,
    read_texts,
)
from winnow.core import cards, extensions, files, params
from winnow.core.drawing import Drawing
from winnow.core.errors import Refusal
from winnow.core.experiments import declared_seeds, experiment_names, resolve
from winnow.core.layout import ANALYSIS, METRICS, RESULTS
from winnow.record import record

SUMMARY = RESULTS / "experiment_summary.json"
SUMMARISED = (
    "answer",
    "performance_vs_size",
    "efficiency_metrics",
    "quality_threshold",
    "quality_threshold_interval",
    "hypothesis",
    "recommendations",
    "experiments",
    "method",
)
"""What results/experiment_summary.json holds: the documented names, and each experiment."""
SAID = ("answer", "components", "proposal", "composite", "investments")
"""Whose sentences are printed, where there are any, beside those of the user's own questions."""
PUBLISHED = ("exp2_quality_vs_quantity", "exp2_training_efficiency", "score_audit")
"""The documented figures and the score's audit, as PNG beside those of questions that are listed by
their import path; the report holds all of them as SVG."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Analysis:
    """Everything that is published."""

    study: Study
    settings: AnalyzeConfig
    answers: Mapping[str, Answer]
    outcomes: Mapping[str, tables.Outcome]
    drawings: Mapping[str, Drawing]
    values: Mapping[str, Any]
    """What analysis.json holds."""


def ask(name: str, study: Study, settings: AnalyzeConfig) -> Answer:
    """The answer to one question: of winnow by its name, of another package by its import path."""
    path = f"winnow.analyze.questions.{name}:ask" if name in QUESTIONS else name
    answer: Answer = extensions.load(path, FunctionType)(study, settings)
    return answer


def audits(study: Study, settings: AnalyzeConfig) -> tuple[dict[str, object], Drawing]:
    """What is looked at whatever is asked, by its key in analysis.json; and the score's figure."""
    pool = read_pool()
    measures, length = score_audit(pool), length_audit.length_audit(pool)
    truth = read_truth(settings.truth) if settings.truth else {}
    tiers = {draw: study.statistics[draw] for arm in study.arms for draw in arm.draws}
    values = {
        "columns_not_used": curation.columns_not_used(),
        "source_files": curation.source_files(),
        "curation": curation.gains(),
        "curation_warnings": curation.warnings(),
        "ledgers": study.ledgers,
        "leakage": leakage(tiers),
        "tiers": tiers,
        "scoring": study.scoring,
        "score_audit": measures,
        "length_audit": length,
        "script_audit": script_audit(read_texts()),
        "planted_truth": planted_truth.planted_truth(pool, truth, study) if truth else None,
    }
    return values, figures.score_audit(plain(measures), length_audit.title(length))


def _method(study: Study, settings: AnalyzeConfig) -> dict[str, object]:
    return {
        "num_items": study.num_items,
        "num_seeds": len(study.seeds),
        "over": "test rows and seeds" if len(study.seeds) > 1 else "test rows",
        "metric": settings.metric,
        "margin": settings.margin,
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": settings.seed,
    }


def analyse(study: Study, settings: AnalyzeConfig) -> Analysis:
    """Ask every question, and look at the data."""
    answers = {name: ask(name, study, settings) for name in settings.questions}
    audited, score = audits(study, settings)
    outcomes = tables.experiments(study, estimates(study, settings))
    drawings = [score, *(drawing for answer in answers.values() for drawing in answer.figures)]
    values = {name: answer.values for name, answer in answers.items()} | {
        "receipt": tables.receipt(study),
        "experiments": outcomes,
        "strata": tables.strata(study),
        "method": _method(study, settings),
    }
    return Analysis(
        study=study,
        settings=settings,
        answers=answers,
        outcomes=outcomes,
        drawings={drawing.name: drawing for drawing in drawings},
        values=plain(values | audited),
    )


def _opening(answers: Mapping[str, Answer]) -> page.Section:
    """What the report opens with: the first answer that has an opening, as `answer` always has."""
    first = next(answer for answer in answers.values() if answer.opening)
    return page.Section(
        title=first.asks,
        sentence=first.opening,
        figures=[drawing.name for drawing in first.figures[:1]],
    )


def _own(answers: Mapping[str, Answer]) -> dict[str, page.Section]:
    """The user's own questions, as the report shows them."""
    return {
        name: page.Section(
            title=answer.asks or name,
            sentence=answer.sentence,
            figures=[drawing.name for drawing in answer.figures],
        )
        for name, answer in answers.items()
        if name not in QUESTIONS
    }


def _publish(analysis: Analysis) -> None:
    """Write the folder as a whole, then the two files beside it."""
    study, values, drawings = analysis.study, analysis.values, analysis.drawings
    card = {
        "stage": "analyze",
        "params": dataclasses.asdict(analysis.settings),
        "inputs": {str(run.folder): run.sha256 for arm in study.arms for run in arm.runs},
    }
    receipt = tables.receipt(study).line()
    with cards.publish_folder(ANALYSIS, card) as folder:
        (folder / "figures").mkdir()
        own, opening = _own(analysis.answers), _opening(analysis.answers)
        asked = [figure for section in own.values() for figure in section.figures]
        for name in dict.fromkeys((*PUBLISHED, *asked, *opening.figures)):
            drawings[name].save_png(folder / f"figures/{name}.png", receipt)
        files.write_json(folder / "analysis.json", values)
        tables.write_curves(folder / "curves.csv", study)
        tables.write_tiers(folder / "tiers.csv", analysis.outcomes)
        report = page.render(study, values, drawings, opening, own, receipt)
        (folder / "report.html").write_text(report, encoding="utf-8")
        rows = removed.removed_page(page.environment(), values["curation"], page.light())
        (folder / "removed.html").write_text(rows, encoding="utf-8")
    for answer in analysis.answers.values():
        for name, text in answer.files.items():
            with files.atomic_file(RESULTS / name, "w") as file:
                file.write(text)
    files.write_json(SUMMARY, {key: values[key] for key in SUMMARISED if key in values})
    files.write_json(METRICS, tables.metrics(values))


def run(
    power: bool = False,
    hours: float | None = None,
    model: str | None = None,
    scores: bool = False,
) -> None:
    """Judge all experiments of params.yaml and publish the answer.

    Args:
        power: publish nothing, and say what the experiments could see.
        hours: publish nothing, and say what to keep for a budget of the device's time.
        model: for which model, by its bare name such as 10M; None answers for all.
        scores: publish nothing, and print what every score brought.

    Raises:
        Refusal: a result is missing; the message names the command that makes it. Or the budget
            lies outside of what was measured.
    """
    settings = params.load("analyze", AnalyzeConfig)
    if power:
        print(_foresee(settings))
        return
    if scores:
        study = read_study(experiment_names(), declared_seeds())
        unit = estimates(study, settings, settings.metric).unit
        print(trials.described(trials.trials(study, settings), unit))
        return
    if hours is not None:
        return _answer_budget(settings, hours, model)
    if model is not None:
        raise Refusal("--model goes with --hours: name a budget")
    with cards.lock("analyze"):
        analysis = analyse(read_study(experiment_names(), declared_seeds()), settings)
        _publish(analysis)
        record(ANALYSIS)
    for name, answer in analysis.answers.items():
        if answer.sentence and (name in SAID or name not in QUESTIONS):
            print(answer.sentence)
    print(f"Report: {ANALYSIS / 'report.html'}")


def _foresee(settings: AnalyzeConfig) -> str:
    """What the grid of params.yaml could see, from the seeds of it that are finished."""
    names, seeds = experiment_names(), declared_seeds()
    arms, tokens = read_pilot(names, seeds)
    grid = {experiment.name: experiment.group for experiment in resolve(names)}
    by_model = foresight.power(arms, grid, seeds, tokens, settings.confidence)
    return foresight.described(by_model, settings.confidence)


def _answer_budget(settings: AnalyzeConfig, hours: float, model: str | None) -> None:
    """Print the answer for a budget: JSON on stdout, and last the sentence for people on stderr."""
    if not 0 < hours < math.inf:
        raise Refusal(f"--hours: expected a number above 0, found {hours}")
    study = read_study(experiment_names(), declared_seeds())
    models = [model] if model else list(dict.fromkeys(arm.model for arm in study.arms))
    answers = [dial(study, settings, name, 3600 * hours) for name in models]
    if all(answer.kind == "refused" for answer in answers):
        raise Refusal(" ".join(answer.sentence for answer in answers))
    print(files.dump([plain(answer.values()) for answer in answers]), flush=True)
    for answer in answers:
        print(answer.sentence, file=sys.stderr)
