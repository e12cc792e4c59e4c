"""Nothing is lost and nothing is paid twice: SIGKILL at any moment, and servers that fail in every way."""

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from servers import ask, completion, pointing, serving

from hydata.errors import (
    BudgetError,
    ConfigError,
    EndpointDownError,
    TerminalModelError,
    TransientModelError,
    WarehouseError,
)
from hydata.models import (
    Budget,
    ModelsConfig,
    OpenAIEndpoint,
    Price,
    Reply,
    one_model,
    open_models,
)
from hydata.models.config import ModelEntry, RoleEntry
from hydata.models.transport import HOPELESS, _seconds, _wait
from hydata.synthesis.drafts import gather

HERE = str(Path(__file__).parent)
QUESTIONS = 2000
KILLS = 20


def number_in(body: dict) -> int:
    return int(body["messages"][0]["content"].rsplit(" ", 1)[1])


@asynccontextmanager
async def listening(handle, port: int = 0) -> AsyncIterator[int]:
    """A server on loopback: its port."""
    application = web.Application()
    application.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048, reuse_address=True).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


ASKING = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from servers import ask, pointing
from hydata.models import open_models, run
from hydata.synthesis.drafts import gather

async def main(url, journal):
    async with open_models(pointing(url, concurrency=64), journal) as models:
        model = models.route("responder", "x")
        replies = await gather(models.complete(model, ask(f"Question {{i}}")) for i in range({questions}))
        Path(sys.argv[3]).write_text("\\n".join(reply.text for reply in replies))

