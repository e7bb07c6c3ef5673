"""Which mixture of sources should be trained on? A proposal from proxies, and what it was worth.

Proxies are arms whose weights are drawn (`draw`): each seed has a mixture of its own. By
`analyze.mixtures` the loss on every source's rows is fitted to the shares of tokens that they
learned; the proposal is the mixture of the least mean loss over sources, each weighing the same, in
which no row is taken more often than the proxies' `repeat` allows, and no share is larger or
smaller than in all proxies. It takes 4 (m + 1) mixtures of m sources: the last m + 1 are held out
of a first fit, which has to rank them.

Arms of other budgets that are no proxies are held against the prediction: the one that is next to
the proposal is the proposal retrained, and its margin over every other one is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from winnow.analyze import mixtures
from winnow.analyze.intervals import Estimates, Floats, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, by_chance, openings
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, by_source, read_pool, token_shares

NEAR = 0.05
"""Half of the summed differences of shares up to which an arm is the proposal, retrained."""
TRUSTED = 15e6
"""Parameters from which proxies ranked mixtures as their targets do (above 0.89), in Olmix; those
of a million at 0.73."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrained:
    """An arm that is no proxy beside what the proxies predict."""

    distance: float
    """Half of the summed differences of its shares to the proposal's."""
    predicted: float
    """The mean loss over sources of a proxy on its shares."""
    measured: Interval
    """The mean loss over sources."""
    margin: Interval | None = None
    """How much better the proposal is, of the same model and budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What the proxies of a model and budget propose."""

    mixtures: int
    """That were trained, a proxy each."""
    needed: int
    shares: Mapping[str, float] | None = None
    """The proposal: shares of tokens, in thousandths."""
    repeats: Mapping[str, float] | None = None
    """How often a row of each source is taken in a tier of the proxies' size, on average."""
    cap: float | None = None
    """The most that it may be."""
    tier: str | None = None
    """The proposal as a line of params.yaml."""
    predicted: Mapping[str, float] | None = None
    """The mean loss over sources of the proposal, of even shares and of the pool's."""
    error: float | None = None
    """Root mean square of what is missed of a mixture that is left out, in nats per token."""
    left_out: Interval | None = None
    """Rank correlation of the losses of mixtures with what all others predict."""
    held_out: Interval | None = None
    """The same of the last m + 1 with what the first ones predict."""
    retrained: Mapping[str, Mapping[str, Retrained]] = field(default_factory=dict)
    """By model and arm."""
    transfer: Mapping[str, object] = field(default_factory=dict)
    """By model: rank correlation of arms that are no proxies with what proxies predict."""
    sentence: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """What all models share."""

    sources: tuple[str, ...]
    """Of the pool, of which the test set has rows as well."""
    pool: pa.Table
    losses: Mapping[str, Estimates]
    """By source."""
    mean: Estimates
    """Over sources, each weighing the same."""

    def shares(self, draw: str) -> Floats:
        found = token_shares(draw, self.pool)
        return np.array([found[source] for source in self.sources])

    def rows_and_lengths(self) -> tuple[Floats, Floats]:
        """The pool's rows of each source, and the mean tokens of one."""
        places = np.searchsorted(self.sources, self.pool["source"].to_numpy())
        rows = np.bincount(places).astype(np.float64)
        return rows, np.bincount(places, self.pool["num_tokens"].to_numpy()) / rows

    def arm_shares(self, arm: Arm) -> Floats:
        found = [self.shares(draw) for draw in arm.draws]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def _line(shares: Mapping[str, float], proxies: Sequence[Arm]) -> str:
    first = proxies[0].tier
    weights = ", ".join(f"{name}: {share:g}" for name, share in shares.items() if share)
    quantity = f"count: {first.count}" if first.count else f"share: {first.share}"
    repeat = f", repeat: {first.repeat}" if first.repeat else ""
    return (
        f"{{rule: mixture, weights: {{{weights}}}, unit: tokens{repeat}, {quantity}, "
        f"recipe: {first.recipe}}}"
    )


