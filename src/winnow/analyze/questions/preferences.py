"""Are an arm's answers preferred to another arm's, by a judge that sees both without their names?

Asked by `winnow.analyze.questions.preferences:ask` in `analyze.questions`, with the numbers of
`analyze.preferences`. Every other arm is held against the baseline on the prompts that both
answered: with the same seed, once a prompt, in both orders. Known attacks come first, and a judge
that they deceive judges nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.analyze import judges, win_rates
from winnow.analyze.intervals import Interval
from winnow.analyze.judges import Answered, Canary, Pair
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, by_chance
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Run, Study
from winnow.analyze.win_rates import Verdicts
from winnow.core import files
from winnow.core.chat import TO_A_JUDGE
from winnow.core.errors import Refusal
from winnow.core.layout import TEST_ROWS
from winnow.core.records import Row, question_of

PLACE = "params.yaml: analyze.preferences"
ONE_WAY = "all preferences are one way, or there are fewer than three prompts"
UNDECIDED = "the program decides no pair"


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one model answered, by question."""

    answers: Mapping[str, Answered]
    good: Mapping[str, Answered]
    """Answers that are known to be good: references, and those that a program accepts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An arm against the baseline."""

    prompts: int
    """On which every seed has a verdict in both orders."""
    left_out: int
    """Prompts that both answered and that lack one."""
    seeds: int
    win_rate: Interval
    """The share of prompts on which the arm is preferred, a tie counting half."""
    length_controlled: Interval | None
    """The same at equal lengths."""
    length_coefficient: float | None
    """How much a longer answer is liked, in logits; the mean over seeds."""
    shown_first: float
    """How much of the verdicts goes to the answer shown first: 0.5 of a judge without that bias."""
    consistent: float
    """The share of pairs with the same verdict in both orders."""
    agreement: float | None
    """How often the judge sides with the program, where that decides."""
    decided: int
    """Pairs that the program decides."""
    characters: float
    """Of the arm's answers, their mean."""
    baseline_characters: float
    to_a_judge: int
    """Answers of both that seem to speak to a judge."""
    no_verdict: Mapping[str, int]
    """Verdicts that are missing, by reason."""
    reasons: Mapping[str, str]
    """Why a figure is not defined, by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """All arms, and who judged them."""

    baseline: Mapping[str, str]
    """Its name, and the hash of a file."""
    judge: Mapping[str, Any]
    canaries: Mapping[str, Canary]
    arms: Mapping[str, Comparison]


def _samples(run: Run) -> Sheet:
    """The first sample of each prompt and task."""
    answers: dict[str, Answered] = {}
    good: dict[str, Answered] = {}
    for one in run.samples:
        question = question_of(one.prompt)
        given = Answered(one.completion.strip(), None if one.passed is None else float(one.passed))
        answers.setdefault(question, given)
        if one.passed:
            good.setdefault(question, given)
        elif one.reference:
            good.setdefault(question, Answered(one.reference))
    return Sheet(answers, good)


def _answers(run: Run) -> Sheet:
    """The answers to the test rows; a program's verdict is their F1."""
    path = run.folder / "answers/items.parquet"
    if not path.exists():
        raise Refusal(
            f"{PLACE}.answers: {path} is missing: set evaluate.answers, or take `samples`"
        )
    columns = [part.name for part in fields(Row)]
    rows = {row["id"]: Row(**row) for row in pq.read_table(TEST_ROWS, columns=columns).to_pylist()}
    answers, good = {}, {}
    for item in pq.read_table(path).to_pylist():
        question = rows[item["id"]].question
        answers[question] = Answered(item["answer"], item["f1"])
        good[question] = Answered(item["rights"][0], 1.0)
    return Sheet(answers, good)


def _conversations(run: Run) -> Sheet:
    """Whole conversations, turn by turn in one text; those that broke off are left out."""
    path = run.folder / "conversations/answers.jsonl"
    if not path.exists():
        raise Refusal(
            f"{PLACE}.answers: {path} is missing: set evaluate.conversations, or take `samples`"
        )
    answers, good = {}, {}
    for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
        one = json.loads(line)
        question = _in_turns(one["turns"])
        if len(one["answers"]) == len(one["turns"]):
            answers[question] = Answered(_in_turns(one["answers"]))
        if one["reference"]:
            good[question] = Answered(_in_turns(one["reference"]))
    return Sheet(answers, good)


