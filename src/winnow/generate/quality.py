"""Quality control: why a generated row is left out, and why a whole shard is.

A row is judged by itself and by plain rules, which are meant to be read. Whether it is harmful they
do not ask: the stage `curate` has a step for it, as for what repeats itself.
"""

import re
from collections.abc import Mapping

from winnow.core import languages
from winnow.core.cards import Ledger
from winnow.core.rouge import rouge_l
from winnow.core.words import cut
from winnow.generate.methods import Candidate
from winnow.generate.params import Checks

DUPLICATE = "duplicate"
"""How every reason begins that is no fault of a row's own, but that there is one like it."""

REFUSALS = (
    r"\bas an? (?:large |ai )*language model\b",
    r"\bas an? (?:ai|artificial intelligence)(?: model| assistant)?,? i\b",
    r"\bi(?:'m| am) (?:just|only) an? (?:ai|(?:large |ai )*language model)\b",
    r"^\W*(?:i(?:'m| am) |we(?:'re| are) )?(?:very |so |really )?(?:sorry|afraid)\b[^.!?\n]{0,80}"
    r"\b(?:can't|cannot|can not|won't|unable|not able|don't have|do not have)\b",
    r"^\W*i (?:can't|cannot|can not|won't|will not|am unable to|am not able to) "
    r"(?:assist|help|answer|comply|fulfill?|provide|create|generate|continue|do that)\b",
    r"^\W*(?:unfortunately,? )?i(?:'m| am) (?:unable|not able) to\b",
)
"""How a model says that it does not answer, in lower case and with straight apostrophes."""

TEMPLATES = (
    r"<\|[A-Za-z_]+\|>|<(?:start|end)_of_turn>",
    r"\[/?INST\]|<</?SYS>>",
    r"^#{2,} *(?:Instruction|Input|Response|User|Assistant|System)\b",
    r"^(?:Human|Assistant|Instruction|Response):",
    r"^Task \d+(?: \[|:?$)",
)
"""What tells turns and tasks apart in prompts, and has no place in a text: signs of chat formats,
headings of instruction prompts, and the numbers and names in this project's few-shot prompt."""

FENCE = re.compile(r"^\s*(?:```|~~~)\s*[\w+#.-]*\s*$", re.MULTILINE)
"""A line that opens or closes a block of code."""
_REFUSAL = re.compile("|".join(REFUSALS))
_TEMPLATE = re.compile("|".join(TEMPLATES), re.MULTILINE)


def _length_reason(part: str, text: str, checks: Checks) -> str | None:
    words = len(cut(text))
    if words < getattr(checks, f"min_{part}_words"):
        return f"{part} too short"
    return f"{part} too long" if words > getattr(checks, f"max_{part}_words") else None


def is_junk(text: str) -> bool:
    """Whether a text has no letter or digit beside the lines that open or close blocks of code."""
    return not any(map(str.isalnum, FENCE.sub("", text)))


def is_refusal(response: str) -> bool:
    """Whether a response says that there is none, by one of REFUSALS."""
    return (
        _REFUSAL.search(response.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
        is not None
    )


def reason_of(candidate: Candidate, checks: Checks) -> str | None:
    """Why a candidate is not published; None where it is.

    One that failed goes for its own reason.
    """
    if candidate.failure:
        return candidate.failure
    parts: Mapping[str, str] = {
        "instruction": candidate.instruction,
        "response": candidate.response,
    }
    for part, text in parts.items():
        if is_junk(text):
            return f"{part} of nothing but fences or signs"
    if _TEMPLATE.search("\n".join([*parts.values(), candidate.input])):
        return "a sign of the prompt's template in the text"
    if is_refusal(candidate.response):
        return "the response is a refusal"
    for part, text in parts.items():
        if reason := _length_reason(part, text, checks):
            return reason
    if rouge_l(candidate.response, candidate.instruction) > checks.max_echo:
        return "the response repeats the instruction"
    return _language_reason(candidate, checks) if checks.languages else None


def _language_reason(candidate: Candidate, checks: Checks) -> str | None:
    """Why a row's language speaks against it, by what the step `language` of curate goes by."""
    text = " ".join(f"{candidate.instruction} {candidate.input} {candidate.response}".split())
    ((code, share),) = languages.detect([text])
    return languages.reason(code, share, checks.languages, checks.min_language)


def verdict(ledger: Ledger, checks: Checks) -> list[str]:
    """Why a shard is not published, with the numbers; nothing where it is.

    Args:
        ledger: of its candidates; reasons that begin with DUPLICATE count as duplicates, all
            others as failures.
        checks: what it has to be.
    """
    if not ledger.rows_in:
        return ["there is no candidate"]
    duplicates = sum(n for reason, n in ledger.dropped.items() if reason.startswith(DUPLICATE))
    failed = ledger.dropped.total() - duplicates
    sound = ledger.rows_in - failed
    found = []
    if failed / ledger.rows_in > checks.max_failed:
        found.append(
            f"{failed} of {ledger.rows_in} candidates failed, a share of "
            f"{failed / ledger.rows_in:.3f} above max_failed, {checks.max_failed}"
        )
    if sound and duplicates / sound > checks.max_duplicates:
        found.append(
            f"{duplicates} of {sound} sound candidates are duplicates, a share of "
            f"{duplicates / sound:.3f} above max_duplicates, {checks.max_duplicates}"
        )
    if ledger.rows_out < checks.min_rows:
        found.append(f"{ledger.rows_out} rows are left, below min_rows, {checks.min_rows}")
    return found
