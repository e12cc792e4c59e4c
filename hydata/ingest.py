"""Ingest: source files become shards of documents, conversations, preference pairs and rejects.

The files not yet ingested are sorted and grouped into *packs*, many small files or one large one; a
pack is the unit of work, of resumption and of parallelism (a process each: parsing HTML is
Python). A pack's rows are written in parts of about 20,000 rows, so memory does not grow with the file.
Every part exists in each of ``TABLES``, as siblings of its ``documents`` shard.

A file has *versions*: its bytes, read under certain settings. A version is known by size and time, else
by the hash of the bytes, and has one row in ``sources``. Of a new version of a known file, changed or
read under other settings, only what no earlier one gave is taken; the rest is recognised (rows by their
ids, rejects by position and reason) and counted in one reject. So a JSON Lines file that grows every
night adds its new rows only. Nothing is taken back: rows that a file no longer holds, or that the
present settings would read otherwise, stay. And position is part of an id: a line inserted above others
moves them, and they are taken again, as new rows.

A reader can die with its process: lxml is C, and memory ends. ``run_pack_apart`` finds the file.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from pathlib import Path

import duckdb
import polars as pl
from pydantic import Field

from hydata import seeds
from hydata.curation import language
from hydata.schema import (
    CONVERSATIONS,
    DOCUMENTS,
    PREFERENCES,
    REJECTS,
    SOURCES,
    Conversation,
    Document,
    Item,
    Preference,
    Reject,
    canonical_json,
    conversations_frame,
    documents_frame,
    hash128,
    rejects_frame,
)
from hydata.seeds import BadInput, SeedSettings, Source
from hydata.seeds.source import STAGE
from hydata.stage import Settings
from hydata.warehouse import SHARD_ROWS, Shard, read_manifest, shard_key, write_manifest, write_shard

VERSION = 1
TABLES: Mapping[str, pl.Schema] = {
    "documents": DOCUMENTS,
    "conversations": CONVERSATIONS,
    "preferences": PREFERENCES,
    "rejects": REJECTS,
    "sources": SOURCES,
}
PART_CHARACTERS = 64_000_000
"""Characters after which a part is closed even if its rows are few: web pages can be long."""


class IngestSettings(Settings):
    """``paths`` are files and folders; ``seeds`` tells readers what they cannot detect."""

    paths: tuple[str, ...] = ()
    seeds: SeedSettings = SeedSettings()
    shard_rows: int = Field(default=SHARD_ROWS, ge=1)
    pack_files: int = Field(default=200, ge=1)
    pack_bytes: int = Field(default=64 * 2**20, ge=1)


@dataclass(frozen=True)
class SourceFile:
    """A file to be read, as it was when the pack was made. ``sha256`` is empty if it is not readable."""

    source: Source
    sha256: str
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Pack:
    """Files ingested together. ``known`` holds, by file, the ids of all that earlier versions gave;
    ``crashed`` is a pack whose one file ends the process that reads it."""

    key: str
    files: tuple[SourceFile, ...]
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)
    crashed: bool = False


@dataclass(frozen=True)
class Version:
    """A version of a file in the warehouse; ``reader`` is the fingerprint of the settings it was read by."""

    sha256: str
    bytes: int
    modified_ns: int
    reader: str | None


def fingerprint(settings: IngestSettings) -> str:
    """The identity of ingest: readers' settings and version; not which paths."""
    return hash128("ingest", VERSION, canonical_json(settings.seeds.model_dump(mode="json")))[:12]


def pending_packs(con: duckdb.DuckDBPyConnection, settings: IngestSettings) -> Iterator[Pack]:
    """The packs of all versions that are not in the warehouse, whose views ``con`` has."""
    known = known_files(con)
    packs = list(pack_sources(settings, known))
    # one query for all packs: each would scan the documents of the whole warehouse
    ids = known_ids(con, (file for files in packs for file in files), known)
    return (make_pack(files, ids) for files in packs)


def pack_sources(
    settings: IngestSettings, known: Mapping[str, tuple[Version, ...]]
) -> Iterator[tuple[SourceFile, ...]]:
    """The files that are new, changed or to be read otherwise, in a stable order, grouped."""
    files: list[SourceFile] = []
    size = 0
    reader = fingerprint(settings)
    for source in seeds.walk([Path(p) for p in settings.paths]):
        found = _examine(source, [v for v in known.get(source.file, ()) if v.reader == reader])
        if found is None:
            continue
        if files and (size + found.bytes > settings.pack_bytes or len(files) >= settings.pack_files):
            yield tuple(files)
            files, size = [], 0
        files.append(found)
        size += found.bytes
    if files:
        yield tuple(files)