def _in_turns(texts: Sequence[str]) -> str:
    return "\n\n".join(f"[turn {turn}]\n{text.strip()}" for turn, text in enumerate(texts, 1))


READ = {"samples": _samples, "answers": _answers, "conversations": _conversations}


def read_file(path: Path) -> Sheet:
    """Answers of a model that is no arm: a JSON list, or an object a line, each with `instruction`
    and `output`, as AlpacaEval has them.

    Raises:
        Refusal: the file is no such thing.
    """
    try:
        text = path.read_text(encoding="utf-8")
        lines = filter(str.strip, text.split("\n"))
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in lines]
        answers = {row["instruction"]: Answered(row["output"]) for row in rows}
        if not all(isinstance(one.text, str) for one in answers.values()):
            raise TypeError("an output that is no text")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal(
            f"{PLACE}.baseline: expected an experiment of the grid or a file of answers "
            f"(instruction and output), found {str(path)!r}: {error}"
        ) from None
    return Sheet(answers, answers)


def _known_good(sheets: Sequence[Sheet], number: int) -> list[tuple[str, Answered]]:
    """Prompts with a good answer, drawn by their hash.

    Raises:
        Refusal: there is none.
    """
    good = {question: one for sheet in reversed(sheets) for question, one in sheet.good.items()}
    fit = [
        (question, one)
        for question, one in good.items()
        if one.text.strip() not in ("", question.strip())
    ]
    if not fit:
        raise Refusal(
            f"{PLACE}.answers: no prompt has an answer that is known to be good, so no judge can "
            "be tried: raise evaluate.num_prompts, or set evaluate.answers and take `answers`"
        )
    return sorted(fit, key=lambda each: files.bytes_hash(each[0].encode()))[:number]


def compare(
    arm: Arm,
    sheets: Sequence[tuple[Sheet, Sheet]],
    judge: judges.Judge,
    confidence: float,
) -> Comparison:
    """Judge an arm's answers against the baseline's.

    Args:
        arm: the arm.
        sheets: by seed, of the arm and of the baseline.
        judge: the judge.
        confidence: of the intervals.

    Raises:
        Refusal: no prompt has answers of both and verdicts in both orders.
    """
    shared = [question for question in sheets[0][0].answers if _is_shared(question, sheets)]
    pairs = [
        Pair(question, one.answers[question], other.answers[question])
        for one, other in sheets
        for question in shared
    ]
    verdicts, missing = judges.in_both_orders(judge, pairs)
    shape = len(sheets), len(shared)
    whole = verdicts.is_whole.reshape(shape).all(axis=0)
    if not whole.any():
        raise Refusal(
            f"{PLACE}: {arm.name}: no prompt that the baseline answered too has a verdict in both "
            f"orders: {len(shared)} are shared, {missing or 'nothing was asked'}"
        )
    kept = np.flatnonzero(np.tile(whole, len(sheets)))
    judged = [pairs[at] for at in kept]
    of_kept = Verdicts(verdicts.shown_first[kept], verdicts.shown_second[kept])
    figures = _rates(arm, of_kept.preferences.reshape(len(sheets), -1), judged, confidence)
    figures |= _bias(of_kept, judged)
    why = {"length_controlled": ONE_WAY, "length_coefficient": ONE_WAY, "agreement": UNDECIDED}
    return Comparison(
        prompts=int(whole.sum()),
        left_out=int((~whole).sum()),
        seeds=len(sheets),
        no_verdict=missing,
        reasons={name: reason for name, reason in why.items() if figures[name] is None},
        **figures,
    )


def _is_shared(question: str, sheets: Sequence[tuple[Sheet, Sheet]]) -> bool:
    return all(question in sheet.answers for each in sheets for sheet in each)


