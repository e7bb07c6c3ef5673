"""A real server of OpenAI's protocol for tests: what it writes is scripted, and how it fails.

    from generate.service import Service, serving

    with serving(Service(write=lambda asked: "a text")) as service:
        Openai(url=service.url, model="m")

Its faults are those of a network, drawn by the seed, the request and the number of its attempt.
"""

import contextlib
import hashlib
import json
import random
import select
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Asked = dict[str, Any]
WORDS = ("light", "river", "stone", "bread", "walks", "over", "under", "seven", "quiet", "lamp")


def words(asked: Asked) -> str:
    """A text of 1 to 12 words that the whole request decides."""
    draw = random.Random(json.dumps(asked, sort_keys=True))
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))


@dataclass
class Service:
    """What a server does, and what was asked of it."""

    write: Callable[[Asked], str] = words
    """The text for a request as JSON, before it is cut at max_tokens words."""
    faults: Sequence[str] = ()
    """Names of FAULTS that may befall a request."""
    share: float = 0.5
    """Of the attempts at a request that fail, but for those beyond `most`."""
    most: int = 3
    """Failures of one request."""
    seed: int = 0
    pause: float = 0.0
    """Seconds before each answer."""
    headers: list[dict[str, str]] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    """By the request's body."""
    served: Counter[str] = field(default_factory=Counter)
    """How often a body was answered well, to the last byte."""
    failed: Counter[str] = field(default_factory=Counter)
    """By fault."""
    paths: Counter[str] = field(default_factory=Counter)
    flying: int = 0
    most_flying: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, body: str) -> str | None:
        """What befalls this attempt."""
        with self.lock:
            self.attempts[body] += 1
            attempt = self.attempts[body]
        draw = random.Random(hashlib.sha256(f"{self.seed} {attempt} {body}".encode()).digest())
        if not self.faults or attempt > self.most or draw.random() >= self.share:
            return None
        return draw.choice(self.faults)

    def answer(self, path: str, asked: Asked) -> Asked:
        """What is answered to a request where all goes well."""
        written = self.write(asked).split(" ")
        kept = written[: asked["max_tokens"]]
        text = " ".join(kept)
        content = {"message": {"content": text}} if path.endswith("/chat/completions") else {}
        prompt = asked.get("prompt") or " ".join(turn["content"] for turn in asked["messages"])
        return {
            "choices": [
                {"text": text, "finish_reason": "stop" if kept == written else "length"} | content
            ],
            "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": len(kept)},
        }


class _Handler(BaseHTTPRequestHandler):
    script: Service

    def do_POST(self) -> None:
        script = self.script
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with script.lock:
            script.headers.append(dict(self.headers))
            script.paths[self.path] += 1
            script.flying += 1
            script.most_flying = max(script.most_flying, script.flying)
        try:
            time.sleep(script.pause)
            fault = script.fault(body)
            answer = json.dumps(script.answer(self.path, json.loads(body))).encode()
        finally:
            with script.lock:
                script.flying -= 1
        # A client that a test killed, or that had enough, is no error of the server's.
        with contextlib.suppress(OSError):
            if fault is None:
                self.send(answer)
                with script.lock:
                    script.served[body] += 1
            else:
                with script.lock:
                    script.failed[fault] += 1
                FAULTS[fault](self, answer)

    def send(self, body: bytes, status: int = 200, **headers: Any) -> None:
        """Answer; `Content_Length` and the like may say otherwise than what is so."""
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _status(number: int, **headers: Any) -> Callable[[_Handler, bytes], None]:
    return lambda handler, _: handler.send(b'{"error": "no"}', number, **headers)


def _body(body: bytes) -> Callable[[_Handler, bytes], None]:
    return lambda handler, _: handler.send(body)


def _reset(handler: _Handler, _: bytes) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _hang(handler: _Handler, _: bytes) -> None:
    select.select([handler.connection], [], [], 60)


def _drip(before: bytes) -> Callable[[_Handler, bytes], None]:
    """A byte at a time, for a minute, or until the client has enough."""

    def drip(handler: _Handler, _: bytes) -> None:
        handler.wfile.write(before)
        end = time.monotonic() + 60
        while time.monotonic() < end and not select.select([handler.connection], [], [], 0.05)[0]:
            handler.wfile.write(b" ")

    return drip


OK = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Callable[[_Handler, bytes], None]] = {
    "a hang": _hang,
    "a body that drips": _drip(OK + b"Content-Length: 100000\r\n\r\n"),
    "a body without an end that drips": _drip(OK + b"\r\n"),
    "headers that drip": _drip(OK + b"A-Header: "),
}
"""Faults that only a time limit ends."""
FAULTS: dict[str, Callable[[_Handler, bytes], None]] = {
    "429": _status(429, Retry_After=0),
    "429 without Retry-After": _status(429),
    "503 with a date": _status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "500": _status(500),
    "408": _status(408),
    "a reset": _reset,
    "no byte": lambda handler, _: None,
    "not HTTP": lambda handler, _: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTML": _body(b"<!DOCTYPE html><html><body>Bad gateway</body></html>"),
    "half of the JSON": lambda handler, answer: handler.send(answer[: len(answer) // 2]),
    "half of the bytes": lambda handler, answer: handler.send(
        answer[: len(answer) // 2], Content_Length=len(answer)
    ),
    "no choices": _body(b'{"choices": []}'),
    "content null": _body(b'{"choices": [{"message": {"content": null}, "text": null}]}'),
    "content a list": _body(b'{"choices": [{"message": {"content": ["a"]}, "text": ["a"]}]}'),
    "half a character": _body(b'{"choices": [{"message": {"content": "\\ud800"}, "text": ""}]}'),
    "a list": _body(b"[]"),
    "deep JSON": _body(b"[" * 200_000),
    "endless tokens": _body(
        b'{"choices": [{"message": {"content": "a"}, "text": "a"}], '
        b'"usage": {"prompt_tokens": 1e999}}'
    ),
    "a huge body": _body(b'{"choices": "' + b"x" * (1 << 18) + b'"}'),
    **SLOW,
}
"""Each is for no fault of the request; "a huge body" is one where http.MAX_BYTES is below 2^18."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that vanish."""


@contextlib.contextmanager
def serving(service: Service, tls: tuple[Path, Path] | None = None) -> Iterator[Service]:
    """Serve at a free port of 127.0.0.1, which `url` says, until the block ends.

    Args:
        service: what it does.
        tls: a certificate and its key, for https.
    """
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": service}))
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        # Each connection shakes hands in a thread of its own.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    service.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
