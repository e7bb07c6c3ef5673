"""What a user can mend, told apart from what only a change of the code can."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(ValueError):
    """A request that cannot be met as it stands.

    The message is one line that names the file, row or key, what was found and what to do. The
    command line prints it alone and exits with 2; every other exception keeps its traceback.
    """


BUGS = (AssertionError, AttributeError, MemoryError, NameError)
"""What no file of a user's makes a library raise."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place, such as a key of params.yaml, before the message of a Refusal of any kind."""
    try:
        yield
    except Refusal as error:
        raise type(error)(f"{place}: {error}") from None


@contextmanager
def loading(failure: str) -> Iterator[None]:
    """Turn what a library raises at a model or tokenizer of a user's into a Refusal.

    For nothing but the library's call: it raises a dozen unrelated types there, and tokenizers the
    bare Exception.

    Args:
        failure: what cannot be done; the first line of the library's own message follows.
    """
    try:
        yield
    except BUGS:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Refusal(f"{failure}: {first}") from None


class Stopped(KeyboardInterrupt):
    """Work that ended by a signal where the same command goes on.

    The command line prints the message and exits with 128 plus the signal's number, as a shell
    says of a process that a signal ended.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal
