"""The content hash: the same text by any spelling, and no other."""

from dataclasses import asdict

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from winnow.core.records import Row, content_hash, questions, texts


@given(st.text(), st.text(), st.text())
def test_case_and_white_space_do_not_count(instruction: str, input: str, response: str) -> None:
    one = content_hash(instruction, input, response)
    assert one == content_hash(f"  {instruction}\n", input, f"{response}\t ")
    assert len(one) == 32


def test_fields_do_not_run_together() -> None:
    hashes = {
        content_hash(*parts) for parts in (("a b", "", "c"), ("a", "b", "c"), ("a", "", "b c"))
    }
    assert len(hashes) == 3
    assert content_hash("Ｆｕｌｌ", "", "WIDTH") == content_hash("full", "", "width")


def test_text_starts_with_the_prompt() -> None:
    row = Row("1", "s", "Add", "1 2", "3")
    assert row.text == row.prompt + "3"
    assert "Add\n1 2" in row.prompt


@given(st.lists(st.tuples(st.text(), st.text(max_size=3), st.text()), min_size=1))
def test_arrows_texts_are_the_rows_texts(parts: list[tuple[str, str, str]]) -> None:
    rows = [Row("1", "s", *part) for part in parts]
    table = pa.RecordBatch.from_pylist([asdict(row) for row in rows])
    assert texts(table).to_pylist() == [row.text for row in rows]
    assert questions(table).to_pylist() == [row.question for row in rows]
