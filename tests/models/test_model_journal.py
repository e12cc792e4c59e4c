"""A reply is paid for once: keys, restarts, kills, sharing, a full disk."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel
from servers import ask, completion, pointing, serving

from hydata.errors import TerminalModelError, WarehouseError
from hydata.models import Sampling, Standin, StandinEndpoint, one_model, open_models
from hydata.models.journal import Entry, Journal
from hydata.models.protocol import request_hash
from hydata.models.router import build_model
from hydata.schema import Message

HERE = str(Path(__file__).parent)


class Tier(BaseModel):
    tier: int


class OtherTier(BaseModel):
    tier: int
    reason: str


def test_after_a_restart_nothing_is_sent_again(converse):
    async def body(models, model, script):
        replies = await asyncio.gather(*(models.complete(model, ask(sample_index=i)) for i in range(4)))
        return replies, models.stats

    first, _ = converse(body, completion("Täglich 水."))
    again, stats = converse(body, completion("Something else."))
    assert again == [replace(reply, cached=True) for reply in first]
    assert (stats.calls, stats.cached, stats.sent, stats.completion_tokens) == (4, 4, 0, 0)


def test_going_from_four_to_eight_samples_sends_four(converse):
    async def body(models, model, script, samples):
        await asyncio.gather(*(models.complete(model, ask(sample_index=i)) for i in range(samples)))
        return [b["seed"] for b in script.bodies]

    assert converse(lambda *a: body(*a, 4)) == [0, 1, 2, 3]
    assert converse(lambda *a: body(*a, 8)) == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "answer", [completion(""), completion("", finish="content_filter")], ids=["empty", "refused"]
)
def test_a_useless_reply_is_not_paid_for_twice(converse, answer):
    async def body(models, model, script):
        with pytest.raises(TerminalModelError):
            await models.complete(model, ask())
        return len(script.bodies)

    assert converse(body, answer) == 1
    assert converse(body, answer) == 0


def test_the_key_changes_with_everything_that_decides_the_reply():
    config = one_model(StandinEndpoint(engine="standin"), "a")
    model = build_model(config, "a")
    call = ask()
    others = [
        (replace(model, identity="b"), call),
        *(
            (model, replace(call, sampling=Sampling(**{name: value})))
            for name, value in {"temperature": 0.71, "top_p": 0.9, "max_tokens": 513, "seed": 1}.items()
        ),
        (model, replace(call, sample_index=1)),
        (model, replace(call, schema=Tier)),
        (model, replace(call, schema=OtherTier)),
        (model, replace(call, messages=(Message("system", "Be brief."), *call.messages))),
        (model, replace(call, messages=(Message("system", "What is a lake?"),))),
        (model, replace(call, messages=(Message("user", "What is a lake? "),))),
        (model, replace(call, messages=(Message("user", "What is a lake?", tool_call_id="1"),))),
    ]
    keys = {request_hash(m, c) for m, c in [(model, call), *others]}
    assert len(keys) == len(others) + 1
    assert all(len(key) == 32 for key in keys)
    assert request_hash(model, replace(call, purpose="critique/en")) == request_hash(model, call)
    moved = pointing("http://127.0.0.1:1/v1"), pointing("http://127.0.0.1:2/v1", concurrency=9, timeout=3)
    assert len({request_hash(build_model(c, "tiny"), call) for c in moved}) == 1


def test_equal_calls_in_flight_are_sent_once(converse):
    async def body(models, model, script):
        replies = await asyncio.gather(*(models.complete(model, ask()) for _ in range(10)))
        return replies, models.stats

    replies, stats = converse(body, 0.05)
    assert {reply.text for reply in replies} == {"Fine."}
    assert [reply.cached for reply in replies] == [False] + [True] * 9
    assert (stats.calls, stats.cached, stats.sent) == (10, 9, 1)


def test_one_caller_giving_up_leaves_the_others_their_reply(converse):
    async def body(models, model, script):
        first = asyncio.create_task(models.complete(model, ask()))
        second = asyncio.create_task(models.complete(model, ask()))
        await asyncio.sleep(0.05)
        first.cancel()
        reply = await second
        alone = asyncio.create_task(models.complete(model, ask("alone")))
        await asyncio.sleep(0.05)
        alone.cancel()
        await asyncio.gather(first, alone, return_exceptions=True)
        assert (await models.complete(model, ask("alone"))).cached is False
        return reply.text, first.cancelled(), models.stats.sent

    assert converse(body, 0.2) == ("Fine.", True, 3)


def test_leaving_with_calls_in_flight_leaves_nothing_behind(tmp_path):
    async def main():
        async with serving(30.0) as script:
            async with open_models(pointing(script.url), tmp_path / "j") as models:
                call = asyncio.create_task(models.complete(models.route("critic", "x"), ask()))
                await asyncio.sleep(0.05)
            await asyncio.gather(call, return_exceptions=True)
            assert call.cancelled()
            assert asyncio.all_tasks() == {asyncio.current_task()} | {
                task for task in asyncio.all_tasks() if "RequestHandler" in repr(task)
            }

    asyncio.run(main())
    assert [file.name for file in tmp_path.iterdir()] == ["j"]  # the WAL is folded in


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from servers import ask, pointing
from hydata.models import open_models

async def main():
    async with open_models(pointing(sys.argv[1], concurrency=8), Path(sys.argv[2])) as models:
        model = models.route("generator", "x")
        replies = await asyncio.gather(*(models.complete(model, ask(sample_index=i)) for i in range(200)))
        print(models.stats.sent, "".join(reply.text for reply in replies))

asyncio.run(main())
"""


