"""The content hash: the same text by any spelling, and no other."""

from hypothesis import given
from hypothesis import strategies as st

from winnow.records import Row, content_hash


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
