"""A reply is paid for once: keys, restarts, kills, sharing, a full disk."""

import asyncio
import io
import json
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from journals import STORED, entry, key, sound, using, write
from pydantic import BaseModel
from servers import ask, completion, pointing, request_hash, serving

from hydata import cli
from hydata.errors import ConfigError, TerminalModelError, WarehouseError
from hydata.models import Sampling, Standin, StandinEndpoint, one_model, open_models
from hydata.models.journal import Journal
from hydata.models.router import build_model
from hydata.models.upkeep import Chosen, export, prune, stats
from hydata.schema import Message
from hydata.warehouse import JOURNAL, locked

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

    assert converse(body, 0.2) == ("Fine.", True, 4)  # who gives up takes the request along; it is sent again


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


def test_several_processes_share_a_journal(tmp_path):
    path = tmp_path / "shared.sqlite"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from journals import write;"
        "first = int(sys.argv[3]);"
        "[write(Path(sys.argv[2]), range(i * 100, i * 100 + 150)) for i in range(first, first + 5)]"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, HERE, str(path), str(at)]) for at in (0, 2, 4)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert journalled(path) == 3 * 5 * 150
    assert len(write(path, range(950))) == 950
    assert prune(path, Chosen(duplicates=True)).rows == 3 * 5 * 150
    assert journalled(path) == 950
    assert sound(path)


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from hydata.models import journal
from journals import entry

journal.ROUND = 60

async def main(first):
    opened = journal.Journal(Path(sys.argv[1]))
    async def endless(number):
        while True:
            await opened.add(entry(number))
            print(number, flush=True)
            number += 10
    await asyncio.gather(*(endless(first + i) for i in range(10)))

