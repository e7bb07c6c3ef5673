"""A made-up results tree: what the stages before would have left, with losses that are chosen."""

import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from winnow.analyze.intervals import Estimates
from winnow.core import cards, files
from winnow.core.records import (
    CURATED_SCHEMA,
    DIMENSIONS,
    DROPPED_SCHEMA,
    ITEM_SCHEMA,
    SCORE_SCHEMA,
)

POOL = 6000
TESTED = 200
SEEDS = 3
"""For which controls are drawn."""
TIERS: dict[str, dict[str, Any]] = {
    "ultra_300": {"rule": "top", "count": 300, "recipe": "small"},
    "high_1k": {"rule": "top", "count": 1000, "recipe": "small"},
    "medium_4k": {"rule": "top", "count": 4000, "recipe": "small"},
    "rated_1k": {"rule": "top", "count": 1000, "by": "rating", "recipe": "small"},
    "like_rated_1k": {"rule": "matched", "of": "rated_1k", "recipe": "small"},
    "matched_300": {"rule": "matched", "of": "ultra_300", "recipe": "small"},
    "matched_1k": {"rule": "matched", "of": "high_1k", "recipe": "small"},
    "random_1k": {"rule": "random", "count": 1000, "recipe": "small"},
    "random_2k": {"rule": "random", "count": 2000, "recipe": "small"},
    "all_100pct": {"rule": "random", "share": 1.0, "recipe": "small"},
    "ultra_25pct": {"rule": "part", "of": "ultra_300", "share": 0.25, "recipe": "small"},
    "high_25pct": {"rule": "part", "of": "high_1k", "share": 0.25, "recipe": "small"},
    "medium_25pct": {"rule": "part", "of": "medium_4k", "share": 0.25, "recipe": "small"},
}
ROWS = {
    "ultra_300": 300,
    "high_1k": 1000,
    "medium_4k": 4000,
    "rated_1k": 1000,
    "like_rated_1k": 1000,
    "matched_300": 300,
    "matched_1k": 1000,
    "random_1k": 1000,
    "random_2k": 2000,
    "all_100pct": POOL,
    "ultra_25pct": 75,
    "high_25pct": 250,
    "medium_25pct": 1000,
}
EPOCHS = {
    "ultra_300": 10,
    "matched_300": 10,
    "medium_4k": 1,
    "all_100pct": 1,
    "ultra_25pct": 12,
    "medium_25pct": 1,
}
LOSS = {
    "ultra_300": 3.05,
    "high_1k": 2.80,
    "medium_4k": 2.95,
    "rated_1k": 2.97,
    "like_rated_1k": 3.0,
    "matched_300": 3.12,
    "matched_1k": 3.00,
    "random_1k": 3.02,
    "random_2k": 3.0,
    "all_100pct": 2.9,
    "ultra_25pct": 3.6,
    "high_25pct": 3.4,
    "medium_25pct": 3.5,
}
MODELS = {
    "1M": {"num_layers": 2, "hidden_size": 176, "num_heads": 4, "context": 256},
    "4M": {"num_layers": 4, "hidden_size": 256, "num_heads": 4, "context": 256},
}
BUDGETS = ["300_steps", "300k_tokens", "60_seconds"]
RECIPE = {
    "learning_rate": 1e-3,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "eval_steps": 40,
    "save_steps": 100,
}
GENERATION = (
    "coherence",
    "diversity",
    "distinct_1",
    "self_bleu",
    "instruction_following",
    "length_appropriateness",
    "task_completion",
)


