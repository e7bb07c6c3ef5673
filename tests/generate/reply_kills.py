"""Ask a service for 60 replies and write them down; die by SIGKILL before a commit point.

    python reply_kills.py <url> <output> [<number of the point, from 1>]

Prints a line before it asks. The replies are kept in the working folder.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults import kills

from winnow.core import files
from winnow.generate.backends import Request, Sampling
from winnow.generate.backends.openai import Openai
from winnow.generate.params import Budget
from winnow.generate.replies import Replies

SAMPLING = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1, max_tokens=10)
REQUESTS = [
    Request(chat=(("user", f"Say {n}."),), sampling=SAMPLING, seed=(100 << 32) + n)
    for n in range(60)
]
WORKERS = 4


def replies(url: str) -> Replies:
    """The replies that the working folder holds, with a backend whose pauses are short."""
    backend: Any = Openai(url=url, model="m", workers=WORKERS, timeout=30.0).open()
    backend.service.pauses = (0.01,) * 5
    # A port is a part of the address: without it, the replies of two servers are the same.
    backend.identity = "a service"
    return Replies(backend, Budget(requests=10**6))


def main() -> None:
    url, output, *point = sys.argv[1:]
    found = replies(url)
    count, nowhere = [0], os.open(os.devnull, os.O_WRONLY)
    for name in kills.POINTS:
        kills._hook(os, name, b".", nowhere, int(point[0]) if point else None, count)
    print("asking", flush=True)
    asked = found.ask(REQUESTS)
    files.write_json(Path(output), [asdict(reply) for reply in asked])


if __name__ == "__main__":
    main()
