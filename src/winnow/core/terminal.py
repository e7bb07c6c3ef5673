"""What the command line says: lines of bounded length, to streams that may go away.

A reader that ends (`| head -1`), a terminal that is closed and a stream that was never open
(`2>&-`) take what is said with them, and nothing of the work.
"""

import errno
import io
import os
import sys
from typing import Any

LONGEST = 500
"""Characters of an error's line."""

UNREAD = (errno.EPIPE, errno.EIO)
"""What the system says where nobody reads any more: of a pipe, and of a terminal."""


class _Stream(io.FileIO):
    """The bytes of stdout or stderr, which may be said to nobody."""

    refused = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # A full disk is an error of stdout, once; of stderr there is nobody to tell.
            if error.errno not in UNREAD and self.fileno() == 1 and not self.refused:
                self.refused = True
                raise
            return len(data)


def hold() -> None:
    """Let no print stop the work, whatever became of stdout and stderr.

    A stream that is closed is opened to nowhere: else the next file that is opened would have its
    number, and the next line that a library says would be bytes of that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if old is getattr(sys, f"__{name}__"):  # and none that the caller put there
            raw = io.BufferedWriter(_Stream(descriptor, "w", closefd=False))
            encoding = old.encoding if old else "utf-8"
            stream = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)
            setattr(sys, name, stream)


def line(text: str) -> str:
    """A message as one line of at most LONGEST characters, which are its beginning and its end.

    What a corpus names its columns and files cannot steer the terminal.
    """
    text = " ".join(text.split())
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half:]}"
