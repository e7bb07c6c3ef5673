"""One page that anyone can read, print and check: the answer first, then why, then the receipts.

The page is a single file: no script, no network, figures inline. Text that comes from a corpus or
a model is escaped by the template engine and stays inert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from winnow.analyze import laws
from winnow.analyze.report import numbers
from winnow.analyze.report.tables import GENERATION
from winnow.analyze.study import Arm, Study
from winnow.core import rules
from winnow.core.drawing import LIGHT, Drawing
from winnow.core.records import Sample

TEMPLATE = Path(__file__).with_name("report.html")
MAX_STRATA, MAX_PROMPTS, MAX_TEXT = 8, 2, 700
"""Strata, prompts of a kind and characters of a completion shown; the files hold them all."""
DEFINITIONS = {
    "task_completion": "The share of sampled answers that a program accepts: the planted answer is "
    "there, or every instruction is followed (IFEval, Zhou et al. 2023).",
    "coherence": "One minus the share of a completion's word 4-grams that repeat an earlier one "
    "(seq-rep-4, Welleck et al. 2020): it counts repetition, not sense.",
    "diversity": "Distinct word pairs over all word pairs of a prompt's completions "
    "(distinct-2, Li et al. 2016).",
    "distinct_1": "The same of single words (distinct-1, Li et al. 2016).",
    "self_bleu": "BLEU-4 of a completion against the prompt's others (Zhu et al. 2018; Papineni et "
    "al. 2002, a size without a match counts 0.1): the lower, the more they differ.",
    "instruction_following": "The longest common subsequence of words with the reference response, "
    "as F1 (ROUGE-L, Lin 2004).",
    "length_appropriateness": "The shorter of completion and reference over the longer, in words "
    "(a definition of this project).",
}
TITLES = {
    "task_completion": "Tasks completed",
    "coherence": "Not repeated (1 − seq-rep-4)",
    "diversity": "distinct-2",
    "distinct_1": "distinct-1",
    "self_bleu": "self-BLEU",
    "instruction_following": "ROUGE-L",
    "length_appropriateness": "Ratio of lengths",
}
"""What a metric is, beside its documented name."""
DARK = {
    "ink": "#e9e6df",
    "muted": "#a3a099",
    "line": "#3a3b3e",
    "paper": "#17181a",
    **{name: rule.colours[1] for name, rule in rules.RULES.items() if rule.colours},
    "ultra": "#d8ae1f",
    "high": "#b9bdc2",
    "medium": "#cd7f32",
}
Json = Mapping[str, Any]
"""What analysis.json holds, or a part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A question's answer, as the page opens with it or shows it beside its values."""

    title: str
    sentence: str
    figures: Sequence[str]
    """Names of drawings."""

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a sentence that is a table of Markdown, its head first; else none."""
        if not self.sentence.startswith("|"):
            return []
        head, _, *body = self.sentence.splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *body)]


def _palette(colours: dict[str, str]) -> Markup:
    """Colours as CSS variables."""
    return Markup("".join(f"--{name}:{value};" for name, value in colours.items()))


def light() -> Markup:
    """The colours of a page on paper, as CSS variables."""
    base = {"ink": LIGHT.ink, "muted": LIGHT.muted, "line": LIGHT.line, "paper": "#fdfcf9"}
    return _palette(base | LIGHT.rules | LIGHT.medals)


def _strata(analysis: Json, arms: tuple[Arm, ...]) -> list[dict[str, object]]:
    """Per kind: the strata with the most rows, with each arm's loss and the lowest one."""
    kinds = []
    for kind, groups in analysis["strata"].items():
        shown = sorted(groups, key=lambda group: (-groups[group]["num_rows"], group))[:MAX_STRATA]
        rows: list[dict[str, object]] = []
        for group in sorted(shown):
            losses = {arm.name: groups[group]["loss"][arm.name] for arm in arms}
            rows.append(
                {
                    "name": group,
                    "num_rows": groups[group]["num_rows"],
                    "losses": losses,
                    "lowest": min(losses.values()),
                }
            )
        kinds.append({"kind": kind, "rows": rows, "hidden": len(groups) - len(shown)})
    return kinds


def shortened(text: str) -> str:
    """As much of a text as is shown."""
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT].rstrip() + " …"


def _first_completions(arm: Arm) -> dict[str, Sample]:
    """By prompt: the first completion of the first seed."""
    firsts: dict[str, Sample] = {}
    for sample in arm.runs[0].samples:
        firsts.setdefault(sample.prompt, sample)
    return firsts


def _samples(arms: tuple[Arm, ...]) -> list[dict[str, object]]:
    """The first prompts with a reference response, and the first with an answer to check."""
    by_arm = {arm: _first_completions(arm) for arm in arms}
    first = by_arm[arms[0]]
    shared = [prompt for prompt in first if all(prompt in firsts for firsts in by_arm.values())]
    free = [prompt for prompt in shared if first[prompt].answer is None]
    checked = [prompt for prompt in shared if first[prompt].answer is not None]
    return [
        {
            "prompt": shortened(prompt),
            "expected": shortened(first[prompt].reference or first[prompt].answer or ""),
            "completions": [
                {
                    "arm": arm,
                    "text": shortened(firsts[prompt].completion),
                    "passed": firsts[prompt].passed,
                }
                for arm, firsts in by_arm.items()
            ],
        }
        for prompt in free[:MAX_PROMPTS] + checked[:MAX_PROMPTS]
    ]


def environment() -> Environment:
    """Templates that escape all they are given, with our ways to write numbers."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for function in (
        numbers.count,
        numbers.short,
        numbers.percent,
        numbers.decimal,
        numbers.signed,
        numbers.significant,
        numbers.ratio,
        numbers.duration,
        numbers.plural,
        numbers.listed,
    ):
        made.filters[function.__name__] = function
    return made


def render(
    study: Study,
    analysis: Json,
    drawings: Mapping[str, Drawing],
    opening: Section,
    own: Mapping[str, Section],
    receipt: str,
) -> str:
    """The report as HTML.

    Args:
        study: what was read.
        analysis: what analysis.json holds.
        drawings: the figures by name; those that the template does not name are not shown.
        opening: the question that stands first; its sentences, and the first figure.
        own: the user's own questions by name.
        receipt: what stands under every figure and table.
    """
    template = environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        analysis=analysis,
        study=study,
        models=study.models(),
        figures=drawings,
        svg={name: Markup(drawing.svg()) for name, drawing in drawings.items()},
        strata={name: _strata(analysis, arms) for name, arms in study.models().items()},
        samples={name: _samples(arms) for name, arms in study.models().items()},
        definitions={key: DEFINITIONS[key] for key in GENERATION},
        titles=TITLES,
        opening=opening,
        own=own,
        rule_of=rules.find,
        kind=laws.kind,
        receipt=receipt,
        light=light(),
        dark=_palette(DARK),
    )
