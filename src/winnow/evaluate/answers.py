"""Test rows answered greedily, and how near the answers come to the right ones.

Exact match and F1 are SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250), with what SQuAD 2.0 says
of texts without a word (Rajpurkar et al. 2018, arXiv 1806.03822); ROUGE-L is core/rouge.py's. Of
several right answers the nearest one counts, for each figure by itself.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from winnow.core.errors import Refusal
from winnow.core.mapping.fields import plain_name
from winnow.core.records import KEPT, Row
from winnow.core.rouge import rouge_l
from winnow.evaluate.params import Answers
from winnow.models.judged import Judged, JudgedSeq2Seq
from winnow.models.sampling import Sampling

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
GREEDY = 1e-6
"""A nucleus that holds the most probable token alone."""


def words(text: str) -> list[str]:
    """The words of an answer that are compared: in lower case, without ASCII punctuation, which
    joins what it stood between, and without articles."""
    return _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def exact_match(answer: str, right: str) -> float:
    """Whether two answers have the same words, 1 or 0."""
    return float(words(answer) == words(right))


def f1(answer: str, right: str) -> float:
    """The harmonic mean of precision and recall over words, each as often as it stands there, in
    [0, 1]; where one of the answers has none, whether both have none."""
    given, wanted = words(answer), words(right)
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))


FIGURES: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "f1": f1,
    "rouge_l": rouge_l,
}
"""Of an answer and a right one, in [0, 1]."""


def best(answer: str, rights: Sequence[str]) -> dict[str, float]:
    """Each figure of an answer, against the right one that is nearest by it.

    As in SQuAD 2.0 right answers without a word are left out; where none is left, none is right.
    """
    filled = [right for right in rights if words(right)] or [""]
    return {name: max(of(answer, right) for right in filled) for name, of in FIGURES.items()}


def rights_of(value: str) -> list[str]:
    """The right answers that a kept column holds.

    Args:
        value: JSON as ingest keeps it, in one of SQuAD's layouts: a list of texts, a list of
            objects with a `text`, or an object whose `text` is a list.

    Raises:
        ValueError: it is none of these.
    """
    found: Any = json.loads(value)
    if isinstance(found, dict):
        found = found.get("text")
    listed = found if isinstance(found, list) else []
    texts = [one.get("text") if isinstance(one, dict) else one for one in listed]
    given = [text for text in texts if isinstance(text, str)]
    if not given or len(given) < len(texts):
        raise ValueError("no list of texts")
    return given


def right_answers(rows: pa.Table, settings: Answers) -> list[list[str]]:
    """All right answers of each test row: its response, or those of a column that ingest kept.

    Raises:
        Refusal: there is no such column, or a row's value is no list of answers.
    """
    if settings.column is None:
        return [[response] for response in rows["response"].to_pylist()]
    name = f"{KEPT}{plain_name(settings.column)}"
    if name not in rows.column_names:
        raise Refusal(
            f"params.yaml: evaluate.answers.column: the test rows have no column "
            f"{settings.column!r}: name it in ingest.keep"
        )
    found = []
    for row_id, value in zip(rows["id"].to_pylist(), rows[name].to_pylist(), strict=True):
        try:
            found.append(rights_of(value))
        except (ValueError, TypeError) as error:
            raise Refusal(
                f"params.yaml: evaluate.answers.column: row {row_id} has no list of answers in "
                f"{settings.column!r}: {error}"
            ) from None
    return found


def answered(judged: Judged, questions: Sequence[str], settings: Answers, batch: int) -> list[str]:
    """A model's most probable answer to each question, token by token; empty where a question
    leaves a decoder no room for one."""
    sampling = Sampling(
        num_samples=1,
        max_new_tokens=min(settings.max_new_tokens, judged.context - 1),
        temperature=1.0,
        top_p=GREEDY,
        batch_size=batch,
        seed=0,
    )
    ids = judged.prompt_ids(questions)
    room = judged.context - sampling.max_new_tokens
    if isinstance(judged, JudgedSeq2Seq):
        room = judged.context
    fitting = [place for place, tokens in enumerate(ids) if len(tokens) <= room]
    texts = judged.complete([ids[place] for place in fitting], sampling) if fitting else []
    found = [""] * len(questions)
    for place, (text,) in zip(fitting, texts, strict=True):
        found[place] = text.strip()
    return found


def ask(
    judged: Judged, rows: pa.Table, rights: Sequence[Sequence[str]], settings: Answers, batch: int
) -> tuple[pa.Table, dict[str, float]]:
    """Ask a model all test rows.

    Args:
        judged: the model.
        rows: the test rows, ROW_SCHEMA.
        rights: the right answers of each.
        settings: how long an answer may be.
        batch: rows at a time; nothing depends on it.

    Returns:
        A row a test row: id, source, answer, rights and FIGURES; and the means of FIGURES.
    """
    given = [Row(**row) for row in rows.to_pylist()]
    answers = answered(judged, [row.question for row in given], settings, batch)
    figures = [best(answer, right) for answer, right in zip(answers, rights, strict=True)]
    columns: dict[str, Any] = {name: [each[name] for each in figures] for name in FIGURES}
    head = {"id": rows["id"], "source": rows["source"], "answer": answers, "rights": list(rights)}
    means = {name: sum(values) / len(values) for name, values in columns.items()}
    return pa.table(head | columns), means
