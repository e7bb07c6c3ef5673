"""Rows that are web pages become the pages' main text, by trafilatura or resiliparse.

trafilatura is Barbaresi 2021, doi 10.18653/v1/2021.acl-demo.15. Both are compiled code at work on
what strangers wrote: 100,000 nested elements keep resiliparse busy without end, and no exception
stops it. So pages are read in processes of their own; what one of them dies of is a dropped row.
"""

import functools
import logging
import multiprocessing
import os
import queue
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.core.errors import Refusal
from winnow.core.progress import progress
from winnow.curate.numbers import Extract
from winnow.curate.verdict import NONE, Positions, Verdict, step

PAGE = r"(?is)^[\s\x{FEFF}]*<(?:.*<)?(?:!doctype\s+html|html)\b"
"""A text is a page if it begins with `<` and has a `<html` or a `<!doctype html` in it."""

PAGE_SECONDS = 10.0
"""Of processor time that a page may take: the slowest of 1,210 real ones takes 0.5."""

PAGE_MEMORY = 2**31
"""Bytes that a process may take for a page."""

CHUNK_PAGES = 16
"""That a thread has read before it gives them on: a matter of progress, not of results."""


@functools.cache
def _reader(engine: str) -> Callable[[str], str | None]:
    try:
        if engine == "trafilatura":
            from trafilatura import extract

            return functools.partial(extract, include_comments=False)
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        raise Refusal(f"engine: {engine} is not installed: pip install -e '.[web]'") from None
    return functools.partial(
        extract_plain_text, main_content=True, alt_texts=False, comments=False, post_meta=False
    )


def to_text(html: str, engine: str) -> str:
    """The main text of a page, without comments of its readers; "" where there is none.

    Raises:
        Refusal: the engine is not installed.
        Exception: whatever the engine raises at a page that it cannot take.
    """
    return (_reader(engine)(html) or "").strip()


def _serve(pipe: Any, engine: str, seconds: float) -> None:
    """Answer every page with its text, or with the exception that there was instead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it closes the pipe
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (PAGE_MEMORY, PAGE_MEMORY))
    to_text("", engine)
    pipe.send("ready")
    while True:
        try:
            html = pipe.recv()
        except EOFError:
            return
        # Its signal ends the process in the middle of compiled code, as no exception does.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = to_text(html, engine), ""
        except Exception as error:
            answer = "", f"{type(error).__name__}: {error}"[:200]
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(answer)


class Reader:
    """A process that reads pages; when it dies of one, another takes its place."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.process: Any = None

    def start(self) -> None:
        """Start the process and wait until it can read.

        Raises:
            RuntimeError: it cannot.
        """
        # A fork of a process with threads can hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        arguments = (end, self.engine, PAGE_SECONDS)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        end.close()
        try:
            self.pipe.recv()
        except EOFError:
            raise RuntimeError("extract: the process that reads pages does not start") from None

    def stop(self) -> int:
        """End the process and say how: an exit code, or a signal's number below 0."""
        self.pipe.close()
        self.process.join()
        code: int = self.process.exitcode
        self.process = None
        return code

    def read(self, page: str) -> tuple[str, str, str]:
        """The text of a page; or "", why there is none, and more about that."""
        if self.process is None:
            self.start()
        try:
            self.pipe.send(page)
            text, error = self.pipe.recv()
        except (EOFError, OSError):
            code = self.stop()
            if code == -signal.SIGPROF:
                return "", "page takes too long", f"over {PAGE_SECONDS:g} s of processor time"
            text, error = "", signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if error:
            return "", "extractor failed", error
        return text, "" if text else "no text in the page", ""


def read_all(
    column: pa.ChunkedArray, rows: Positions, engine: str, processes: int
) -> Iterator[list[tuple[str, str, str]]]:
    """What `Reader.read` says of the pages in some rows of a column, in their order, in chunks."""
    readers, idle = [Reader(engine) for _ in range(processes)], queue.SimpleQueue[Reader]()
    for reader in readers:
        idle.put(reader)

    def chunk(start: int) -> list[tuple[str, str, str]]:
        reader = idle.get()
        try:
            pages = rows[start : start + CHUNK_PAGES].tolist()
            return [reader.read(column[row].as_py()) for row in pages]
        finally:
            idle.put(reader)

    try:
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(chunk, range(0, len(rows), CHUNK_PAGES))
    finally:
        for reader in readers:
            if reader.process:
                reader.stop()


@step
def extract(table: pa.Table, rows: Positions, numbers: Extract) -> Verdict:
    """Put the main text of a page in place of the response that holds the page.

    A row whose page has no text goes, and so does one whose page the engine cannot take; a row
    whose response is no page, see PAGE, stays as it is.

    Args:
        table: has responses.
        rows: the positions of those that are left.
        numbers: see `Extract`.
    """
    _reader(numbers.engine)  # a missing engine is said before anything starts
    column = table["response"]
    pages = rows[pc.match_substring_regex(column, PAGE).to_numpy()[rows]]
    if not len(pages):
        return NONE
    processes = min(os.cpu_count() or 1, -(-len(pages) // CHUNK_PAGES))
    texts, gone, reasons, because = [], [], list[str](), list[str | None]()
    with progress(None, "extract", "pages", len(pages)) as bar:
        for found in read_all(column, pages, numbers.engine, processes):
            texts.append(pa.array([text for text, reason, _ in found if not reason], pa.string()))
            for text, reason, more in found:
                gone.append(not text)
                if reason:
                    reasons.append(reason)
                    because.append(more or None)
            bar.update(len(found))
    lost = np.array(gone)
    responses = pa.chunked_array(texts, pa.string())
    return Verdict(
        pages[lost], reasons, pa.array(because, pa.string()), responses=(pages[~lost], responses)
    )