def journalled(path):
    if not path.exists():
        return 0
    with sqlite3.connect(path) as connection:
        try:
            (count,) = connection.execute("SELECT count(*) FROM replies").fetchone()
        except sqlite3.OperationalError:
            count = 0
    connection.close()
    return count


def test_kill_minus_nine_repeats_no_journalled_call(tmp_path):
    """Killed at three moments, then let finish: each run sends exactly what is not journalled."""

    async def main():
        async with Standin(delay=0.02) as server:

            async def child(journal, at=None):
                command = [sys.executable, "-c", CHILD, server.url, str(journal), HERE]
                process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
                while at is not None and journalled(journal) < at:
                    await asyncio.sleep(0.01)
                if at is not None:
                    process.send_signal(signal.SIGKILL)
                return (await process.communicate())[0].decode()

            broken = tmp_path / "broken.sqlite"
            for at in (1, 40, 120):
                await child(broken, at)
            kept, before = journalled(broken), server.requests
            assert 120 <= kept < 200
            sent, text = (await child(broken)).split(" ", 1)
            assert int(sent) == 200 - kept == server.requests - before
            # What was in flight at a kill is all that was asked twice.
            assert sum(server.answered.values()) <= 200 + 3 * 8
            _, whole = (await child(tmp_path / "whole.sqlite")).split(" ", 1)
            assert text == whole

    asyncio.run(main())


def entry(number: int, text: str = "x") -> Entry:
    return Entry(f"{number:032x}", "p", "m", text, 1, 2, 0.5)


def write(path, numbers):
    async def main():
        journal = Journal(path)
        try:
            await asyncio.gather(*(journal.add(entry(n)) for n in numbers))
            return [(await journal.find(f"{n:032x}")) for n in numbers]
        finally:
            journal.close()

    return asyncio.run(main())


def test_several_processes_share_a_journal(tmp_path):
    path = tmp_path / "shared.sqlite"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_model_journal import write;"
        "first = int(sys.argv[3]);"
        "[write(Path(sys.argv[2]), range(i * 100, i * 100 + 150)) for i in range(first, first + 5)]"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, HERE, str(path), str(at)]) for at in (0, 2, 4)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert journalled(path) == 950


def test_a_thousand_replies_share_their_commits(tmp_path):
    start = time.perf_counter()
    assert write(tmp_path / "j", range(1000)) == [("x", 1, 2, 0.5)] * 1000
    assert time.perf_counter() - start < 5  # a commit each would take that many syncs


def test_a_full_disk_is_said_clearly_and_loses_nothing(tmp_path):
    async def main():
        journal = Journal(tmp_path / "j")
        await journal.add(entry(1))
        (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
        journal._writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(WarehouseError, match="the disk is full; make room"):
            await journal.add(entry(2, "y" * 100_000))
        journal._writer.execute("PRAGMA max_page_count=1000")
        await journal.add(entry(3))
        found = [(await journal.find(f"{n:032x}")) for n in (1, 2, 3)]
        journal.close()
        return found

    assert asyncio.run(main()) == [("x", 1, 2, 0.5), None, ("x", 1, 2, 0.5)]


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, though it is long enough to be looked at" * 20)
    with pytest.raises(WarehouseError, match="not a journal or damaged"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "future") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(WarehouseError, match="version 99, this hydata writes version 2"):
        Journal(tmp_path / "future")


def test_another_loop_and_a_closed_models_are_told_apart(tmp_path):
    models = open_models(one_model(StandinEndpoint(engine="standin"), "a"), tmp_path / "j")

    async def use():
        await models.complete(models.route("critic", "x"), ask())

    with pytest.raises(RuntimeError, match="not open"):
        asyncio.run(use())
    asyncio.run(models.__aenter__())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(use())
    asyncio.run(models.__aexit__(None, None, None))
