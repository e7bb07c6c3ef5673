"""Which real rows hold a benchmark's items, and how surely they are found.

    WINNOW_DATA=<folder> python -m benchmarks.decontaminate

GSM8K's test questions are the control: three sources hold all 1,319 of them, most others none. All
other benchmarks of the folder follow, by rows found.
"""

import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.curate.decontaminate import decontaminate, read_items

DATA = Path(os.environ["WINNOW_DATA"])
GSM8K = [str(DATA / "benchmarks/gsm8k/test.jsonl")]
NGRAM = 12
HOLD = ("gsm8k_model_solutions", "zeroeval_gsm8k", "llm_adapters")


def main() -> None:
    """Print the tables."""
    files = sorted((DATA / "instructions").glob("*.parquet"))
    table = pa.concat_tables(pq.read_table(file) for file in files)
    rows = np.arange(len(table))
    decontaminate(table.slice(0, 10), rows[:10], benchmarks=GSM8K, ngram=NGRAM)  # compiles

    began = time.perf_counter()
    verdict = decontaminate(table, rows, benchmarks=GSM8K, ngram=NGRAM)
    print(f"GSM8K's test against {len(rows):,} rows: {time.perf_counter() - began:.1f} s")
    sources = np.array(table["source"].to_pylist())
    sizes, dirty = Counter(sources), Counter(sources[verdict.gone])
    found: dict[str, set[str]] = {source: set() for source in sizes}
    for source, item in zip(sources[verdict.gone], verdict.because.to_pylist(), strict=True):
        found[source].add(item)
    items = len(read_items(GSM8K, NGRAM).names)
    print(f"{'source':32}{'rows':>9}{'dirty':>9}{'share':>9}{'items found':>13} of {items}")
    for source in sorted(sizes, key=lambda name: (-dirty[name] / sizes[name], name)):
        share = dirty[source] / sizes[source]
        print(
            f"{source:32}{sizes[source]:9,}{dirty[source]:9,}{share:9.2%}{len(found[source]):13,}"
        )
    clean = [source for source in sizes if source not in HOLD]
    alarms = sum(dirty[source] for source in clean)
    print(f"other sources: {alarms} of {sum(sizes[source] for source in clean):,} rows")

    began = time.perf_counter()
    folder = str(DATA / "benchmarks")
    verdict = decontaminate(table, rows, benchmarks=[folder], ngram=NGRAM)
    seconds = time.perf_counter() - began
    print(f"\nall benchmarks: {len(verdict.gone):,} dirty rows, {seconds:.1f} s")
    for reason, number in Counter(verdict.reasons).most_common(25):
        print(f"{number:9,}  {reason}")
    print("\n".join(verdict.warnings))


if __name__ == "__main__":
    sys.exit(main())
