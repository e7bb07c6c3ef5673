"""A service that speaks OpenAI's chat protocol: asked by several workers at once, nothing twice.

Every answer is a file below .winnow/judge, named by the hash of the address and of what was asked,
so that a killed run goes on where it was and no answer is bought twice. The key is in an
environment variable and nowhere else: it goes into a header, and no message of ours quotes what the
service says.
"""

import ipaddress
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from winnow.core import files, http, layout
from winnow.core.errors import Refusal

CACHE = layout.STATE / "judge"
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each repetition of a request that failed for no fault of its own."""
LONGEST_PAUSE = 600.0
"""Seconds that the service may ask for; beyond that it is for the user to come back."""
PATIENCE = 5
"""Requests in a row without an answer, after which the service is taken to be down."""


def check_url(url: str, has_key: bool) -> None:
    """Refuse an address that is no service of the user's.

    Raises:
        Refusal: it is not of http or https, cannot be resolved, leads to a link-local address,
            where clouds keep their secrets, or would carry a key unencrypted to another machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise Refusal(f"url: expected http:// or https:// and a host, found {url!r}")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        raise Refusal(f"url: the host {parts.hostname!r} cannot be found") from None
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    if any(address.is_link_local or address.is_multicast for address in addresses):
        raise Refusal(
            f"url: {parts.hostname!r} leads to a link-local address, which is never asked"
        )
    if has_key and parts.scheme == "http" and not all(a.is_loopback for a in addresses):
        raise Refusal("url: expected https://, as a key is sent along")


def key_of(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named.

    Raises:
        Refusal: there is none, or it is no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise Refusal(
            f"key: the environment variable {variable} " + ("holds no key" if key else "is not set")
        )
    return key


@dataclass(slots=True)
class Chat:
    """A service, and how long it has been silent."""

    url: str
    """Up to and without /chat/completions."""
    model: str
    key: str | None
    timeout: float
    silent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, system: str, user: str, max_tokens: int) -> dict[str, Any] | None:
        """The content and the tokens of an answer, of before or of now; None for no answer.

        Raises:
            Refusal: no request would be answered.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        asked = {"model": self.model, "messages": messages, "temperature": 0}
        body = json.dumps(asked | {"max_tokens": max_tokens}, sort_keys=True).encode()
        name = files.bytes_hash(self.url.encode() + b"\0" + body)
        path = CACHE / name[:2] / f"{name}.json"
        answer = _kept(path) or self._bought(body)
        if answer and not path.exists():
            files.write_json(path, answer)
        self._count(answer is None)
        return answer

    def _count(self, is_silent: bool) -> None:
        with self.lock:
            self.silent = self.silent + 1 if is_silent else 0
            if self.silent >= PATIENCE:
                raise Refusal(
                    f"{self.url} does not answer ({PATIENCE} rows in a row): run this again later, "
                    "what it answered is kept"
                )

    def _bought(self, body: bytes) -> dict[str, Any] | None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        for pause in (*PAUSES, None):
            status, answer, retry_after = http.post(
                f"{self.url.rstrip('/')}/chat/completions", body, headers, self.timeout
            )
            if status == 200 and (read := _read(answer)):
                return read
            if 300 <= status < 500 and status not in (408, 429):
                raise Refusal(
                    f"{self.url} refuses (HTTP {status}): check url, model and the key's variable"
                )
            if pause is not None:
                wait = max(pause, http.seconds(retry_after))
                if wait > LONGEST_PAUSE:
                    raise Refusal(
                        f"{self.url} asks to come back in {wait:.0f} s: run this again then, what "
                        "it answered is kept"
                    )
                time.sleep(wait)
        return None


def _read(body: bytes) -> dict[str, Any] | None:
    """What an answer says; None where it is not what the protocol promises."""
    try:
        answer = json.loads(body)
        content = answer["choices"][0]["message"]["content"]
        used = answer.get("usage") or {}
        tokens = [int(used.get(f"{part}_tokens") or 0) for part in ("prompt", "completion")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return {"content": content, "tokens": tokens} if isinstance(content, str) else None


def _kept(path: Path) -> dict[str, Any] | None:
    """An answer of before."""
    try:
        answer = files.read_json(path)
    except Refusal:
        return None
    is_whole = isinstance(answer, dict) and isinstance(answer.get("content"), str)
    return answer if is_whole and isinstance(answer.get("tokens"), list) else None
