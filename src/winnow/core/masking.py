"""Passwords, tokens and keys, in nothing that is printed or recorded.

What is secret is known from two sides: the environment holds it, under a name that says so or in
the address of a server or a proxy; and in any text an address shows where it stands.
"""

import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, unquote

MASK = "***"
SHORTEST = 7
"""Characters of a secret that is masked wherever it stands. A shorter one is masked in addresses
alone: without it, a user called mlflow would be missing from every path of the library."""
NAMES = ("KEY", "PASSWORD", "SECRET", "TOKEN")
"""How the names of variables end that hold a secret."""
USER = re.compile(r"(?<=://)[^\s/?#]+(?=@)")
"""user:password of an address."""
ARGUMENT = re.compile(
    r"([?&][\w.-]*(?:auth|cred|key|pass|secret|sig|token)[\w.-]*=)([^\s&#'\"]+)", re.IGNORECASE
)
"""An argument of an address whose name says that it is a secret."""
BARE_USER = re.compile(r"^[^\s/?#]*:[^\s/?#]+(?=@)")
"""user:password of an address without a scheme, as proxies are named."""
ODD_USER = re.compile(r"(?<=://)[^\s/:]*:\S+(?=@)")
"""user:password with unquoted signs of an address in it."""


@lru_cache(1)
def _secrets(environment: tuple[tuple[str, str], ...]) -> list[str]:
    """What must not be shown of it, as it stands, quoted and unquoted; what holds another first."""
    found = {value for name, value in environment if name.upper().endswith(NAMES)}
    for _, value in environment:
        for pattern in (USER, BARE_USER, ODD_USER):
            for user in pattern.findall(value):
                secret = user.partition(":")[2] or user
                # An error may quote what a parser of addresses took for the port.
                found |= {secret, *re.split("[/?#@]", secret)}
        found |= {secret for _, secret in ARGUMENT.findall(value)}
    forms = {form for secret in found for form in (secret, unquote(secret), quote(secret, safe=""))}
    return sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)


def mask(text: str) -> str:
    """A text without the secrets in it."""
    for secret in _secrets(tuple(os.environ.items())):
        text = text.replace(secret, MASK)
    return ARGUMENT.sub(rf"\1{MASK}", USER.sub(MASK, text))


def mask_output() -> None:
    """Mask what this process prints from now on: its own lines, those of libraries that log, and
    tracebacks."""
    for stream in filter(None, (sys.stdout, sys.stderr)):

        def write(text: str, write: Callable[[str], int] = stream.write) -> int:
            return write(mask(text))

        stream.write = write
