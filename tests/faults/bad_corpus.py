"""A corpus of everything that goes wrong in files, and what ingest owes each of them."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CAP_MB = 1
"""ingest.max_line_mb of the runs over this corpus."""


@dataclass(frozen=True, slots=True)
class Bad:
    """One file: its faults, and what becomes of its records."""

    name: str
    data: bytes
    kept: int | None
    """Rows; None for some: all that come before a break."""
    reasons: tuple[str, ...] = ()
    """Of the quarantined records in their order, a part of each."""


def line(number: int = 0, **changes: Any) -> bytes:
    """A good row as JSON; `changes` spoil it."""
    row = {"instruction": f"Add {number} and 1.", "input": "", "output": f"It is {number + 1}."}
    return json.dumps(row | changes).encode()


def lines(*middle: bytes) -> bytes:
    """Lines with a good one before and after them."""
    return b"\n".join((line(1), *middle, line(2))) + b"\n"


def many(number: int) -> bytes:
    """So many different good lines."""
    return b"".join(line(n, output=f"{n * 7919 % 104729} {n}") + b"\n" for n in range(number))


def _raw(value: bytes) -> bytes:
    """A good line whose output is this JSON, which json.dumps would not write."""
    return b'{"instruction": "Add.", "output": ' + value + b"}"


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, **options)
    return bytes(buffer.getvalue())


def _table(outputs: pa.Array, **more: Any) -> pa.Table:
    return pa.table({"instruction": ["Add."] * len(outputs), "output": outputs} | more)


def _not_utf8(*values: bytes) -> pa.Array:
    """Strings as a writer that checks nothing leaves them."""
    whole = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(whole), whole.buffers())


def _csv(*rows: tuple[str, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("instruction", "output"), *rows])
    return text.getvalue().encode()


def _text_faults() -> Iterator[Bad]:
    deep = 20_000
    yield Bad("bom.jsonl", b"\xef\xbb\xbf" + lines(), 2)
    yield Bad("bom.csv", b"\xef\xbb\xbf" + _csv(("i", "o")), 1)
    yield Bad("crlf.jsonl", lines(line(3)).replace(b"\n", b"\r\n"), 3)
    yield Bad("no_newline_at_end.jsonl", lines().rstrip(b"\n"), 2)
    yield Bad("blank_lines.jsonl", lines(b"", b"  ", b"\r"), 2)
    yield Bad("separators.jsonl", lines(_raw(b'"a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d"')), 3)
    yield Bad("nul.jsonl", lines(_raw(b'"a\\u0000b"'), b"\0" * 9), 3, ("malformed JSON",))
    yield Bad("empty.jsonl", b"", 0)
    yield Bad("no_rows.json", b"[]", 0)
    yield Bad("cut_off.jsonl", lines() + line()[:30], 2, ("malformed JSON",))
    yield Bad("malformed.jsonl", lines(b"{", b"{]", b"text"), 2, ("malformed JSON",) * 3)
    yield Bad("glued.jsonl", lines(line() + line()), 2, ("malformed JSON: Extra data",))
    yield Bad("not_utf8.jsonl", lines(_raw(b'"\xff"')), 2, ("not UTF-8 at byte",))
    yield Bad("latin1.csv", _csv(("caf\xe9", "o"), ("i", "o")).replace(b"\xc3", b""), 1, ("UTF-8",))
    yield Bad(
        "surrogates.jsonl", lines(_raw(b'"\\ud800"'), line(3, **{"\udc00": 1})), 3, ("UTF-8",)
    )
    yield Bad("surrogate_key.jsonl", lines(b'{"\\ud800": "x"}'), 2, ("found: \ud800",))
    yield Bad("key_of_lines.jsonl", lines(b'{"a\\nb\\u001b[2J": "x"}'), 2, ("found: a\nb",))
    constants = [_raw(value) for value in (b"NaN", b"Infinity", b"-Infinity")]
    yield Bad("constants.jsonl", lines(*constants), 2, ("empty response", *("is infinite",) * 2))
    numbers = (_raw(b"1" * 400), _raw(b"1e999"), _raw(b"9" * 5000))
    yield Bad("numbers.jsonl", lines(*numbers), 3, ("is infinite", "Exceeds the limit"))
    yield Bad("aside.jsonl", lines(line(3, id=10**399), line(4, id=10**18)), 4)
    blanks = (
        line(output=None),
        line(output=""),
        line(output=" \t\u3000\u2028"),
        line(instruction=" "),
    )
    yield Bad("blank.jsonl", lines(*blanks), 2, ("empty response",) * 3 + ("empty instruction",))
    kinds = (line(output=["a"]), line(instruction=7), line(output={}), line(output=True))
    yield Bad("kinds.jsonl", lines(*kinds), 4, ("is a list", "empty response"))
    rows = (b"null", b"[1]", b"3", b'"text"', b"{}")
    wanted = ("is a NoneType", "is a list", "is a int", "is a str", "found: none")
    yield Bad("rows.jsonl", lines(*rows), 2, wanted)
    nested = (b"[" * deep, b"[" * deep + b"]" * deep, _raw(b'{"a":' * deep + b"1" + b"}" * deep))
    yield Bad("deep.jsonl", lines(*nested), 2, ("nested too deeply",) * 3)
    late = many(5000).replace(b'"7919 1"', b'["7919"]') + line(output=4)
    yield Bad("late_type.jsonl", late, 5000, ("is a list",))
    yield Bad("same_keys.jsonl", lines(b'{"output": "x", "instruction": "i", "output": "y"}'), 3)
    yield Bad("same_ids.jsonl", lines(line(3, id="1"), line(3, id="1")), 4)
    long = line(output="x" * (CAP_MB * 2**20))
    yield Bad("long.jsonl", lines(long, long[:-3]), 2, ("line is longer",) * 2)
    long_field = ("i", "x" * (CAP_MB * 2**20))
    yield Bad("long.csv", _csv(("i", "o"), long_field, ("i", "o")), 2, ("line is longer",))
    yield Bad("fields.csv", _csv(("i", "o"), ("i",), ("i", "o", "x")), 1, ("1 fields", "3 fields"))
    yield Bad("quote.csv", _csv(("i", "o")) + b'i,"never closed\ni,o\n', 2, ("malformed CSV",))
    yield Bad("old_mac.csv", _csv(("i", "o"), ("j", "p")).replace(b"\r\n", b"\r"), 2)


def _packed_faults() -> Iterator[Bad]:
    text = many(8000)
    for suffix, data in (
        ("gz", gzip.compress(text, mtime=0)),
        ("zst", pa.compress(text, "zstd", asbytes=True)),
    ):
        broken = ("compressed file is broken from here",)
        middle = len(data) // 2
        yield Bad(f"two_members.jsonl.{suffix}", data + data, 16000)
        yield Bad(f"cut_off.jsonl.{suffix}", data[:middle], None, broken)
        yield Bad(f"last_byte.jsonl.{suffix}", data[:-1], None, broken)
        yield Bad(f"not_packed.jsonl.{suffix}", text, 0, broken)
    yield Bad("checksum.jsonl.gz", gzip.compress(text, mtime=0)[:-8] + bytes(8), None, broken)
    huge = 2**29
    yield Bad("bomb.jsonl.zst", _zeros("zstd", huge), 0, ("line is longer",))
    yield Bad("bomb.jsonl.gz", _zeros("gzip", huge), 0, ("line is longer",))


def _zeros(codec: str, size: int) -> bytes:
    """A small file of so many zero bytes, made without holding them."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as file:
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return bytes(sink.getvalue())


