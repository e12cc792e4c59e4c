"""The journal: every completed reply, on disk before anyone uses it.

An SQLite file that is only ever added to. Replies arrive from the event loop, one thread writes them:
it takes whatever has gathered since the last transaction and commits it as one, so a lone reply
waits for one sync and a thousand together wait for one as well, and the loop is never blocked by a write.

    replies    the rows, in the order they came                keys     (head of the key, id), sorted
    indexed    the last id that ``keys`` knows of              expected requests given to an offline batch

Appending to ``replies`` costs the same at any size. An index over random keys does not: at millions of rows
each new one touches a page of its own. So ``keys`` is brought up to date in rounds, many keys at
once and sorted, and every process holds the keys behind ``indexed``, the *tail*, in memory: a look-up
asks for newer rows first and so sees what other processes wrote, at the latest after ``OTHERS`` seconds.
Keys asked for during one turn of the loop are looked up by one query. If a call was answered in two
processes at once, the row with the lower id stands.

WAL with ``synchronous=FULL``: a transaction that has returned survives SIGKILL (WAL with NORMAL would do
for that) and a power cut (NORMAL would lose the last ones). Several processes may share the file; each waits
its turn to write. Needs a POSIX file system with working locks, not NFS. Measured in
docs/decisions/0006-journal.md.

No request is stored and no secret: the key is a hash, the reply is the model's text.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from hydata.errors import WarehouseError

VERSION = 2
GATHER = 0.005
"""Seconds from one commit to the next, at the least. A commit costs some 100 us of CPU whatever is in it, and
where a sync takes 0.3 ms, a thousand replies a second would each have their own."""
BATCH = 1024
ROUND = 100_000
"""Rows in the tail that call for an index round. Among 10 million keys a round touches nearly every page of
the index (0.2 GB), however many rows it brings."""
SLICE = 1024
"""Keys of one look-up query, at the most."""
PATIENCE = 0.01
"""Seconds that one look-up query should take at the most: from a cold disk a key takes a hundred times as
long, and then they are looked up in smaller slices, with a turn of the loop between them."""
OTHERS = 0.05
BUSY_MS = 60_000
WAL_BYTES = 64 << 20

SCHEMA = (
    """
    CREATE TABLE replies (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- no id is used twice: a row could hide behind `indexed`
        key BLOB NOT NULL,
        purpose TEXT NOT NULL,
        model TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        created REAL NOT NULL,
        reply TEXT NOT NULL -- last: counting need not read the pages that a long one runs over to
    )
    """,
    "CREATE TABLE keys (head BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (head, id)) WITHOUT ROWID",
    "CREATE TABLE indexed (upto INTEGER NOT NULL)",
    "INSERT INTO indexed VALUES (0)",
    "CREATE TABLE expected (key BLOB PRIMARY KEY, purpose TEXT NOT NULL, model TEXT NOT NULL) WITHOUT ROWID",
)
FROM_VERSION_1 = (
    "ALTER TABLE replies RENAME TO replies_1",
    *SCHEMA,
    """
    INSERT INTO replies
    SELECT rowid, key, purpose, model, prompt_tokens, completion_tokens, seconds, created, reply
    FROM replies_1 ORDER BY rowid
    """,
    "DROP TABLE replies_1",
)
COLUMNS = "key, purpose, model, prompt_tokens, completion_tokens, seconds, created, reply"
NEWER = "SELECT upto, NULL FROM indexed UNION ALL SELECT id, key FROM replies WHERE id > ?"
BY_ID = "SELECT key, reply, prompt_tokens, completion_tokens, seconds FROM replies WHERE id IN ({})"
# Half a key will do for an index: should two be alike in it, the whole keys tell them apart.
BY_HEAD = """
SELECT key, reply, prompt_tokens, completion_tokens, seconds
FROM keys JOIN replies USING (id) WHERE head IN ({}) ORDER BY head, id
"""
HEAD = 8

Stored = tuple[str, int, int, float]
Row = tuple[bytes, str, str, int, int, float, float, str]


class Entry(NamedTuple):
    """One reply to keep. ``key`` is 32 hex digits, ``reply`` JSON text, ``seconds`` the request's time."""

    key: str
    purpose: str
    model: str
    reply: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