def _rates(
    arm: Arm, preferences: NDArray[np.float64], judged: Sequence[Pair], confidence: float
) -> dict[str, Any]:
    """The win rates of a Comparison; `preferences` are by seed and prompt."""
    group = {arm.name: arm.model_name}
    differences = np.array([len(one.first.text) - len(one.second.text) for one in judged], float)
    fits = [
        win_rates.length_controlled(*each)
        for each in zip(preferences, differences.reshape(preferences.shape), strict=True)
    ]
    found: dict[str, Any] = {
        "win_rate": win_rates.interval(list(preferences), confidence, group),
        "length_controlled": None,
        "length_coefficient": None,
    }
    known = [fit for fit in fits if fit]
    if len(known) < len(fits):
        return found
    values = [fit.pseudo_values for fit in known]
    return found | {
        "length_controlled": win_rates.interval(values, confidence, group),
        "length_coefficient": float(np.mean([fit.coefficients[1] for fit in known])),
    }


def _bias(verdicts: Verdicts, judged: Sequence[Pair]) -> dict[str, Any]:
    """What a Comparison says of the judge and of the answers' form."""
    program = [np.nan if one is None else one for one in judges.checked(judged)]
    agreed, decided = win_rates.agreement(verdicts.preferences, np.array(program, np.float64))
    texts = [(one.first.text, one.second.text) for one in judged]
    lengths = np.array([[len(text) for text in both] for both in texts])
    return {
        "shown_first": verdicts.first_share(),
        "consistent": verdicts.consistency(),
        "agreement": agreed,
        "decided": decided,
        "characters": float(lengths[:, 0].mean()),
        "baseline_characters": float(lengths[:, 1].mean()),
        "to_a_judge": sum(bool(TO_A_JUDGE.search(text)) for both in texts for text in both),
    }


def _percent(one: Interval) -> str:
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"


def said(name: str, baseline: str, found: Comparison) -> str:
    """A comparison in words."""
    equal = (
        f"at equal lengths {_percent(found.length_controlled)}"
        if found.length_controlled
        else f"at equal lengths not defined ({ONE_WAY})"
    )
    agreed = (
        f" It sides with the program on {found.agreement:.0%} of {found.decided} pairs."
        if found.agreement is not None
        else ""
    )
    lost = f" {found.left_out} prompts lack a verdict." if found.left_out else ""
    return (
        f"{name} is preferred to {baseline} on {_percent(found.win_rate)} of {found.prompts} "
        f"prompts, {equal}. The judge gives {found.shown_first:.0%} to the answer shown first and "
        f"holds to {found.consistent:.0%} of its verdicts in the other order.{agreed}{lost}"
    )


def opening(arms: Mapping[str, Comparison], baseline: str) -> str:
    """Which arms are surely preferred to the baseline, and which less."""
    more = [name for name, one in arms.items() if one.win_rate.low > 0.5]
    less = [name for name, one in arms.items() if one.win_rate.high < 0.5]
    first = f"{numbers.listed(more) or 'No arm'} {'are' if more[1:] else 'is'} surely preferred"
    second = f"{numbers.listed(less) or 'None'} {'are' if less[1:] else 'is'} surely less so"
    return f"{first} to {baseline}. {second}."


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm but the baseline.

    Raises:
        Refusal: nobody was named to judge, the judge falls to an attack or cannot be asked, or the
            baseline is none.
    """
    chosen = settings.preferences
    if chosen is None:
        raise Refusal(
            f"{PLACE} is missing: the question of preferences expects a baseline, a judge"
        )
    sheets = {arm.name: [READ[chosen.answers](run) for run in arm.runs] for arm in study.arms}
    is_file = chosen.baseline not in sheets
    file = Path(chosen.baseline)
    against = [read_file(file)] * len(study.seeds) if is_file else sheets[chosen.baseline]
    judge = judges.of(chosen)
    everyone = [*against, *(sheet for each in sheets.values() for sheet in each)]
    tried = judges.canaries(judge, _known_good(everyone, chosen.canaries))
    judges.refuse_deceived(tried, chosen.max_canary)
    arms = {
        arm.name: compare(
            arm, list(zip(sheets[arm.name], against, strict=True)), judge, settings.confidence
        )
        for arm in study.arms
        if arm.name != chosen.baseline
    }
    return Answer(
        values=Judged(
            baseline={"name": chosen.baseline}
            | ({"sha256": files.file_hash(file)} if is_file else {}),
            judge=judges.record(chosen),
            canaries=tried,
            arms=arms,
        ),
        sentence=" ".join(said(name, chosen.baseline, one) for name, one in arms.items()),
        asks="Whose answers are preferred?",
        opening=f"{opening(arms, chosen.baseline)} {by_chance(len(arms), settings.confidence)}",
    )
