"""The documented score: clarity, response quality, diversity and complexity, each in [0, 1].

No model is asked and nothing is downloaded: the score is a sum of plain tests on the text. It is a
hypothesis about quality, and the experiments are the test of it. The kernels count, the formulas
are here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from winnow.core.errors import Refusal, loading
from winnow.core.mapping.fields import Unmapped
from winnow.core.mapping.pair import to_pair
from winnow.core.records import SCORE_SCHEMA, WEIGHTS, questions
from winnow.core.utf8 import Places, buffers
from winnow.core.words import classes
from winnow.models.tokenizer import encoder
from winnow.score import kernels
from winnow.score.automaton import automaton
from winnow.score.flesch import reading_ease

Values = npt.NDArray[np.float64]

SCORES = tuple(name for name in SCORE_SCHEMA.names if name not in ("id", "hash", "source"))
"""What is said of a row: the score, the four dimensions, num_tokens, num_response_words."""

BATCH_ROWS = 4096
"""Rows in canonical form that are in memory at once: a matter of memory, not of results."""

DIRECTIVES = ("explain", "describe", "write", "create", "analyze")
COMMON_TOPICS = ("python", "code", "explain", "write", "create")
STEP_WORDS = ("first", "second", "then", "finally", "step")
DEEP_QUESTIONS = ("why", "how", "analyze", "compare", "evaluate")
QUESTION_MARK, PARAGRAPH, FENCE = "?", "\n\n", "```"

PATTERNS = tuple(
    dict.fromkeys(
        (*DIRECTIVES, *COMMON_TOPICS, *STEP_WORDS, *DEEP_QUESTIONS, QUESTION_MARK, PARAGRAPH, FENCE)
    )
)


def _found(hits: Places, *patterns: str) -> Places:
    """How many of the patterns are among those that were hit."""
    chosen = sum(1 << PATTERNS.index(pattern) for pattern in patterns)
    found: Places = np.bitwise_count(hits & chosen).astype(np.int64)
    return found


def _by_length(words: Places, low: int, high: int, short: float, long: float) -> Values:
    return np.where(words < low, short, np.where(words > high, long, 1.0))


def clarity(counts: Mapping[str, Places], ease: Values) -> dict[str, Values]:
    """Length of 5 to 100 words, a question mark or a directive, and readability.

    Readability is Flesch reading ease over 100, at most 1; 0.5 where it is not positive.
    """
    directed = _found(counts["question_hits"], QUESTION_MARK, *DIRECTIVES) > 0
    return {
        "length": _by_length(counts["question_words"], 5, 100, 0.5, 0.7),
        "question or directive": np.where(directed, 1.0, 0.6),
        "readability": np.where(ease > 0, np.minimum(ease / 100, 1.0), 0.5),
    }


def response_quality(
    counts: Mapping[str, Places], varied: npt.NDArray[np.bool_]
) -> dict[str, Values]:
    """Length of 10 to 500 words, paragraphs or a list, and sentences of varied length."""
    structured = (counts["listed"] > 0) | (_found(counts["response_hits"], PARAGRAPH) > 0)
    return {
        "length": _by_length(counts["response_words"], 10, 500, 0.3, 0.8),
        "paragraphs or list": np.where(structured, 1.0, 0.7),
        "varied sentences": np.where(counts["stops"] > 1, np.where(varied, 1.0, 0.7), 0.6),
    }


def diversity(counts: Mapping[str, Places]) -> dict[str, Values]:
    """Share of distinct tokens (doubled, at most 1) and bigrams, less a tenth a common topic."""
    tokens = counts["tokens"]
    hits = counts["question_hits"] | counts["response_hits"]
    return {
        "distinct tokens": np.minimum(counts["distinct_tokens"] / np.maximum(tokens, 1) * 2, 1.0),
        "distinct bigrams": counts["distinct_bigrams"] / np.maximum(tokens - 1, 1),
        "uncommon topic": 1.0 - _found(hits, *COMMON_TOPICS) * 0.1,
    }


def complexity(counts: Mapping[str, Places]) -> dict[str, Values]:
    """Words that order steps (0.3 each, at most 1), code, and a question that asks why or how."""
    hits = counts["response_hits"]
    technical = (hits & kernels.DEF > 0) | (_found(hits, FENCE) > 0)
    deep = _found(counts["question_hits"], *DEEP_QUESTIONS) > 0
    return {
        "steps": np.minimum(_found(hits, *STEP_WORDS) * 0.3, 1.0),
        "code": np.where(technical, 1.0, 0.6),
        "why or how": np.where(deep, 1.0, 0.5),
    }


def _varied(counts: Mapping[str, Places], responses: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether the numbers of words of a response's sentences deviate by more than 3.

    By whole numbers; where they are equal, it is numpy's rounding that decides, as documented.
    """
    number, total = counts["sentences"], counts["sentence_words"]
    excess = number * counts["sentence_squares"] - total**2 - 9 * number**2
    varied = excess > 0
    for row in np.flatnonzero((excess == 0) & (total % np.maximum(number, 1) != 0)):
        pieces = responses[int(row)].as_py().split(".")
        varied[row] = np.std([len(piece.split()) for piece in pieces if piece.strip()]) > 3
    return varied