def _retrained(
    arms: Sequence[Arm], fitted: mixtures.Fit, proposed: Floats, data: _Data
) -> dict[str, Retrained]:
    """The arms of one model and budget."""
    shares = {arm.name: data.arm_shares(arm) for arm in arms}
    distances = {name: float(abs(own - proposed).sum() / 2) for name, own in shares.items()}
    nearest = min(distances, key=lambda name: distances[name])
    return {
        name: Retrained(
            distance=distances[name],
            predicted=float(fitted.mean(own[None])[0]),
            measured=data.mean.value(name),
            margin=data.mean.margin(nearest, name)
            if distances[nearest] <= NEAR and name != nearest
            else None,
        )
        for name, own in shares.items()
    }


def _transfer(retrained: Mapping[str, Retrained], confidence: float) -> Interval | None:
    predicted = np.array([one.predicted for one in retrained.values()])
    measured = np.array([one.measured.value for one in retrained.values()])
    return mixtures.rank_correlation(predicted, measured, confidence)


def _propose(
    proxies: Sequence[Arm], others: Mapping[str, Sequence[Arm]], data: _Data, confidence: float
) -> Proposal:
    held = len(data.sources) + 1
    needed, number = 4 * held, sum(len(arm.runs) for arm in proxies)
    if number < needed:
        why = (
            f"{needed} mixtures are needed, 4 (m + 1) of m = {len(data.sources)} sources, and "
            f"{number} were trained: declare more tiers with another draw"
        )
        return Proposal(mixtures=number, needed=needed, reasons={"shares": why}, sentence=f"{why}.")
    x = np.stack([data.shares(run.config.draw) for arm in proxies for run in arm.runs])
    y = np.stack(
        [
            np.concatenate([part.means[part.index[arm.name]] for arm in proxies])
            for part in data.losses.values()
        ],
        axis=1,
    )
    means, fitted, predicted = y.mean(axis=1), mixtures.fit(x, y), mixtures.left_out(x, y)
    first = mixtures.fit(x[:-held], y[:-held]).mean(x[-held:])
    cap = float(min(arm.tier.repeat or 1 for arm in proxies))
    size = float(np.mean([arm.num_rows for arm in proxies]))
    rows, lengths = data.rows_and_lengths()
    pool = rows * lengths / (rows @ lengths)
    allowed = mixtures.limits(size, rows, lengths, cap)
    proposed = mixtures.whole(mixtures.best(fitted.mean, allowed, x))
    three = fitted.mean(np.stack([proposed, np.full(len(pool), 1 / len(pool)), pool])).tolist()
    retrained = {
        model: _retrained(arms, fitted, proposed, data) for model, arms in others.items() if arms
    }
    shares = dict(zip(data.sources, proposed.tolist(), strict=True))
    return Proposal(
        mixtures=number,
        needed=needed,
        shares=shares,
        repeats=dict(
            zip(data.sources, mixtures.taken(proposed, size, rows, lengths).tolist(), strict=True)
        ),
        cap=cap,
        tier=_line(shares, proxies),
        predicted=dict(zip(("proposal", "even", "pool"), three, strict=True)),
        error=float(np.sqrt(((predicted - means) ** 2).mean())),
        left_out=mixtures.rank_correlation(means, predicted, confidence),
        held_out=mixtures.rank_correlation(means[-held:], first, confidence),
        retrained=retrained,
        transfer={model: _transfer(arms, confidence) for model, arms in retrained.items()},
    )


def _correlation(found: Interval | None) -> str:
    return "not defined" if found is None else f"{found.value:.2f} ({numbers.span(found, 2)})"


def _trust(proposal: Proposal, proxies: Sequence[Arm]) -> str:
    """What proxies of this size can know."""
    assert proposal.predicted and proposal.error is not None
    gain = proposal.predicted["even"] - proposal.predicted["proposal"]
    text = (
        f"Trust: a mixture that is left out is ranked at {_correlation(proposal.left_out)} and the "
        f"held-out ones at {_correlation(proposal.held_out)}; the predicted gain over even shares "
        f"is {numbers.decimal(gain)} nats per token, and a prediction misses by "
        f"{numbers.decimal(proposal.error)}"
    )
    if gain < 2 * proposal.error:
        text += ", over half of that gain: believe none before it is retrained"
    if proxies[0].num_parameters < TRUSTED:
        text += (
            f"; {proxies[0].model} is small for a proxy: published ones of a million parameters "
            "ranked mixtures at 0.73 as their targets do, from 15 million above 0.89"
        )
    return f"{text}."


