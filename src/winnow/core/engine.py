"""Where batches are worked on: the cores of this machine, or a Ray cluster.

`engine` in params.yaml says which; results and their order are the same. On Ray, work and batches
go to wherever the cluster has a free core, and what a machine takes down with it is done again.
"""

import contextlib
import logging
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from winnow.core import params
from winnow.core.errors import Refusal

I = TypeVar("I")  # noqa: E741
T = TypeVar("T")

_on_ray = False

KILLED = "a process of Ray was killed, which ends this one: the same command goes on"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Use the engine of params.yaml for the block.

    Ray is what RAY_ADDRESS names, else one that is started here. Its machines need the same winnow,
    and the project's folder at the same path.

    Raises:
        Refusal: the engine is unknown or not installed, no cluster is where RAY_ADDRESS says, or
            one of Ray's own processes was killed.
    """
    global _on_ray
    if params.load("engine", Literal["local", "ray"]) == "local":  # type: ignore[arg-type]
        yield
        return
    # Without an address Ray would join any cluster that was here, and wait for one that is gone.
    address = os.environ.get("RAY_ADDRESS", "local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":
        # It listens on all of a machine's addresses where clusters are enabled, else on loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray.data
    except ImportError:
        raise Refusal("params.yaml: engine: ray is missing: pip install -e '.[ray]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address, include_dashboard=None, **quiet)
    except ConnectionError:
        raise Refusal(f"RAY_ADDRESS: no cluster at {address}: start it, or unset it") from None
    # What it logs with a traceback it raises too, or it ends this process: see _watched.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    _on_ray = True
    with _watched():
        try:
            yield
        except ray.exceptions.RayTaskError:
            raise  # of the work, and no fault of Ray's
        except ray.exceptions.RayError:
            raise Refusal(f"engine: ray: {KILLED}") from None
        finally:
            _on_ray = False
            ray.shutdown()


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Say it where the block ends this process without a word, as Ray may when one of its own
    processes is killed: by an exit that raises nothing, or SystemExit alone. So another process
    waits for the end."""
    ended, working = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(working)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not os.read(ended, 1):
            print(f"\nwinnow: engine: ray: {KILLED}", file=sys.stderr)
        os._exit(0)
    os.close(ended)
    is_silent = False
    try:
        yield
    except SystemExit:
        is_silent = True
        raise
    finally:
        if not is_silent:
            os.write(working, b".")
        os.close(working)
        os.waitpid(watcher, 0)


def each(work: Callable[[I], T], items: Iterable[I]) -> Iterator[T]:
    """Do some work on every item, as many at once as there are cores, and give the results in the
    order of the items.

    Args:
        work: a function of a module, or a partial of one, so that another machine finds it.
        items: they are taken as they are needed here, and all at once by Ray.
    """
    if _on_ray:
        yield from _each_on_ray(work, items)
        return
    cores, waiting = os.cpu_count() or 1, deque[Any]()
    with ThreadPoolExecutor(cores) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > cores:  # what waits is in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _each_on_ray(work: Callable[[I], T], items: Iterable[I]) -> Iterator[T]:
    import ray.data

    # Put once for all, as arrays that a worker reads where they lie.
    shared, parts = ray.put(work), [ray.put(item) for item in items]

    def apply(row: dict[str, Any]) -> dict[str, Any]:
        try:
            result: Any = ray.get(shared)(ray.get(parts[row["id"]])), None
        except Refusal as error:  # for the user, who shall not read of Ray
            result = None, error
        # Rows of Ray Data hold Arrow's types: anything else crosses as bytes, from a worker of this
        # same program and of this user, who trusts it as much as itself.
        return {"result": pickle.dumps(result)}

    if parts:
        tasks = ray.data.range(len(parts), override_num_blocks=len(parts)).map(apply)
        for row in tasks.iter_rows():
            result, error = pickle.loads(row["result"])
            if error:
                raise error
            yield result
