"""Records, one at a time, from JSON arrays, JSONL, CSV, TSV and Parquet.

A file is a stream of ``(position, record)``: position is the line of a JSONL row, else the index of the
record, from 0. In place of a record that is broken, too long or too deep stands the BadInput that says
so, and reading goes on behind it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import pyarrow.parquet as pq

from hydata.seeds.io import clean, lines, pieces
from hydata.seeds.source import BadInput, Columns, Limits, Source

Record: TypeAlias = dict[str, object]
Row: TypeAlias = tuple[int, Record | BadInput]

LINES = (".jsonl", ".ndjson")
MAX_DEPTH = 16
PARQUET_ROWS = 1_000
"""Rows of a Parquet batch: a row group can hold millions, and conversations are long."""

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[\s\ufeff]*")
_STRUCTURE = re.compile(r'["{}\[\],]')
_QUOTE = re.compile(r'["\\]')


def records(source: Source, limits: Limits) -> Iterator[Row]:
    """All records of a file; its form is told by the suffix and, for JSON, by the first character."""
    if source.suffix == ".parquet":
        return _parquet(source)
    if source.suffix in (".csv", ".tsv", ".tab"):
        return _table(source, limits)
    return _json(source, limits)


def parse(text: str) -> Record | BadInput:
    """One JSON object."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        return BadInput("too_deep", "nested too deeply")
    except ValueError as error:
        return BadInput("broken_json", str(error))
    return value if isinstance(value, dict) else BadInput("not_an_object", f"a JSON {type(value).__name__}")


def _json(source: Source, limits: Limits) -> Iterator[Row]:
    stream = pieces(source, limits)
    first = ""
    for piece in stream:
        first = piece[_SPACE.match(piece).end() :]  # type: ignore[union-attr] # the pattern matches everything
        if first:
            break
    stream.close()  # type: ignore[attr-defined] # a generator: closes the file
    if _is_lines(source, first) or first[:1] not in ("[", "{"):
        for number, line in lines(source, limits):
            if isinstance(line, BadInput):
                yield number, line
            elif line.strip("\ufeff \t"):
                yield number, parse(line.lstrip("\ufeff"))
    elif first.startswith("["):
        yield from _array(pieces(source, limits), limits)
    else:
        # An object that does not end on its line: one object, or objects printed over several lines.
        yield from _objects(_Buffer(pieces(source, limits), limits), 0, "")


def _is_lines(source: Source, start: str) -> bool:
    """Whether the beginning of a JSON file is of a record a line, some of which may be broken.

    A file that does not say so by its name is told by most of its lines: inside an array or an object
    that is printed over several lines, hardly one is an object as a whole, without a comma.
    """
    whole = [isinstance(parse(line), dict) for line in start.split("\n") if line.strip()]
    if start.startswith("["):
        return sum(whole) > len(whole) / 2
    if source.suffix in LINES:
        return any(whole)
    return start.startswith("{") and (whole[0] or sum(whole) >= len(whole) / 2)


