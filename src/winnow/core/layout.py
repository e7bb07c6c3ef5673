"""Where everything lies: every path that two stages share, and what each stage reads.

Paths are from the project's folder, in which every command works.
"""

from pathlib import Path

ARTIFACTS = Path("artifacts")
GENERATED = ARTIFACTS / "generate"
GENERATION_METRICS = ARTIFACTS / "generate_metrics.json"
INGESTED, CURATED, SCORED, SELECTED = (
    ARTIFACTS / stage for stage in ("ingest", "curate", "score", "select")
)
CURATION_METRICS = ARTIFACTS / "curate_metrics.json"
SCORING_METRICS = ARTIFACTS / "score_metrics.json"
TOKENIZER = CURATED / "tokenizer"
TEST_ROWS = CURATED / "test.parquet"
"""What all arms of a grid are judged on."""
STATISTICS = SELECTED / "statistics.json"
EXPERIMENTS = SELECTED / "experiments"
"""A card for each experiment, which its training depends on."""
MODELS, RESULTS, ANALYSIS = Path("models"), Path("results"), Path("analysis")
METRICS = Path("metrics.json")
BASE = Path("base/models")
"""The sample's base model, which params.yaml starts from: `base/dvc.yaml` makes it."""
STATE = Path(".winnow")
"""Where unfinished work and locks live: outside of every DVC output, which DVC deletes at will."""


def draw_name(tier_name: str, seed: int | None) -> str:
    """The name of a draw of a tier, which is its place in SELECTED.

    There lies a dataset with the splits train and validation; see `scores_name` for its scores.

    Args:
        tier_name: of the tier.
        seed: of the training that the rows are drawn for; None where the rule draws nothing.
    """
    return tier_name if seed is None else f"{tier_name}/{seed}"


def scores_name(draw: str) -> str:
    """The file in SELECTED with the scores of a draw's rows, in their order."""
    return f"{draw}_scores.csv"


READS = {
    "generate": (),
    "ingest": ("data", f"{GENERATED}"),
    "curate": (f"{INGESTED}", f"{BASE}"),
    "score": (f"{INGESTED}", f"{CURATED}"),
    "select": (f"{CURATED}", f"{SCORED}"),
    "train": (
        f"{EXPERIMENTS}/${{item}}.json",
        f"{BASE}",
        f"{TOKENIZER}",
        f"{SCORING_METRICS}",
    ),
    "evaluate": (
        f"{MODELS}/${{item}}",
        f"{CURATED}",
        f"{SCORED}",
        f"{EXPERIMENTS}/${{item}}.json",
        "corpora/tasks.jsonl",
    ),
    "analyze": (
        f"{INGESTED}",
        f"{CURATED}",
        f"{CURATION_METRICS}",
        f"{SCORED}",
        f"{SCORING_METRICS}",
        f"{SELECTED}",
        f"{RESULTS}",
        "corpora/truth.jsonl",
    ),
}
"""What a stage reads, as its deps in dvc.yaml name it."""