def write(path: Path, value: Any) -> None:
    """One JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def seal(root: Path, folder: str, **card: Any) -> None:
    """Put the files of a folder, as they are now, on its card."""
    place = root / folder
    entries = {
        str(path.relative_to(place)): {
            "bytes": path.stat().st_size,
            "sha256": files.file_hash(path),
        }
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != cards.CARD
    }
    files.write_sealed(place / cards.CARD, card | {"folder": folder, "files": entries})


def params(root: Path, experiments: list[str], seeds: list[int], **analyze: Any) -> None:
    """params.yaml of the grid."""
    document = {
        "experiments": experiments,
        "seeds": seeds,
        "analyze": analyze,
        "engine": "local",
        "ingest": {"source": "data"},
        "curate": {"steps": [], "validation": 1, "test": 1},
        "score": {},
        "select": {"tiers": TIERS},
        "evaluate": {},
        "train": {
            "max_hours": 1,
            "models": MODELS,
            "recipes": {"small": RECIPE},
            "budgets": BUDGETS,
        },
    }
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(document, file)


def pool(root: Path) -> pa.Table:
    """Score tables, tiers cut from them, cards and the truth of the rows."""
    generator = np.random.default_rng(7)
    clean = generator.random(POOL) < 0.6
    score = np.clip(0.5 + 0.2 * clean + generator.normal(0, 0.15, POOL), 0, 1)
    columns: dict[str, Any] = {
        "id": [f"{i:06}" for i in range(POOL)],
        "hash": [hashlib.md5(str(i).encode()).hexdigest() for i in range(POOL)],
        "source": ["alpha" if i % 3 else "beta" for i in range(POOL)],
        "score": score,
        "num_tokens": generator.integers(20, 200, POOL),
        "num_response_words": generator.integers(10, 90, POOL),
    } | {name: np.clip(score + generator.normal(0, 0.2, POOL), 0, 1) for name in DIMENSIONS}
    table = pa.table(columns).select(SCORE_SCHEMA.names).cast(SCORE_SCHEMA)
    rating = pa.array(np.round(4 * score + generator.normal(0, 1, POOL)))
    table = table.append_column("rating", rating)
    for split in ("train", "validation", "test"):
        path = root / f"artifacts/score/{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(0, TESTED) if split == "test" else table, path)
    _curated(root, table)
    _tiers(root, score, generator)
    lines = [
        {"hash": h, "quality": "clean" if c else ("noisy", "cut")[i % 2], "family": "f"}
        for i, (h, c) in enumerate(zip(columns["hash"], clean, strict=True))
    ]
    path = root / "corpora/truth.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return table


DROPPED = 380


def _curated(root: Path, table: pa.Table) -> None:
    """The curated rows of the splits, and rows that two steps dropped, with their scores."""
    texts = {
        name: [f"{name} of {i}" for i in table["id"].to_pylist()]
        for name in ("instruction", "input", "response")
    }
    rows = table.select(["id", "source", "hash"])
    for name, column in texts.items():
        rows = rows.append_column(name, pa.array(column))
    curated = rows.append_column("cluster", rows["hash"]).select(CURATED_SCHEMA.names)
    parts = {"train": curated, "validation": curated.slice(0, 0), "test": curated.slice(0, 3)}
    for split, part in parts.items():
        path = root / f"artifacts/curate/{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, path)
    steps = [0] * (DROPPED - 100) + [1] * 100
    gone = rows.slice(0, DROPPED).append_column("step", pa.array(steps, pa.int32()))
    gone = gone.append_column("reason", pa.array([f"near <b>{step}</b>" for step in steps]))
    because = [f"{i + DROPPED:06}" for i in range(DROPPED)]
    gone = gone.append_column("because", pa.array(because)).select(DROPPED_SCHEMA.names)
    evil = pa.array(["<script>document.title = 'evil'</script>"] * DROPPED)
    gone = gone.set_column(gone.column_names.index("response"), "response", evil)
    pq.write_table(gone.cast(DROPPED_SCHEMA), root / "artifacts/curate/dropped.parquet")
    pq.write_table(table.slice(0, DROPPED), root / "artifacts/score/dropped.parquet")
    costs = [{"step": "exact", "seconds": 1.5}, {"step": "near", "seconds": 2.5}]
    files.write_sealed(root / "artifacts/curate_metrics.json", {"steps": costs})


def draw_of(name: str, seed: int) -> str:
    """The draw of a tier that a seed learns."""
    tier = TIERS[name]
    is_drawn = tier["rule"] in ("random", "matched", "part") and tier.get("share") != 1
    return f"{name}/{seed}" if is_drawn else name


def _tiers(root: Path, score: np.ndarray, generator: np.random.Generator) -> None:
    statistics = {}
    draws = {draw_of(name, seed): name for name in TIERS for seed in range(SEEDS)}
    for draw, name in draws.items():
        tier, size = TIERS[name], ROWS[name]
        best = np.argsort(-score)[:size]
        rows = best if tier["rule"] == "top" else generator.choice(POOL, size, replace=False)
        chosen = score[rows]
        statistics[draw] = {
            "rule": tier["rule"],
            "sha256": hashlib.sha256(draw.encode()).hexdigest(),
            "num_rows": size,
            "num_tokens": size * 110,
            "share": size / POOL,
            "min": chosen.min(),
            "max": chosen.max(),
            "mean": chosen.mean(),
            "std": chosen.std(),
            "overlap_with_of": 0.05 if "of" in tier else None,
        }
        path = root / f"artifacts/select/{draw}_scores.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("idx", "id", "score", *DIMENSIONS))
            writer.writerows((i, f"{i:06}", score[i], 0, 0, 0, 0) for i in rows)
    write(root / "artifacts/select/statistics.json", statistics)


def write_cards(root: Path) -> None:
    """The ledgers of the stages before, and the cost of scoring."""
    ledgers = {
        "ingest": {
            "rows_in": 7400,
            "rows_out": 7388,
            "held_out": 0,
            "dropped": {"not valid JSON": 9, "empty response": 3},
        },
        "curate": {
            "rows_in": 7388,
            "rows_out": POOL,
            "held_out": 1000,
            "dropped": {"exact duplicate": 260, "near duplicate": 128},
        },
        "score": {"rows_in": POOL, "rows_out": POOL, "held_out": 0, "dropped": {}},
    }
    warnings = ["near dropped 260 of the 380 rows of source <b>web</b>"]
    source_files = {
        "read": [{"name": "<b>.jsonl", "bytes": 1234} | ledgers["ingest"]],
        "not_read": [{"name": "a.zip", "bytes": 99, "reason": "an archive: unpack it"}],
        "skipped": {"hidden": 2},
    }
    inputs: dict[str, str] = {}
    for stage, ledger in ledgers.items():
        card = {"stage": stage, "ledger": ledger, "warnings": warnings, "inputs": inputs}
        if stage == "ingest":
            card |= {"columns_not_used": {"uuid": 12, "rejected": 7388}}
            card |= {"source_files": source_files}
        if stage == "score":
            best = {"best": "highest"}
            card |= {"scorers": {"documented": best, "rating": best}}
        (root / "artifacts" / stage).mkdir(exist_ok=True)
        folder = f"artifacts/{stage}"
        seal(root, folder, **card)
        entries = files.read_sealed(root / folder / cards.CARD, f"winnow {stage}")["files"]
        inputs = {folder: files.fingerprint(entries)}
    seal(root, "artifacts/select")
    cost = {
        "seconds": 8.2,
        "scorers": {"rating": {"seconds": 1.0}},
        "rows": POOL,
        "rows_per_second": POOL / 8.2,
    }
    files.write_sealed(root / "artifacts/score_metrics.json", cost)


class Items:
    """The test rows: their sizes, and the difficulty that every arm meets."""

    def __init__(self, number: int = TESTED) -> None:
        self.generator = np.random.default_rng(3)
        self.number = number
        self.tokens = self.generator.integers(20, 120, number)
        self.difficulty = self.generator.normal(0, 0.4, number)
        self.difficulty -= (self.difficulty * self.tokens).sum() / self.tokens.sum()

    def losses(self, mean: float, noise: float = 0.05) -> np.ndarray:
        """Summed losses around a mean per token."""
        own = self.generator.normal(0, noise, self.number)
        return np.maximum(0, (mean + self.difficulty + own) * self.tokens)


def parts(name: str) -> tuple[str, str, str | None]:
    """The tier, the model and the budget of an experiment's name, which may have none."""
    budget = next((budget for budget in BUDGETS if name.endswith(f"_{budget}")), None)
    tier, _, model = name.removesuffix(f"_{budget}").rpartition("_")
    return tier, model, budget


