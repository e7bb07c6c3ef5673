"""Our win rates beside published ones of 30 models.    python -m benchmarks.judgements

24,144 judgements of AlpacaEval 2 ($WINNOW_DATA/preferences), each model against gpt4_1106_preview:
plain win rates must be the published ones; length-controlled ones are fitted without the published
table of difficulties, once without any and once with a stand-in: the mean log-odds of an
instruction over the other 29 models, less their mean. Last, the published adversarial answer, which
is the same to every instruction, as a canary against the baseline's answers.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
from scipy import special, stats

from winnow.analyze.judges import Answered, canaries, refuse_deceived
from winnow.analyze.params import Preferences
from winnow.analyze.win_rates import interval, length_controlled, win_rate
from winnow.core.errors import Refusal

DATA = Path(os.environ["WINNOW_DATA"]) / "preferences"
EDGE = 1e-3
"""How near to 0 or 1 a judge's probability counts in log-odds."""
CONFIDENCE = 0.95
CANARY, BASELINE = "NullModel", "gpt4_1106_preview"
MOST = Preferences(baseline=BASELINE, judge="published:judge").max_canary


def judgements() -> dict[str, dict[str, np.ndarray]]:
    """By model: instructions, preferences for the model, and differences in characters."""
    table = pq.read_table(DATA / "alpaca_eval_2_judgements.parquet").to_pandas()
    found = {}
    for model, rows in table.groupby("model"):
        lengths = rows["output"].str.len().to_numpy()
        found[str(model)] = {
            "instructions": rows["instruction"].to_numpy(),
            "preferences": rows["preference"].to_numpy() - 1,
            "differences": (lengths - rows["baseline_length"].to_numpy()).astype(float),
        }
    return found


def published() -> dict[str, tuple[float, float]]:
    """By model: the published win rates, plain and length-controlled, in percent."""
    rows = pyarrow.csv.read_csv(DATA / "alpaca_eval_2_leaderboard.csv").to_pylist()
    return {row["model"]: (row["win_rate"], row["length_controlled_winrate"]) for row in rows}


def difficulties(found: dict[str, dict[str, np.ndarray]], model: str) -> np.ndarray:
    """By row of a model: how well the other models did on the instruction, in log-odds."""
    by_instruction: dict[str, list[float]] = {}
    for other, one in found.items():
        if other != model:
            odds = special.logit(np.clip(one["preferences"], EDGE, 1 - EDGE))
            for instruction, value in zip(one["instructions"], odds, strict=True):
                by_instruction.setdefault(instruction, []).append(value)
    means = np.array([np.mean(by_instruction[one]) for one in found[model]["instructions"]])
    return (means - means.mean()) / means.std()


def try_canary(one: dict[str, np.ndarray]) -> None:
    """Print what becomes of the published judge where the canary is put to it."""
    told = dict(zip(one["instructions"], one["preferences"], strict=True))

    def published(pairs):
        return [told[p.question] if p.first.text == CANARY else 1 - told[p.question] for p in pairs]

    good = [(question, Answered(BASELINE)) for question in told]
    found = canaries(published, good, {CANARY: lambda _: CANARY})
    try:
        refuse_deceived(found, MOST)
        print(f"{CANARY}: not caught")
    except Refusal as error:
        print(f"{CANARY}: {error}")


def main() -> None:
    """Print the table, and how near the length-controlled rates come."""
    found, told = judgements(), published()
    rows = []
    for model, one in found.items():
        plain = 100 * win_rate(one["preferences"])
        given = one["preferences"], one["differences"]
        alone, full = (
            length_controlled(*given),
            length_controlled(*given, difficulties(found, model)),
        )
        rows.append((model, *told[model], plain, 100 * alone.value, 100 * full.value, full))
    rows.sort(key=lambda row: -row[1])
    print(f"{'':29}     plain       length-controlled")
    print(f"{'model':29} publ.  ours | publ.  no dif.  ours  {CONFIDENCE:.0%} interval")
    for model, plain, controlled, ours, alone, full, fit in rows:
        ends = interval([fit.pseudo_values], CONFIDENCE, {model: ""})
        print(
            f"{model:29} {plain:5.2f} {ours:5.2f} | {controlled:5.2f}  {alone:5.2f}   {full:5.2f}  "
            f"{100 * ends.low:5.2f} to {100 * ends.high:5.2f}"
        )
    plain, controlled, ours, alone, full = np.array([row[1:6] for row in rows]).T
    print(f"plain: largest difference {np.abs(plain - ours).max():.5f} points")
    for name, values in (("plain", ours), ("without difficulty", alone), ("with it", full)):
        for kept, which in ((30, slice(None)), (29, [row[0] != "NullModel" for row in rows])):
            rank = stats.spearmanr(values[which], controlled[which]).statistic
            gap = np.abs(values - controlled)[which].mean()
            print(
                f"{name} to published length-controlled, {kept} models: Spearman {rank:.3f}, "
                f"mean difference {gap:.2f} points"
            )
    try_canary(found[CANARY])


if __name__ == "__main__":
    main()
