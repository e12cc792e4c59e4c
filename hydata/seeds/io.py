"""Bytes and text from hostile files, in bounded memory.

    open_bytes    a file, unpacked (gzip, zstd), guarded against decompression bombs
    open_utf8     the same transcoded to UTF-8, whatever the encoding was
    lines         its lines, none longer than the limit
    pieces        its text in pieces, newlines normalised
    decode_html   one page, by the charset it declares

Text is kept as it is, but for three things that no later stage should have to think of: ``\\r\\n``
becomes ``\\n``, NUL is removed, and a lone surrogate (Parquet is UTF-8) becomes U+FFFD.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import zstandard
from charset_normalizer import from_bytes

from hydata.seeds.source import BadInput, Limits, Source, words

BLOCK = 1 << 20
SAMPLE = 1 << 18
BAD_SHARE = 0.001
"""Share of undecodable bytes up to which a file counts as damaged, not as something else: a text cut
at a byte, a stray Latin-1 quote. They become U+FFFD."""

_MAGIC = re.compile(
    rb"\x89PNG|GIF8|\xff\xd8\xff|%PDF-|\x7fELF|MZ.\x00|PK\x03\x04|PK\x05\x06|\xca\xfe\xba\xbe|\xd0\xcf\x11\xe0"
    rb"|BM....\x00\x00|RIFF....WEBP|wOF[F2]|\x00\x01\x00\x00|OggS|ID3[\x02-\x04]|\x1f\x8b|\x28\xb5\x2f\xfd|BZh[1-9]1AY|\xfd7zXZ|7z\xbc\xaf"
    rb"|SQLite format 3|PAR1",
    re.DOTALL,
)
_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\f\r\x1b\b\0")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEWLINE = re.compile("\r\n?")
_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{2,40})|encoding=["']([\w.:-]{2,40})["']""", re.I
)

# The commonest characters of running Chinese; in text mis-decoded as Chinese they hardly occur.
_COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之"
)
_COMMON_TRADITIONAL = frozenset(
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之"
)


