"""Sampled completions, what they are like, and whether they do what was asked.

The four qualities are plain counts with a source each, between 0 and 1; none asks a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from winnow.progress import progress
from winnow.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked, and what is known about the answer."""

    text: str
    reference: str | None = None
    """A response to compare with, or:"""
    answer: str | None = None
    """the answer that a program checks, in the way that `check` names."""
    check: str | None = None


def passes(prompt: Prompt, completion: str) -> bool:
    """Whether a completion holds the checked answer.

    exact: the completion is the answer. contains: the answer occurs as words, in any case.
    number: the last number of the completion equals it.
    """
    assert prompt.answer is not None
    if prompt.check == "exact":
        return completion.strip() == prompt.answer.strip()
    if prompt.check == "contains":
        word = rf"(?<!\w){re.escape(prompt.answer.lower())}(?!\w)"
        return re.search(word, completion.lower()) is not None
    if prompt.check == "number":
        numbers = re.findall(r"-?\d+(?:\.\d+)?", completion.replace(",", ""))
        return bool(numbers) and float(numbers[-1]) == float(prompt.answer)
    raise ValueError(f"unknown check {prompt.check!r}: exact, contains or number")


@torch.no_grad()
def complete(
    model: GPT2LMHeadModel,
    prompts: Sequence[Prompt],
    vocabulary: Vocabulary,
    *,
    num_samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    seed: int,
) -> list[list[str]]:
    """Sample completions by nucleus sampling (Holtzman et al. 2020).

    Args:
        model: in evaluation mode.
        prompts: each leaves room for a completion in the model's context.
        vocabulary: the tokenizer.
        num_samples: completions a prompt.
        max_new_tokens: where a completion is cut if it does not end by itself, at the latest the
            end of the context.
        temperature: of the softmax.
        top_p: mass of the nucleus.
        batch_size: prompts at a time.
        seed: of the draws.

    Returns:
        For each prompt its completions, in the order given.
    """
    torch.manual_seed(seed)
    device = next(model.parameters()).device
    found: list[list[str]] = []
    for start in progress(range(0, len(prompts), batch_size), "generate", "batches"):
        chosen = prompts[start : start + batch_size]
        encodings = vocabulary.encodings([prompt.text for prompt in chosen])
        ids = [[vocabulary.end_of_text, *encoding.ids] for encoding in encodings]
        width = max(map(len, ids))
        padded = [[vocabulary.end_of_text] * (width - len(item)) + item for item in ids]
        mask = [[0] * (width - len(item)) + [1] * len(item) for item in ids]
        output = model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,
            num_return_sequences=num_samples,
            max_new_tokens=min(max_new_tokens, model.config.n_positions - width),
            pad_token_id=vocabulary.end_of_text,
        )[:, width:].cpu()
        texts = vocabulary.tokenizer.decode_batch(output.tolist(), skip_special_tokens=True)
        found += [texts[i : i + num_samples] for i in range(0, len(texts), num_samples)]
    return found


def repetition(text: str, size: int = 4) -> float | None:
    """Share of word 4-grams that repeat an earlier one: seq-rep-4 of Welleck et al. 2020."""
    words = text.split()
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def distinct(texts: Sequence[str], size: int = 2) -> float | None:
    """Distinct word bigrams over all bigrams of some texts: distinct-2 of Li et al. 2016."""
    grams = [gram for text in texts for gram in zip(text.split(), text.split()[1:], strict=False)]
    return len(set(grams)) / len(grams) if grams else None


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of lower-case words: ROUGE-L of Lin 2004."""
    one, two = candidate.lower().split(), reference.lower().split()
    row = [0] * (len(two) + 1)
    for word in one:
        before = row[:]
        for index, other in enumerate(two):
            row[index + 1] = (
                before[index] + 1 if word == other else max(row[index], before[index + 1])
            )
    return 2 * row[-1] / (len(one) + len(two)) if one or two else 0.0


def length_ratio(candidate: str, reference: str) -> float:
    """The shorter of two texts over the longer one, in words."""
    one, two = len(candidate.split()), len(reference.split())
    return min(one, two) / max(one, two) if one or two else 1.0


def _mean(
    values: Sequence[float | None], name: str, why: str, reasons: dict[str, str]
) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        reasons[name] = why
        return None
    return sum(known) / len(known)


def analyse(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The documented generation metrics, means over prompts; an undefined one is null with why.

    coherence: 1 - seq-rep-4 of a completion. diversity: distinct-2 over a prompt's completions.
    instruction_following: ROUGE-L against the reference response. length_appropriateness: length
    ratio to it. task_completion: share of samples whose answer a program accepts.
    """
    coherence, diversity, following, length, passed = [], [], [], [], []
    for prompt, texts in zip(prompts, completions, strict=True):
        repeats = [repetition(text) for text in texts]
        coherence += [None if value is None else 1 - value for value in repeats]
        diversity.append(distinct(texts))
        if prompt.reference is not None:
            following += [rouge_l(text, prompt.reference) for text in texts]
            length += [length_ratio(text, prompt.reference) for text in texts]
        if prompt.answer is not None:
            passed += [float(passes(prompt, text)) for text in texts]
    reasons: dict[str, str] = {}
    return {
        "coherence": _mean(coherence, "coherence", "no completion of four words", reasons),
        "diversity": _mean(diversity, "diversity", "no completion of two words", reasons),
        "instruction_following": _mean(following, "instruction_following", "no reference", reasons),
        "length_appropriateness": _mean(length, "length_appropriateness", "no reference", reasons),
        "task_completion": _mean(passed, "task_completion", "no checkable task given", reasons),
        "num_prompts": len(prompts),
        "num_samples": sum(map(len, completions)),
        "reasons": reasons,
    }
