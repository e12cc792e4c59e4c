"""One column of texts out of Parquet and JSONL files, a piece at a time, for judges that are used alone.

A *piece* is some thousands of rows of a Parquet file or some megabytes of whole lines. ``pieces`` lists them
in order; ``Piece.texts`` does what is left to do, the parsing of JSON, and may be called by any thread. Files
that end in .gz, .zst or .bz2 are unpacked on the way. Every row counts, a blank line of JSONL aside. Half a
surrogate pair, which JSON can spell and UTF-8 cannot hold, is read as U+FFFD.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from hydata.errors import ConfigError
from hydata.schema import instruction_text

COLUMNS = ("text", "instruction", "messages")
"""Looked for in this order where no column is named."""
BLOCK_BYTES = 16 << 20
BATCH_ROWS = 16_384
LINE_BYTES = 1 << 30
"""The longest line that is read; Arrow's parser ends at 2 GiB."""
_HALVES = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)
"""An escaped backslash or a whole pair, which are passed over; else half a pair, as group 1."""
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class Piece:
    """``data`` is the column itself, or whole lines of JSONL; ``first`` its first row, from 0, or its first
    line, from 1."""

    path: Path
    column: str
    data: pa.Array | bytes
    first: int

    def texts(self) -> pa.Array:
        """Its texts, as Arrow strings; null for a row that has none. Of messages, the user's turns.

        Raises:
            ConfigError: it is broken, is no UTF-8, or the column holds no text.
        """
        try:
            column = self._parsed(self.data) if isinstance(self.data, bytes) else self.data
            column.validate(full=True)  # Arrow's readers let bytes through that are no UTF-8
            return _texts(column)
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"{self.path}, {self._where(error)}; mend it or leave it out") from error

    def _parsed(self, lines: bytes) -> pa.Array:
        rows = sum(1 for line in lines.split(b"\n") if line.strip())
        column = _read_json(lines, self.column)
        if len(column) != rows:
            raise pa.ArrowInvalid(f"{len(column)} JSON objects on {rows} lines; each needs one of its own")
        return column

    def _where(self, error: Exception) -> str:
        """The first line that is wrong by itself, if there is one."""
        if isinstance(self.data, bytes):
            for number, line in enumerate(self.data.split(b"\n"), self.first):
                try:
                    if line.strip():
                        column = _read_json(line, self.column)
                        column.validate(full=True)
                        _texts(column)
                except (pa.ArrowException, pl.exceptions.PolarsError) as cause:
                    start = line[:80].decode("utf-8", "replace")
                    return f"line {number}, column {self.column!r}: {cause} ({start!r})"
            return f"from line {self.first}, column {self.column!r}: {error}"
        return f"from row {self.first}, column {self.column!r}: {error}"


def whole(json: bytes) -> bytes:
    """JSON text with U+FFFD in place of what is spelt as half a surrogate pair."""
    if b"\\ud" not in json and b"\\uD" not in json:
        return json
    return _HALVES.sub(lambda found: b"\\ufffd" if found[1] else found[0], json)


def pieces(paths: Sequence[Path], column: str | None) -> Iterator[Piece]:
    """All pieces of the files, in order.

    Raises:
        ConfigError: a file is missing, is neither Parquet nor JSONL, or has no such column.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file, or a folder; name Parquet or JSONL files")
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1" or path.suffix.lower() == ".parquet"
        yield from _batches(path, column) if parquet else _blocks(path, column)


def _batches(path: Path, column: str | None) -> Iterator[Piece]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            chosen = _choose(path, file.schema_arrow.names, column)
            for batch in file.iter_batches(
                _batch_rows(file.metadata, chosen), columns=[chosen], use_threads=False
            ):
                yield Piece(path, chosen, batch.column(0), row)
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}, from row {row}: no Parquet file, or broken ({error})") from error


def _batch_rows(file: pq.FileMetaData, column: str) -> int:
    """Rows of a batch, fewer where texts are long."""
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column)
    return max(1, min(BATCH_ROWS, BLOCK_BYTES * int(file.num_rows) // max(1, int(size))))


def _blocks(path: Path, column: str | None) -> Iterator[Piece]:
    rest: list[bytes] = []
    line = 1
    chosen: str | None = None
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            while True:
                block = stream.read(BLOCK_BYTES)
                whole, newline, tail = block.rpartition(b"\n")
                if newline or not block:
                    lines = b"".join([*rest, whole])
                    if line == 1:
                        lines = lines.removeprefix(b"\xef\xbb\xbf")
                    if lines.strip():
                        chosen = chosen or _choose(path, _names(path, lines), column)
                        yield Piece(path, chosen, lines, line)
                    line += lines.count(b"\n") + 1
                    rest = []
                if not block:
                    return
                rest.append(tail)
                if sum(map(len, rest)) > LINE_BYTES:
                    raise ConfigError(f"{path}, line {line}: longer than {LINE_BYTES:,} bytes; leave it out")
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}, from line {line}: cannot be read ({error}); is it cut off?") from error


def _names(path: Path, lines: bytes) -> list[str]:
    first = whole(lines.strip().split(b"\n", 1)[0])
    if first.startswith(b"["):
        raise ConfigError(f"{path}: a JSON array; write one object a line (`jq -c '.[]'`), or Parquet")
    try:
        names: list[str] = pj.read_json(io.BytesIO(first), _options(first)).column_names
    except ValueError as error:  # Arrow's own errors, and names that are no UTF-8
        raise ConfigError(
            f"{path}: the first line is no JSON object ({error}); give Parquet or JSONL"
        ) from error
    return names


def _read_json(lines: bytes, column: str) -> pa.Array:
    kind = _MESSAGES if column == "messages" else pa.string()
    options = pj.ParseOptions(pa.schema([(column, kind)]), unexpected_field_behavior="ignore")
    lines = whole(lines)
    return pj.read_json(io.BytesIO(lines), _options(lines), options).column(0).combine_chunks()


def _options(lines: bytes) -> pj.ReadOptions:
    return pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)


def _choose(path: Path, names: Sequence[str], column: str | None) -> str:
    for name in COLUMNS if column is None else (column,):
        if name in names:
            return name
    wanted = ", ".join(COLUMNS) if column is None else repr(column)
    there = ", ".join(names) or "none at all"
    raise ConfigError(f"{path}: no column {wanted}; it has {there}; name one with --column")


def _texts(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.large_string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_dictionary(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        turn = kind.value_type
        fields = {turn.field(i).name for i in range(turn.num_fields)} if pa.types.is_struct(turn) else set()
        if not {"role", "content"} <= fields:
            raise pa.ArrowInvalid("its elements need role and content")
        frame = pl.DataFrame({"messages": pl.Series(column)})
        text = instruction_text()
        return frame.select(pl.when(text != "").then(text)).to_series().to_arrow()
    raise pa.ArrowInvalid(f"holds {kind}, not text")