def known_files(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[Version, ...]]:
    """All versions of every file ingested so far."""
    con.execute("SELECT file, sha256, bytes, modified_ns, reader FROM sources")
    known: dict[str, tuple[Version, ...]] = {}
    for file, *version in con.fetchall():
        known[file] = (*known.get(file, ()), Version(*version))
    return known


def known_ids(
    con: duckdb.DuckDBPyConnection, files: Iterable[SourceFile], known: Mapping[str, tuple[Version, ...]]
) -> dict[str, frozenset[str]]:
    """What earlier versions of known files gave, by file: the ids of documents and conversations, both
    ids of preference pairs, position and reason of rejects."""
    changed = [f.source.file for f in files if f.source.file in known]
    if not changed:
        return {}
    con.execute(
        """
        WITH given AS (
            SELECT file, document_id AS id FROM documents
            UNION ALL SELECT uri, record_id FROM conversations
            UNION ALL SELECT source, chosen_id || rejected_id FROM preferences
            UNION ALL SELECT file, concat(position, ' ', reason) FROM rejects
            WHERE stage = $stage AND reason != 'already_ingested'
        )
        SELECT file, id FROM given WHERE file IN (SELECT unnest($changed))
        """,
        {"changed": changed, "stage": STAGE},
    )
    ids: dict[str, set[str]] = {}
    while rows := con.fetchmany(100_000):
        for file, id_ in rows:
            ids.setdefault(file, set()).add(id_)
    return {file: frozenset(found) for file, found in ids.items()}


def make_pack(files: tuple[SourceFile, ...], ids: Mapping[str, frozenset[str]]) -> Pack:
    """A pack named by its files, their contents and what is left out of them because it is known: a head
    that does not have those rows must not take this pack for the whole files."""
    known = {f.source.file: ids[f.source.file] for f in files if f.source.file in ids}
    left_out = [hash128(file, *sorted(known[file])) for file in sorted(known)]
    return Pack(
        shard_key(*(part for f in files for part in (f.source.file, f.sha256)), *left_out), files, known
    )


def _examine(source: Source, known: Iterable[Version]) -> SourceFile | None:
    """None if the file is as one of the versions known."""
    try:
        seeds.check_file(source)
        stat = source.path.stat()
        if any(v.sha256 and (v.bytes, v.modified_ns) == (stat.st_size, stat.st_mtime_ns) for v in known):
            return None
        with source.path.open("rb") as f:
            found = SourceFile(
                source, hashlib.file_digest(f, "sha256").hexdigest(), stat.st_size, stat.st_mtime_ns
            )
    except (OSError, BadInput):
        # the reader will meet the same error and turn it into a reject
        found = SourceFile(source, "", 0, 0)
    return None if any(v.sha256 == found.sha256 for v in known) else found