def _column_faults() -> Iterator[Bad]:
    texts = ["good", None, "", " \u3000\n", "also good"]
    empty = ("empty response",) * 3
    yield Bad("blank.parquet", parquet(_table(pa.array(texts))), 2, empty)
    yield Bad("large.parquet", parquet(_table(pa.array(texts, pa.large_string()))), 2, empty)
    yield Bad("dictionary.parquet", parquet(_table(pa.array(texts).dictionary_encode())), 2, empty)
    yield Bad("no_text.parquet", parquet(_table(pa.nulls(2))), 0, ("empty response",) * 2)
    yield Bad("numbers.parquet", parquet(_table(pa.array([1, 2]))), 2)
    mixed = pa.array([b"x", b"\xff"])
    yield Bad("bytes.parquet", parquet(_table(mixed)), 1, ("is not UTF-8",))
    yield Bad(
        "not_utf8.parquet", parquet(_table(_not_utf8(b"good", b"\xff", b"good"))), 2, ("UTF-8",)
    )
    aside = parquet(_table(pa.array(["a", "b"]), note=_not_utf8(b"\xff", b"x")))
    yield Bad("not_utf8_aside.parquet", aside, 2)
    yield Bad("no_rows.parquet", parquet(_table(pa.array([], pa.string()))), 0)
    yield Bad("other_columns.parquet", parquet(pa.table({"text": ["t"]})), 0, ("found: text",))
    dotted = parquet(_table(pa.array(["a", "b"]), **{"output.x": [1, 2], "source": ["", None]}))
    yield Bad("dotted.parquet", dotted, 2)
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    chats = parquet(pa.table({"messages": [turns, turns[:1], None]}))
    yield Bad("chats.parquet", chats, 1, ("has no answer", "is empty"))


def refused() -> Iterator[tuple[str, bytes, str]]:
    """Files that stop the run with an error that names them: name, data, a part of the error."""
    table = _table(pa.array([f"word {n}" for n in range(5000)]))
    whole = parquet(table, compression="zstd")
    yield "utf16.jsonl", line().decode().encode("utf-16"), "is UTF-16: convert it to UTF-8"
    yield "utf16.csv", "instruction,output\ni,o\n".encode("utf-16"), "is UTF-16"
    yield "header.csv", b'"instruction"x,output\ni,o\n', "the header is no line of CSV"
    yield "broken.json", b'[{"instruction": "i"},', "all or nothing, use JSON lines"
    yield "deep.json", b"[" * 20_000, "nested too deeply"
    yield "not.parquet", b"PAR1 not at all", "not a readable Parquet file"
    yield "cut_off.parquet", whole[:-100], "not a readable Parquet file"
    yield "torn.parquet", whole[:200] + bytes(300) + whole[500:], "not a readable Parquet file"
    yield "empty.parquet", b"", "not a readable Parquet file"


BAD = [*_text_faults(), *_packed_faults(), *_column_faults()]


def write(folder: Path) -> None:
    """Write the files that must not stop a run."""
    folder.mkdir(parents=True, exist_ok=True)
    for bad in BAD:
        (folder / bad.name).write_bytes(bad.data)
