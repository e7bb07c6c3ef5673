"""The quality score: clarity, response quality, diversity and complexity, each in [0, 1].

No model is asked and nothing is downloaded: the score is a sum of plain tests on the text. It is a
hypothesis about quality, and the experiments are the test of it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import textstat
from tokenizers import Tokenizer

WEIGHTS = {"clarity": 0.25, "response_quality": 0.35, "diversity": 0.2, "complexity": 0.2}

DIRECTIVES = ("explain", "describe", "write", "create", "analyze")
LIST_ITEM = re.compile(r"^\d+\.|\-\s", re.MULTILINE)
COMMON_TOPICS = ("python", "code", "explain", "write", "create")
STEP_WORDS = ("first", "second", "then", "finally", "step")
DEEP_QUESTIONS = ("why", "how", "analyze", "compare", "evaluate")


def _by_length(words: int, low: int, high: int, scores: tuple[float, float]) -> float:
    short, long = scores
    return short if words < low else long if words > high else 1.0


def _count(words: Sequence[str], text: str) -> int:
    """How many of the words occur in the text, as substrings."""
    return sum(word in text for word in words)


def _readability(instruction: str) -> float:
    """Flesch reading ease (Flesch 1948) over 100, at most 1; 0.5 where it is not positive."""
    try:
        ease = textstat.flesch_reading_ease(instruction)
    except Exception:  # whatever textstat raises, the documented score of it is 0.7
        return 0.7
    return min(ease / 100, 1.0) if ease > 0 else 0.5


def clarity(instruction: str) -> float:
    """Length of 5 to 100 words, a question mark or a directive, and readability; their mean."""
    length = _by_length(len(instruction.split()), 5, 100, (0.5, 0.7))
    directed = "?" in instruction or _count(DIRECTIVES, instruction.lower()) > 0
    return (length + (1.0 if directed else 0.6) + _readability(instruction)) / 3


def response_quality(response: str) -> float:
    """Length of 10 to 500 words, paragraphs or a list, and sentences of varied length."""
    length = _by_length(len(response.split()), 10, 500, (0.3, 0.8))
    structure = 1.0 if "\n\n" in response or LIST_ITEM.search(response) else 0.7
    sentences = response.split(".")
    if len(sentences) > 2:
        lengths = [len(sentence.split()) for sentence in sentences if sentence.strip()]
        varied = bool(lengths) and np.std(lengths) > 3
        coherence = 1.0 if varied else 0.7
    else:
        coherence = 0.6
    return (length + structure + coherence) / 3


def diversity(combined: str, tokens: Sequence[str]) -> float:
    """Share of distinct tokens (doubled, at most 1) and bigrams, less a tenth a common topic."""
    vocabulary = min(len(set(tokens)) / len(tokens) * 2, 1.0) if tokens else 0.0
    # Joined as text, as documented: two bigrams that spell the same count as one.
    bigrams = [f"{one}_{two}" for one, two in zip(tokens, tokens[1:], strict=False)]
    distinct = len(set(bigrams)) / len(bigrams) if bigrams else 0.0
    topic = 1.0 - _count(COMMON_TOPICS, combined.lower()) * 0.1
    return (vocabulary + distinct + topic) / 3


def complexity(instruction: str, response: str) -> float:
    """Words that order steps (0.3 each, at most 1), code, and a question that asks why or how."""
    steps = min(_count(STEP_WORDS, response.lower()) * 0.3, 1.0)
    technical = 1.0 if "```" in response or "def " in response else 0.6
    question = 1.0 if _count(DEEP_QUESTIONS, instruction.lower()) else 0.5
    return (steps + technical + question) / 3


class QualityScorer:
    """Scores instruction-response pairs.

    Args:
        tokenizer: a folder that holds tokenizer.json, a hub id such as "gpt2", a
            `tokenizers.Tokenizer`, or anything with a `tokenize(text)` method.

    Raises:
        ValueError: the tokenizer cannot be had.
    """

    def __init__(self, tokenizer: Any = "gpt2") -> None:
        self._tokenizer = self._load(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer

    @staticmethod
    def _load(name: str | Path) -> Tokenizer:
        file = Path(name) / "tokenizer.json"
        try:
            return (
                Tokenizer.from_file(str(file))
                if file.exists()
                else Tokenizer.from_pretrained(str(name))
            )
        except Exception as error:  # tokenizers raises bare Exception
            raise ValueError(
                f"no tokenizer {str(name)!r}: {file} does not exist and the hub gave {error}"
            ) from None

    def _tokenize(self, texts: list[str]) -> list[list[str]]:
        if isinstance(self._tokenizer, Tokenizer):
            encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
            return [encoding.tokens for encoding in encoded]
        return [self._tokenizer.tokenize(text) for text in texts]

    def score_sample(self, sample: Mapping[str, str]) -> tuple[float, dict[str, float]]:
        """Score one pair.

        Args:
            sample: `instruction`, `response`, and maybe `input`, which is read as the
                instruction's last line.

        Returns:
            The weighted total and the four dimensions, each in [0, 1].
        """
        total, parts, _ = self.score_batch([sample])[0]
        return total, parts

    def score_batch(
        self, samples: Sequence[Mapping[str, str]]
    ) -> list[tuple[float, dict[str, float], int]]:
        """Score many pairs; returns total, dimensions and the number of tokens of each."""
        instructions = [
            f"{sample['instruction']}\n{sample['input']}"
            if sample.get("input")
            else sample["instruction"]
            for sample in samples
        ]
        combined = [
            f"{instruction} {sample['response']}"
            for instruction, sample in zip(instructions, samples, strict=True)
        ]
        scored = []
        for sample, instruction, text, tokens in zip(
            samples, instructions, combined, self._tokenize(combined), strict=True
        ):
            parts = {
                "clarity": clarity(instruction),
                "response_quality": response_quality(sample["response"]),
                "diversity": diversity(text, tokens),
                "complexity": complexity(instruction, sample["response"]),
            }
            total = sum(parts[name] * weight for name, weight in WEIGHTS.items())
            scored.append((total, parts, len(tokens)))
        return scored