class _Buffer:
    """A window on a stream of text: ``text[at:]`` is what has not been used, ``more`` makes it longer."""

    def __init__(self, stream: Iterable[str], limits: Limits) -> None:
        self._stream = iter(stream)
        self.limits = limits
        self.text, self.at = "", 0

    def more(self) -> bool:
        piece = next(self._stream, None)
        if piece is None:
            return False
        self.text, self.at = self.text[self.at :] + piece, 0
        return True

    def skip_space(self) -> str:
        """Skips white space; the next character, or "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr] # matches everything
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""


def _array(stream: Iterable[str], limits: Limits) -> Iterator[Row]:
    buffer = _Buffer(stream, limits)
    buffer.skip_space()
    buffer.at += 1
    yield from _objects(buffer, 0, "]")


def _objects(buffer: _Buffer, index: int, closing: str) -> Iterator[Row]:
    """JSON values one after another, separated by commas or white space, up to ``closing``."""
    while (character := buffer.skip_space()) != closing:
        if not character:
            yield index, BadInput("broken_json", "the file ends inside an array")
            return
        if character == ",":
            buffer.at += 1
            continue
        yield index, _value(buffer)
        index += 1


def _value(buffer: _Buffer) -> Record | BadInput:
    """The next value. Decoding is tried first, since it is fast; only if it fails are the value's bounds
    sought, which tells a value that is not all there yet from one that is broken."""
    start = buffer.at
    try:
        value, buffer.at = _DECODER.raw_decode(buffer.text, start)
    except RecursionError:
        _skip_value(buffer)
        return BadInput("too_deep", "nested too deeply")
    except ValueError:
        pass
    else:
        if buffer.at - start > buffer.limits.line_bytes:
            return _too_long(buffer.limits)
        # A number may go on in the next piece, but it is no record either way.
        return (
            value if isinstance(value, dict) else BadInput("not_an_object", f"a JSON {type(value).__name__}")
        )
    text = _skip_value(buffer)
    if text == "":
        buffer.at += 1  # a closing bracket too many
    if text is None:
        return _too_long(buffer.limits)
    return parse(text)


def _too_long(limits: Limits) -> BadInput:
    return BadInput("line_too_long", f"a record over {limits.line_bytes} characters")


def _skip_value(buffer: _Buffer) -> str | None:
    """Moves past the next value, broken or not, by its brackets and quotes; its text, or None if longer
    than the limit, of which nothing is held."""
    parts: list[str] | None = []
    length, depth, quoted = 0, 0, False
    while True:
        start = position = buffer.at
        end = None
        while match := (_QUOTE if quoted else _STRUCTURE).search(buffer.text, position):
            character, position = match[0], match.end()
            if character == "\\":
                position += 1
            elif character == '"':
                quoted = not quoted
            elif character in "{[":
                depth += 1
            elif character == "," and depth == 0:
                end = position - 1
            elif character in "}]":
                depth -= 1
                if depth <= 0:
                    end = position + depth  # a bracket of the surrounding array is left standing
            if end is not None:
                break
        at = end if end is not None else len(buffer.text)
        length += at - start
        if length > buffer.limits.line_bytes:
            parts = None
        if parts is not None:
            parts.append(buffer.text[start:at])
        overhang = position - len(buffer.text)  # a backslash was the last character of the piece
        buffer.at = at
        if end is not None or not buffer.more():
            return None if parts is None else "".join(parts)
        if overhang > 0 and parts is not None:
            parts.append(buffer.text[:overhang])
        buffer.at += max(overhang, 0)


def _table(source: Source, limits: Limits) -> Iterator[Row]:
    """CSV or TSV with a header line."""

    def text_lines() -> Iterator[str]:
        for _, line in lines(source, limits):
            if isinstance(line, BadInput):
                raise line
            yield clean(line) + "\n"

    delimiter = "," if source.suffix == ".csv" else "\t"
    csv.field_size_limit(limits.line_bytes)
    reader = csv.reader(text_lines(), delimiter=delimiter)
    header: list[str] | None = None
    index = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield index, BadInput("broken_csv", str(error))
            index += 1
            continue
        if header is None:
            header = [name.strip().lstrip("\ufeff") for name in cells]
        elif cells:
            if len(cells) == len(header):
                yield index, dict(zip(header, cells, strict=True))
            else:
                yield index, BadInput("broken_csv", f"{len(cells)} cells under {len(header)} headings")
            index += 1


def _parquet(source: Source) -> Iterator[Row]:
    with pq.ParquetFile(source.path, memory_map=False) as file:
        index = 0
        for batch in file.iter_batches(batch_size=PARQUET_ROWS):
            for row in batch.to_pylist():
                yield index, row
                index += 1


def first_records(source: Source, text: str, limit: int = 5) -> tuple[Record, ...]:
    """The first records that stand in the beginning of a file; none if it holds no records."""
    rows: Iterator[Row]
    start = text.lstrip("\ufeff \t\n")
    if source.suffix == ".parquet":
        rows = _parquet(source)
    elif source.suffix in (".csv", ".tsv", ".tab"):
        delimiter = "," if source.suffix == ".csv" else "\t"
        whole = text[: text.rfind("\n") + 1] or text
        table = csv.DictReader(io.StringIO(whole.lstrip("\ufeff")), delimiter=delimiter)
        try:
            return tuple(dict(row) for _, row in zip(range(limit), table, strict=False))
        except csv.Error:
            return ()
    elif _is_lines(source, start):
        parsed = (parse(line) for line in start.split("\n"))
        return tuple(islice((row for row in parsed if isinstance(row, dict)), limit))
    elif start.startswith("["):
        rows = _array([start], Limits())
    elif start.startswith("{"):
        rows = _objects(_Buffer([start], Limits()), 0, "")
    else:
        return ()
    found: list[Record] = []
    for _, row in rows:
        if isinstance(row, BadInput):
            if len(found) or row.reason != "broken_json":
                break
            continue
        found.append(row)
        if len(found) == limit:
            break
    return tuple(found)


def field(record: Record, chosen: str | None, names: Sequence[str]) -> object:
    """The value of the chosen column, else of the first of ``names`` that the record has; None if none."""
    if chosen is not None:
        return record.get(chosen)
    return next((record[name] for name in names if record.get(name) is not None), None)


def text_of(value: object, depth: int = 0) -> str:
    """A value as text, as it stands: lists of paragraphs are joined by newlines, sections keep their
    headings. A text of white space only is no text, nor is what lies deeper than a book has levels."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, str):
        return clean(value) if value.strip() else ""
    if isinstance(value, (list, tuple)):
        return "\n".join(filter(None, (text_of(v, depth + 1) for v in value)))
    if isinstance(value, dict):
        return "\n".join(
            filter(
                None,
                (
                    text_of(value.get(k), depth + 1)
                    for k in ("title", "chapter", "text", "value", "paragraphs", "content")
                ),
            )
        )
    return "" if value is None else str(value)


def line_of(value: object) -> str | None:
    """A value as one line, for titles, addresses, dates and names; None if there is none."""
    return " ".join(text_of(value).split()) or None


def number_of(value: object) -> int | None:
    """A whole number of 64 bits, also from text or a float; None for anything else."""
    try:
        number = int(float(value)) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None
    return number if number is None or abs(number) < 1 << 63 else None


def tags_of(value: object) -> tuple[str, ...]:
    """Tags from a list, ``<a><b>``, ``|a|b|``, or text separated by commas."""
    if isinstance(value, (list, tuple)):
        return tuple(filter(None, (line_of(v) for v in value)))
    return tuple(tag.strip() for tag in re.split(r"[<>|,;]", text_of(value)) if tag.strip())


def language_of(record: Record, columns: Columns) -> str | None:
    """An ISO 639-1 code, if the record states one."""
    value = field(record, columns.language, ("lang", "language"))
    code = value.strip().lower().replace("_", "-").split("-")[0] if isinstance(value, str) else ""
    return code if re.fullmatch("[a-z]{2}", code) else None


def licence_of(record: Record, columns: Columns) -> str | None:
    return line_of(field(record, columns.licence, ("licence", "license")))
