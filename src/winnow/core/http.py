"""What clients of services share: an address that is fit to be asked, answers as they come and in
time, and how long one asks to wait.

A request is bounded as a whole: its connection, what is sent and what comes back end at one
moment, however slowly bytes drip, and an answer beyond MAX_BYTES is not read on. Only the look-up
of a name takes what the machine's resolver takes. What is connected to is looked at as well, as a
name may lead elsewhere by then; where the environment names a proxy, that is the proxy.
"""

import email.utils
import functools
import http.client
import io
import ipaddress
import socket
import ssl
import time
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from winnow.core.errors import Refusal

MAX_BYTES = 1 << 24
"""Of an answer's body; a longer one is cut off and is none."""
SECRETS = ipaddress.ip_address("fd00:ec2::254")
"""Where a cloud keeps its secrets beside the link-local addresses."""


def check_url(url: str, has_key: bool) -> None:
    """Refuse an address that is no service of the user's.

    Raises:
        Refusal: it is not of http or https, names a user or a query, cannot be resolved, leads to
            an address of `check_address`, or would carry a key unencrypted to another machine. The
            message shows no user and no query, as these may be secrets.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refusal("url: expected http:// or https:// and a host, found no address") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Refusal(
            "url: expected http:// or https:// and a host, found a user, '?' or '#' in it as well"
        )
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or " " in url:
        raise Refusal(f"url: expected http:// or https:// and a host, found {url!r}")
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refusal(f"url: the host {host!r} cannot be found") from None
    for one in found:
        check_address(host, str(one[4][0]), has_key and parts.scheme == "http")


def check_address(host: str, found: str, must_be_here: bool) -> None:
    """Refuse an IP address that is not asked, whatever leads to it.

    Args:
        host: that was looked up.
        found: what it leads to.
        must_be_here: whether it has to be this machine.

    Raises:
        Refusal: it is link-local, where clouds keep their secrets, multicast, or unspecified, also
            as an IPv4 address inside of an IPv6 one; or it has to be this machine and is not.
    """
    address = ipaddress.ip_address(found.partition("%")[0])
    # Before Python 3.13 an IPv4 address inside of an IPv6 one is nothing special to ipaddress.
    address = getattr(address, "ipv4_mapped", None) or address
    kinds = {
        "a link-local": address.is_link_local or address == SECRETS,
        "a multicast": address.is_multicast,
        "an unspecified": address.is_unspecified,
    }
    for kind, is_one in kinds.items():
        if is_one:
            raise Refusal(f"url: {host!r} leads to {kind} address, which is never asked")
    if must_be_here and not address.is_loopback:
        raise Refusal("url: expected https://, as a key is sent along")


def _left(deadline: float) -> float:
    """Seconds until the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Reader(io.RawIOBase):
    """What comes from a socket until the deadline."""

    def __init__(self, timed: "_Timed") -> None:
        self.timed = timed
        self.file = timed.sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.timed.sock.settimeout(_left(self.timed.deadline))
        return self.file.readinto(buffer)

    def close(self) -> None:
        self.file.close()
        super().close()


@dataclass(slots=True)
class _Timed:
    """A socket, as far as http.client uses it, whose every operation ends at one deadline."""

    sock: socket.socket
    deadline: float

    def sendall(self, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            self.sock.settimeout(_left(self.deadline))
            unsent = unsent[self.sock.send(unsent) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        self.sock.close()


class _Plain(http.client.HTTPConnection):
    """A connection to an address that was looked at, bounded as a whole."""

    def __init__(self, host: str, *, timeout: float, must_be_here: bool = False, **options: Any):
        super().__init__(host, timeout=timeout, **options)
        self.deadline = time.monotonic() + timeout
        self.must_be_here = must_be_here
        # http.client asks this for its socket; there is no public place to choose the address.
        self._create_connection = self._reach

    def _reach(self, place: tuple[str, int], *_: Any) -> socket.socket:
        failure = OSError("no address")
        for family, kind, protocol, _name, to in socket.getaddrinfo(
            *place, type=socket.SOCK_STREAM
        ):
            check_address(place[0], str(to[0]), self.must_be_here)
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(self.deadline))
                sock.connect(to)
                # For what comes before the first byte of HTTP: the handshake, or a proxy's word.
                sock.settimeout(_left(self.deadline))
                return sock
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def connect(self) -> None:
        super().connect()
        self.sock: Any = _Timed(self.sock, self.deadline)


class _Secure(_Plain, http.client.HTTPSConnection):
    """The same over TLS."""


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        has_key = request.has_header("Authorization")
        return self.do_open(_Plain, request, must_be_here=has_key)  # type: ignore[arg-type]


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Secure, request, context=_context())  # type: ignore[arg-type]


class AsItComes(urllib.request.HTTPErrorProcessor):
    """No answer is an exception, and none is a redirection, with which a key would travel."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """0 for no answer."""
    body: bytes = b""
    retry_after: str | None = None
    failure: str = ""
    """Why there is no answer, in a few words that can be counted."""


def post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> Answer:
    """Send JSON, and return what comes back within `timeout` seconds altogether.

    Raises:
        Refusal: the host leads to an address that is not asked.
    """
    headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(url, body, headers)
    opener = urllib.request.build_opener(_Http, _Https, AsItComes)
    try:
        with opener.open(request, timeout=timeout) as answer:
            read = answer.read(MAX_BYTES + 1)
            if len(read) > MAX_BYTES:
                return Answer(0, failure=f"an answer of more than {MAX_BYTES} bytes")
            return Answer(answer.status, read, answer.headers.get("Retry-After"))
    except (OSError, http.client.HTTPException) as error:
        is_late = isinstance(getattr(error, "reason", error), TimeoutError)
        return Answer(0, failure="no answer in time" if is_late else "the connection broke")


def seconds(retry_after: str | None) -> float:
    """What Retry-After says: seconds, or a date; 0 where it says nothing."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except ValueError:
        return 0.0
