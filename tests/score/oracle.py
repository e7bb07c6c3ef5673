"""The documented formulas, written out plainly and slowly: what every scorer must equal."""

import re

import numpy as np
import textstat


def score(instruction, response, tokenize):  # type: ignore[no-untyped-def]
    """Total and the four dimensions of one pair, straight from the documented definitions."""
    n = len(instruction.split())
    length = 0.5 if n < 5 else 0.7 if n > 100 else 1.0
    lower = instruction.lower()
    directive = any(w in lower for w in ["explain", "describe", "write", "create", "analyze"])
    structure = 1.0 if "?" in instruction or directive else 0.6
    try:
        ease = textstat.flesch_reading_ease(instruction)
        reading = min(ease / 100, 1.0) if ease > 0 else 0.5
    except Exception:
        reading = 0.7
    clarity = (length + structure + reading) / 3

    n = len(response.split())
    length = 0.3 if n < 10 else 0.8 if n > 500 else 1.0
    listed = bool(re.search(r"^\d+\.|\-\s", response, re.MULTILINE))
    structure = 1.0 if "\n\n" in response or listed else 0.7
    sentences = response.split(".")
    coherence = 0.6
    if len(sentences) > 2:
        counts = [len(s.split()) for s in sentences if s.strip()]
        coherence = 1.0 if counts and np.std(counts) > 3 else 0.7
    quality = (length + structure + coherence) / 3

    both = instruction + " " + response
    tokens = tokenize(both)
    vocabulary = min(len(set(tokens)) / len(tokens) * 2, 1.0) if tokens else 0
    pairs = [f"{tokens[i]}_{tokens[i + 1]}" for i in range(len(tokens) - 1)]
    bigrams = len(set(pairs)) / len(pairs) if pairs else 0
    topics = sum(1 for t in ["python", "code", "explain", "write", "create"] if t in both.lower())
    diversity = (vocabulary + bigrams + (1.0 - topics * 0.1)) / 3

    steps = sum(1 for w in ["first", "second", "then", "finally", "step"] if w in response.lower())
    technical = 1.0 if "```" in response or "def " in response else 0.6
    deep = any(w in lower for w in ["why", "how", "analyze", "compare", "evaluate"])
    complexity = (min(steps * 0.3, 1.0) + technical + (1.0 if deep else 0.5)) / 3

    parts = {
        "clarity": clarity,
        "response_quality": quality,
        "diversity": diversity,
        "complexity": complexity,
    }
    total = 0.25 * clarity + 0.35 * quality + 0.2 * diversity + 0.2 * complexity
    return total, parts
