"""What calls took: counted by prompt and model, percentiles, rows of the warehouse."""

import asyncio
import random

import pytest

from hydata.errors import BudgetError
from hydata.models import Budget, Ledger, Price, Stats
from hydata.models.usage import bucket
from hydata.schema import USAGE


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_percentiles_are_right_to_a_few_per_cent_without_keeping_the_numbers(share: float) -> None:
    draw = random.Random(1)
    seconds = [draw.lognormvariate(0.7, 1) for _ in range(5000)]
    stats = Stats()
    for value in seconds:
        stats.latencies[bucket(value)] += 1
    exact = sorted(seconds)[int(share * len(seconds))]
    assert stats.percentile(share) == pytest.approx(exact, rel=0.06)
    assert len(stats.latencies) < 300


def test_without_replies_there_is_no_percentile() -> None:
    assert Stats().percentile(0.5) is None
    assert bucket(0) == bucket(1e-9)


def test_totals_are_the_sum_of_the_groups() -> None:
    ledger = Ledger()
    for purpose, tokens in (("generate/book.en", 10), ("respond", 20)):
        counters = ledger.of(purpose, "m")
        counters.calls += 2
        counters.completion_tokens += tokens
        counters.latencies[bucket(1.0)] += 1
    assert ledger.of("respond", "m") is ledger.of("respond", "m")
    assert (ledger.total.calls, ledger.total.completion_tokens) == (4, 30)
    assert ledger.total.percentile(0.5) == pytest.approx(1, rel=0.05)
    frame = ledger.frame("run 1", "main")
    assert frame.schema == USAGE
    assert frame.select("step", "prompt", "completion_tokens").rows() == [
        ("generate", "generate/book.en", 10),
        ("respond", "respond", 20),
    ]


def test_a_price_is_for_a_million_tokens() -> None:
    assert Price(input=0.15, output=0.6).of(1_000_000, 500_000) == pytest.approx(0.45)


def test_the_budget_counts_what_is_under_way_and_waits_for_it() -> None:
    async def main() -> None:
        ledger, price = Ledger(Budget(tokens=1000)), Price()
        counters = ledger.of("respond", "m")
        with pytest.raises(BudgetError, match=r"budget.tokens = 1000: 0 used in this run, .* may take 1100"):
            await ledger.reserve(counters, 500, 600, price)
        first = await ledger.reserve(counters, 400, 500, price)
        assert first == (900, 0)
        second = asyncio.create_task(ledger.reserve(counters, 400, 500, price))
        await asyncio.sleep(0)
        assert not second.done()  # the first one may need it all
        counters.answered, counters.prompt_tokens, counters.completion_tokens = 1, 100, 100
        ledger.release(first)
        assert await second == (200, 0)  # from here on by the average
        assert await ledger.reserve(ledger.of("generate", "m"), 100, 400, price) == (500, 0)
        with pytest.raises(BudgetError, match="200 used"):
            await ledger.reserve(ledger.of("critique", "m"), 400, 500, price)
        assert await Ledger().reserve(counters, 10**9, 10**9, price) == (0, 0)

    asyncio.run(main())
