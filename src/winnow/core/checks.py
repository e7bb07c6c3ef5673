"""Whether a program accepts a text as the answer to a question."""

import re
from typing import Literal, get_args

Check = Literal["exact", "contains", "number"]
CHECKS: tuple[Check, ...] = get_args(Check)


def holds(check: Check, answer: str, text: str) -> bool:
    """Whether a text has the answer that is looked for.

    exact: the text is the answer. contains: the answer occurs as words, in any case. number: the
    last number of the text equals it.

    Raises:
        ValueError: the answer is no number, and one is looked for.
    """
    if check == "exact":
        return text.strip() == answer.strip()
    if check == "contains":
        word = rf"(?<!\w){re.escape(answer.lower())}(?!\w)"
        return re.search(word, text.lower()) is not None
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
    return bool(numbers) and float(numbers[-1]) == float(answer)