def run(root: Path, name: str, seed: int, items: Items, mean: float, busy: float = 1.0) -> None:
    """What one training and evaluation leave behind; `busy` times as long as on a quiet machine."""
    tier_name, model, budget = parts(name)
    folder = root / "results" / name / str(seed)
    tier = {"count": None, "share": None, "of": None} | TIERS[tier_name]
    size, epochs = ROWS[tier_name], EPOCHS.get(tier_name, 3)
    draw = draw_of(tier_name, seed)
    digest = hashlib.sha256(draw.encode()).hexdigest()
    write(
        folder / "experiment_config.json",
        {
            "experiment": name,
            "name": name,
            "seed": seed,
            "tier_name": tier_name,
            "tier": tier,
            "draw": draw,
            "level": tier_name.partition("_")[0],
            "model_name": model,
            "recipe_name": None,
            "budget_name": budget,
            "group": name.removeprefix(f"{tier_name}_"),
            "model": MODELS[model],
            "recipe": RECIPE,
            "budget": None,
            "init": "scratch",
            "num_rows": size,
            "num_tokens": size * 110,
            "data_sha256": digest,
            "device": "cpu",
            "precision": "fp32",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "run_id": digest[:32],
            "command": f"winnow train {name} --seed {seed}",
        },
    )
    losses = items.losses(mean)
    loss = losses.sum() / items.tokens.sum()
    _train(folder, size, epochs, mean, model, busy)
    _evaluation(folder, items, losses, loss)
    seal(root, f"results/{name}/{seed}")


