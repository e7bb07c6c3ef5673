"""Small files that ask for much: each alone through `winnow ingest`, and 6,000 damaged files.

nice python -m benchmarks.bombs [bombs | fuzz]    (docs/reliability.md is its record)

A bomb is read by the real command, under a limit of seconds and of memory. Damaged files are read
by the command in processes of some hundred files each; one that ends by a signal names its file.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SECONDS, MEMORY_GB = 300, 8
"""That a bomb may take before it is stopped."""
GOOD = {"instruction": "Name the river.", "output": "It is the Wharfe."}
LINE = json.dumps(GOOD).encode() + b"\n"
HEADER = b"instruction,output\ni,o\n"
MIB = 2**20


def packed(codec: str, piece: bytes, times: int, start: bytes = LINE) -> bytes:
    """A good row and so many equal pieces, compressed as they come."""
    sink = io.BytesIO()
    opened: dict[str, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    if codec == "zst":
        whole = pa.BufferOutputStream()
        stream = pa.CompressedOutputStream(whole, "zstd")
    else:
        stream = opened[codec](sink, "wb")
    with stream:
        stream.write(start)
        for _ in range(times):
            stream.write(piece)
    return bytes(whole.getvalue()) if codec == "zst" else sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return bytes(sink.getvalue())


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    """An Arrow file of one batch."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as file:
        file.write_table(table)
    return bytes(sink.getvalue())


def rows(output: pa.Array) -> pa.Table:
    """A table with this column of answers."""
    return pa.table({"instruction": pa.repeat("i", len(output)), "output": output})


def repeated(text: str, count: int) -> pa.DictionaryArray:
    """One text so many times."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [text])


def views(text: str, count: int) -> pa.Array:
    """One text so many times, as views of the same bytes."""
    view = len(text).to_bytes(4, "little") + text[:4].encode() + bytes(8)
    buffers = [None, pa.py_buffer(view * count), pa.py_buffer(text.encode())]
    return pa.Array.from_buffers(pa.string_view(), count, buffers)


def turns(count: int) -> str:
    """A conversation of so many turns of one side."""
    return ",".join(['{"role":"user","content":"a"}'] * count)


def texts() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Files of text."""
    for codec in ("gz", "bz2", "xz", "zst"):
        yield f"newlines.jsonl.{codec}", lambda codec=codec: packed(codec, b"\n" * MIB, 256)
        yield f"spaces.csv.{codec}", lambda codec=codec: packed(codec, b" " * MIB, 256, HEADER)
    yield "rows.jsonl.zst", lambda: packed("zst", LINE * 20_000, 200)
    yield "empty_rows.jsonl.zst", lambda: packed("zst", b"{}\n" * 2**16, 50)
    yield "long_row.json.zst", lambda: packed("zst", b"[" + b"{}," * MIB, 40)
    yield "ones.json", lambda: b"[" + b",".join([b"1"] * 2_000_000) + b"]"
    yield "lists.json", lambda: b"[[" + b",".join([b"[]"] * 10_000_000) + b"]]"
    yield "table.json", lambda: b'{"data":[' + b",".join([b"{}"] * 2_000_000) + b"]}"
    yield (
        "ragged.json",
        lambda: json.dumps({f"a{n}": {f"b{n}": n} for n in range(200_000)}).encode(),
    )
    yield "keys.jsonl", lambda: json.dumps(GOOD | {f"k{n}": n for n in range(10**6)}).encode()
    yield (
        "many_keys.jsonl",
        lambda: b"".join(
            json.dumps(GOOD | {f"k{n}_{m}": m for m in range(1000)}).encode() + b"\n"
            for n in range(1000)
        ),
    )
    yield "deep.jsonl", lambda: b'{"instruction":"i","output":' + b"[" * 10**6 + b"]" * 10**6 + b"}"
    yield "digits.jsonl", lambda: b'{"instruction":"i","output":' + b"9" * 10**7 + b"}"
    yield "turns.jsonl", lambda: b'{"messages":[%s]}' % turns(500_000).encode()
    yield (
        "replies.jsonl",
        lambda: (
            b'{"messages":['
            + b'{"role":"user","content":"a","replies":[' * 490
            + b"]}" * 490
            + b"]}"
        ),
    )
    yield (
        "columns.csv",
        lambda: (
            b"instruction,output"
            + b"".join(b",c%d" % n for n in range(10**6))
            + b"\n"
            + (b"i,o" + b"," * 10**6 + b"\n") * 5
        ),
    )
    yield "quote.csv", lambda: b"instruction,output\n" + b'i,"o\n' + (b"a" * 99 + b",b\n") * 300_000
    yield "quotes.csv", lambda: b"instruction,output\n" + b'i,"o" x\n' * 3_000_000


