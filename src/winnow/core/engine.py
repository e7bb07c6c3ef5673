"""Where work is done: on the cores of this machine, or on a Ray cluster.

`engine` in params.yaml says which; results and their order are the same. On Ray, work goes to
wherever the cluster has a free core, with the place of its rows, which it reads there; what a
machine takes down with it is done again.
"""

import contextlib
import logging
import os
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

IN_FLIGHT = 2
"""Items of a core that are worked on or wait for it: what waits is in memory."""
KILLED = "a process of Ray was killed, which ends this one: the same command goes on"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Use the engine of params.yaml for the block.

    Ray is what RAY_ADDRESS names, else one that is started here. Its machines need the same winnow,
    and the project's folder, on a file system that all of them share, at the same path.

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
        import ray
    except ImportError:
        raise Refusal("params.yaml: engine: ray is missing: pip install -e '.[ray]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address, include_dashboard=None, **quiet)
    except ConnectionError:
        raise Refusal(f"RAY_ADDRESS: no cluster at {address}: start it, or unset it") from None
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
        items: IN_FLIGHT of a core are taken at once. Another machine is sent an item as it is
            pickled, which should hold where rows lie, and not the rows.
    """
    if _on_ray:
        yield from _each_on_ray(work, items)
        return
    cores, waiting = os.cpu_count() or 1, deque[Any]()
    with ThreadPoolExecutor(cores) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > IN_FLIGHT * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _each_on_ray(work: Callable[[I], T], items: Iterable[I]) -> Iterator[T]:
    import ray

    # Without a limit of retries: a machine that is lost is no fault of the work's.
    remote = ray.remote(max_retries=-1)(_apply)
    shared, waiting = ray.put(work), deque[Any]()  # put once for all tasks
    for item in items:
        waiting.append(remote.remote(shared, item))
        if len(waiting) > IN_FLIGHT * _cores():
            yield _result(waiting.popleft())
    while waiting:
        yield _result(waiting.popleft())


def _cores() -> int:
    """The cores of the cluster as it is now: machines come and go."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def _apply(work: Callable[[I], T], item: I) -> tuple[T | None, Refusal | None]:
    try:
        return work(item), None
    except Refusal as error:  # for the user, who shall not read of Ray
        return None, error


def _result(task: Any) -> Any:
    import ray

    result, error = ray.get(task)
    if error:
        raise error
    return result