asyncio.run(main(int(sys.argv[2])))
"""


def test_what_was_acknowledged_survives_kill_minus_nine_of_several_writers(tmp_path):
    path = tmp_path / "j"
    said = []
    for round in range(3):
        command = [sys.executable, "-c", WRITER, str(path)]
        children = [
            subprocess.Popen(
                [*command, str((3 * round + i) * 10**6), HERE], stdout=subprocess.PIPE, text=True
            )
            for i in range(3)
        ]
        for child in children:
            for _ in range(90 + 70 * round):
                said.append(int(child.stdout.readline()))
        for child in children:
            child.kill()
            # The last line may be cut off in the middle.
            said += [int(line) for line in child.communicate()[0].split("\n")[:-1]]
        assert sound(path)

    async def look(journal):
        return await journal.find_many([key(n) for n in said]), journal._upto

    found, upto = using(path, look)
    assert len(found) == len(said) == len(set(said)) > 900
    assert set(found.values()) == {STORED}
    assert upto > 60  # index rounds were killed as well


def test_a_thousand_replies_share_their_commits(tmp_path):
    said = []

    async def body(journal):
        journal._writer.set_trace_callback(said.append)
        await asyncio.gather(*(journal.add(entry(n)) for n in range(1000)))
        return await journal.find_many([key(n) for n in range(1000)])

    assert list(using(tmp_path / "j", body).values()) == [STORED] * 1000
    assert 1 <= said.count("COMMIT") < 50


def test_index_and_tail_agree_after_many_rounds(tmp_path, monkeypatch):
    """Two journals on one file; each writes some and finds all. Keys come in pairs of one head."""
    monkeypatch.setattr("hydata.models.journal.ROUND", 50)
    path = tmp_path / "j"
    names = [f"{n // 2:016x}{n:016x}" for n in range(800)]

    async def body(one):
        other = Journal(path)
        for start in range(0, len(names), 40):
            piece = names[start : start + 40]
            await asyncio.gather(
                *(one.add(entry(0, key=name)) for name in piece[:25]),
                *(other.add(entry(0, key=name)) for name in piece[15:]),
            )
            for journal in (one, other):
                assert list(await journal.find_many(names)) == names[: start + 40]
                assert len(journal._tail) < 150
        other.close()
        return one._upto

    assert using(path, body) > 900
    assert using(path, lambda journal: journal.find_many(names)) == dict.fromkeys(names, STORED)
    with closing(sqlite3.connect(path)) as connection:
        indexed = connection.execute("SELECT head, id FROM keys ORDER BY id").fetchall()
        assert indexed == connection.execute("SELECT substr(key, 1, 8), id FROM replies").fetchall()


def test_opening_reads_only_what_is_not_indexed(tmp_path, monkeypatch):
    path = tmp_path / "j"
    write(path, range(100))

    def tail_of_a_process_that_was_killed(first, last):
        code = (
            "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
            "import journals;"
            "journals.Journal.close = lambda journal: os._exit(0);"
            "journals.write(Path(sys.argv[2]), range(*map(int, sys.argv[3:])))"
        )
        subprocess.run([sys.executable, "-c", code, HERE, str(path), str(first), str(last)], check=True)
        journal = Journal(path)
        tail = len(journal._tail)
        journal.close()
        return tail

    assert tail_of_a_process_that_was_killed(100, 150) == 50
    assert tail_of_a_process_that_was_killed(150, 180) == 80  # a session without a reply indexes nothing
    monkeypatch.setattr("hydata.models.journal.ROUND", 90)
    assert tail_of_a_process_that_was_killed(180, 190) == 0
    assert len(write(path, range(190))) == 190


def test_of_two_replies_to_one_call_the_first_stands(tmp_path):
    path = tmp_path / "j"

    async def add(journal, *texts):
        for text in texts:
            await journal.add(entry(1, text))
        return (await journal.find(entry(1).key))[0]

    assert using(path, lambda journal: add(journal, '"first"', '"second"')) == '"first"'
    assert using(path, lambda journal: add(journal, '"third"')) == '"first"'
    assert using(path, lambda journal: add(journal)) == '"first"'


def test_processes_find_what_others_wrote_meanwhile(tmp_path):
    path = tmp_path / "j"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from journals import write;"
        "write(Path(sys.argv[2]), range(*map(int, sys.argv[3:])))"
    )

    async def body(journal):
        seen = []
        for first, last in ((0, 10), (5, 20)):
            command = [sys.executable, "-c", code, HERE, str(path), str(first), str(last)]
            assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0
            seen.append(len(await journal.find_many([key(n) for n in range(100)])))
            seen.append(await journal.find(entry(last - 1).key))
            seen.append(await journal.find(entry(last).key))
        return seen

    assert using(path, body) == [10, STORED, None, 20, STORED, None]


def test_twenty_thousand_keys_are_looked_up_in_one_go(tmp_path):
    path = tmp_path / "j"
    write(path, range(20_000))

    async def body(journal):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        found = await journal.find_many([key(n) for n in range(10_000, 30_000)])
        ticking.cancel()
        one_by_one = await asyncio.gather(*(journal.find(key(n)) for n in range(19_000, 21_000)))
        return list(found), ticks, one_by_one

    found, ticks, one_by_one = using(path, body)
    assert found == [key(n) for n in range(10_000, 20_000)]
    assert ticks > 10  # the loop went on in between
    assert one_by_one == [STORED] * 1000 + [None] * 1000


def test_a_journal_outlives_its_loop(tmp_path):
    journal = Journal(tmp_path / "j")
    for n in range(3):
        assert asyncio.run(journal.find(entry(n).key)) is None
        asyncio.run(journal.add(entry(n)))
        assert asyncio.run(journal.find(entry(n).key)) == STORED
    journal.close()
    journal.close()
    for use in (journal.find(entry(0).key), journal.find_many([]), journal.add(entry(0))):
        with pytest.raises(RuntimeError, match="j: the journal is closed"):
            asyncio.run(use)
    with pytest.raises(RuntimeError, match="j: the journal is closed"):
        journal.expect([])


def test_closing_answers_those_who_wait(tmp_path):
    async def main():
        journal = Journal(tmp_path / "j")
        await journal.add(entry(1))
        adding = asyncio.create_task(journal.add(entry(2)))
        finding = asyncio.create_task(journal.find(entry(1).key))
        await asyncio.sleep(0)
        journal.close()
        with pytest.raises(RuntimeError, match="closed"):
            await finding
        await adding

    asyncio.run(main())
    assert journalled(tmp_path / "j") == 2


def test_what_cannot_be_stored_fails_alone(tmp_path):
    async def body(journal):
        good = [journal.add(entry(n)) for n in range(20)]
        bad = [journal.add(entry(20, prompt_tokens=10**30)), journal.add(entry(21, text="\ud800"))]
        return await asyncio.gather(*good, *bad, return_exceptions=True)

    outcomes = using(tmp_path / "j", body)
    assert outcomes[:20] == [None] * 20
    assert [type(outcome) for outcome in outcomes[20:]] == [ValueError, UnicodeEncodeError]
    assert journalled(tmp_path / "j") == 20


def test_expected_requests_are_remembered(tmp_path):
    requests = [(key(n), f"respond/p{n}", "m") for n in range(3000)]

    async def body(journal):
        journal.expect(requests[:2000])
        journal.expect((key, "other", model) for key, _, model in requests[1000:])
        await journal.add(entry(1))
        return journal.expected([key for key, _, _ in requests] + ["f" * 32]), journal.expected([])

    known, none = using(tmp_path / "j", body)
    assert none == {}
    assert len(known) == 3000
    assert [known[key(n)] for n in (0, 1999, 2000)] == [
        ("respond/p0", "m"),
        ("respond/p1999", "m"),
        ("other", "m"),
    ]
    assert stats(tmp_path / "j").waiting == 2999


VERSION_1 = """
CREATE TABLE replies (
    key BLOB PRIMARY KEY, purpose TEXT NOT NULL, model TEXT NOT NULL, reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL,
    created REAL NOT NULL
)
"""


def test_a_journal_of_version_1_is_taken_over(tmp_path):
    path = tmp_path / "j"
    rows = [(bytes.fromhex(key(n)), "critique/p", "m", '"x"', 1, 2, 0.5, 1e9 - n) for n in range(500, 0, -1)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(VERSION_1)
        connection.executemany("INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("PRAGMA user_version=1")
        connection.commit()
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from hydata.models.journal import Journal;"
                "Journal(Path(sys.argv[1])).close()",
                str(path),
            ]
        )
        for _ in range(3)
    ]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(write(path, range(501, 511))) == 10
    keys = [key(n) for n in range(520)]
    assert using(path, lambda journal: journal.find_many(keys)) == dict.fromkeys(keys[1:511], STORED)
    with closing(sqlite3.connect(path)) as connection:
        created = connection.execute("SELECT created FROM replies ORDER BY id LIMIT 500").fetchall()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert created == [(row[-1],) for row in rows]
    assert not any("replies_1" in name for name in tables)
    assert sound(path)


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
        found = [await journal.find(key(n)) for n in (1, 2, 3)]
        journal.close()
        return found

    assert asyncio.run(main()) == [STORED, None, STORED]


SMALL_DISK = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from hydata.errors import WarehouseError
from hydata.models import journal
from journals import entry, key, sound, using

journal.ROUND = 40
disk = Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(8 << 20))

async def fill(opened):
    kept, refused = [], 0
    for number in range(5000):
        try:
            await opened.add(entry(number, "x" * 5000))
            kept.append(number)
        except WarehouseError as error:
            assert "the disk is full; make room" in str(error), error
            refused += 1
        if refused == 5:
            break
    (disk / "ballast").unlink()
    for number in range(5000, 5200):
        await opened.add(entry(number, "x" * 5000))
        kept.append(number)
    return kept

kept = using(disk / "j", fill)
assert 240 < len(kept) < 2000, len(kept)
assert sound(disk / "j")
found = using(disk / "j", lambda opened: opened.find_many([key(n) for n in range(6000)]))
assert list(found) == [key(n) for n in kept], (len(found), len(kept))
"""


