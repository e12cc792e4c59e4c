"""The journal: every completed reply, on disk before anyone uses it.

An SQLite file that is only ever added to. Replies arrive from the event loop, one thread writes them:
it takes whatever has gathered while the last transaction was being synced and commits it as one, so
a lone reply waits for one sync and a thousand together wait for one as well, and the loop is never
blocked by the disk.

WAL with ``synchronous=FULL``: a transaction that has returned survives SIGKILL (WAL with NORMAL
would do for that) and a power cut (NORMAL would lose the last ones). Since a sync is shared by a batch, FULL
costs little: see docs/decisions/0003-model-calls.md. Several processes may share the file; each
waits its turn to write. Needs a POSIX file system with working locks, not NFS.

No request is stored and no secret: the key is a hash, the reply is the model's text.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from hydata.errors import WarehouseError

VERSION = 1
BATCH = 512
BUSY_MS = 60_000

TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY,
    purpose TEXT NOT NULL,
    model TEXT NOT NULL,
    reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    created REAL NOT NULL
)
"""
# OR IGNORE: another process may have journalled the same call meanwhile; the first reply stands.
INSERT = "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
SELECT = "SELECT reply, prompt_tokens, completion_tokens, seconds FROM replies WHERE key = ?"


@dataclass(frozen=True, slots=True)
class Entry:
    """One reply to keep. ``key`` is 32 hex digits, ``reply`` JSON text, ``seconds`` the request's time."""

    key: str
    purpose: str
    model: str
    reply: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


Pending = tuple[Entry, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Journal:
    """An open journal. ``find`` belongs to the thread that opened it; close it when done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._reader = _connect(path)
        try:
            self._writer = _connect(path)
        except WarehouseError:
            self._reader.close()
            raise
        self._pending: SimpleQueue[Pending | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="hydata-journal", daemon=True)
        self._thread.start()

    def find(self, key: str) -> tuple[str, int, int, float] | None:
        """The stored (reply, prompt tokens, completion tokens, seconds), or None. Some 10 us, which
        is why it runs on the event loop's own thread."""
        try:
            row: tuple[str, int, int, float] | None = self._reader.execute(
                SELECT, (bytes.fromhex(key),)
            ).fetchone()
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error
        return row

    async def add(self, entry: Entry) -> None:
        """Returns once ``entry`` is safe on disk.

        Raises:
            WarehouseError: it could not be written (disk full, file damaged).
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._pending.put((entry, loop, done))
        await done

    def close(self) -> None:
        """Writes what is pending and closes the file."""
        self._pending.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _write(self) -> None:
        closing = False
        while not closing:
            batch: list[Pending] = []
            item = self._pending.get()
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH or self._pending.empty():
                    break
                item = self._pending.get()
            closing = item is None
            if batch:
                _resolve(batch, self._commit([entry for entry, _, _ in batch]))

    def _commit(self, entries: list[Entry]) -> WarehouseError | None:
        now = time.time()
        rows = [
            (
                bytes.fromhex(e.key),
                e.purpose,
                e.model,
                e.reply,
                e.prompt_tokens,
                e.completion_tokens,
                e.seconds,
                now,
            )
            for e in entries
        ]
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany(INSERT, rows)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            return _failure(self.path, error)
        return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        # Autocommit: transactions are begun and ended by hand. The writer's connection moves to its thread.
        connection = sqlite3.connect(
            path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise WarehouseError(
                f"{path}: a journal of version {version}, this hydata writes version {VERSION}; "
                "use the hydata that wrote it, or name another journal"
            )
        if version == 0:
            connection.execute(TABLE)
            connection.execute(f"PRAGMA user_version={VERSION}")
    except (sqlite3.Error, WarehouseError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, WarehouseError):
            raise
        raise _failure(path, error) from error
    return connection


def _failure(path: Path, error: sqlite3.Error) -> WarehouseError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return WarehouseError(
            f"{path}: the disk is full; make room and run again, what is journalled is safe"
        )
    if code == sqlite3.SQLITE_BUSY:
        return WarehouseError(f"{path}: another process held the journal for {BUSY_MS // 1000} s; run again")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return WarehouseError(f"{path}: not a journal or damaged ({error}); move it away to start a new one")
    return WarehouseError(f"{path}: journal: {error}; check the disk and the file's permissions")


def _resolve(batch: list[Pending], failure: WarehouseError | None) -> None:
    """Tells the waiting calls, with one wake-up a loop rather than one a reply."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, done in batch:
        waiting.setdefault(loop, []).append(done)
    for loop, futures in waiting.items():
        # A loop that was closed while its replies were being written has nobody left to tell.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, failure)


def _settle(futures: list[asyncio.Future[None]], failure: WarehouseError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