@dataclass
class _Part:
    """Rows gathered for one part."""

    documents: list[Document] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    pairs: list[tuple[str, str, str, float | None]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    sources: list[tuple[str, str, int, int, str | None, int, int, int, str]] = field(default_factory=list)
    characters: int = 0

    @property
    def rows(self) -> int:
        return len(self.documents) + len(self.conversations) + len(self.rejects)

    def frames(self) -> dict[str, pl.DataFrame]:
        return {
            "conversations": conversations_frame(self.conversations),
            "preferences": pl.DataFrame(self.pairs, schema=PREFERENCES, orient="row"),
            "rejects": rejects_frame(self.rejects),
            "sources": pl.DataFrame(self.sources, schema=SOURCES, orient="row"),
            "documents": _with_language(documents_frame(self.documents)),
        }


def _with_language(documents: pl.DataFrame) -> pl.DataFrame:
    """Fill in the language by fastText where the reader did not know it."""
    if documents.is_empty():
        return documents
    detected = language.detect(documents["text"])
    return documents.with_columns(
        language=pl.coalesce(pl.col("language"), detected["language"]),
        language_confidence=pl.when(pl.col("language").is_null()).then(detected["confidence"]),
    ).cast(DOCUMENTS)


def run_pack(root: Path, stage: str, pack: Pack, settings: IngestSettings) -> tuple[Shard, ...]:
    """Read a pack and write its parts; done parts of a killed run are written again.

    Runs in a process of its own; ``stage`` is ``ingest-<fingerprint>``.
    """
    folder = f"documents/{stage}/{pack.key}"
    done = read_manifest(root, folder)
    if done is not None:
        return done
    shards: list[Shard] = []
    part = _Part()
    for file in pack.files:
        counts: Counter[str] = Counter()
        kind: str | None = None
        known = pack.known.get(file.source.file, frozenset())
        here: set[str] = set()
        position: int | None = None
        for item in _items(file, pack, settings):
            at = item.chosen.position if isinstance(item, Preference) else item.position
            if at != position:  # part of an id: only ids of one position can be equal
                here, position = set(), at
            counts.update(_take(part, item, known, here))
            if not isinstance(item, Reject):
                kind = kind or (item.kind if isinstance(item, Document) else "dataset")
            if part.rows >= settings.shard_rows or part.characters >= PART_CHARACTERS:
                shards.append(write_shard(root, f"{folder}/part-{len(shards):05}.parquet", part.frames()))
                part = _Part()
        if counts["known"]:
            detail = f"{counts['known']} rows of earlier versions of this file are unchanged"
            part.rejects.append(file.source.reject("already_ingested", detail))
            counts["rejects"] += 1
        part.sources.append(
            (
                file.source.file,
                file.sha256,
                file.bytes,
                file.modified_ns,
                kind,
                counts["documents"],
                counts["conversations"],
                counts["rejects"],
                fingerprint(settings),
            )
        )
    shards.append(write_shard(root, f"{folder}/part-{len(shards):05}.parquet", part.frames()))
    return write_manifest(root, folder, shards)


def _items(file: SourceFile, pack: Pack, settings: IngestSettings) -> Iterable[Item]:
    if pack.crashed:
        return [file.source.reject("reader_crashed", "ended the process that read it, twice")]
    return seeds.read(file.source, settings.seeds)


def _take(part: _Part, item: Item, known: frozenset[str], here: set[str]) -> list[str]:
    """Add an item to a part, but for what an earlier version gave, or the same record before (``here``).

    Returns the table of each row added, and ``known`` for each that was not.
    """
    if isinstance(item, Reject):
        if f"{'' if item.position is None else item.position} {item.reason}" in known:
            return ["known"]
        part.rejects.append(item)
        return ["rejects"]
    if isinstance(item, Preference):
        chosen, rejected = item.chosen.record_id, item.rejected.record_id
        if chosen + rejected in known:
            return ["known"]
        part.pairs.append((chosen, rejected, item.source, item.margin))
        return [
            name
            for half in (item.chosen, item.rejected)
            if half.record_id not in here
            for name in _take(part, half, known, here)
        ]
    id_ = item.document_id if isinstance(item, Document) else item.record_id
    if id_ in known:
        return ["known"]
    if id_ in here:
        file = item.file if isinstance(item, Document) else item.uri
        detail = "equal to what the same record gave before"
        part.rejects.append(Reject(STAGE, "repeated", detail, file=file, position=item.position))
        return ["rejects"]
    here.add(id_)
    if isinstance(item, Document):
        part.documents.append(item)
        part.characters += len(item.text)
        return ["documents"]
    part.conversations.append(item)
    part.characters += sum(len(m.content) for m in item.messages)
    return ["conversations"]


def run_pack_apart(
    root: Path,
    stage: str,
    pack: Pack,
    settings: IngestSettings,
    run: Callable[[Path, str, Pack, IngestSettings], tuple[Shard, ...]] = run_pack,
) -> tuple[Shard, ...]:
    """A pack whose process died, read in a process of its own; if that dies too, one half after the
    other, down to the file that is at fault, which becomes a reject (``reader_crashed``)."""
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
            return pool.submit(run, root, stage, pack, settings).result()
    except BrokenProcessPool:
        if len(pack.files) == 1:
            return run_pack(root, stage, replace(pack, crashed=True), settings)
    middle = len(pack.files) // 2
    shards: list[Shard] = []
    for name, files in (("a", pack.files[:middle]), ("b", pack.files[middle:])):
        half = replace(pack, key=f"{pack.key}/{name}", files=files)
        shards += run_pack_apart(root, stage, half, settings, run)
    return write_manifest(root, f"documents/{stage}/{pack.key}", shards)


def end_with_parent() -> None:
    """Make this worker process end when its parent does, however that ends.

    A killed parent would otherwise leave its workers waiting for ever, holding its output open: whoever
    reads that output, such as a Prefect worker, would not notice the death.
    """
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def workers() -> int:
    """Processes that read packs side by side."""
    return max(1, len(os.sched_getaffinity(0)))