def test_on_a_disk_that_is_really_full(tmp_path):
    mount = f"mount -t tmpfs -o size=12m none {tmp_path} && "
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, mount + "true"], check=False).returncode:
        pytest.skip("no small disk may be mounted here")
    child = [sys.executable, "-c", SMALL_DISK, str(tmp_path), HERE]
    done = subprocess.run([*unshare, mount + shlex.join(child)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, though it is long enough to be looked at" * 20)
    with pytest.raises(WarehouseError, match="not a journal or damaged"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "future") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(WarehouseError, match="version 99, this hydata writes version 2"):
        Journal(tmp_path / "future")
    for use in (stats, lambda path: prune(path, Chosen(duplicates=True))):
        with pytest.raises(WarehouseError, match="nowhere: no journal"):
            use(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def varied(tmp_path):
    """30 replies to three purposes by three models, one call answered twice, and two calls expected."""
    path = tmp_path / "j"

    async def body(journal):
        for n in range(30):
            purpose, model = (
                ("respond/a.en", "respond/b.zh", "critique")[n % 3],
                ("big@1", "big 2", "bigger")[n % 3],
            )
            text = json.dumps(["Täglich 水\u2028.", None, "stop"], ensure_ascii=False)
            await journal.add(entry(n, text, purpose=purpose, model=model, seconds=n / 10))
        await journal.add(entry(3, '"again"', purpose="respond/a.en", model="big@1"))
        journal.expect([(entry(0).key, "respond/a.en", "big@1"), (entry(99).key, "respond/a.en", "big@1")])

    using(path, body)
    return path


def test_stats_by_purpose_and_model(varied):
    found = stats(varied)
    assert [(g.step, g.model, g.purpose, g.replies) for g in found.groups] == [
        ("critique", "bigger", "critique", 10),
        ("respond", "big@1", "respond/a.en", 11),
        ("respond", "big 2", "respond/b.zh", 10),
    ]
    group = found.groups[2]
    assert (group.prompt_tokens, group.completion_tokens) == (10, 20)
    assert group.seconds == pytest.approx(1.45)
    assert time.time() - 60 < group.first < group.last <= time.time()
    assert found.waiting == 1
    assert found.size == varied.stat().st_size


def test_export_as_lines_and_as_parquet(varied, tmp_path, monkeypatch):
    monkeypatch.setattr("hydata.models.upkeep.PAGE", 7)  # several pages
    assert export(varied, tmp_path / "out.jsonl") == 31
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    rows = [json.loads(line) for line in lines]
    assert [row["key"] for row in rows] == [key(n) for n in [*range(30), 3]]
    assert rows[0]["reply"] == ["Täglich 水\u2028.", None, "stop"]
    assert rows[-1]["reply"] == "again"
    stored = datetime.fromisoformat(rows[0]["created"])
    assert timedelta(0) < datetime.now(UTC) - stored < timedelta(minutes=1)

    assert export(varied, tmp_path / "out.parquet", Chosen(purpose="respond", model="big")) == 21
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert set(frame["purpose"]) == {"respond/a.en", "respond/b.zh"}
    assert frame["created"].dtype == pl.Datetime("us", "UTC")
    assert json.loads(frame["reply"][0]) == rows[0]["reply"]
    assert set(frame.columns) == set(rows[0])

    stream = io.StringIO()
    assert export(varied, stream, Chosen(model="bigger")) == 10 == stream.getvalue().count("\n")
    with pytest.raises(OSError, match="No such file"):
        export(varied, tmp_path / "no" / "folder.jsonl")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["j", "out.jsonl", "out.parquet"]


def test_prune_removes_what_was_chosen_and_shrinks_the_file(varied):
    async def fill(journal):
        await asyncio.gather(*(journal.add(entry(1000 + n, "9" * 5000, model="old")) for n in range(300)))

    using(varied, fill)
    with pytest.raises(ConfigError, match="name what is to go"):
        prune(varied, Chosen())
    now = time.time()
    assert prune(varied, Chosen(before=now - 60)).rows == 0
    assert prune(varied, Chosen(model="ol")).rows == 0
    assert prune(varied, Chosen(purpose="respond", before=now), dry_run=True).rows == 321
    assert prune(varied, Chosen(duplicates=True), dry_run=True).rows == 1
    assert journalled(varied) == 331

    gone = prune(varied, Chosen(model="old"))
    assert gone.rows == 300
    assert gone.after < gone.before / 10
    assert prune(varied, Chosen(duplicates=True)).rows == 1
    assert prune(varied, Chosen(purpose="respond/a.en", model="big")).rows == 10
    assert stats(varied).waiting == 1
    keys = [key(n) for n in range(2000)]
    left = [key(n) for n in range(30) if n % 3]
    assert list(using(varied, lambda journal: journal.find_many(keys))) == left
    # Ids are not used again: rows added now are found, though the last of the old ones are gone.
    assert len(write(varied, range(500, 520))) == 20
    assert len(using(varied, lambda journal: journal.find_many(keys))) == 40
    assert sound(varied)


def test_the_command_line(varied, tmp_path, monkeypatch, capsys):
    warehouse = tmp_path / "w"
    path = warehouse / JOURNAL
    path.parent.mkdir(parents=True)
    shutil.move(varied, path)
    using(path, lambda journal: journal.add(entry(50, purpose="evil\x1b[2J/p", model="old")))

    def hydata(*arguments, given=""):
        monkeypatch.setattr(sys, "argv", ["hydata", "journal", *arguments, "-w", str(warehouse)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        with pytest.raises(SystemExit) as done:
            cli.main()
        return done.value.code, "".join(capsys.readouterr())

    code, said = hydata("stats")
    assert code == 0, said
    assert "\x1b" not in said
    assert "evil\ufffd[2J/p" in said
    assert "replies.sqlite: 32 replies" in said
    assert "1 requests written for an offline batch have no reply yet" in said

    code, lines = hydata("export", "--purpose", "respond")
    assert (code, lines.count("\n")) == (0, 21)
    out = str(tmp_path / "out.parquet")
    assert "out.parquet: 11 replies" in hydata("export", "-o", out, "-m", "big", "-p", "respond/a.en")[1]
    assert hydata("export", "-o", "out.csv")[0] == 2

    assert "would remove 1 replies" in hydata("prune", "--duplicates", "--dry-run")[1]
    assert "no reply is meant" in hydata("prune", "--older-than", "1", "--yes")[1]
    assert hydata("prune", "-m", "old", given="n\n")[0] == 1
    assert journalled(path) == 32
    assert "removed 1 replies" in hydata("prune", "-m", "old", given="y\n")[1]
    assert "removed 10 replies" in hydata("prune", "-p", "critique", "--yes")[1]
    assert hydata("prune", "--yes")[0] == 2
    with locked(warehouse):
        code, said = hydata("prune", "--duplicates", "--yes")
        assert (code, "locked by process" in said) == (3, True)
    assert journalled(path) == 21

    warehouse = tmp_path / "nowhere"
    for command in (("stats",), ("export",), ("prune", "--duplicates", "--yes")):
        code, said = hydata(*command)
        assert (code, "no journal; `hydata run` writes one" in said) == (3, True)
    assert not warehouse.exists()


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