run(main(sys.argv[1], Path(sys.argv[2])))
"""


def test_killed_at_twenty_random_moments_every_request_is_answered_and_no_journalled_one_sent_twice(
    tmp_path: Path,
) -> None:
    received: Counter[int] = Counter()
    journal, table = tmp_path / "journal.sqlite", tmp_path / "table"
    program = ASKING.format(here=HERE, questions=QUESTIONS)

    async def answer(request: web.Request) -> web.Response:
        number = number_in(await request.json())
        received[number] += 1
        await asyncio.sleep(0.01 + 0.02 * (number % 7 == 0))
        return web.json_response(completion(f"Answer {number}"))

    def journalled() -> set[int]:
        if not journal.exists():
            return set()
        with sqlite3.connect(journal) as con:
            rows = con.execute("SELECT reply FROM replies").fetchall()
        con.close()
        numbers = [int(json.loads(reply)[0].removeprefix("Answer ")) for (reply,) in rows]
        assert len(numbers) == len(set(numbers))
        return set(numbers)

    async def start(url: str) -> asyncio.subprocess.Process:
        arguments = ("-c", program, url, str(journal), str(table))
        return await asyncio.create_subprocess_exec(sys.executable, *arguments)

    async def main() -> None:
        async with listening(answer) as port:
            url = f"http://127.0.0.1:{port}/v1"
            moments = sorted(random.Random(3).sample(range(1, QUESTIONS), KILLS))
            in_flight = 0
            for moment in moments:
                before, done = received.copy(), journalled()
                process = await start(url)
                while len(received) < moment and process.returncode is None:
                    await asyncio.sleep(0.002)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                sent, kept = received.total() - before.total(), journalled()
                in_flight += sent - len(kept - done)
                assert done <= kept
                assert all(received[number] == before[number] for number in done)
            process = await start(url)
            assert await process.wait() == 0
            assert received.total() == QUESTIONS + in_flight
            # at most what the endpoint had, and what was answered and on its way to the disk
            assert in_flight <= KILLS * 2 * 64
            assert journalled() == set(range(QUESTIONS))

    asyncio.run(main())
    assert table.read_text().split("\n") == [f"Answer {i}" for i in range(QUESTIONS)]


STORM = ("429", "429 later", "500", "503", "reset", "slow body", "slow", "garbage", "half", "empty choices")


class Storm:
    """A server that fails a share of all attempts in every way, and refuses some questions for good."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.attempts: Counter[int] = Counter()
        self.failed: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        number = number_in(await request.json())
        self.attempts[number] += 1
        draw = random.Random(f"{number} {self.attempts[number]}")
        if number % 50 == 13:
            return web.json_response({"error": {"message": f"no answer to {number}"}}, status=400)
        if draw.random() < self.share:
            fault = draw.choice(STORM)
            self.failed[fault] += 1
            return await self.fail(fault, request)
        return web.json_response(completion(f"Answer {number}"))

    async def fail(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "429 later":
            return web.Response(status=429, headers={"Retry-After": "0.05"})
        if fault.isdigit():
            return web.Response(status=int(fault))
        if fault == "slow":
            await asyncio.sleep(30)
        if fault == "garbage":
            return web.Response(text="<html>upstream error</html>")
        if fault == "half":
            return web.Response(text=json.dumps(completion("Answer"))[:40])
        if fault == "empty choices":
            return web.json_response({"choices": []})
        if fault == "slow body":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            for _ in range(100):
                await response.write(b" ")
                await asyncio.sleep(0.3)
            return response
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


def test_in_a_storm_of_faults_nothing_is_lost_and_each_outcome_is_accounted_for(tmp_path: Path) -> None:
    storm = Storm(0.4)
    count = 400

    async def main() -> tuple[list[Reply | TerminalModelError], object]:
        async with listening(storm.answer) as port:
            pass  # nobody listens at first: the server comes up while the calls wait
        config = pointing(
            f"http://127.0.0.1:{port}/v1", concurrency=64, attempts=14, backoff=0.1, timeout=0.6
        )
        async with open_models(config, tmp_path / "journal.sqlite") as models:
            model = models.route("responder", "x")

            async def one(i: int) -> Reply | TerminalModelError:
                try:
                    return await models.complete(model, ask(f"Question {i}"))
                except TerminalModelError as error:
                    return error

            calls = asyncio.create_task(gather(one(i) for i in range(count)))
            await asyncio.sleep(0.3)
            async with listening(storm.answer, port):
                while sum(storm.attempts.values()) < count // 2:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # the server is gone, with its requests
            async with listening(storm.answer, port):
                return await calls, models.stats

    outcomes, stats = asyncio.run(main())
    refused = [i for i in range(count) if i % 50 == 13]
    for i, outcome in enumerate(outcomes):
        if i in refused:
            assert isinstance(outcome, TerminalModelError)
            assert outcome.reason == "bad_request"
            assert f"no answer to {i}" in outcome.detail
        else:
            assert isinstance(outcome, Reply)
            assert outcome.text == f"Answer {i}"
    assert set(storm.failed) == set(STORM)
    assert (stats.calls, stats.ended, stats.cached) == (count, count, 0)
    assert (stats.replies, stats.refused) == (count - len(refused), len(refused))
    assert stats.sent == count + stats.retries
    with sqlite3.connect(tmp_path / "journal.sqlite") as con:
        assert (
            con.execute("SELECT count(*), count(DISTINCT key) FROM replies").fetchone()
            == (count - len(refused),) * 2
        )
    con.close()


def test_overload_lowers_what_is_in_flight_and_health_raises_it_again(tmp_path: Path) -> None:
    now = most = served = refused = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal now, most, served, refused
        if now >= 8:
            refused += 1
            return web.Response(status=429)
        now += 1
        most = max(most, now)
        try:
            await asyncio.sleep(0.01)
        finally:
            now -= 1
        served += 1
        return web.json_response(completion())

    async def main() -> int:
        async with listening(answer) as port:
            config = pointing(f"http://127.0.0.1:{port}/v1", concurrency=64, attempts=50)
            async with open_models(config, tmp_path / "j") as models:
                model = models.route("responder", "x")
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(600))
                return (await models.transport("tiny")).limiter.limit

    limit = asyncio.run(main())
    assert (most, served) == (8, 600)
    assert limit < 32
    assert refused < served


def test_an_endpoint_that_is_down_stops_all_who_wait_for_it_at_once(tmp_path: Path) -> None:
    async def main() -> Counter[str]:
        async with serving() as script:
            config = pointing(script.url, attempts=3, backoff=0.05, concurrency=8)
        async with open_models(config, tmp_path / "j") as models:
            model = models.route("responder", "x")
            calls = (models.complete(model, ask(f"Question {i}")) for i in range(200))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            return Counter(type(outcome).__name__ for outcome in outcomes)

    assert asyncio.run(main()) == {"EndpointDownError": 200}
    with pytest.raises(
        EndpointDownError, match=r"gave up after 3 attempts, and nobody had an answer from tiny"
    ):
        asyncio.run(gather_against_nobody(tmp_path / "j"))


async def gather_against_nobody(journal: Path) -> None:
    async with serving() as script:
        config = pointing(script.url, attempts=3, backoff=0.01)
    async with open_models(config, journal) as models:
        model = models.route("responder", "x")
        await gather(models.complete(model, ask(f"Question {i}")) for i in range(50))


