"""Google's Perspective API: a remote judge of toxicity, asked slowly and nothing twice.

https://developers.perspectiveapi.com. The key is in the environment variable PERSPECTIVE_API_KEY
and nowhere else: it goes into a header, and no message of ours quotes what the service says beyond
the names of its errors. Every answer is a file below .winnow/perspective, named by the hash of what
was asked, so that a killed run goes on where it was.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import files, http, layout
from winnow.core.errors import Refusal
from winnow.core.progress import progress

URL = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
CACHE = layout.STATE / "perspective"
OF_THE_TEXT = (
    "COMMENT_EMPTY",
    "COMMENT_TOO_LONG",
    "LANGUAGE_DETECTION_FAILED",
    "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
)
"""The service's errors that are a matter of one text; any other one would meet every text."""
TIMEOUT = 60.0
"""Seconds until a request counts as unanswered."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each repetition of a request that failed for no fault of its text."""
LONGEST_PAUSE = 600.0
"""Seconds that the service may ask for; beyond that it is for the user to come back."""
PATIENCE = 5
"""Texts in a row without an answer, after which the service is taken to be down."""


def _key() -> str:
    key = os.environ.get("PERSPECTIVE_API_KEY", "").strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", key):  # else http.client would quote it in its error
        raise Refusal(
            "the environment variable PERSPECTIVE_API_KEY "
            + ("holds no key" if key else "is not set: toxicity.perspective needs it")
        )
    return key


def _names(body: bytes) -> list[str]:
    """The names of what went wrong; what else the service says of it might quote the key."""
    try:
        error = json.loads(body)["error"]
        found = [
            part.get(name) for part in error.get("details", []) for name in ("errorType", "reason")
        ]
        found.append(error.get("status"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return []
    return [name for name in found if re.fullmatch(r"[A-Z_]+", str(name))]


@dataclass(slots=True)
class Perspective:
    """The service at an agreed pace.

    Args:
        attributes: such as TOXICITY; see the service's list.
        per_second: requests a second, repetitions among them.
    """

    attributes: Sequence[str]
    per_second: float
    _next: float = 0.0

    def _send(self, body: bytes) -> http.Answer:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + 1 / self.per_second
        return http.post(URL, body, {"X-Goog-Api-Key": _key()}, TIMEOUT)

    def _read(self, answer: bytes) -> dict[str, Any] | None:
        """The scores in an answer; None where it is not what was promised."""
        try:
            found = json.loads(answer)["attributeScores"]
            scores = [float(found[name]["summaryScore"]["value"]) for name in self.attributes]
        except (ValueError, KeyError, TypeError):
            return None
        return {"scores": scores} if np.isfinite(scores).all() else None

    def _kept(self, path: Path) -> dict[str, Any] | None:
        """An answer of before; None where there is none, or it is not one of these attributes."""
        try:
            answer = files.read_json(path)
        except Refusal:
            return None
        if not isinstance(answer, dict):
            return None
        scores, reason = answer.get("scores"), answer.get("unscored")
        if isinstance(scores, list) and len(scores) == len(self.attributes):
            return {"scores": scores} if all(isinstance(one, float) for one in scores) else None
        return {"unscored": reason} if isinstance(reason, str) else None

    def _ask(self, body: bytes) -> dict[str, Any] | None:
        """The scores, or why there can be none for this text; None for no answer.

        Raises:
            Refusal: no text would be answered.
        """
        for pause in (*PAUSES, None):
            got = self._send(body)
            status = got.status
            if status == 200:
                return self._read(got.body)
            names = _names(got.body)
            if status == 400 and (of_text := [name for name in names if name in OF_THE_TEXT]):
                return {"unscored": of_text[0]}
            if status and status != 429 and status < 500:
                raise Refusal(
                    f"the Perspective API refuses ({' '.join([f'HTTP {status}', *names])}): check "
                    "PERSPECTIVE_API_KEY and the labels of toxicity"
                )
            if pause is not None:
                wait = max(pause, http.seconds(got.retry_after))
                if wait > LONGEST_PAUSE:
                    raise Refusal(
                        f"the Perspective API asks to come back in {wait:.0f} s: run this again "
                        "then, what it answered is kept"
                    )
                self._next = time.monotonic() + max(wait, 1 / self.per_second)
        return None

    def scores(self, texts: pa.Array) -> tuple[NDArray[np.float64], list[str | None]]:
        """Probabilities in [0, 1] as [texts, attributes], and by text why there are none.

        A text that has no score has NaN, never 0. Answers that say that a text cannot be scored
        are kept as well; a text without an answer is asked for again in the next run.

        Raises:
            Refusal: the key is missing or refused, the service is down, or no text at all could
                be scored.
        """
        _key()
        found = np.full((len(texts), len(self.attributes)), np.nan)
        reasons: list[str | None] = []
        silent = 0
        for place, text in enumerate(progress(texts, "perspective", "rows", len(texts))):
            asked = {
                "comment": {"text": text.as_py()},
                "requestedAttributes": {name: {} for name in self.attributes},
                "doNotStore": True,
            }
            body = json.dumps(asked).encode()
            # By the very text, not by the content hash, in which shouting is folded away.
            name = files.bytes_hash(body)
            path = CACHE / name[:2] / f"{name}.json"
            if (answer := self._kept(path)) is None and (answer := self._ask(body)):
                files.write_json(path, answer)
                silent = 0
            if answer is None:
                silent += 1
                answer = {"unscored": "no answer"}
            if silent == PATIENCE:
                raise Refusal(
                    f"the Perspective API does not answer ({PATIENCE} rows in a row): run this "
                    "again later, what it answered is kept"
                )
            found[place] = answer.get("scores", np.nan)
            reasons.append(answer.get("unscored"))
        if len(texts) and all(reasons):
            raise Refusal(f"the Perspective API scored no row: {counted(reasons)}")
        return found, reasons


def counted(reasons: Sequence[str | None]) -> str:
    """How many texts have no score, by reason."""
    counts = sorted(Counter(filter(None, reasons)).items())
    return ", ".join(f"{number} {reason}" for reason, number in counts)
