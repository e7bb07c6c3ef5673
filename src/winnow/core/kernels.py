"""numba's compiler, with a cache on disk that sees a change in any source of the kernels."""

from collections.abc import Callable
from typing import Any

import numba

from winnow.core import sources

SOURCES = sources.kernels_hash()
"""Of the modules that hold kernels and what those take of one another."""


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit for kernels that are kept on disk (`cache=True`), under the hash of SOURCES.

    numba itself keeps what it compiled until the kernel's own file changes: a function or a
    constant of another module that has changed it does not see. What is kept under another hash
    is overwritten, so old kernels do not pile up.
    """

    def compiled(kernel: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(kernel)
        dispatcher._cache._cache_file._source_stamp = SOURCES
        return dispatcher

    return compiled
