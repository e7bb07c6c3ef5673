"""A batch in columns gives what its rows give one by one."""

import io
import json
import re
import sys
import unicodedata
from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.core import cards
from winnow.core.mapping.columns import flat, is_filled
from winnow.core.mapping.fields import PUBLIC, Layout, Unmapped
from winnow.core.mapping.names import BAD, EMPTY, MISSING, NAMES, TURN_NAMES
from winnow.core.mapping.pair import to_pair
from winnow.ingest import sources, stage

SIGNS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
TEXTS = (
    st.none()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "",
            " ",
            "\u3000\x1c\x85",
            "\u200b",
            "N/A",
            " <noinput>\n",
            "none.",
            "false",
            "0",
            "B",
            "1",
            "nan",
            "Human: a\nAssistant:",
            "\n\nHuman: a\n\nAssistant: b",
            "[|Human|] a [|AI|]",
            "### Instruction:\na\n### Response:\n",
            "ai\n",
            '[{"role": "user", "content": "u"}]',
        ]
    )
)
KINDS = st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])
MEANT = sorted({name for names in NAMES.values() for name in names} | {*BAD, "title"})
USUAL = [name for part in ("instruction", "input", "response") for name in NAMES[part]]
NAMED = st.sampled_from(
    [*MEANT, *USUAL, "id", "Instruction", "OUTPUT", "Source", "a", "b", "c", "d"]
)
OTHERS = (
    st.lists(st.sampled_from([1, 0, None]), max_size=2)
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from([float("nan"), 2.5])
    | st.binary(max_size=3)
)


@st.composite
def columns(draw: st.DrawFn, count: int) -> pa.Array:
    """A column of text, and now and then of something else."""
    texts = draw(st.lists(TEXTS, min_size=count, max_size=count))
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return pa.array([text and [text] for text in texts], pa.list_(pa.string()))
    if kind == 1:
        return pa.array([text and text.encode() for text in texts], pa.binary())
    if kind == 2:
        return pa.nulls(count)
    if kind == 3:
        return pa.array([draw(OTHERS)] * count)
    if kind == 4:
        turns = [[{"role": "user", "content": "q"}, {"role": "gpt", "content": t}] for t in texts]
        return pa.array(turns)
    if kind == 5:
        return pa.array([{"text": [text], "label": ["A"]} for text in texts])
    if kind == 6:
        return pa.array(texts, pa.string()).dictionary_encode()
    return pa.array(texts, draw(KINDS))


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """Columns by names that mean something or nothing."""
    names = draw(st.lists(NAMED, min_size=2, max_size=7, unique=True))
    count = draw(st.integers(1, 6))
    return pa.record_batch([draw(columns(count)) for _ in names], names)


Sorted = tuple[list[dict[str, str]], list[str], dict[str, int]]


def by_rows(source: sources.Source, batch: pa.RecordBatch, layout: Layout) -> Sorted:
    """The rule itself, row by row: the rows, the reasons, and the columns not used."""
    rows, reasons, unused = [], [], Counter[str]()
    for record in sources.Batch(5, batch).records():
        try:
            row, pair = stage._row(source, record, layout)
        except Unmapped as error:
            reasons.append(f"{record.position} {error}")
        else:
            rows.append(row)
            unused.update(pair.unused)
    return rows, reasons, dict(unused)


def by_columns(source: sources.Source, batch: pa.RecordBatch, layout: Layout) -> Sorted:
    """What the stage makes of the batch, read as a reader of files would."""
    names = flat(batch.schema, layout)
    read = batch.select(list(names.values())) if names else batch
    unread = tuple(name for name in batch.schema.names if name not in read.schema.names)
    quarantine = io.StringIO()
    sorter = stage._Sorter(quarantine, cards.Ledger(), layout)
    made = list(sorter.rows([(source, sources.Batch(5, read, unread))]))
    rows = [row for batch in made for row in batch.to_pylist()]
    entries = [json.loads(line) for line in quarantine.getvalue().splitlines()]
    assert sorter.ledger.rows_in == batch.num_rows == len(rows) + sorter.ledger.dropped.total()
    reasons = [f"{entry['position']} {entry['reason']}" for entry in entries]
    return rows, reasons, {name: count for name, count in sorter.unused.items() if count}


LAYOUTS = st.sampled_from([PUBLIC, Layout.of({"response": "id", "input": "Source"})])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches(), LAYOUTS)
def test_columns_give_what_rows_give(batch: pa.RecordBatch, layout: Layout) -> None:
    source = sources.Source("some.folder/x.parquet", lambda: iter(()))
    assert by_columns(source, batch, layout) == by_rows(source, batch, layout)


ROLES = st.sampled_from(["user", "Human", "GPT", "assistant", "system", "tool", "critic", "", None])
VALUES = st.recursive(
    TEXTS
    | OTHERS
    | st.fixed_dictionaries({"type": st.sampled_from(["text", "image"]), "text": TEXTS}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*MEANT, "text", "role", "replies"]), inner, max_size=3)
        | st.lists(
            st.dictionaries(
                st.sampled_from(
                    [name for names in TURN_NAMES.values() for name in names] + ["weight"]
                ),
                inner | ROLES,
                max_size=4,
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMED, VALUES, max_size=5) | VALUES)
def test_any_record_is_a_pair_or_has_a_reason(record: Any) -> None:
    try:
        pair = to_pair(record)
    except Unmapped as error:
        assert str(error)
    else:
        assert all(is_filled(pa.array([pair.instruction, pair.response])).to_pylist())
        assert "".join(pair[:4]).encode()


def test_blank_is_what_shows_nothing() -> None:
    filled = dict(zip(SIGNS, is_filled(pa.array(SIGNS)).to_pylist(), strict=True))
    fillers = set("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800")
    for sign, is_shown in filled.items():
        kind = unicodedata.category(sign)
        if sign.isspace() or kind in ("Cc", "Zs", "Zl", "Zp"):
            assert not is_shown
        if kind[0] in "LNPS" and sign not in fillers:
            assert is_shown
    assert not any(filled[sign] for sign in fillers | set("\u200b\u200d\ufeff\xad\u2060"))


def test_rows_by_columns_and_one_by_one_see_blank_alike() -> None:
    for empty in (EMPTY, MISSING):
        by_row = [not re.match(empty, sign) for sign in SIGNS]
        assert is_filled(pa.array(SIGNS), empty).to_pylist() == by_row
