"""The beginning of a file, by which its kind is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from hydata.seeds.io import clean, detect_encoding, head_bytes, is_binary
from hydata.seeds.records import Record, first_records
from hydata.seeds.source import BadInput, Source


@dataclass(frozen=True)
class Head:
    """The beginning of a file, unpacked: bytes, the same as text ("" if binary), and its first records
    if it is JSON, JSONL, CSV, TSV or Parquet. ``size`` is of the file as it lies there."""

    source: Source
    size: int
    data: bytes
    text: str
    records: tuple[Record, ...]


def peek(source: Source) -> Head:
    """The beginning of a file. Raises OSError, and what its compression or Parquet raises on damage."""
    data = head_bytes(source)
    text = ""
    if not is_binary(data):
        with suppress(BadInput):  # not a text as a whole, but perhaps an archive of texts
            text = clean(data.decode(detect_encoding(data), "replace"))
    return Head(
        source=source,
        size=source.path.stat().st_size,
        data=data,
        text=text,
        records=first_records(source, text) if text or source.suffix == ".parquet" else (),
    )
