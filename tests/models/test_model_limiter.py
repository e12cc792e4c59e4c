"""How many requests an endpoint gets: fewer under overload, more again; and shared between servers."""

import asyncio

from hydata.models.limiter import STEPS, WINDOW, Limiter, take


def rounds(limiter: Limiter, count: int, overloaded: float) -> None:
    """``count`` whole rounds in which this share of the outcomes says overload."""
    for _ in range(count):
        size = min(limiter.limit, WINDOW)
        for i, sent_in in enumerate([limiter.sent() for _ in range(size)]):
            limiter.note(sent_in, overloaded=i < overloaded * size)


def test_it_begins_at_the_ceiling_and_stays_there_while_all_is_well() -> None:
    limiter = Limiter(200)
    assert limiter.limit == 200
    rounds(limiter, 3, 0)
    assert limiter.limit == 200


def test_a_round_of_nothing_but_overload_halves_it_and_health_brings_it_back_step_by_step() -> None:
    limiter = Limiter(200)
    rounds(limiter, 1, 1)
    assert limiter.limit == 100
    rounds(limiter, 1, 0)
    assert limiter.limit == 100 + 200 // STEPS
    rounds(limiter, 30, 1)
    assert limiter.limit == 1
    rounds(limiter, STEPS + 1, 0)
    assert limiter.limit == 200


def test_it_shrinks_in_proportion_to_the_overload_and_forgives_a_little() -> None:
    limiter = Limiter(200)
    rounds(limiter, 1, 0.2)
    assert limiter.limit == 180
    rounds(limiter, 5, 0.03)
    assert limiter.limit == 200


def test_outcomes_of_requests_sent_before_a_change_do_not_count_again() -> None:
    limiter = Limiter(64)
    for sent_in in [limiter.sent() for _ in range(64)] * 10:
        limiter.note(sent_in, overloaded=True)
    assert limiter.limit == 32


def test_refusals_that_come_back_before_the_answers_are_not_taken_for_many() -> None:
    """Two thousand are sent, thirty of them refused at once; the first answers come in one by one."""
    limiter = Limiter(2000)
    sent = [limiter.sent() for _ in range(2000)]
    for i, sent_in in enumerate(sent[:500]):
        limiter.note(sent_in, overloaded=i < 30)
    assert limiter.limit == 2000


def test_a_server_that_takes_fifty_at_once_is_kept_busy_with_few_refusals() -> None:
    """Simulated in rounds: what is over the server's capacity is refused."""
    limiter, capacity = Limiter(400), 50
    answered = refused = 0
    for turn in range(200):
        sent = [limiter.sent() for _ in range(limiter.limit)]
        if turn >= 50:
            answered, refused = answered + min(len(sent), capacity), refused + max(0, len(sent) - capacity)
        for i, sent_in in enumerate(sent):
            limiter.note(sent_in, overloaded=i >= capacity)
    assert answered >= 0.9 * 150 * capacity
    assert refused <= 0.25 * answered


def test_slots_are_handed_on_in_the_order_of_asking() -> None:
    async def main() -> list[int]:
        limiter, order = Limiter(1), []

        async def use(i: int) -> None:
            assert await take([limiter]) is limiter
            order.append(i)
            await asyncio.sleep(0)
            limiter.release()

        await asyncio.gather(*map(use, range(20)))
        assert limiter.in_flight == 0
        return order

    assert asyncio.run(main()) == list(range(20))


def test_the_least_busy_server_is_taken_and_a_waiter_goes_to_whichever_is_free_first() -> None:
    async def main() -> None:
        small, large = Limiter(2), Limiter(8)
        taken = [await take([small, large]) for _ in range(10)]
        assert (taken.count(small), taken.count(large)) == (2, 8)
        waiter = asyncio.create_task(take([small, large]))
        await asyncio.sleep(0)
        large.release()
        assert await waiter is large
        assert (small.in_flight, large.in_flight) == (2, 8)

    asyncio.run(main())


def test_who_gives_up_waiting_loses_no_slot() -> None:
    async def main() -> None:
        limiter = Limiter(1)
        await take([limiter])
        waiting = [asyncio.create_task(take([limiter])) for _ in range(3)]
        await asyncio.sleep(0)
        limiter.release()  # goes to the first, which is cancelled before it runs
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert limiter.in_flight == 0
        await take([limiter])

    asyncio.run(main())


def test_a_limit_that_grows_lets_waiters_in() -> None:
    async def main() -> None:
        limiter = Limiter(40)
        rounds(limiter, 20, 1)
        assert limiter.limit == 1
        await take([limiter])
        waiter = asyncio.create_task(take([limiter]))
        await asyncio.sleep(0)
        rounds(limiter, 1, 0)
        assert await waiter is limiter

    asyncio.run(main())
