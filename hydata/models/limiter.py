"""How many requests an endpoint gets at once, and which endpoint of a model gets the next one.

A ``Limiter`` begins at the endpoint's ``concurrency``, because the user says the server takes that many,
and learns from rounds of about as many requests as are in flight. In each round the share of the requests
sent that came to an overload (429, 503, a timeout, nobody listening) decides:

- up to ``TOLERATED``: the limit grows by ``ceiling / STEPS`` (additive increase);
- more: it shrinks by half that share (multiplicative decrease; a round of nothing else halves it).

Shrinking in proportion is DCTCP's rule (Alizadeh et al., SIGCOMM 2010, formula 2). Halving at the first
429, as plain AIMD does, would throttle a server that refuses one request in a hundred to a few per cent
of what it can do. As in TCP, outcomes of requests sent before the last change are not counted again. The
share is of what was *sent*, not of what has returned: refusals come back at once and answers after seconds,
so that among the first to return a few refusals look like many (measured: 1.5% of the requests refused, more
than 5% of the first hundred outcomes, and the limit fell to 40% of what the server took).

Endpoints that serve one model share a queue: a free slot goes to whoever waits longest, a caller takes
the slot of the endpoint that is least full.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection

TOLERATED = 0.05
STEPS = 20
WINDOW = 100
"""Outcomes that a decision waits for at most; smaller limits decide after one round."""


class Limiter:
    """The slots of one endpoint; ``ceiling`` is the most there may be. For one event loop."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.in_flight = 0
        self._limit = float(ceiling)
        self._round = 0
        self._sent = self._seen = self._overloaded = 0
        self._waiting: deque[asyncio.Future[Limiter]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now: 1 to ``ceiling``."""
        return int(self._limit)

    @property
    def load(self) -> float:
        """The share of the slots that is taken."""
        return self.in_flight / self.limit

    def release(self) -> None:
        """Give back a slot that ``take`` gave."""
        self.in_flight -= 1
        self._hand_out()

    def sent(self) -> int:
        """Count a request that is being sent; the round it is sent in."""
        self._sent += 1
        return self._round

    def note(self, sent_in: int, *, overloaded: bool) -> None:
        """Learn from the outcome of a request that was sent in the round ``sent_in``."""
        if sent_in != self._round:
            return
        self._seen += 1
        self._overloaded += overloaded
        if self._seen < min(self.limit, WINDOW):
            return
        share = self._overloaded / self._sent
        if share <= TOLERATED:
            self._limit = min(self.ceiling, self._limit + max(1.0, self.ceiling / STEPS))
        else:
            self._limit = max(1.0, self._limit * (1 - share / 2))
        self._sent = self._seen = self._overloaded = 0
        self._round += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():  # given up, or served by another endpoint of the model
                self.in_flight += 1
                waiter.set_result(self)


async def take(limiters: Collection[Limiter]) -> Limiter:
    """Wait for a slot of any of ``limiters``; whose it is. The caller must ``release`` it."""
    free = [limiter for limiter in limiters if limiter.in_flight < limiter.limit]
    if free:
        best = min(free, key=lambda limiter: limiter.load)
        best.in_flight += 1
        return best
    waiter: asyncio.Future[Limiter] = asyncio.get_running_loop().create_future()
    for limiter in limiters:
        limiter._waiting.append(waiter)
    try:
        return await waiter
    except asyncio.CancelledError:
        if waiter.done() and not waiter.cancelled():  # a slot came in the same turn as the cancellation
            waiter.result().release()
        raise
