"""Seed readers: files in, documents, conversations, preference pairs and rejects out.

    for source in walk(paths):
        for item in read(source, settings):
            ...

One module a kind; each is found by its constant ``KIND`` (see ``source.py`` for what a reader is).
Which reader gets a file is decided by the file's beginning, not by its name alone: every reader says how
sure it is, the surest one reads. Whatever a file holds, ``read`` yields at least one item and never
raises for the data's sake: bad input is a ``Reject`` with the file, the position and the reason.
"""

from __future__ import annotations

import csv
import importlib
import os
import pkgutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import pyarrow as pa
import zstandard
from lxml import etree

from hydata.errors import ConfigError
from hydata.schema import Item
from hydata.seeds.head import Head, peek
from hydata.seeds.io import clean, is_binary
from hydata.seeds.source import BadInput, Columns, Limits, SeedSettings, Source

__all__ = [
    "BadInput",
    "Columns",
    "Head",
    "Limits",
    "Reader",
    "SeedSettings",
    "Source",
    "check_file",
    "detect_kind",
    "peek",
    "read",
    "readers",
    "walk",
]

HOSTILE = (
    OSError,  # unreadable, broken gzip
    EOFError,  # cut gzip
    UnicodeError,
    ValueError,  # numbers, dates and structures that are not what they claim
    LookupError,
    RecursionError,
    MemoryError,
    OverflowError,
    NotImplementedError,  # a zip with an unknown compression
    RuntimeError,  # an encrypted zip
    csv.Error,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
    pa.ArrowException,
    etree.LxmlError,
)
"""What the libraries below raise on hostile data. A defect of ours (TypeError, AttributeError) is not
among them: it must be seen."""


class Reader(Protocol):
    """A module that reads one kind of seed."""

    KIND: str

    def detects(self, head: Head, settings: SeedSettings) -> float: ...

    def read(self, source: Source, settings: SeedSettings) -> Iterator[Item]: ...


@cache
def readers() -> dict[str, Reader]:
    """The readers by kind, in the order of their names."""
    modules = [
        importlib.import_module(f"{__name__}.{info.name}")
        for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name)
    ]
    return {module.KIND: cast(Reader, module) for module in modules if hasattr(module, "KIND")}


def detect_kind(source: Source, settings: SeedSettings) -> str:
    """The kind of the surest reader. Raises BadInput if there is none, ConfigError for an unknown
    ``settings.kind``."""
    if settings.kind is not None:
        if settings.kind not in readers():
            raise ConfigError(
                f"kind = {settings.kind!r}: no such kind of seed; choose from {', '.join(readers())}"
            )
        return settings.kind
    head = peek(source)
    if not head.data:
        raise BadInput("empty", "the file is empty")
    scores = {kind: reader.detects(head, settings) for kind, reader in readers().items()}
    best = max(scores, key=lambda kind: scores[kind])
    if scores[best] > 0:
        return best
    if not head.text and not head.records:
        if not is_binary(head.data):
            raise BadInput("undecodable", f"no encoding fits; begins with {head.data[:8].hex(' ')}")
        raise BadInput("not_text", f"binary, begins with {head.data[:8].hex(' ')}")
    if head.records:
        names = ", ".join(map(str, list(head.records[0])[:12]))
        raise BadInput(
            "unknown_kind", f"no reader knows the fields {names}: map them with columns.*, or name a kind"
        )
    raise BadInput(
        "unknown_kind", f"by its name, {source.path.name}, neither prose nor code: name a kind if it is"
    )


def check_file(source: Source) -> None:
    """To be called before a source is opened: opening a pipe waits for its writer, a device may never end.

    Raises BadInput for a symbolic link inside a folder and for what is no file, OSError.
    """
    if source.root is not None and source.path.is_symlink():
        raise BadInput("symbolic_link", f"leads to {source.path.readlink()}: name it, if it is meant")
    mode = source.path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder raises the OSError that tells
        raise BadInput("not_a_file", "a pipe, socket or device: write what it gives to a file")


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    """All that one file holds. Raises only ConfigError (for the settings), never for the data."""
    count = 0
    try:
        check_file(source)
        kind = detect_kind(source, settings)
        for item in readers()[kind].read(source, settings):
            count += 1
            yield item
    except BadInput as bad:
        count += 1
        yield source.reject(bad.reason, bad.detail, bad.position)
    except HOSTILE as error:
        count += 1
        yield source.reject("unreadable", f"{type(error).__name__}: {error}")
    if not count:
        yield source.reject("empty", "nothing in this file")


def walk(paths: Iterable[Path]) -> Iterator[Source]:
    """The files of all paths, folders in the order of their names; each once, however many paths lead to
    it. Hidden files and folders inside a folder are passed over. Symbolic links inside it, which lead out
    of it or in circles, what is no file, and folders that cannot be listed become sources whose ``read``
    yields the reject. A path that does not exist raises ConfigError."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found = _walk(path, path)
        elif path.exists():
            found = iter([Source(path, _name(path))])
        else:
            raise ConfigError(f"{path}: no such file or folder")
        for source in found:
            # a link inside a folder is not followed, so it is itself and not what it leads to
            parent, name = source.path.parent, source.path.name
            place = source.path.resolve() if source.root in (None, source.path) else parent.resolve() / name
            if place not in seen:
                seen.add(place)
                yield source


def _walk(folder: Path, root: Path) -> Iterator[Source]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (e for e in found if not e.name.startswith(".")), key=lambda e: os.fsencode(e.name)
            )
    except OSError:
        yield Source(folder, _name(folder), root)
        return
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root)
        else:
            yield Source(path, _name(path), root)


def _name(path: Path) -> str:
    """The path as the user gave it; bytes of a name that are not UTF-8 as ``\\xe9``, so that two such names
    stay two."""
    return clean(os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace"))
