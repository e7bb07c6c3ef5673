"""Questions of several turns, as MT-Bench asks them (Zheng et al. 2023, arXiv 2306.05685): each
stands behind the model's own answers to the turns before it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.core import params
from winnow.core.errors import Refusal

if TYPE_CHECKING:  # every stage reads the section of params.yaml, and most need no torch
    from winnow.models.judged import Judged
    from winnow.models.sampling import Sampling

FILE = "conversations/answers.jsonl"
"""Of a result: a line for each conversation, with `turns`, `reference` and `answers`."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a user asks, turn by turn."""

    turns: tuple[str, ...]
    reference: tuple[str, ...] | None
    """Good answers, where the file has one to every turn."""


def _texts(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise TypeError("expected a list of texts")
    return tuple(found)


def _conversation(line: bytes) -> Conversation:
    record = json.loads(line)
    turns, reference = _texts(record["turns"]), _texts(record.get("reference") or [""])
    is_whole = len(reference) == len(turns) and all(reference)
    return Conversation(turns, reference if is_whole else None)


def read(path: str | None) -> list[Conversation]:
    """Read a file of JSON lines in the layout of FastChat's `question.jsonl`: `turns`, and where
    there is one a `reference` to each.

    Raises:
        Refusal: the file is missing, or a line is no conversation.
    """
    if path is None:
        return []
    params.demand_file("evaluate.conversations", path)
    found = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        try:
            found += [_conversation(line)] if line.strip() else []
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Refusal(f"{path}:{number}: not a conversation ({error!r})") from None
    return found


def answer(
    judged: "Judged", conversations: Sequence[Conversation], sampling: "Sampling"
) -> list[list[str]]:
    """The model's answers to all turns of each conversation, one sample each.

    A conversation whose next turn would fill over half of the context ends before it, so that it
    has fewer answers than turns.

    Args:
        judged: the model.
        conversations: what is asked.
        sampling: how answers are drawn.

    Raises:
        Refusal: the model reads one question alone.
    """
    answers: list[list[str]] = [[] for _ in conversations]
    read: dict[int, list[int]] = {}
    for turn in range(max((len(one.turns) for one in conversations), default=0)):
        asked = {
            at: _ids(judged, read.get(at), answers[at], one.turns[turn])
            for at, one in enumerate(conversations)
            if len(answers[at]) == turn < len(one.turns)
        }
        read = {at: ids for at, ids in asked.items() if len(ids) <= judged.context // 2}
        said = judged.complete([*read.values()], sampling)
        for at, (text,) in zip(read, said, strict=True):
            answers[at].append(text)
    return answers


def _ids(judged: "Judged", read: list[int] | None, answers: list[str], question: str) -> list[int]:
    if read is None:
        (ids,) = judged.prompt_ids([question])
        return ids
    return judged.next_turn_ids(read, answers[-1], question)
