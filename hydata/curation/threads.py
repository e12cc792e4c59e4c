"""Work on all cores by threads: the kernels, numpy's sorts and Arrow's readers let the interpreter go on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def together(function: Callable[[A], B], items: Iterable[A], threads: int | None = None) -> Iterator[B]:
    """``map``, by ``threads`` threads (None: one a core and one more), in order. ``items`` are taken as there
    is room, so that no more than a few of them and of their results are in memory."""
    count = threads or cores() + 1
    under_way: deque[Future[B]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="hydata") as pool:
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
