"""Journals to test, also from processes of their own: what it takes and nothing that is slow to import."""

import asyncio
import sqlite3
from contextlib import closing

from hydata.models.journal import Entry, Journal


def key(number: int) -> str:
    return f"{number:016x}" * 2


def entry(number: int, text: str = '"x"', **changes: object) -> Entry:
    return Entry(key(number), "respond/p", "m", text, 1, 2, 0.5)._replace(**changes)


STORED = ('"x"', 1, 2, 0.5)


def using(path, body):
    """``body(journal)`` in a loop of its own, on a journal opened for it."""

    async def main():
        journal = Journal(path)
        try:
            return await body(journal)
        finally:
            journal.close()

    return asyncio.run(main())


def write(path, numbers):
    async def body(journal):
        await asyncio.gather(*(journal.add(entry(n)) for n in numbers))
        return await journal.find_many([key(n) for n in numbers])

    return using(path, body)


def sound(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
