"""Work on all cores: by threads where the work lets the interpreter go on (kernels, numpy's sorts, Polars,
Arrow's readers), by processes where it does not (fastText's predictions)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing import get_context
from typing import TypeVar

from hydata.errors import WarehouseError

A = TypeVar("A")
B = TypeVar("B")

FEW = 4
"""Items that processes are not started for: these take two seconds to begin."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def together(function: Callable[[A], B], items: Iterable[A], threads: int | None = None) -> Iterator[B]:
    """``map``, by ``threads`` threads (None: one a core and one more), in order. ``items`` are taken as there
    is room, so that no more than a few of them and of their results are in memory."""
    count = threads or cores() + 1
    with ThreadPoolExecutor(count, thread_name_prefix="hydata") as pool:
        yield from _in_order(pool, function, items, count)


def apart(function: Callable[[A], B], items: Iterable[A], processes: int) -> Iterator[B]:
    """The same by processes, or by threads if there are few ``items``. What goes there and back is pickled,
    and a script that calls this needs the usual ``if __name__ == "__main__"``.

    Raises:
        WarehouseError: a process has died.
    """
    rest = iter(items)
    first = list(islice(rest, FEW + 1))
    if processes == 1 or len(first) <= FEW:
        yield from together(function, chain(first, rest))
        return
    # Started anew, since Polars and Arrow may hang in the fork of a process that has threads.
    with _threads_of_polars(1), ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            yield from _in_order(pool, function, chain(first, rest), processes + 1)
        except BrokenProcessPool as error:
            raise WarehouseError(
                f"one of {processes} processes has died, of want of memory perhaps: "
                "allow the command fewer cores (taskset)"
            ) from error


def _in_order(pool: Executor, function: Callable[[A], B], items: Iterable[A], room: int) -> Iterator[B]:
    under_way: deque[Future[B]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > room:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


@contextmanager
def _threads_of_polars(count: int) -> Iterator[None]:
    """For processes that are started meanwhile; this one's Polars has read its number long ago."""
    name = "POLARS_MAX_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