def clean(text: str) -> str:
    """Newlines normalised, NUL removed, lone surrogates replaced."""
    if "\r" in text:
        text = _NEWLINE.sub("\n", text)
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class _Guarded(io.RawIOBase):
    """An unpacking stream that stops with ``decompression_bomb`` when it has grown out of proportion.

    Unbuffered: ``read(n)`` gives what one step unpacks. A buffer would throw away what it has when the next
    step meets the damage, up to a megabyte of whole rows before the place where a file was cut off.
    """

    def __init__(self, packed: BinaryIO, unpacked: BinaryIO, limits: Limits) -> None:
        super().__init__()
        self._packed, self._unpacked, self._limits, self._count = packed, unpacked, limits, 0
        self._step = getattr(unpacked, "read1", unpacked.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed wants a wider Buffer
        data = self._step(min(len(buffer), BLOCK))
        buffer[: len(data)] = data
        self._count += len(data)
        limits = self._limits
        if self._count > max(limits.expansion_from_bytes, limits.expansion * self._packed.tell()):
            raise BadInput(
                "decompression_bomb", f"unpacks to over {limits.expansion} times its size", self._count
            )
        return len(data)

    def close(self) -> None:
        self._unpacked.close()
        self._packed.close()
        super().close()


def open_bytes(source: Source, limits: Limits) -> BinaryIO:
    """The file's bytes; gzip and zstd, known by their magic number, are unpacked.

    Reading raises OSError, EOFError or ZstdError on a damaged stream, BadInput on a bomb.
    """
    packed = source.path.open("rb")
    magic = packed.read(4)
    packed.seek(0)
    if magic[:2] == b"\x1f\x8b":
        unpacked: BinaryIO = gzip.GzipFile(fileobj=packed)  # type: ignore[assignment] # it is one in all we use
    elif magic == b"\x28\xb5\x2f\xfd":
        unpacked = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    else:
        return packed
    return _Guarded(packed, unpacked, limits)  # type: ignore[return-value] # read(n) and close() are all we use


def head_bytes(source: Source) -> bytes:
    """The first quarter of a megabyte, unpacked; of a damaged file what stands before the damage.

    Raises OSError, and zlib.error or ZstdError if nothing can be unpacked.
    """
    with source.path.open("rb") as file:
        packed = file.read(SAMPLE)
    data = b""
    try:
        if packed.startswith(b"\x1f\x8b"):
            unpacker, rest = zlib.decompressobj(zlib.MAX_WBITS | 16), packed
            while rest and len(data) < SAMPLE:
                # In small steps, since what a failing step had unpacked is lost.
                data += unpacker.decompress(rest[:1024], SAMPLE)
                rest = unpacker.unconsumed_tail + rest[1024:]
                if unpacker.eof:  # a member a record, in WARC
                    rest = unpacker.unused_data + rest
                    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        elif packed.startswith(b"\x28\xb5\x2f\xfd"):
            with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as stream:
                while len(data) < SAMPLE and (block := stream.read(1 << 16)):
                    data += block
        else:
            return packed
    except (zlib.error, zstandard.ZstdError):
        if not data:
            raise
    return data[:SAMPLE]


def is_binary(data: bytes) -> bool:
    """Whether the beginning of a file is not text in any encoding."""
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    if _MAGIC.match(data):
        return True
    if _utf16_without_bom(data):
        return False
    control = len(data) - len(data.translate(None, _CONTROL))
    return control > 0.02 * len(data) or data.count(0) > 0.02 * len(data)


def _utf16_without_bom(data: bytes) -> str | None:
    """UTF-16 shows by its zero bytes: every second one in Latin text, those of spaces and newlines in
    Chinese. Which half they stand in is the byte order."""
    data = data[: len(data) & ~1]
    if len(data) < 4:
        return None
    even, odd = data[::2].count(0), data[1::2].count(0)
    if max(even, odd) < 0.01 * len(data) or min(even, odd) > 0.1 * max(even, odd):
        return None
    encoding = "utf-16-be" if even > odd else "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.end < len(data) - 2:
            return None
        text = data[: error.start].decode(encoding)
    plausible = sum(c.isalnum() or c.isspace() or c.isprintable() for c in text[:4096])
    return encoding if plausible > 0.97 * len(text[:4096]) else None


def _bad_share(data: bytes, encoding: str) -> float:
    """Share of a sample that ``encoding`` cannot decode; a character cut at the end does not count."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    text = decoder.decode(data)
    return text.count("\ufffd") / max(len(data), 1)


def _chinese_share(data: bytes, encoding: str, common: frozenset[str]) -> float:
    """Share of the commonest characters among the Han characters of a sample."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(data)
    han = [c for c in text if "\u3400" <= c <= "\u9fff"]
    return sum(c in common for c in han) / len(han) if len(han) >= 8 else 0.0


def detect_encoding(data: bytes) -> str:
    """The codec of a sample of text: by its BOM, as UTF-16 by its zeros, as UTF-8, as GB18030 or Big5 by
    how common the characters are that come out, else as charset-normalizer judges.

    Raises BadInput("undecodable").
    """
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(bom):
            return encoding
    if data.isascii() and b"\0" not in data:
        return "utf-8"
    if b"\0" in data and (encoding_ := _utf16_without_bom(data)):
        return encoding_
    if _bad_share(data, "utf-8") <= BAD_SHARE:
        return "utf-8"
    shares = {
        encoding: _chinese_share(data, encoding, common)
        for encoding, common in (("gb18030", _COMMON), ("big5hkscs", _COMMON_TRADITIONAL))
        if _bad_share(data, encoding) <= BAD_SHARE
    }
    if shares and max(shares.values()) > 0.08:
        return max(shares, key=lambda encoding: shares[encoding])
    best = from_bytes(data[:65536]).best()
    if best is None:
        raise BadInput("undecodable", f"no encoding fits the bytes {data[:16].hex(' ')}...")
    return best.encoding


def _decoded(source: Source, limits: Limits) -> Iterator[str]:
    """Blocks of text; invalid bytes become U+FFFD while they are few, else BadInput("undecodable").

    The encoding is judged at the first bytes that are not ASCII: what comes before says nothing. Only at
    the beginning of a file is NUL a sign (of UTF-16).
    """
    with open_bytes(source, limits) as stream:
        done, bad = 0, 0
        block = stream.read(BLOCK)
        while block and block.isascii() and (done or b"\0" not in block):
            yield block.decode("ascii")
            done += len(block)
            block = stream.read(BLOCK)
        if not block:
            return
        telling = re.search(rb"[\x80-\xff]", block) if b"\0" not in block[:SAMPLE] else None
        start = telling.start() if telling and telling.start() > SAMPLE // 2 else 0
        encoding = detect_encoding(block[start : start + SAMPLE])
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        while True:
            text = decoder.decode(block, final=not block)
            done += len(block)
            # Text that holds U+FFFD of its own is rare and was damaged before.
            bad += text.count("\ufffd")
            if bad > max(16, BAD_SHARE * done):
                raise BadInput("undecodable", f"{bad} bytes in the first {done} are not {encoding}", done)
            if text:
                yield text
            if not block:
                return
            block = stream.read(BLOCK)


def pieces(source: Source, limits: Limits) -> Iterator[str]:
    """The file's text in pieces of about 1 MiB, cleaned. Offsets of documents count in this text."""
    held = ""  # a \r whose \n may begin the next block
    for text in _decoded(source, limits):
        text = held + text
        held = "\r" if text.endswith("\r") else ""
        yield clean(text[: len(text) - len(held)])
    if held:
        yield "\n"


def lines(source: Source, limits: Limits) -> Iterator[tuple[int, str | BadInput]]:
    """``(line number from 1, line without its newline)``; in place of a line that is too long or cannot
    be decoded stands the BadInput, and the lines after it follow. Only ``\\n`` ends a line."""
    number, parts, length, long = 1, [""], 0, False
    for text in _decoded(source, limits):
        start = 0
        while (end := text.find("\n", start)) >= 0:
            length += end - start
            if long or length > limits.line_bytes:
                yield number, BadInput("line_too_long", f"over {limits.line_bytes} characters", number)
            else:
                parts.append(text[start:end])
                yield number, "".join(parts).rstrip("\r")
            number, parts, length, long = number + 1, [], 0, False
            start = end + 1
        length += len(text) - start
        long = long or length > limits.line_bytes
        if long:
            parts = []
        else:
            parts.append(text[start:])
    if long:
        yield number, BadInput("line_too_long", f"over {limits.line_bytes} characters", number)
    elif any(parts):
        yield number, "".join(parts).rstrip("\r")


def whole_bytes(source: Source, limits: Limits) -> bytes:
    """A file that must be held as a whole; BadInput("too_large") beyond ``document_bytes``."""
    with open_bytes(source, limits) as stream:
        data = bytearray()
        while block := stream.read(BLOCK):
            data += block
            if len(data) > limits.document_bytes:
                raise BadInput("too_large", f"over {limits.document_bytes} bytes")
    return bytes(data)


def whole_text(source: Source, limits: Limits) -> str:
    """The text of such a file, cleaned."""
    parts, length = [], 0
    for piece in pieces(source, limits):
        length += len(piece)
        if length > limits.document_bytes:
            raise BadInput("too_large", f"over {limits.document_bytes} characters")
        parts.append(piece)
    return "".join(parts)


def decode_html(data: bytes, charset: str | None = None) -> str:
    """One page as text. Valid UTF-8 is UTF-8 whatever is declared; then the charset of the HTTP header,
    then that of the page itself, then detection. GB2312 and GBK are read as GB18030, their superset.

    Raises BadInput("undecodable").
    """
    sample = data[:SAMPLE]
    declared = _DECLARED.search(data[:4096])
    names = [charset, (declared[1] or declared[2]).decode("ascii") if declared else None]
    if (
        not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        and _bad_share(sample, "utf-8") > BAD_SHARE
    ):
        for name in filter(None, names):
            try:
                encoding = codecs.lookup(name).name
            except LookupError:
                continue
            encoding = "gb18030" if encoding in ("gb2312", "gbk") else encoding
            # A codec such as rot13 or zlib is not a text encoding; one that fits badly was declared wrongly.
            if encoding in _TEXT_CODECS and _bad_share(sample, encoding) <= BAD_SHARE:
                return clean(data.decode(encoding, "replace"))
    return clean(data.decode(detect_encoding(sample), "replace"))


_TEXT_CODECS = words(
    "ascii big5 big5hkscs cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp949 cp932 "
    "euc_jp euc_kr gb18030 iso2022_jp iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 "
    "iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 koi8-r "
    "koi8-u mac-roman shift_jis tis-620 utf-8 utf-16 utf-16-le utf-16-be"
)
