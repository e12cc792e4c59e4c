"""Ingest: source files become shards of documents, conversations, preference pairs and rejects.

The files not yet ingested are sorted and grouped into *packs*, many small files or one large one; a
pack is the unit of work, of resumption and of parallelism (a process each: parsing HTML is
Python). A pack's rows are written in parts of about 20,000 rows, so memory does not grow with the file.
Every part exists in each of ``TABLES``, as siblings of its ``documents`` shard.

A file is known by its size and time, else by the hash of its bytes. If a known file has changed,
its rows that are already in the warehouse are recognised by their ids, counted in one reject, and not
taken again: a JSON Lines file that grows every night adds its new rows only.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path

import duckdb
import polars as pl

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
from hydata.seeds import SeedSettings, Source
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
    shard_rows: int = SHARD_ROWS
    pack_files: int = 200
    pack_bytes: int = 64 * 2**20


@dataclass(frozen=True)
class SourceFile:
    """A file to be read, as it was when the pack was made. ``sha256`` is empty if it is not readable."""

    source: Source
    sha256: str
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Pack:
    """Files ingested together; ``known`` holds the ids of what earlier versions of them gave."""

    key: str
    files: tuple[SourceFile, ...]
    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class KnownFile:
    """What the warehouse remembers of a file."""

    sha256: str
    bytes: int
    modified_ns: int


def fingerprint(settings: IngestSettings) -> str:
    """The identity of ingest: readers' settings and version; not which paths."""
    return hash128("ingest", VERSION, canonical_json(settings.seeds.model_dump(mode="json")))[:12]


def pack_sources(
    settings: IngestSettings, known: Mapping[str, KnownFile]
) -> Iterator[tuple[SourceFile, ...]]:
    """The files that are new or changed, in a stable order, grouped."""
    files: list[SourceFile] = []
    size = 0
    for source in seeds.walk([Path(p) for p in settings.paths]):
        found = _examine(source, known.get(source.file))
        if found is None:
            continue
        if files and (size + found.bytes > settings.pack_bytes or len(files) >= settings.pack_files):
            yield tuple(files)
            files, size = [], 0
        files.append(found)
        size += found.bytes
    if files:
        yield tuple(files)


def known_files(con: duckdb.DuckDBPyConnection) -> dict[str, KnownFile]:
    """What is remembered of every file ingested so far."""
    con.execute(
        "SELECT file, arg_max(sha256, modified_ns), arg_max(bytes, modified_ns), max(modified_ns) "
        "FROM sources GROUP BY file"
    )
    return {file: KnownFile(*seen) for file, *seen in con.fetchall()}


def known_ids(
    con: duckdb.DuckDBPyConnection, files: Iterable[SourceFile], known: Mapping[str, KnownFile]
) -> list[str]:
    """The ids of documents and conversations that earlier versions of changed files gave."""
    changed = [f.source.file for f in files if f.source.file in known]
    if not changed:
        return []
    con.execute(
        "SELECT document_id FROM documents WHERE list_contains($files, file) "
        "UNION ALL SELECT record_id FROM conversations WHERE list_contains($files, uri)",
        {"files": changed},
    )
    return [row[0] for row in con.fetchall()]


def make_pack(files: tuple[SourceFile, ...], known: Iterable[str] = ()) -> Pack:
    """A pack named by its files and their contents."""
    key = shard_key(*(part for f in files for part in (f.source.file, f.sha256)))
    return Pack(key, files, frozenset(known))


def _examine(source: Source, known: KnownFile | None) -> SourceFile | None:
    """None if the file is as it was."""
    try:
        stat = source.path.stat()
        if known and (known.bytes, known.modified_ns) == (stat.st_size, stat.st_mtime_ns):
            return None
        with source.path.open("rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        # the reader will meet the same error and turn it into a reject
        return SourceFile(source, "", 0, 0)
    if known and known.sha256 == sha256:
        return None
    return SourceFile(source, sha256, stat.st_size, stat.st_mtime_ns)


@dataclass
class _Part:
    """Rows gathered for one part."""

    documents: list[Document] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    pairs: list[tuple[str, str, str, float | None]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    sources: list[tuple[str, str, int, int, str | None, int, int, int]] = field(default_factory=list)
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
        for item in seeds.read(file.source, settings.seeds):
            name = _take(part, item, pack.known)
            counts[name] += 1
            kind = kind or (item.kind if isinstance(item, Document) else None)
            if part.rows >= settings.shard_rows or part.characters >= PART_CHARACTERS:
                shards.append(write_shard(root, f"{folder}/part-{len(shards):05}.parquet", part.frames()))
                part = _Part()
        if counts["known"]:
            detail = f"{counts['known']} rows of an earlier version of this file are unchanged"
            part.rejects.append(Reject("ingest", "already_ingested", detail, file=file.source.file))
            counts["rejects"] += 1
        kind = kind or ("dataset" if counts["conversations"] else None)
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
            )
        )
    shards.append(write_shard(root, f"{folder}/part-{len(shards):05}.parquet", part.frames()))
    return write_manifest(root, folder, shards)


def _take(part: _Part, item: Item, known: frozenset[str]) -> str:
    """Add an item to a part; the table it went to, or ``known``."""
    if isinstance(item, Document):
        if known and item.document_id in known:
            return "known"
        part.documents.append(item)
        part.characters += len(item.text)
        return "documents"
    if isinstance(item, Reject):
        part.rejects.append(item)
        return "rejects"
    conversations = (item.chosen, item.rejected) if isinstance(item, Preference) else (item,)
    if known and all(c.record_id in known for c in conversations):
        return "known"
    if isinstance(item, Preference):
        part.pairs.append((item.chosen.record_id, item.rejected.record_id, item.source, item.margin))
    part.conversations.extend(conversations)
    part.characters += sum(len(m.content) for c in conversations for m in c.messages)
    return "conversations"


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