def _train(folder: Path, size: int, epochs: int, mean: float, model: str, busy: float) -> None:
    total = size * 110 * epochs
    seconds = busy * total / 60_000 * (1 if model == "1M" else 2.5)
    points = [i / 12 for i in range(1, 13)]
    turn = 0.5 if size < 500 else 2
    write(
        folder / "train_results.json",
        {
            "train_time": seconds,
            "estimated_time": seconds,
            "estimated_memory_gb": 1.0,
            "peak_memory_gb": None,
            "gradient_checkpointing": False,
            "final_loss": mean - 0.2,
            "validation_loss": mean,
            "num_steps": total // 1024,
            "num_epochs": epochs,
            "tokens_seen": total,
            "tokens_per_second": 60_000,
            "num_parameters": 1_000_000 if model == "1M" else 4_000_000,
            "flops": 6e6 * total,
            "flops_per_second": 6e6 * total / seconds,
            "curve": [
                {
                    "step": int(t * total / 1024),
                    "tokens": t * total,
                    "seconds": t * seconds,
                    "train_loss": mean + math.exp(-4 * t),
                    "learning_rate": 1e-3,
                    "grad_norm": 1.0,
                    "validation_loss": mean
                    - 0.02
                    + 2.2 * math.exp(-5 * t)
                    + max(0, t - turn) * 0.25,
                }
                for t in points
            ],
        },
    )