def spell(vocabulary: Mapping[str, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The hash of every token by id, and the power of the base by which it shifts another one."""
    size = max(vocabulary.values(), default=0) + 1
    hashes, powers = np.zeros(size, np.uint64), np.ones(size, np.uint64)
    base, modulus = int(kernels.BASE), (1 << 64) - 1
    for token, number in vocabulary.items():
        hashed, power = 0, 1
        for byte in token.encode():
            hashed, power = (hashed * base + byte + 1) & modulus, (power * base) & modulus
        hashes[number], powers[number] = hashed, power
    return hashes, powers


class QualityScorer:
    """Scores instruction-response pairs. Threads may share one.

    Args:
        tokenizer: a folder that holds tokenizer.json, a hub id such as "gpt2", a
            `tokenizers.Tokenizer`, or a tokenizer of transformers that has one behind it.

    Raises:
        Refusal: the tokenizer cannot be had.
    """

    def __init__(self, tokenizer: Any = "gpt2") -> None:
        if isinstance(tokenizer, str | Path):
            tokenizer = _load(tokenizer)
        tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._tokenizer = tokenizer
        self._encode = encoder(tokenizer)
        self._spelling = spell(tokenizer.get_vocab())
        self._kinds, self._machine = classes(), automaton(PATTERNS)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the tokenizer: `Dataset.map` sends its function to processes and hashes it."""
        return QualityScorer, (self._tokenizer,)

    def score_sample(self, sample: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """Score one pair.

        Args:
            sample: columns by any name that ingest reads, such as `instruction`, `response`, and
                maybe `input`, which is read as the instruction's last line.

        Returns:
            The weighted total and the four dimensions, each in [0, 1].

        Raises:
            Refusal: the sample is no instruction with a response; the message says why.
        """
        scored = self.score_rows(_canonical([sample])).to_pylist()[0]
        return scored["score"], {name: scored[name] for name in WEIGHTS}

    def score(self, rows: Any) -> Any:
        """Score a collection of rows, and return the same kind with the columns of SCORES added.

        Args:
            rows: a list of mappings, a pandas DataFrame (its index stays), an Arrow Table, or a
                dataset of Hugging Face datasets; columns by any name that ingest reads.

        Raises:
            Refusal: a row is no instruction with a response (its number and the reason are named),
                or there is a column already that would be overwritten.
            TypeError: rows are of another kind.
        """
        if isinstance(rows, list):
            scores = pa.table(self._columns(rows)).to_pylist()
            return [{**row, **added} for row, added in zip(rows, scores, strict=True)]
        if isinstance(rows, pa.Table):
            for name, values in self._columns(rows.to_pylist()).items():
                rows = rows.append_column(name, pa.array(values))
            return rows
        # Only now: they take a second to import, which a caller with a list need not wait for.
        import pandas as pd

        if isinstance(rows, pd.DataFrame):
            return rows.assign(**self._columns(rows.to_dict("records")))
        from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

        if isinstance(rows, Dataset | DatasetDict | IterableDataset | IterableDatasetDict):
            return rows.map(self.score_batch, batched=True)
        raise TypeError(f"expected a list, DataFrame, Table or Dataset, found {type(rows)}")

    def score_batch(self, batch: Mapping[str, Any]) -> dict[str, list[float]]:
        """Score a batch as `Dataset.map(scorer.score_batch, batched=True)` hands it over.

        Args:
            batch: a list of values a column, all of one length; columns as in `score`.

        Returns:
            A list of values for each of SCORES.

        Raises:
            Refusal: as in `score`; the row's number counts in the batch.
        """
        names = list(batch)
        values = zip(*(batch[name] for name in names), strict=True)
        return self._columns([dict(zip(names, row, strict=True)) for row in values])

    def _columns(self, rows: Sequence[Any]) -> dict[str, list[float]]:
        """SCORES of rows whose columns the mapper has yet to find, some rows at a time."""
        columns: dict[str, list[float]] = {name: [] for name in SCORES}
        for start in range(0, len(rows), BATCH_ROWS):
            scored = self.score_rows(_canonical(rows[start : start + BATCH_ROWS], start))
            for name, values in columns.items():
                values += scored[name].to_pylist()
        return columns

    def score_rows(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Score canonical rows, without looking for columns.

        Args:
            rows: columns instruction, input and response; strings without nulls.

        Returns:
            Row by row: SCORES; num_response_words by `words.cut`.
        """
        parts, counts = self._parts(rows)
        means = {}
        for name, three in parts.items():
            first, second, third = three.values()
            means[name] = (first + second + third) / 3
        total = sum(means[name] * weight for name, weight in WEIGHTS.items())
        numbers = {"num_tokens": counts["tokens"], "num_response_words": counts["cut_words"]}
        return pa.RecordBatch.from_pydict({"score": total} | means | numbers)

    def explain(self, sample: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """What moved the score of one pair: by dimension the three parts that it is the mean of."""
        parts, _ = self._parts(_canonical([sample]))
        return {
            name: {part: float(values[0]) for part, values in three.items()}
            for name, three in parts.items()
        }

    def _parts(
        self, rows: pa.RecordBatch
    ) -> tuple[dict[str, dict[str, Values]], dict[str, Places]]:
        question, response = questions(rows), rows["response"].cast(pa.large_string())
        combined = pc.binary_join_element_wise(
            question, response, pa.scalar(" ", pa.large_string())
        )
        counts, ease = self._count(combined, pc.binary_length(question).to_numpy())
        parts = {
            "clarity": clarity(counts, ease),
            "response_quality": response_quality(counts, _varied(counts, response)),
            "diversity": diversity(counts),
            "complexity": complexity(counts),
        }
        return parts, counts

    def _count(self, combined: pa.Array, lengths: Places) -> tuple[dict[str, Places], Values]:
        data, offsets = buffers(combined)
        borders = offsets[:-1] + lengths
        counts = np.zeros((len(lengths), len(kernels.COUNTS)), np.int64)
        kernels.scan(data, offsets, borders, self._kinds, *self._machine, counts)
        kernels.count_tokens(*self._encode(combined), *self._spelling, counts)
        columns = dict(zip(kernels.COUNTS, counts.T, strict=True))
        return columns, reading_ease(data, offsets[:-1], borders)


def _canonical(rows: Sequence[Any], first: int = 0) -> pa.RecordBatch:
    """Instruction, input and response of rows by ingest's mapper; `first` is their first number."""
    pairs = []
    for number, row in enumerate(rows, first):
        try:
            pairs.append(to_pair(row)[:3])
        except Unmapped as error:
            raise Refusal(f"row {number}: {error}") from None
        if taken := [name for name in SCORES if name in row]:
            raise Refusal(f"row {number} has a column {taken[0]!r} already: rename or drop it")
    columns = zip(*pairs, strict=True) if pairs else ((), (), ())
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.record_batch(arrays, names=["instruction", "input", "response"])


def _load(name: str | Path) -> Tokenizer:
    file = Path(name) / "tokenizer.json"
    with loading(f"no tokenizer {str(name)!r}, neither {file} nor one of the hub"):
        return (
            Tokenizer.from_file(str(file))
            if file.is_file()
            else Tokenizer.from_pretrained(str(name))
        )