Pending = tuple[Row, "asyncio.Future[None]"]
Answer = dict[bytes, Stored]
Asked = tuple[list[bytes], "asyncio.Future[Answer]"]


class Journal:
    """An open journal. All but ``add`` belongs to the thread that opened it; close it when done."""

    def __init__(self, path: Path) -> None:
        """Opens ``path`` or makes it; if killed processes left many keys unindexed, they are indexed first.

        Raises:
            WarehouseError: no journal, damaged, of a later version, or not to be written.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._closed = False
        self._stale_at = 0.0
        self._tail: dict[bytes, int] = {}
        self._slice = SLICE // 16  # until it is known how fast the disk is
        self._asked: deque[Asked] = deque()
        self._pending: SimpleQueue[Pending | None] = SimpleQueue()
        with ExitStack() as undo, explained(path):
            self._writer = undo.enter_context(closing(connect(path)))
            self._reader = undo.enter_context(closing(_open(path)))
            self._indexed = self._last = self._seen = self._upto = _index_if_long(self._writer)
            self._read_tail()
            undo.pop_all()
        self._thread = threading.Thread(target=self._write, name="hydata-journal", daemon=True)
        self._thread.start()

    # --- looking up ---------------------------------------------------------------------------------

    async def find(self, key: str) -> Stored | None:
        """The stored (reply, prompt tokens, completion tokens, seconds), or None.

        Raises:
            WarehouseError: the file cannot be read.
        """
        self._check_open()
        name = bytes.fromhex(key)
        self._refresh()
        if not self._upto and name not in self._tail:
            return None  # a new journal: nothing to wait for
        return (await self._ask([name], asyncio.get_running_loop())).get(name)

    async def find_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """What is stored of ``keys``, by key.

        Raises:
            WarehouseError: the file cannot be read.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        names = {bytes.fromhex(key): key for key in keys}
        rest = list(names)
        found: dict[str, Stored] = {}
        while rest:
            size = self._slice
            found.update((names[name], row) for name, row in (await self._ask(rest[:size], loop)).items())
            rest = rest[size:]
        return found

    def _ask(self, names: list[bytes], loop: asyncio.AbstractEventLoop) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._answer, loop)
        self._asked.append((names, answer))
        return answer

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look up what was asked for in one turn of the loop, up to a slice of it."""
        started = time.perf_counter()
        batch: list[Asked] = []
        wanted: set[bytes] = set()
        while self._asked and len(wanted) < self._slice:
            asked = self._asked.popleft()
            batch.append(asked)
            wanted.update(asked[0])
        if self._asked:
            loop.call_soon(self._answer, loop)
        try:
            self._check_open()
            self._refresh()
            with explained(self.path):
                found = self._look_up(wanted)
        except (WarehouseError, RuntimeError) as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for names, answer in batch:
            if not answer.done():
                answer.set_result({name: found[name] for name in names if name in found})
        took = time.perf_counter() - started
        if took > PATIENCE:
            self._slice = max(1, self._slice // 2)
        elif took < PATIENCE / 4 and len(wanted) >= self._slice:
            self._slice = min(SLICE, self._slice * 2)

    def _look_up(self, wanted: set[bytes]) -> Answer:
        found: Answer = {}
        if self._upto:
            for key, *row in _select(self._reader, BY_HEAD, sorted(key[:HEAD] for key in wanted)):
                if key in wanted:
                    found.setdefault(key, tuple(row))  # in the order of ids
        recent = [self._tail[key] for key in wanted if key in self._tail and key not in found]
        if recent:
            found.update((key, tuple(row)) for key, *row in _select(self._reader, BY_ID, recent))
        return found

    def _refresh(self) -> None:
        """Learn of new rows: of this process's own at once, of others' within ``OTHERS`` seconds; a query for
        every turn of the loop would be one for every few replies."""
        now = time.monotonic()
        if self._last > self._seen or now >= self._stale_at:
            with explained(self.path):
                self._read_tail()
            self._stale_at = now + OTHERS

    def _read_tail(self) -> None:
        upto = 0
        for id, key in self._reader.execute(NEWER, (self._seen,)):
            if key is None:
                upto = id
            else:
                self._tail.setdefault(key, id)
                self._seen = id
        if upto != self._upto:
            self._tail = {key: id for key, id in self._tail.items() if id > upto}
            self._seen = max(self._seen, upto)
            self._upto = upto

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.path}: the journal is closed")

    # --- adding -------------------------------------------------------------------------------------

    async def add(self, entry: Entry) -> None:
        """Returns once ``entry`` is safe on disk.

        Raises:
            WarehouseError: it could not be written (disk full, file damaged).
        """
        self._check_open()
        row = _row(entry)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.put((row, done))
        await done

    def close(self) -> None:
        """Writes what is pending, indexes the tail and closes the file."""
        if self._closed:
            return
        self._closed = True
        self._pending.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _write(self) -> None:
        written = False
        earliest = 0.0
        closing = False
        while not closing:
            batch: list[Pending] = []
            item = self._pending.get()
            # A lone reply is written at once; those that follow on its heels wait for company.
            time.sleep(max(0.0, earliest - time.monotonic()))
            earliest = time.monotonic() + GATHER
            while item is not None:
                batch.append(item)
                if len(batch) == BATCH or self._pending.empty():
                    break
                item = self._pending.get()
            closing = item is None
            if batch:
                _resolve(batch, self._commit([row for row, _ in batch]))
                written = True
            if self._last - self._indexed >= ROUND or (closing and written):
                self._index(closing)

    def _commit(self, rows: list[Row]) -> WarehouseError | None:
        try:
            with explained(self.path), transaction(self._writer):
                start = 0
                while start < len(rows):
                    # Many rows a statement: between two statements this thread has to get the interpreter's
                    # lock back from a busy loop, which may take 5 ms. Powers of two keep the statements few.
                    count = min(256, 1 << ((len(rows) - start).bit_length() - 1))
                    values = [value for row in rows[start : start + count] for value in row]
                    last = self._writer.execute(_insert(count), values).lastrowid
                    start += count
            self._last = last or 0
        except WarehouseError as error:
            return error
        return None

    def _index(self, closing: bool) -> None:
        try:
            self._indexed = index_keys(self._writer) if closing else _index_if_long(self._writer)
        except sqlite3.Error:
            # No room, or another process is long at it. Nothing is lost: the keys stay in the tail until the
            # next round, and if the disk is full or the file damaged, the next reply will say so.
            self._indexed = self._last

    # --- offline batches ----------------------------------------------------------------------------

    def expect(self, requests: Iterable[tuple[str, str, str]]) -> None:
        """Keep (key, purpose, model) of requests whose replies will be read from a file later. Returns once
        they are safe on disk; those that are known already stay as they are.

        Raises:
            WarehouseError: they could not be written.
        """
        self._check_open()
        rows = ((bytes.fromhex(key), purpose, model) for key, purpose, model in requests)
        with explained(self.path):
            # In pieces: other writers wait meanwhile, and the requests may be made while they are asked for.
            while piece := list(islice(rows, BATCH)):
                with transaction(self._reader):
                    self._reader.executemany("INSERT OR IGNORE INTO expected VALUES (?, ?, ?)", piece)

    def forget(self, keys: Iterable[str]) -> None:
        """Expect these requests no more.

        Raises:
            WarehouseError: that could not be written.
        """
        self._check_open()
        with explained(self.path), transaction(self._reader):
            rows = ((bytes.fromhex(key),) for key in keys)
            self._reader.executemany("DELETE FROM expected WHERE key = ?", rows)

    def expected(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(purpose, model) of those of ``keys`` that ``expect`` was told of.

        Raises:
            WarehouseError: the file cannot be read.
        """
        self._check_open()
        query = "SELECT key, purpose, model FROM expected WHERE key IN ({})"
        found: dict[str, tuple[str, str]] = {}
        with explained(self.path):
            for start in range(0, len(keys), SLICE):
                wanted = sorted(bytes.fromhex(key) for key in keys[start : start + SLICE])
                for key, purpose, model in _select(self._reader, query, wanted):
                    found[key.hex()] = purpose, model
        return found


