"""One column of texts out of Parquet and JSONL files, a piece at a time, for judges that are used alone.

A *piece* is some thousands of rows of a Parquet file or some megabytes of whole lines. ``pieces`` lists them
in order; ``Piece.texts`` does what is left to do, the parsing of JSON, and may be called by any thread. Files
that end in .gz, .zst or .bz2 are unpacked on the way. Every row counts, a blank line of JSONL aside.
"""

from __future__ import annotations

import io
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
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class Piece:
    """``data`` is the column itself, or whole lines of JSONL; ``place`` says where in the file it begins."""

    path: Path
    column: str
    data: pa.Array | bytes
    place: str

    def texts(self) -> pa.Array:
        """Its texts, as Arrow strings.

        Raises:
            ConfigError: it is broken, or the column holds no text.
        """
        try:
            return _texts(self._parsed(self.data) if isinstance(self.data, bytes) else self.data)
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"{self.path}, {self.place}, column {self.column!r}: {error}") from error

    def _parsed(self, lines: bytes) -> pa.Array:
        kind = _MESSAGES if self.column == "messages" else pa.string()
        options = pj.ParseOptions(pa.schema([(self.column, kind)]), unexpected_field_behavior="ignore")
        whole = pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)
        return pj.read_json(io.BytesIO(lines), whole, options).column(0).combine_chunks()


def pieces(paths: Sequence[Path], column: str | None) -> Iterator[Piece]:
    """All pieces of the files, in order.

    Raises:
        ConfigError: a file is missing, is neither Parquet nor JSONL, or has no such column.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; name Parquet or JSONL files")
        yield from _batches(path, column) if path.suffix == ".parquet" else _blocks(path, column)


def _batches(path: Path, column: str | None) -> Iterator[Piece]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            chosen = _choose(path, file.schema_arrow.names, column)
            for batch in file.iter_batches(BATCH_ROWS, columns=[chosen], use_threads=False):
                yield Piece(path, chosen, batch.column(0), f"from row {row}")
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}, from row {row}: no Parquet file, or broken ({error})") from error


def _blocks(path: Path, column: str | None) -> Iterator[Piece]:
    rest, line = b"", 1
    chosen: str | None = None
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            while block := stream.read(BLOCK_BYTES):
                whole, newline, tail = (rest + block).rpartition(b"\n")
                rest = tail
                if whole.strip():
                    chosen = chosen or _choose(path, _names(path, whole), column)
                    yield Piece(path, chosen, whole, f"from line {line}")
                line += whole.count(b"\n") + len(newline)
            if rest.strip():
                chosen = chosen or _choose(path, _names(path, rest), column)
                yield Piece(path, chosen, rest, f"from line {line}")
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); is it cut off?") from error


def _names(path: Path, lines: bytes) -> list[str]:
    first = lines.strip().split(b"\n", 1)[0]
    try:
        names: list[str] = pj.read_json(io.BytesIO(first), pj.ReadOptions(use_threads=False)).column_names
    except pa.ArrowException as error:
        raise ConfigError(
            f"{path}: the first line is no JSON object ({error}); give Parquet or JSONL"
        ) from error
    return names


def _choose(path: Path, names: Sequence[str], column: str | None) -> str:
    for name in COLUMNS if column is None else (column,):
        if name in names:
            return name
    wanted = ", ".join(COLUMNS) if column is None else repr(column)
    raise ConfigError(f"{path}: no column {wanted}; it has {', '.join(names)}; name one with --column")


def _texts(column: pa.Array) -> pa.Array:
    """The column's texts; of messages, the user's turns."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    if pa.types.is_dictionary(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        frame = pl.DataFrame({"messages": pl.Series(column)})
        return frame.select(instruction_text().fill_null("")).to_series().to_arrow()
    raise pa.ArrowInvalid(f"holds {column.type}, not text")
