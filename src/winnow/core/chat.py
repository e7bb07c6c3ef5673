"""A judge's talk with a service of OpenAI's chat protocol: nothing is asked twice.

Every answer is a file below .winnow/judge, named by the hash of the address and of what was asked,
so that a killed run goes on where it was and no answer is bought twice.
"""

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.core import files, layout
from winnow.core.errors import Refusal
from winnow.core.http import check_url
from winnow.core.service import PAUSES, Said, Service, Unanswered, key_of, said

CACHE = layout.STATE / "judge"
TO_A_JUDGE = re.compile(
    r"(?i)\b(ignore|disregard)\b.{0,40}\b(rubric|instructions?|rules|above)\b"
    r"|\bscore\b.{0,20}\b(10|ten)\b|\{\s*\"(score|better)\"\s*:"
)
"""What an answer says that seems to speak to its judge."""


def reach(url: str, model: str, variable: str | None, timeout: float, unit: str = "rows") -> "Chat":
    """Look at a service's address and at its key's environment variable.

    Args:
        url: up to and without /chat/completions.
        model: as the service names it.
        variable: that holds the key; None without one.
        timeout: seconds for a request as a whole.
        unit: what a request is to the user.

    Raises:
        Refusal: one of the two is none.
    """
    key = key_of(variable)
    check_url(url, key is not None)
    return Chat(Service(url, key, timeout, PAUSES, unit), model)


@dataclass(slots=True)
class Chat:
    """A model of a service."""

    service: Service
    model: str
    _asking: dict[str, threading.Lock] = field(default_factory=dict)
    """By request: of equal ones that are asked at the same time one is bought."""

    def ask(self, system: str, user: str, max_tokens: int) -> dict[str, Any] | None:
        """The content and the tokens of an answer, of before or of now; None for no answer.

        Raises:
            Refusal: no request would be answered.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        asked = {"model": self.model, "messages": messages, "temperature": 0}
        body = json.dumps(asked | {"max_tokens": max_tokens}, sort_keys=True).encode()
        name = files.bytes_hash(self.service.url.encode() + b"\0" + body)
        path = CACHE / name[:2] / f"{name}.json"
        with self._asking.setdefault(name, threading.Lock()):
            if kept := _kept(path):
                return kept
            got = self.service.ask("/chat/completions", body, _with_content)
            if isinstance(got, Unanswered):
                return None
            answer = {"content": got.text, "tokens": [got.prompt_tokens, got.reply_tokens]}
            files.write_json(path, answer)
            return answer


def json_object(content: str) -> dict[str, Any] | None:
    """An answer that is one flat JSON object, maybe in a fence; None of any other."""
    fenced = re.fullmatch(r"\s*(?:```(?:json)?\s*)?(\{[^{}]*\})\s*(?:```)?\s*", content)
    try:
        found: dict[str, Any] | None = json.loads(fenced[1]) if fenced else None
    except ValueError:
        return None
    return found


def _with_content(body: bytes) -> Said | None:
    found = said(body)
    return found if found and found.text is not None else None


def _kept(path: Path) -> dict[str, Any] | None:
    """An answer of before."""
    try:
        answer = files.read_json(path)
    except Refusal:
        return None
    is_whole = isinstance(answer, dict) and isinstance(answer.get("content"), str)
    return answer if is_whole and isinstance(answer.get("tokens"), list) else None