def _evaluation(folder: Path, items: Items, losses: np.ndarray, loss: float) -> None:
    quintile = np.arange(items.number) % 5 + 1
    borders = np.quantile(items.tokens, [0.2, 0.4, 0.6, 0.8])
    length = np.searchsorted(borders, items.tokens) + 1
    source = np.array(["alpha", "beta"])[np.arange(items.number) % 2]
    table = pa.table(
        {
            "id": [f"t{i}" for i in range(items.number)],
            "source": source,
            "quintile": quintile,
            "loss": losses,
            "num_tokens": items.tokens,
            "num_bytes": items.tokens * 4,
            "response_loss": losses / 2,
            "response_tokens": items.tokens // 2,
        }
    ).cast(ITEM_SCHEMA)
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "evaluation/items.parquet")
    write(
        folder / "evaluation/metrics.json",
        {
            "loss": loss,
            "perplexity": math.exp(loss),
            "bits_per_byte": loss / 4 / math.log(2),
            "num_rows": items.number,
            "num_tokens": int(items.tokens.sum()),
            "num_bytes": int(items.tokens.sum() * 4),
            "response_loss": loss,
            "response_perplexity": math.exp(loss),
            "response_tokens": 1,
            "baseline_loss": 5.9,
        },
    )

    def stratum(mask: np.ndarray) -> dict[str, Any]:
        value = losses[mask].sum() / items.tokens[mask].sum()
        return {
            "loss": value,
            "perplexity": math.exp(value),
            "bits_per_byte": value / 4 / math.log(2),
            "response_loss": value,
            "response_perplexity": math.exp(value),
            "num_rows": int(mask.sum()),
            "num_tokens": int(items.tokens[mask].sum()),
            "num_bytes": int(items.tokens[mask].sum() * 4),
            "response_tokens": 1,
        }

    write(
        folder / "quality_analysis/strata.json",
        {
            "quintile": {str(q): stratum(quintile == q) for q in range(1, 6)},
            "source": {name: stratum(source == name) for name in ("alpha", "beta")},
            "length": {str(fifth): stratum(length == fifth) for fifth in range(1, 6)},
        },
    )
    _generation(folder, loss)


def _generation(folder: Path, loss: float) -> None:
    values: dict[str, Any] = {
        name: round(1 / loss + 0.1 * i, 3) for i, name in enumerate(GENERATION)
    }
    reasons = {"coherence": "no completion has two sentences"}
    write(
        folder / "generation_analysis/metrics.json",
        values
        | {
            "coherence": None,
            "num_prompts": 20,
            "num_samples": 100,
            "too_long": 0,
            "unchecked": 0,
            "reasons": reasons,
        },
    )
    samples = [
        {
            "prompt": f"### Instruction:\nAdd {i} and {i}.\n\n### Response:\n",
            "completion": f"{2 * i} <script>alert({i})</script>\u2028 and so on",
            "reference": f"It is {2 * i}." if i < 3 else None,
            "answer": str(2 * i) if i > 2 else None,
            "passed": i % 2 == 0 if i > 2 else None,
        }
        for i in range(6)
        for _ in range(2)
    ]
    text = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    (folder / "generation_analysis/samples.jsonl").write_text(text, encoding="utf-8")


def build(
    root: Path,
    experiments: list[str],
    seeds: list[int],
    losses: dict[str, float] | None = None,
    spread: float = 0.004,
    busy: Callable[[], float] = lambda: 1.0,
    **analyze: Any,
) -> None:
    """The whole tree for these experiments; losses by tier name or by experiment."""
    settings = {"resamples": 400, "truth": "corpora/truth.jsonl"} | analyze
    params(root, experiments, seeds, **settings)
    pool(root)
    write_cards(root)
    items = Items()
    chosen = LOSS | (losses or {})
    for seed in seeds:
        drift = np.random.default_rng(seed).normal(0, spread)
        for name in experiments:
            own = np.random.default_rng([seed, *name.encode()]).normal(0, spread)
            tier, model, _ = parts(name)
            mean = chosen.get(name, chosen[tier]) - (0.3 if model == "4M" else 0)
            run(root, name, seed, items, mean + drift + own, busy())


def near(value: float) -> list[float]:
    """Three seeds that hardly differ."""
    return [value, value + 0.002, value - 0.002]


def with_replicates(values: np.ndarray, replicates: np.ndarray) -> Estimates:
    """Estimates of arms named by their places, of which only values and replicates are known."""
    arms = len(values)
    return Estimates(
        index={str(place): place for place in range(arms)},
        groups=("",) * arms,
        means=values[:, None],
        influence=np.zeros((arms, 1, 1)),
        variances=np.zeros(arms),
        freedom=np.ones(arms),
        replicates=replicates,
        confidence=0.9,
    )
