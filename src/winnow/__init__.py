"""Winnow: how hard should I filter my instruction data?  Run as `winnow <stage>` or `dvc repro`."""

__version__ = "0.1.0"

STAGES = {
    "generate": "write rows with a model, and say how unique they are",
    "ingest": "read any source into canonical rows; quarantine what is broken",
    "curate": "drop duplicates, hold out validation and test rows, make the tokenizer",
    "score": "score every row: clarity, response quality, diversity, complexity",
    "select": "cut quality tiers and their controls",
    "train": "train one model per experiment and seed",
    "evaluate": "judge every model on the one shared test set",
    "analyze": "say how much to keep, with an interval, and write the report",
}
"""The verbs, in the order of the data; each a folder, a command, an entry point, a DVC stage and a
section of params.yaml."""
