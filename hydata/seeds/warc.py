"""Web archives: WARC (plain or gzip, a member a record), and the extracted text of WET files.

Pages and plain text become documents; responses of another type, with an HTTP error, too large or
without text are rejects. Requests, metadata, revisits and the like hold no page and are passed over.

A broken record ends no archive: its position becomes a reject, and reading goes on at the next place
where a record begins. Two faults seen in the wild are put right instead: bodies that were stored
unpacked under a ``Transfer-Encoding: chunked`` header (pywb, Webrecorder), and WET text whose line ends
were changed to ``\\n``, which makes its Content-Length wrong.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import brotli  # type: ignore[import-untyped]  # it ships no types
from fastwarc import ArchiveIterator, WarcRecord, WarcRecordType

from hydata.schema import Document, Item
from hydata.seeds.head import Head
from hydata.seeds.io import SAMPLE, clean, decode_html, detect_encoding, is_binary, pieces
from hydata.seeds.source import BadInput, SeedSettings, Source
from hydata.seeds.web import page

KIND = "warc"

_PAGES = ("text/html", "application/xhtml+xml")
_START_PLAIN = re.compile(rb"(?=WARC/\d\.\d\r?\n)")
_START_GZIP = re.compile(rb"(?=\x1f\x8b\x08[\x00-\x1f])")
_START_TEXT = re.compile(r"^WARC/\d\.\d$", re.M)
_BLOCK = 1 << 20


def detects(head: Head, settings: SeedSettings) -> float:
    return 1.0 if head.data.startswith(b"WARC/") else 0.6 if head.source.suffix in (".warc", ".wet") else 0.0


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    with source.path.open("rb") as stream:
        first = stream.read(256)
        if re.match(rb"WARC/\d\.\d\n", first):
            yield from _read_text(source, settings)
            return
        yield from _read_records(source, stream, first, settings)


def _read_records(source: Source, stream: BinaryIO, first: bytes, settings: SeedSettings) -> Iterator[Item]:
    start = _START_GZIP if first.startswith(b"\x1f\x8b") else _START_PLAIN
    offset = 0  # where this pass over the archive begins; fastwarc counts from there
    while True:
        stream.seek(offset)
        last = -1
        try:
            # Records that are kept are read inside the loop: the iterator moves the stream on.
            for record in ArchiveIterator(stream, parse_http=False, max_header_len=1 << 16):
                last = record.stream_pos
                yield from _record(source, record, offset + last, settings)
            return
        except OSError as error:
            broken = offset + last
            yield source.reject(
                "broken_record", f"behind the record at this offset: {error}", max(broken, offset)
            )
        following = _next_start(stream, start, max(broken, offset) + 1)
        if following is None:
            return
        offset = following


def _next_start(stream: BinaryIO, start: re.Pattern[bytes], offset: int) -> int | None:
    """Offset of the next place from ``offset`` on where a record begins, in bounded memory."""
    overlap = 16
    stream.seek(offset)
    held, base = b"", offset
    while block := stream.read(_BLOCK):
        window = held + block
        if match := start.search(window):
            return base + match.end()
        held = window[-overlap:]
        base += len(window) - len(held)
    return None


def _record(source: Source, record: WarcRecord, position: int, settings: SeedSettings) -> Iterator[Item]:
    """What one record holds: a document, a reject, or nothing if it is of no kind that holds a page."""
    kind = record.record_type
    if kind not in (WarcRecordType.response, WarcRecordType.resource, WarcRecordType.conversion):
        if kind == WarcRecordType.unknown or record.headers.is_empty():
            yield source.reject("broken_record", "no WARC-Type", position)
        return
    limit = settings.limits.document_bytes
    try:
        http = _http(record)
        if http.status is not None and not 200 <= http.status < 300:
            raise BadInput("http_status", str(http.status))
        if http.media and http.media not in _PAGES and http.media != "text/plain":
            raise BadInput("not_text", http.media)
        if record.content_length > limit:
            raise BadInput("too_large", f"{record.content_length} bytes")
        data = record.reader.read(limit)
        if len(data) < record.content_length:
            raise BadInput("broken_record", f"cut short: {len(data)} of {record.content_length} bytes")
        yield _document(source, record, _body(data, http, limit), http, position)
    except BadInput as bad:
        yield source.reject(bad.reason, bad.detail, position)


@dataclass(frozen=True)
class _Http:
    """What the headers say of the body: its media type and charset, and how it was packed."""

    media: str
    status: int | None = None
    charset: str | None = None
    coding: str = ""
    transfer: str = ""


def _http(record: WarcRecord) -> _Http:
    """The HTTP headers of a response; of other records the media type alone. Moves the reader to the body."""
    media = record.headers.get("Content-Type") or ""
    if record.record_type != WarcRecordType.response or not media.startswith("application/http"):
        return _Http(_media(media))
    try:
        record.parse_http(strict_mode=False)
        headers = record.http_headers
        coding, transfer = (
            (headers.get(name) or "").strip().lower() for name in ("Content-Encoding", "Transfer-Encoding")
        )
        return _Http(
            _media(headers.get("Content-Type") or ""),
            headers.status_code,
            record.http_charset,
            coding,
            transfer,
        )
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput("broken_record", f"HTTP headers: {error}") from error


def _media(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _document(source: Source, record: WarcRecord, data: bytes, http: _Http, position: int) -> Document:
    uri = (record.headers.get("WARC-Target-URI") or "").strip("<>") or source.file
    date = record.headers.get("WARC-Date")
    if not data.strip():
        raise BadInput("empty", "no body")
    if is_binary(data[:SAMPLE]):
        raise BadInput("not_text", f"{http.media or 'no type'}, begins with {data[:8].hex(' ')}")
    if http.media == "text/plain":
        text = clean(data.decode(detect_encoding(data[:SAMPLE]), "replace")).strip()
        return Document("web", uri, source.file, position, text, published=date)
    return page(decode_html(data, http.charset), uri, source, position, date)


def _body(data: bytes, http: _Http, limit: int) -> bytes:
    """The body freed from transfer and content codings; left alone where it was stored without them."""
    if http.transfer == "chunked":
        data = _dechunked(data)
    if http.coding in ("gzip", "x-gzip", "deflate") and data[:1] in (b"\x1f", b"\x78"):
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            data = unpacker.decompress(data, limit)
        except zlib.error as error:
            raise BadInput("broken_record", f"{http.coding}: {error}") from error
        if unpacker.unconsumed_tail:
            raise BadInput("decompression_bomb", f"unpacks to over {limit} bytes")
    elif http.coding == "br":
        try:
            data = brotli.Decompressor().process(data, output_buffer_limit=limit)
        except brotli.error:
            return data  # stored unpacked
        if len(data) >= limit:
            raise BadInput("decompression_bomb", f"unpacks to over {limit} bytes")
    return data


def _dechunked(data: bytes) -> bytes:
    """A chunked body put together; a body that is not chunked, or is cut, gives what it holds."""
    out: list[bytes] = []
    stream = io.BytesIO(data)
    while header := stream.readline(1024):
        size = re.match(rb"([0-9A-Fa-f]{1,8})\s*(?:;.*)?\r?\n", header)
        if size is None:
            return b"".join(out) if out else data
        if int(size[1], 16) == 0:
            break
        out.append(stream.read(int(size[1], 16)))
        stream.readline(8)
    return b"".join(out)


def _read_text(source: Source, settings: SeedSettings) -> Iterator[Item]:
    """WET records parted at their first lines, whatever Content-Length says; positions are characters."""
    held, position = "", 0
    limit = settings.limits.document_bytes
    for piece in pieces(source, settings.limits):
        held += piece
        starts = [m.start() for m in _START_TEXT.finditer(held)][1:]
        begin = 0
        for end in starts:
            yield from _text_record(source, held[begin:end], position + begin)
            begin = end
        held, position = held[begin:], position + begin
        if len(held) > limit:
            raise BadInput("too_large", f"a record over {limit} characters", position)
    yield from _text_record(source, held, position)


def _text_record(source: Source, record: str, position: int) -> Iterator[Item]:
    head, _, text = record.partition("\n\n")
    headers = dict(re.findall(r"^([\w-]+): *(.*)$", head, re.M))
    if headers.get("WARC-Type") == "conversion":
        if not text.strip():
            yield source.reject("empty", "no text", position)
            return
        yield Document(
            kind="web",
            uri=headers.get("WARC-Target-URI", source.file),
            file=source.file,
            position=position,
            text=text.strip(),
            published=headers.get("WARC-Date"),
        )
    elif "WARC-Type" not in headers:
        yield source.reject("broken_record", "no WARC-Type", position)
