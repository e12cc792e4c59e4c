"""What is asked, and how the stub answers: everything about an attempt follows from its item and number.

Each prompt begins with a mark that holds its item's number. The stub finds the mark in whatever body a
client sends, so all contestants meet the same latencies and the same faults, and the ideal time of a run
can be computed from the same draws. Only the standard library: the peers run this in their own environments.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
import struct
from collections.abc import Iterator
from statistics import NormalDist

MARK = b"[item "
DIGITS = 9
ENDING = "the end of the answer"

P50, P99, CAP = 2.0, 20.0, 60.0
"""Seconds: median and 99th percentile of a lognormal distribution, cut off at the cap."""
SIGMA = math.log(P99 / P50) / NormalDist().inv_cdf(0.99)

FAULTS = {
    "HTTP 500": 0.03,
    "reset": 0.03,
    "truncated body": 0.015,
    "garbage JSON": 0.01,
    "HTTP 503": 0.01,
    "HTTP 429": 0.005,
}
"""Shares of all attempts, 10% together."""
OVERLOAD = ("HTTP 503", "HTTP 429")
"""Refused at once, with ``Retry-After: 1``; the others fail after the latency of a good answer."""

WORDS = [
    *("river", "harbour", "granite", "lantern", "orchard", "meadow", "copper", "violin", "archive"),
    *("compass", "glacier", "saddle", "timber", "market", "beacon", "furnace", "valley", "anchor"),
    *("cinder", "marble", "willow", "needle", "bridge", "parcel", "thunder", "cotton", "ladder"),
    *("pigeon", "mirror", "walnut", "basket", "canyon"),
]
LISTS = tuple(", ".join(WORDS[(place + step * 7) % 32] for step in range(14)) for place in range(32))


def mark(item: int) -> str:
    """``[item 000000042]``."""
    return f"{MARK.decode()}{item:0{DIGITS}d}]"


def prompt(item: int) -> str:
    """About 400 characters that no other item has. Cheap, since what it costs counts as the contestant's."""
    first, second, third = LISTS[item % 32], LISTS[item // 32 % 32], LISTS[item // 1024 % 32]
    return f"{mark(item)} Write three sentences that use these words. {first}. {second}. {third}."


def is_answer(item: int, text: str | None) -> bool:
    """Whether ``text`` is the stub's whole answer to ``item``."""
    return text is not None and mark(item) in text and text.endswith(ENDING)


def attempt(key: bytes, number: int) -> tuple[str | None, float]:
    """The fault (None: a good answer) and the seconds of attempt ``number``, from 0, at the item ``key``."""
    draws = struct.unpack("<2Q", hashlib.blake2b(b"%b %d" % (key, number), digest_size=16).digest())
    chance, place = ((draw + 0.5) / 2**64 for draw in draws)
    latency = min(CAP, P50 * math.exp(SIGMA * NormalDist().inv_cdf(place)))
    for fault, share in FAULTS.items():
        chance -= share
        if chance < 0:
            return fault, 0.0 if fault in OVERLOAD else latency
    return None, latency


def attempts(item: int) -> Iterator[float]:
    """The seconds of every attempt at ``item``, the last of which is answered."""
    key = b"%0*d" % (DIGITS, item)
    for number in itertools.count():
        fault, seconds = attempt(key, number)
        yield seconds
        if fault is None:
            return


def ideal_times(items: int, slots: int) -> list[float]:
    """When each item would be answered, in seconds and sorted, if every slot took the next item as soon as
    it is free and tried a failed one again at once: list scheduling of the latencies that the stub draws."""
    free = [0.0] * min(slots, items)
    times = []
    for item in range(items):
        times.append(free[0] + sum(attempts(item)))
        heapq.heapreplace(free, times[-1])
    return sorted(times)