# --- SQLite ------------------------------------------------------------------------------------------


def check_exists(path: Path) -> None:
    """Opening would make one.

    Raises:
        WarehouseError: there is no journal at ``path``.
    """
    if not path.exists():
        raise WarehouseError(f"{path}: no journal; `hydata run` writes one, --warehouse names another folder")


def connect(path: Path) -> sqlite3.Connection:
    """The journal at ``path`` in autocommit mode, made if missing, of this version.

    Raises:
        WarehouseError: no journal, damaged, of a later version, or not to be written.
    """
    with explained(path):
        connection = _open(path)
        try:
            _make_current(path, connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _open(path: Path) -> sqlite3.Connection:
    # Transactions are begun and ended by hand. The writer's connection moves to its thread.
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA page_size=8192")  # of a new file: a seventh less room than with 4096
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")  # an index round leaves a large one
        connection.execute("PRAGMA secure_delete=OFF")  # on in Debian: overwrites what a migration drops
    except BaseException:
        connection.close()
        raise
    return connection


def _make_current(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    with transaction(connection):
        (version,) = connection.execute(
            "PRAGMA user_version"
        ).fetchone()  # another process may have been first
        if version not in (0, 1, VERSION):
            raise WarehouseError(
                f"{path}: a journal of version {version}, this hydata writes version {VERSION}; "
                "use the hydata that wrote it, or name another journal"
            )
        for statement in {0: SCHEMA, 1: FROM_VERSION_1, VERSION: ()}[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")


def _index_if_long(connection: sqlite3.Connection) -> int:
    """Bring ``keys`` up to date if many are missing. The last id it knows of."""
    query = "SELECT upto, (SELECT ifnull(max(id), 0) FROM replies) FROM indexed"
    upto, last = connection.execute(query).fetchone()
    return index_keys(connection) if last - upto >= ROUND else int(upto)


def index_keys(connection: sqlite3.Connection) -> int:
    """Bring ``keys`` up to date: the last id. One statement, so that the thread needs the interpreter's lock
    once."""
    with transaction(connection):
        connection.execute(
            f"INSERT INTO keys SELECT substr(key, 1, {HEAD}), id FROM replies "
            "WHERE id > (SELECT upto FROM indexed) ORDER BY 1, 2"
        )
        connection.execute("UPDATE indexed SET upto = max(upto, (SELECT ifnull(max(id), 0) FROM replies))")
        (upto,) = connection.execute("SELECT upto FROM indexed").fetchone()
    return int(upto)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on some errors, a full disk among them, SQLite has already undone it
            connection.execute("ROLLBACK")
        raise


def _select(
    connection: sqlite3.Connection, query: str, values: Sequence[object]
) -> Iterator[tuple[Any, ...]]:
    """The rows of ``query`` for a list of values, padded so that there are few different statements."""
    size = 1 << (len(values) - 1).bit_length()
    padding = [values[-1]] * (size - len(values))
    return connection.execute(_query(query, size), [*values, *padding])


@lru_cache
def _query(query: str, count: int) -> str:
    return query.format(", ".join("?" * count))


@lru_cache
def _insert(count: int) -> str:
    return f"INSERT INTO replies ({COLUMNS}) VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)


def _row(entry: Entry) -> Row:
    """Raises ValueError for what SQLite would refuse, here, where the call that brought it is, and not in the
    thread for all that are committed with it."""
    tokens = entry.prompt_tokens, entry.completion_tokens
    if not 0 <= min(tokens) <= max(tokens) < 2**40:
        raise ValueError(f"journal: {tokens[0]} and {tokens[1]} are no counts of tokens")
    for text in (entry.purpose, entry.model, entry.reply):
        if not text.isascii():
            text.encode()
    return (
        bytes.fromhex(entry.key),
        entry.purpose,
        entry.model,
        *tokens,
        entry.seconds,
        time.time(),
        entry.reply,
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: sqlite3.Error) -> WarehouseError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what tells the cases of one code apart
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
    for _, done in batch:
        waiting.setdefault(done.get_loop(), []).append(done)
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