def tables() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Columnar files."""
    yield "dictionary.parquet", lambda: parquet(rows(repeated("x" * MIB, 20_000)))
    yield "repeated.parquet", lambda: parquet(rows(repeated("x" * MIB, 1500).cast(pa.string())))
    yield (
        "late.parquet",
        lambda: parquet(
            pa.concat_tables(
                [rows(pa.repeat("o", 50_000)), rows(repeated("x" * MIB, 1500).cast(pa.string()))]
            ),
            row_group_size=50_000,
        ),
    )
    yield "long.parquet", lambda: parquet(rows(pa.array(["x" * (500 * MIB)])))
    yield (
        "longer.parquet",
        lambda: parquet(rows(pa.array(["x" * (500 * MIB)] * 4)), use_dictionary=False),
    )
    yield "nulls.parquet", lambda: parquet(rows(pa.nulls(5 * 10**7, pa.string())))
    yield "list.parquet", lambda: parquet(rows(pa.array([["x"] * 10**7])))
    yield "list_of_long.parquet", lambda: parquet(rows(pa.array([["x" * MIB] * 1000])))
    struct = pa.array([[{"role": "user", "content": "u"}] * 10**6])
    yield "turns.parquet", lambda: parquet(pa.table({"messages": struct}))
    yield (
        "zeros.parquet",
        lambda: parquet(
            pa.table({"messages": pa.ListArray.from_arrays([0, 10**8], pa.repeat(0, 10**8))})
        ),
    )
    yield (
        "prefixes.parquet",
        lambda: parquet(
            rows(pa.array(["x" * MIB] * 1000)),
            use_dictionary=False,
            column_encoding={"output": "DELTA_BYTE_ARRAY"},
        ),
    )
    yield "dictionary.arrow", lambda: arrow(rows(repeated("x" * MIB, 20_000)))
    yield "packed.arrow", lambda: arrow(rows(pa.array(["x" * MIB] * 1500)), "zstd")
    yield "views.arrow", lambda: arrow(rows(views("x" * MIB, 20_000)))
    yield "nulls.arrow", lambda: arrow(pa.table({"instruction": pa.nulls(10**8)}))


MEASURED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({memory}, {memory}))
from winnow.__main__ import main
code = main(["ingest"])
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""
"""The stage, and its peak memory in KiB; a child's rusage would hold its parent's peak too."""


def ingest(folder: Path, source: str) -> tuple[str, float, float, str]:
    """Run the stage over a source; how it ended, the seconds, the peak in GB, what was said."""
    (folder / "params.yaml").write_text(f"ingest: {{source: {source}}}\n")
    code = MEASURED.format(memory=MEMORY_GB * 2**30)
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
    except subprocess.TimeoutExpired:
        return "over time", SECONDS, 0, ""
    seconds = time.perf_counter() - began
    peak = int(done.stdout.split()[-1]) / MIB if done.stdout.split() else 0
    if "Traceback" in done.stderr or done.returncode not in (0, 2):
        return f"code {done.returncode}", seconds, peak, done.stderr[-300:]
    if done.returncode:
        return "refused", seconds, peak, re.split(r"[\r\n]+", done.stderr.strip())[-1]
    return "read", seconds, peak, done.stdout.splitlines()[0]


def bombs() -> None:
    """A line a bomb."""
    print(
        "| file | bytes | end | seconds | peak GB | quarantine, bytes |\n|---|---|---|---|---|---|"
    )
    for name, make in [*texts(), *tables()]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / name).write_bytes(make())
            size = (folder / name).stat().st_size
            end, seconds, peak, words = ingest(folder, name)
            listed = folder / "artifacts/ingest/quarantine.jsonl"
            quarantined = listed.stat().st_size if listed.exists() else 0
            cells = (name, f"{size:,}", end, f"{seconds:.1f}", f"{peak:.2f}", f"{quarantined:,}")
            print(f"| {' | '.join(cells)} |", flush=True)
            print(f"{name}: {words}", file=sys.stderr, flush=True)


ROWS = [GOOD | {"instruction": f"Name river {number}."} for number in range(40)]
FILES, A_PROCESS = 6000, 500
FILE_SECONDS = 20


Pack = Callable[[bytes], bytes]
PACK: dict[str, Pack] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
}


def whole() -> list[tuple[str, bytes, Pack]]:
    """A small good file of every suffix that is read, and how it is compressed."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    comma = "instruction,output\n" + "".join(f"{r['instruction']},{r['output']}\n" for r in ROWS)
    plain = {
        "jsonl": lines,
        "json": json.dumps(ROWS).encode(),
        "csv": comma.encode(),
        "tsv": comma.replace(",", "\t").encode(),
    }
    found = [(name + end, text, PACK[end]) for name, text in plain.items() for end in PACK]
    table = pa.Table.from_pylist(ROWS)
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    chats = pa.table({"messages": [chat] * 40})
    found += [("parquet", parquet(made), bytes) for made in (table, chats)]
    checked = parquet(table, use_dictionary=False, write_page_checksum=True)
    found.append(("parquet", checked, bytes))
    for made in (table, chats, rows(repeated("o", 40))):
        found += [("arrow", arrow(made), bytes), ("feather", arrow(made, "zstd"), bytes)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, made.schema) as file:
            file.write_table(made)
        found.append(("arrow", bytes(sink.getvalue()), bytes))
    return found


