"""What model calls took: counted live, by step, prompt and model, and held against a budget.

    calls     were asked for             cached    needed no request (journal, or an equal call in flight)
    ended     have their outcome         sent      HTTP requests, those sent again included
    replies   a model gave               retries   sent again after a failure that may pass
    refused   never will be answered     repairs   asked again for JSON: cut off, or not of the schema

Tokens are counted where they are paid for; what replies from the journal once took is counted apart
(``found_``), for ``hydata plan``. Latencies are kept in logarithmic buckets, so that memory does not grow
with the number of calls and percentiles are right to 2.5%.
"""

from __future__ import annotations

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
    """The counters of one run, a set for each (purpose, model identity). ``under_way``: requests that are
    sent and not yet answered; they will use tokens as well."""

    budget: Budget = field(default_factory=Budget)
    groups: dict[tuple[str, str], Stats] = field(default_factory=dict)
    under_way: int = 0

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

    def check(self, prompt_tokens: int, completion_tokens: int, price: Price) -> None:
        """Check that one more request may be sent, that uses these tokens at the most. It and those under way
        are taken to use what the others did on average, once there are any.

        Raises:
            BudgetError: it may not.
        """
        if self.budget.tokens is None and self.budget.cost is None:
            return
        total = self.total
        spent, cost = total.prompt_tokens + total.completion_tokens, total.cost
        tokens_each, cost_each = prompt_tokens + completion_tokens, price.of(prompt_tokens, completion_tokens)
        if total.replies:
            tokens_each, cost_each = spent // total.replies, cost / total.replies
        coming = self.under_way + 1
        for name, limit, used, each in (
            ("tokens", self.budget.tokens, spent, tokens_each),
            ("cost", self.budget.cost, cost, cost_each),
        ):
            if limit is not None and used + coming * each > limit:
                raise BudgetError(
                    f"budget.{name} = {limit:g}: {used:g} used in this run and the next request may go over "
                    "it; what was answered is kept; run again to go on with a new budget"
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
