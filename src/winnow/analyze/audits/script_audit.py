"""Was the score made for these rows? It was made for English."""

import pyarrow as pa
import pyarrow.compute as pc


def script_audit(rows: pa.Table) -> dict[str, float]:
    """The share of rows whose letters are mostly not Latin.

    Letters are those of instruction and response. Costs a pass over the rows that are not ASCII.
    """
    texts = pc.binary_join_element_wise(rows["instruction"], rows["response"], " ")
    texts = texts.filter(pc.greater(pc.binary_length(texts), pc.utf8_length(texts)))
    letters, latin = (pc.count_substring_regex(texts, name) for name in (r"\p{L}", r"\p{Latin}"))
    other = pc.sum(pc.greater(letters, pc.multiply(latin, 2))).as_py() or 0
    return {"share_not_latin": other / len(rows)}