def damage(data: bytearray, dice: random.Random) -> None:
    """Turn a bit, cut bytes out or off, put some in, write some over, or swap two places."""
    place, size = dice.randrange(len(data) or 1), dice.choice([1, 2, 8, 60])
    kind = dice.randrange(5)
    if kind == 0 and data:
        data[place] ^= 1 << dice.randrange(8)
    elif kind == 1:
        del data[place : len(data) if dice.random() < 0.3 else place + size]
    elif kind == 2:
        data[place:place] = dice.choice([dice.randbytes(size), bytes(size), b"\xff" * size])
    elif kind == 3:
        data[place : place + size] = dice.randbytes(size)
    else:
        other = dice.randrange(len(data) or 1)
        one, two = data[place : place + size], data[other : other + size]
        data[place : place + size], data[other : other + size] = two, one


def damaged(number: int, files: list[tuple[str, bytes, Pack]]) -> tuple[str, bytes]:
    """One of the files, damaged in one to eight places before or after it is compressed."""
    dice = random.Random(number)
    suffix, text, pack = files[number % len(files)]
    is_late = dice.random() < 0.5
    data = bytearray(pack(text) if is_late else text)
    for _ in range(dice.choice([1, 1, 2, 8])):
        damage(data, dice)
    return f"{number}.{suffix}", bytes(data) if is_late else pack(bytes(data))


def read_damaged(start: int) -> None:
    """Read files from a number on, in this process; what becomes of each is a line."""
    from winnow.__main__ import main

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_GB * 2**30,) * 2)
    files = whole()
    report = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for number in range(start, min(start + A_PROCESS, FILES)):
            name, data = damaged(number, files)
            Path(name).write_bytes(data)
            Path("params.yaml").write_text(f"ingest: {{source: {name}}}\n")
            print(f"{number} over time or ended by a signal", file=report, flush=True)
            signal.alarm(FILE_SECONDS)
            words = io.StringIO()
            try:
                with contextlib.redirect_stderr(words), contextlib.redirect_stdout(words):
                    code = main(["ingest"])
                end = {0: "rows", 2: "one line"}.get(code, f"code {code}")
            except Exception as error:
                end = f"traceback: {name}: {error!r}"[:200]
            print(f"{number} {end}", file=report, flush=True)
            os.remove(name)


def fuzz() -> None:
    """How the reading of the damaged files ended."""
    ends: dict[int, str] = {}
    while len(ends) < FILES:
        command = [sys.executable, "-m", "benchmarks.bombs", "read", str(len(ends))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        before = len(ends)
        for line in done.stdout.splitlines():
            number, _, end = line.partition(" ")
            ends[int(number)] = end
        if len(ends) == before:
            sys.exit(done.stderr)
    for number, end in ends.items():
        if end not in ("rows", "one line"):
            print(number, end)
    print(dict(Counter(ends.values()).most_common(9)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read_damaged(int(sys.argv[2]))
    else:
        for part in (bombs, fuzz):
            if part.__name__ in (sys.argv[1:] or ("bombs", "fuzz")):
                part()
