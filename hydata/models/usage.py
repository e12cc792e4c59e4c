"""What model calls took: counted live, by step, prompt and model, and held against a budget.

    calls     were asked for             cached    needed no request (journal, or an equal call in flight)
    ended     have their outcome         sent      HTTP requests, those sent again included
    answered  of those                   retries   sent again after a failure that may pass
    replies   they gave (``n`` each)
    refused   never will be answered     repairs   asked again for JSON: cut off, or not of the schema

Tokens are counted where they are paid for; what replies from the journal once took is counted apart
(``found_``), for ``hydata plan``. Latencies are kept in logarithmic buckets, so that memory does not grow
with the number of calls and percentiles are right to 2.5%.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

import polars as pl
from pydantic import Field

from hydata.errors import BudgetError
from hydata.models.config import Price
from hydata.schema import USAGE
from hydata.stage import Settings

BUCKET = math.log(1.05)


@dataclass
class Stats:
    """Counters of a set of calls. ``seconds`` sums the time of the requests that succeeded, ``squares`` the
    squares of the tokens, read and written, of each reply, also of those from the journal."""

    calls: int = 0
    ended: int = 0
    cached: int = 0
    sent: int = 0
    retries: int = 0
    answered: int = 0
    replies: int = 0
    refused: int = 0
    repairs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    found_prompt_tokens: int = 0
    found_completion_tokens: int = 0
    found_seconds: float = 0.0
    squares: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def found(self, prompt_tokens: int, completion_tokens: int, seconds: float) -> None:
        """Count a reply from the journal. Of several samples to one request, all of which have its time, the
        prompt's tokens and so the time are counted to the first."""
        self.cached += 1
        self.found_prompt_tokens += prompt_tokens
        self.found_completion_tokens += completion_tokens
        self.found_seconds += seconds if prompt_tokens else 0.0
        self.squares += (prompt_tokens + completion_tokens) ** 2

    def percentile(self, share: float) -> float | None:
        """Seconds within which ``share`` of the requests that succeeded were answered; None without any."""
        rank = share * sum(self.latencies.values())
        for bucket in sorted(self.latencies):
            rank -= self.latencies[bucket]
            if rank <= 0:
                return math.exp((bucket + 0.5) * BUCKET)
        return None


class Budget(Settings):
    """What one run may use: tokens (read and written together), and cost in the currency of the prices in
    the models file. None is no limit."""

    tokens: int | None = Field(default=None, ge=1)
    cost: float | None = Field(default=None, gt=0)


@dataclass
class Ledger:
    """The counters of one run, a set for each (purpose, model identity), held against its budget: requests
    that are sent and not yet answered will use tokens as well, which are set aside for them."""

    budget: Budget = field(default_factory=Budget)
    groups: dict[tuple[str, str], Stats] = field(default_factory=dict)
    _aside: tuple[float, float] = (0.0, 0.0)
    _landed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def total(self) -> Stats:
        """The sum of all counters, as they stand now."""
        total = Stats()
        for group in self.groups.values():
            for name, value in vars(group).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    def of(self, purpose: str, model: str) -> Stats:
        """The counters of such calls."""
        group = self.groups.get((purpose, model))
        if group is None:
            group = self.groups[purpose, model] = Stats()
        return group

    async def reserve(
        self, counters: Stats, prompt_tokens: int, completion_tokens: int, price: Price
    ) -> tuple[float, float]:
        """Set tokens and cost aside for one more request; give them back with ``release`` when it has ended.

        It is taken to use what others with its ``counters`` did on average, or what is given, the most that
        it may use, before there are any. While only what is set aside stands in the way, it waits.

        Raises:
            BudgetError: what is left is not enough.
        """
        if self.budget.tokens is None and self.budget.cost is None:
            return 0.0, 0.0
        while True:
            tokens, cost = (
                float(prompt_tokens + completion_tokens),
                price.of(prompt_tokens, completion_tokens),
            )
            if counters.answered:
                tokens = (counters.prompt_tokens + counters.completion_tokens) / counters.answered
                cost = counters.cost / counters.answered
            self._check(tokens, cost)
            if self._fits(tokens, cost):
                self._aside = self._aside[0] + tokens, self._aside[1] + cost
                return tokens, cost
            await self._landed.wait()

    def release(self, aside: tuple[float, float]) -> None:
        """Give back what was set aside."""
        if aside != (0.0, 0.0):
            self._aside = self._aside[0] - aside[0], self._aside[1] - aside[1]
            self._landed.set()
            self._landed = asyncio.Event()

    def _used(self) -> tuple[int, float]:
        groups = self.groups.values()
        tokens = sum(group.prompt_tokens + group.completion_tokens for group in groups)
        return tokens, sum(group.cost for group in groups)

    def _fits(self, tokens: float, cost: float) -> bool:
        used, paid = self._used()
        return (self.budget.tokens is None or used + self._aside[0] + tokens <= self.budget.tokens) and (
            self.budget.cost is None or paid + self._aside[1] + cost <= self.budget.cost
        )

    def _check(self, tokens: float, cost: float) -> None:
        used, paid = self._used()
        for name, limit, spent, more in (
            ("tokens", self.budget.tokens, used, tokens),
            ("cost", self.budget.cost, paid, cost),
        ):
            if limit is not None and spent + more > limit:
                raise BudgetError(
                    f"budget.{name} = {limit:g}: {spent:g} used in this run, and the next request may take "
                    f"{more:.4g}; what was answered is kept; run again to go on with a new budget"
                )

    def frame(self, run: str, recipe: str) -> pl.DataFrame:
        """A row of ``USAGE`` for each group of the run."""
        rows = []
        for (purpose, model), s in self.groups.items():
            rows.append(
                {
                    "run": run,
                    "recipe": recipe,
                    "step": purpose.partition("/")[0],
                    "prompt": purpose,
                    "model": model,
                    "calls": s.calls,
                    "cached": s.cached,
                    "sent": s.sent,
                    "retries": s.retries,
                    "replies": s.replies,
                    "refused": s.refused,
                    "repairs": s.repairs,
                    "prompt_tokens": s.prompt_tokens,
                    "completion_tokens": s.completion_tokens,
                    "cost": s.cost,
                    "seconds": s.seconds,
                    "p50": s.percentile(0.5),
                    "p90": s.percentile(0.9),
                    "p99": s.percentile(0.99),
                }
            )
        return pl.DataFrame(rows, schema=USAGE)


def bucket(seconds: float) -> int:
    """The latency bucket of a request's time."""
    return math.floor(math.log(max(seconds, 1e-6)) / BUCKET)