def test_one_request_that_stays_unanswered_is_no_outage(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        number = number_in(await request.json())
        await asyncio.sleep(0.005)
        return web.Response(status=500) if number == 3 else web.json_response(completion())

    async def main() -> None:
        async with (
            listening(answer) as port,
            open_models(pointing(f"http://127.0.0.1:{port}/v1"), tmp_path / "j") as models,
        ):
            model = models.route("responder", "x")
            with pytest.raises(TransientModelError, match="1 of 40 calls stayed unanswered") as caught:
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(40))
            assert not isinstance(caught.value, EndpointDownError)
            assert models.stats.replies == 39

    asyncio.run(main())


@pytest.mark.parametrize(
    "failure", [(400, {"error": {"message": "no such field"}}, {}), completion("")], ids=["refused", "empty"]
)
def test_a_server_that_gives_nobody_a_usable_reply_stops_the_run(converse, failure) -> None:
    async def body(models, model, script):
        with pytest.raises(ConfigError, match=rf"none of its first {HOPELESS} requests had a usable reply"):
            await gather(unless_terminal(models, model, i) for i in range(500))
        return len(script.bodies)

    # replies on their way to the journal are judged later than they come
    assert HOPELESS <= converse(body, failure, concurrency=4) < 400


async def unless_terminal(models, model, i: int) -> None:
    try:
        await models.complete(model, ask(f"Question {i}"))
    except TerminalModelError:
        return


def test_a_model_moves_to_its_other_server_when_one_dies(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with serving() as gone, serving(0.005) as alive:
            url, dead = alive.url, gone.url
            endpoints = {
                name: OpenAIEndpoint(engine="openai", url=at, concurrency=8, backoff=0.05, attempts=4)
                for name, at in (("a", url), ("b", dead))
            }
            entry = ModelEntry(endpoint=("a", "b"), model="tiny")
            roles = {"responder": RoleEntry(models={"tiny": 1})}
            config = ModelsConfig(endpoints=endpoints, models={"tiny": entry}, roles=roles)
            async with open_models(config, tmp_path / "j") as models:
                model = models.route("responder", "x")
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(60))
                first = len(gone.bodies), len(alive.bodies)
                assert min(first) > 10  # both had a share
                gone.answers = ["reset"]
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(60, 200))
                return len(gone.bodies) - first[0], len(alive.bodies) - first[1]

    lost, answered = asyncio.run(main())
    assert answered == 140
    assert lost < 60


def test_a_hedged_request_takes_whichever_answer_comes_first(converse) -> None:
    async def body(models, model, script):
        reply = await models.complete(model, ask(f"Asked of {script.url}"))
        return reply.text, models.stats.sent, models.stats.replies

    assert converse(body, 5.0, completion("Second."), hedge=0.05) == ("Second.", 2, 1)
    assert converse(body, completion("Only."), hedge=2.0) == ("Only.", 1, 1)


@pytest.mark.parametrize("limit", [Budget(tokens=100), Budget(cost=0.001)], ids=["tokens", "cost"])
def test_a_budget_stops_cleanly_and_the_next_run_goes_on(tmp_path: Path, limit: Budget) -> None:
    price = Price(input=100, output=100)  # 10 tokens a reply, 100 in all, are 0.01 of the currency

    async def one_run(script, budget: Budget) -> int:
        endpoint = OpenAIEndpoint(engine="openai", url=script.url, concurrency=2, price=price)
        async with open_models(one_model(endpoint, "tiny"), tmp_path / "j", budget) as models:
            model = models.route("responder", "x")
            small = ask().sampling.model_copy(update={"max_tokens": 3})
            calls = (models.complete(model, ask(f"Question {i}", sampling=small)) for i in range(30))
            with suppress(BudgetError):
                await gather(calls)
            used = models.stats.prompt_tokens + models.stats.completion_tokens
            assert budget.tokens is None or used <= budget.tokens
            assert budget.cost is None or models.stats.cost <= budget.cost + 1e-9
            assert models.stats.sent == models.stats.replies
            return models.stats.replies

    async def main() -> list[int]:
        async with serving(0.002) as script:
            budget = limit if limit.tokens else Budget(cost=0.01)
            made = [await one_run(script, budget) for _ in range(4)]
            assert len(script.bodies) == 30
            return made

    made = asyncio.run(main())
    assert sum(made) == 30
    assert all(8 <= replies <= 10 for replies in made[:3])


