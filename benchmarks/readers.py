"""Read single files as other tools do, each in a process of its own.

python readers.py <winnow | datasets | datatrove> <folder>    prints a JSON object a file: its name,
how the reading ended, and how many rows came that have an instruction and an output.
"""

import functools
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

Reader = Callable[[Path], Iterator[tuple[object, object]]]


def with_datasets() -> Reader:
    """load_dataset with the builder that the suffix asks for."""
    from datasets import load_dataset
    from datasets.utils import disable_progress_bars

    disable_progress_bars()

    def read(path: Path) -> Iterator[tuple[object, object]]:
        kind = path.name.split(".")[1].replace("jsonl", "json")
        with tempfile.TemporaryDirectory() as cache:
            for row in load_dataset(kind, data_files=str(path), split="train", cache_dir=cache):
                if row.get("messages"):
                    yield "chat", row["messages"][-1]["content"]
                else:
                    yield row.get("instruction"), row.get("output")

    return read


def with_datatrove() -> Reader:
    """The reader of the suffix, as a pipeline of one step reads."""
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.readers.csv import CsvReader

    kinds = {"jsonl": JsonlReader, "json": JsonlReader, "csv": CsvReader, "parquet": ParquetReader}

    def adapt(self, row, path, position):  # type: ignore[no-untyped-def]
        turns = row.pop("messages", None)
        text = turns[-1]["content"] if turns else row.pop("output", "")
        return {"text": text, "id": f"{path}/{position}", "metadata": row | {"chat": bool(turns)}}

    def read(path: Path) -> Iterator[tuple[object, object]]:
        reader = kinds[path.name.split(".")[1]]
        for document in reader(str(path.parent), glob_pattern=path.name, adapter=adapt).run():
            chat = "chat" if document.metadata.get("chat") else None
            yield document.metadata.get("instruction") or chat, document.text

    return read


def with_winnow() -> Reader:
    """The whole stage, in a folder of its own."""
    import pyarrow.parquet as pq

    from winnow.ingest import stage

    def read(path: Path) -> Iterator[tuple[object, object]]:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            source = json.dumps(str(path))
            Path("params.yaml").write_text(f"ingest: {{source: {source}, max_line_mb: 1}}\n")
            stage.run()
            for shard in sorted(Path("artifacts/ingest").glob("*.parquet")):
                for row in pq.read_table(shard).to_pylist():
                    yield row["instruction"], row["response"]

    return read


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def fate(read: Reader, path: Path) -> tuple[str, int]:
    """Read a file in a child, for a minute and in 4 GiB; how it ended, and its good rows."""
    end, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(60)
        resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, 4 * 2**30))
        count = 0
        try:
            for instruction, output in read(path):
                count += _filled(instruction) and _filled(output)
            os.write(report, json.dumps(["ended", count]).encode())
        except BaseException as error:
            os.write(report, json.dumps([type(error).__name__, count]).encode())
        os._exit(0)
    os.close(report)
    with os.fdopen(end, "rb") as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    if said:
        how, count = json.loads(said)
        return how, count
    return f"signal {os.WTERMSIG(status)}", 0


if __name__ == "__main__":
    tool, folder = sys.argv[1:]
    makers = {"winnow": with_winnow, "datasets": with_datasets, "datatrove": with_datatrove}
    ask = functools.partial(fate, makers[tool]())
    for path in sorted(Path(folder).resolve().iterdir()):
        how, count = ask(path)
        print(json.dumps({"file": path.name, "how": how, "rows": count}), flush=True)