def _outcome(model: str, proposal: Proposal) -> str:
    """What the retrained proposal was worth."""
    arms = proposal.retrained[model]
    held = {name: one.margin for name, one in arms.items() if one.margin}
    text = f"As proxies predict, {len(arms)} arms of {model} rank at "
    text = f"{text}{_correlation(proposal.transfer[model])}."  # type: ignore[arg-type]
    if not held:
        return f"{text} No arm of {model} is the proposal: train it, to know what it is worth."
    won = [name for name, margin in held.items() if margin.above_zero]
    lost = [name for name, margin in held.items() if margin.high < 0]
    listed = "; ".join(
        f"{name} {numbers.signed(margin.value)} ({numbers.span(margin)})"
        for name, margin in held.items()
    )
    return (
        f"{text} Retrained, the proposal surely beats {len(won)} of {len(held)} mixtures and "
        f"surely loses to {len(lost)}, in nats per token: {listed}."
    )


def _sentence(proposal: Proposal, proxies: Sequence[Arm]) -> str:
    if proposal.shares is None:
        return proposal.sentence
    listed = ", ".join(
        f"{numbers.percent(share)} {name}" for name, share in proposal.shares.items() if share
    )
    outcomes = " ".join(_outcome(model, proposal) for model in proposal.retrained)
    return (
        f"{proposal.mixtures} proxies ({proxies[0].model_name}) propose {listed} of the tokens: "
        f"{proposal.tier}. {_trust(proposal, proxies)} {outcomes}"
    ).strip()


def opening(proposal: Proposal, confidence: float) -> str:
    """What is proposed, and what it was worth."""
    if proposal.shares is None:
        return f"No mixture can be proposed yet. {proposal.reasons['shares']}."
    largest = sorted(proposal.shares.items(), key=lambda one: -one[1])
    listed = ", ".join(f"{numbers.percent(share)} {name}" for name, share in largest if share)
    arms = [one for group in proposal.retrained.values() for one in group.values()]
    held = [one.margin for one in arms if one.margin]
    if not held:
        return f"A mixture is proposed, and not retrained yet. It is {listed} of the tokens."
    won, lost = sum(one.above_zero for one in held), sum(one.high < 0 for one in held)
    return (
        f"The proposed mixture surely beats {won} of {len(held)} others and surely loses to "
        f"{lost or 'none'}. It is {listed} of the tokens. {by_chance(len(held), confidence)}"
    )


def proposals(study: Study, settings: AnalyzeConfig) -> dict[str, Proposal]:
    """By model and budget of proxies; empty where no weights were drawn."""
    by_model = study.models()
    drawn = {
        model: [arm for arm in arms if arm.tier.draw is not None]
        for model, arms in by_model.items()
    }
    if not any(drawn.values()):
        return {}
    parts, pool = by_source(study, settings), read_pool()
    names = {str(name) for name in pool["source"].unique().to_pylist()}
    losses = {name: part for name, part in parts.items() if name in names}
    data = _Data(tuple(sorted(names)), pool, losses, Estimates.mean_of(list(losses.values())))
    others = {
        model: [arm for arm in arms if arm.tier.draw is None] for model, arms in by_model.items()
    }
    found = {}
    for model, proxies in drawn.items():
        if proxies:
            proposal = _propose(proxies, others, data, settings.confidence)
            found[model] = replace(proposal, sentence=_sentence(proposal, proxies))
    return found


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model and budget that has proxies."""
    found, level = proposals(study, settings), settings.confidence
    return Answer(
        values=found,
        sentence=" ".join(one.sentence for one in found.values()),
        asks="From which sources should the rows come, and in which shares?",
        opening=openings({model: opening(one, level) for model, one in found.items()}),
    )