def test_a_client_without_uvloop_works_as_well(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['uvloop'] = None\n"
        "import importlib.util; found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'uvloop' else found(name, *a)\n"
        "from hydata.models import run\n"
        "async def main():\n    return 7\n"
        "print(run(main()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


def test_a_journal_that_cannot_be_written_stops_sending(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with (
            serving(0.005) as script,
            open_models(pointing(script.url, concurrency=8), tmp_path / "j.sqlite") as models,
        ):
            model = models.route("responder", "x")
            await models.complete(model, ask("Question 0"))
            with sqlite3.connect(tmp_path / "j.sqlite") as con:  # as a full disk would, the file refuses
                con.execute(
                    "CREATE TRIGGER full BEFORE INSERT ON replies BEGIN SELECT RAISE(FAIL, 'full'); END"
                )
            con.close()
            with pytest.raises(WarehouseError, match=r"j\.sqlite"):
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(1, 500))
            return len(script.bodies), models.stats.replies

    sent, replies = asyncio.run(main())
    assert sent < 60
    assert replies < 60


def test_a_key_with_a_line_break_is_refused_without_being_shown(converse, monkeypatch) -> None:
    async def body(models, model, script):
        return (await models.complete(model, ask())).text, script.headers[0]["Authorization"]

    monkeypatch.setenv("TINY_KEY", "sk-s3cret\n")  # as `export KEY=$(cat file)` with a stray line end
    assert converse(body, api_key_env="TINY_KEY") == ("Fine.", "Bearer sk-s3cret")
    monkeypatch.setenv("TINY_KEY", "sk-s3\ncret")
    with pytest.raises(ConfigError, match="no key has") as caught:
        converse(lambda m, model, s: m.complete(model, ask("again")), api_key_env="TINY_KEY")
    assert "s3" not in str(caught.value)


def test_a_budget_counts_requests_for_several_samples_whole(tmp_path: Path) -> None:
    async def main() -> int:
        choices = [completion("a")["choices"][0] | {"index": i} for i in range(4)]
        many = {"choices": choices, "usage": {"prompt_tokens": 20, "completion_tokens": 80}}
        async with serving(many) as script:
            endpoint = OpenAIEndpoint(engine="openai", url=script.url, concurrency=8, n=True)
            config = one_model(endpoint, "tiny")
            async with open_models(config, tmp_path / "j", Budget(tokens=1000)) as models:
                model = models.route("responder", "x")
                small = ask().sampling.model_copy(update={"max_tokens": 20})
                with pytest.raises(BudgetError):
                    await gather(models.samples(model, ask(f"Q {i}", sampling=small), 4) for i in range(40))
                return models.stats.prompt_tokens + models.stats.completion_tokens

    assert 700 <= asyncio.run(main()) <= 1000


def test_a_server_that_does_not_count_tokens_does_not_escape_the_budget(tmp_path: Path) -> None:
    async def main() -> int:
        async with serving({"choices": completion("x" * 300)["choices"]}) as script:
            endpoint = OpenAIEndpoint(engine="openai", url=script.url, concurrency=2)
            async with open_models(
                one_model(endpoint, "tiny"), tmp_path / "j", Budget(tokens=2000)
            ) as models:
                model = models.route("responder", "x")
                with pytest.raises(BudgetError):
                    await gather(models.complete(model, ask(f"Q {i}")) for i in range(100))
                return models.stats.replies

    assert 5 <= asyncio.run(main()) <= 20


def test_one_bad_record_does_not_make_an_outage_of_slow_answers(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        if number_in(await request.json()) == 0:
            return web.Response(status=500)
        await asyncio.sleep(0.5)
        return web.json_response(completion())

    async def main() -> int:
        async with (
            listening(answer) as port,
            open_models(pointing(f"http://127.0.0.1:{port}/v1"), tmp_path / "j") as models,
        ):
            model = models.route("responder", "x")
            with pytest.raises(TransientModelError, match="1 of 5 calls"):
                await gather(models.complete(model, ask(f"Question {i}")) for i in range(5))
            return models.stats.replies

    assert asyncio.run(main()) == 4


def test_waits_stay_finite_and_dates_beyond_all_calendars_are_no_defect() -> None:
    assert _wait(0.5, 100_000) == 30
    assert _seconds("1 Jan 99999999999 00:00:00") is None


@pytest.mark.parametrize(("concurrency", "window"), [(8, 256), (2_000, 4_000)])
def test_the_window_of_a_shard_keeps_every_slot_of_the_servers_busy(
    tmp_path: Path, concurrency: int, window: int
) -> None:
    models = open_models(pointing("http://127.0.0.1:9/v1", concurrency=concurrency), tmp_path / "j")
    assert models.window == window
