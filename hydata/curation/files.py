"""Texts and conversations out of Parquet and JSONL files, a piece at a time, for judges that are used alone.

A *piece* is some thousands of rows of a Parquet file or some megabytes of whole lines. ``pieces`` lists them
in order; ``Piece.texts`` and ``Piece.rows`` do what is left to do, the parsing of JSON, and may be called by
any thread. Files that end in .gz, .zst or .bz2 are unpacked on the way. Every row counts, a blank line of
JSONL aside. Half a surrogate pair, which JSON can spell and UTF-8 cannot hold, is read as U+FFFD.

A row is a text (column ``text``, or any that is named), a conversation (``messages``), or what Alpaca makes
of one: ``instruction`` with ``input``, ``output`` or ``response``, and ``system`` where they are there.
Messages are OpenAI's, reasoning under its name or as ``reasoning_content``. In JSONL a content may be a list
of parts, of which the texts count, and arguments of tool calls may be JSON rather than text. Arrow reads only
the plain form; a piece with the other is first made plain. A part, or a field of Parquet, that
ought to hold text and does not is refused.

What an error says of a row is where it is, never what it holds: that may be personal.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from hydata.compiled import kernel
from hydata.curation.turns import messages_of, parts, whole_text
from hydata.errors import ConfigError
from hydata.schema import MESSAGE, instruction_text

Made = TypeVar("Made")

COLUMNS = ("text", "instruction", "messages")
"""Looked for in this order where no column is named."""
BLOCK_BYTES = 16 << 20
BATCH_ROWS = 16_384
LINE_BYTES = 1 << 30
"""The longest line that is read; Arrow's parser ends at 2 GiB."""
_DEEPEST = 2_000
"""Levels of JSON that are read."""
_HALVES = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)
"""An escaped backslash or a whole pair, which are passed over; else half a pair, as group 1."""
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_CALLED = pa.struct([("name", pa.string()), ("arguments", pa.string())])
_WITH_CALLS = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning", pa.string()),
            ("reasoning_content", pa.string()),
            ("tool_calls", pa.list_(pa.struct([("id", pa.string()), ("function", _CALLED), *_CALLED]))),
            ("tool_call_id", pa.string()),
        ]
    )
)
_BESIDE = {"messages": ("finish_reason",), "instruction": ("input", "output", "response", "system")}
"""Columns that are read with one, where they are there."""

ROWS = pl.Schema(
    {
        "messages": pl.List(MESSAGE),
        "finish_reason": pl.String(),
        "text": pl.String(),
        "instruction": pl.String(),
        "response": pl.String(),
    }
)
"""A row of a file: ``text`` is all there is to judge, the contents of all turns between blank lines;
``instruction`` the user's turns, ``response`` the last turn if it is the assistant's. Of a plain text
``messages``, ``instruction`` and ``response`` are null; of a row without any text, reasoning or call of a
tool everything is."""


@dataclass(frozen=True)
class Piece:
    """``data`` is the column and those ``beside`` it, or whole lines of JSONL; ``first`` its first row, from
    0, or its first line, from 1."""

    path: Path
    column: str
    data: pa.RecordBatch | bytes
    first: int
    beside: tuple[str, ...] = ()

    def texts(self) -> pa.Array:
        """Its texts, as Arrow strings; null for a row that has none. Of messages, the user's turns.

        Raises:
            ConfigError: it is broken, is no UTF-8, or the column holds no text.
        """
        return self._made(
            lambda data: _texts(self._columns(data, {self.column: _MESSAGES}).column(self.column))
        )

    def rows(self) -> pl.DataFrame:
        """Its rows, in ``ROWS``.

        Raises:
            ConfigError: as of ``texts``.
        """
        return self._made(
            lambda data: _rows(
                self._columns(data, dict.fromkeys((self.column, *self.beside), _WITH_CALLS)), self.column
            )
        )

    def _made(self, make: Callable[[pa.RecordBatch | bytes], Made]) -> Made:
        try:
            return make(self.data)
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"{self.path}, {self._where(error, make)}; mend it or leave it out") from error

    def _columns(self, data: pa.RecordBatch | bytes, wanted: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """``wanted`` maps a column to what it is in JSON if it holds messages."""
        if isinstance(data, bytes):
            rows = sum(1 for line in data.split(b"\n") if line.strip())
            kinds = {name: kind if name == "messages" else pa.string() for name, kind in wanted.items()}
            try:
                data = _read_json(data, kinds)
            except pa.ArrowInvalid:
                if "messages" not in kinds:
                    raise
                data = _read_plain(data, kinds)
            if len(data) != rows:
                raise pa.ArrowInvalid(f"{len(data)} JSON objects on {rows} lines; each needs one of its own")
        data.validate(full=True)  # Arrow's readers let bytes through that are no UTF-8
        return data

    def _where(self, error: Exception, make: Callable[[bytes], object]) -> str:
        """The first line that is wrong by itself, if there is one."""
        if isinstance(self.data, bytes):
            for number, line in enumerate(self.data.split(b"\n"), self.first):
                try:
                    if line.strip():
                        make(line)
                except (pa.ArrowException, pl.exceptions.PolarsError) as cause:
                    return f"line {number}, column {self.column!r}: {_IN_ROW.sub('', str(cause))}"
            return f"from line {self.first}, column {self.column!r}: {error}"
        return f"from row {self.first}, column {self.column!r}: {error}"


_IN_ROW = re.compile(r" in row [0-9]+")
"""Arrow counts the rows of what it was given, which is one line."""


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
            names = file.schema_arrow.names
            chosen = _choose(path, names, column)
            beside = _beside(names, chosen)
            for batch in file.iter_batches(
                _batch_rows(file.metadata, (chosen, *beside)), columns=[chosen, *beside], use_threads=False
            ):
                yield Piece(path, chosen, batch, row, beside)
                row += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}, from row {row}: no Parquet file, or broken ({error})") from error


def _batch_rows(file: pq.FileMetaData, columns: tuple[str, ...]) -> int:
    """Rows of a batch, fewer where texts are long."""
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
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
                        if chosen is None:
                            names = _names(path, lines)
                            chosen = _choose(path, names, column)
                        # JSON leaves out what is null: a column that the first line lacks may come yet
                        yield Piece(path, chosen, lines, line, _BESIDE.get(chosen, ()))
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
        row = orjson.loads(first)
        if isinstance(row, dict):
            return list(row)
    except orjson.JSONDecodeError:
        pass  # nested deeper than orjson goes, or no JSON: Arrow, which reads all of it for the names, says
    try:
        _check_depth(first)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}, line 1: {error}; mend it or leave it out") from None
    try:
        names: list[str] = pj.read_json(io.BytesIO(first), _options(first)).column_names
    except ValueError as error:  # Arrow's own errors, and names that are no UTF-8
        cause = re.sub(r"Column\(.*\)", "a column", str(error), flags=re.DOTALL)
        raise ConfigError(
            f"{path}: the first line is no JSON object ({cause}); give Parquet or JSONL"
        ) from None
    return names


def _read_plain(lines: bytes, columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """The same lines, their messages without lists of parts as contents and with arguments as text."""
    plain = b"\n".join(_plain_line(line) for line in lines.split(b"\n"))
    try:
        return _read_json(plain, columns)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(
            f"{error}; a content is text or a list of parts, arguments are text or JSON, and a row with "
            "either is nested some hundreds deep at most"
        ) from error


def _plain_line(line: bytes) -> bytes:
    """What is no JSON, or nothing of the kind, stays as it is and is the reader's to refuse."""
    try:
        row = json.loads(
            whole(line).decode(), parse_int=_digits, parse_float=_digits, object_pairs_hook=_object
        )
        messages = row.get("messages") if isinstance(row, dict) else None
        for turn in messages if isinstance(messages, list) else ():
            if not isinstance(turn, dict):
                return line
            if isinstance(turn.get("content"), list):
                turn["content"] = "\n\n".join(text for part in turn["content"] for text in _part(part))
            calls = turn.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                for called in (call, call.get("function")) if isinstance(call, dict) else ():
                    if isinstance(called, dict) and isinstance(called.get("arguments"), dict | list):
                        called["arguments"] = _dumped(called["arguments"])
        return _dumped(row).encode()
    except pa.ArrowInvalid:  # a ValueError too
        raise
    except (RecursionError, ValueError):
        return line


_NO_TEXT = ("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url")
_NUMBER = "\ud800"
"""Before the digits of a number while they are a string: half a pair, which no string that was read holds."""


def _part(part: object) -> list[str]:
    """The texts of a part of a content; none of an image or a sound."""
    if not isinstance(part, dict):
        raise pa.ArrowInvalid('a part of a content is no object; write {"type": "text", "text": ...}')
    texts = [part[name] for name in ("text", "refusal") if part.get(name) is not None]
    if not all(isinstance(text, str) and not text.startswith(_NUMBER) for text in texts) or not (
        texts or "text" in part or part.get("type") in _NO_TEXT
    ):
        raise pa.ArrowInvalid(
            "a part of a content is of no known type and has no `text`; give it one, or take it out"
        )
    return texts


def _digits(number: str) -> str:
    return _NUMBER + number


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise pa.ArrowInvalid("an object has a key twice, of which one would not be read")
    return made


def _dumped(value: object) -> str:
    """JSON with the digits of its numbers as they were read."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub(f'"{_NUMBER}([^"]*)"', r"\1", text)


def _read_json(lines: bytes, columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    options = pj.ParseOptions(pa.schema(list(columns.items())), unexpected_field_behavior="ignore")
    lines = whole(lines)
    _check_depth(lines)
    table = pj.read_json(io.BytesIO(lines), _options(lines), options).combine_chunks()
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in table], schema=table.schema)


def _options(lines: bytes) -> pj.ReadOptions:
    return pj.ReadOptions(use_threads=False, block_size=len(lines) + 1)


def _beside(names: Sequence[str], column: str) -> tuple[str, ...]:
    return tuple(name for name in _BESIDE.get(column, ()) if name in names)


@kernel
def _deepest(lines: Any) -> Any:
    """The deepest nesting of brackets outside of strings, in any of the lines."""
    depth = deepest = 0
    quoted = False
    at = 0
    while at < len(lines):
        byte = lines[at]
        if quoted:
            if byte == 0x5C:  # a backslash: whatever it escapes is passed over
                at += 1
            elif byte == 0x22 or byte == 0x0A:
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte == 0x5B or byte == 0x7B:
            depth += 1
            deepest = max(deepest, depth)
        elif byte == 0x5D or byte == 0x7D:
            depth -= 1
        elif byte == 0x0A:
            depth = 0
        at += 1
    return deepest


def _check_depth(lines: bytes) -> None:
    """Arrow's parser recurses, and some 15,000 levels end the process."""
    if _deepest(np.frombuffer(lines, np.uint8)) > _DEEPEST:
        raise pa.ArrowInvalid(f"JSON nested deeper than {_DEEPEST:,} levels")


_NAME = re.compile(r"[^\W\d]\w{0,39}")


def _choose(path: Path, names: Sequence[str], column: str | None) -> str:
    for name in COLUMNS if column is None else (column,):
        if name in names:
            return name
    wanted = ", ".join(COLUMNS) if column is None else repr(column)
    there = [name for name in names if _NAME.fullmatch(name)]  # a key may be somebody's address
    if len(there) < len(names):
        there.append(f"{len(names) - len(there)} that may be no names")
    raise ConfigError(
        f"{path}: no column {wanted}; it has {', '.join(there) or 'none at all'}; name one with --column"
    )


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
        if pa.types.is_nested(turn.field("content").type):
            raise pa.ArrowInvalid("contents in parts are read from JSONL only; write them as text, or JSONL")
        if pa.types.is_null(turn.field("content").type):
            return pa.nulls(len(column), pa.large_string())
        frame = pl.DataFrame({"messages": pl.Series(column)})
        text = instruction_text()
        return frame.select(pl.when(text != "").then(text)).to_series().to_arrow()
    raise pa.ArrowInvalid(f"holds {kind}, not text")


def _rows(batch: pa.RecordBatch, column: str) -> pl.DataFrame:
    nothing = pl.DataFrame(schema=ROWS)
    given = pl.DataFrame(
        [
            pl.Series(name, values if pa.types.is_nested(values.type) else _texts(values))
            for name, values in zip(batch.schema.names, batch.columns, strict=True)
        ]
    )
    if pa.types.is_nested(batch.column(column).type):
        _texts(batch.column(column))  # says what is wrong with it
        conversations = given.select(
            _messages(given[column]),
            _column(given, "finish_reason") if column == "messages" else pl.lit(None),
        )
    elif column == "instruction":
        conversations = given.select(_alpaca(given), finish_reason=pl.lit(None, pl.String))
    else:
        return pl.concat([nothing, given.select(text=column)], how="diagonal")
    there = pl.col("text").is_not_null()
    turns = conversations["messages"]
    turn = pl.element().struct
    besides = turn.field("reasoning").is_not_null() | (turn.field("tool_calls").list.len() > 0)
    made = conversations.with_columns(
        pl.coalesce(
            whole_text(turns), pl.when(pl.col("messages").list.eval(besides).list.any()).then(pl.lit(""))
        ),
        *parts(turns),
    )
    whole_rows = made.select(
        pl.when(there).then("messages"),
        "finish_reason",
        "text",
        pl.when(there).then(pl.col("instruction").fill_null("")),
        "response",
    )
    return pl.concat([nothing, whole_rows], how="diagonal")


def _column(given: pl.DataFrame, name: str) -> pl.Expr:
    return (pl.col(name) if name in given.columns else pl.lit(None, pl.String)).alias(name)


def _messages(turns: pl.Series) -> pl.Expr:
    """``messages`` with all their fields, null where a file has none. Tool calls are OpenAI's, or hydata's
    own, in which name and arguments stand beside the id."""
    turn = _fields(turns.dtype.inner)  # type: ignore[attr-defined]
    calls = turn.get("tool_calls")
    if not isinstance(calls, pl.List) and calls not in (None, pl.Null):
        raise pa.ArrowInvalid(
            f"tool_calls hold {_kind(calls)}; write a list of calls with a name and arguments"
        )
    thought = _text_field(turn, "reasoning_content")
    made = pl.struct(
        *(_text_field(turn, name) for name in ("role", "content")),
        pl.when(thought != "").then(thought).otherwise(_text_field(turn, "reasoning")).alias("reasoning"),
        (
            pl.element().struct.field("tool_calls").list.eval(_call(_fields(calls.inner)))
            if isinstance(calls, pl.List)
            else pl.lit(None, MESSAGE.to_schema()["tool_calls"])
        ).alias("tool_calls"),
        _text_field(turn, "tool_call_id"),
    )
    return pl.col(turns.name).list.eval(made).alias("messages")


def _call(fields: Mapping[str, object]) -> pl.Expr:
    called, within = _fields(fields.get("function")), pl.element().struct.field("function")
    return pl.struct(
        _text_field(fields, "id"),
        *(
            pl.coalesce(_text_field(called, name, within), _text_field(fields, name)).alias(name)
            for name in ("name", "arguments")
        ),
    )


def _fields(kind: object) -> dict[str, object]:
    return dict(kind.to_schema()) if isinstance(kind, pl.Struct) else {}


def _kind(kind: object) -> str:
    """Its name, without those of its fields."""
    return str(kind).split("(")[0]


def _binary(kind: object) -> bool:
    """Whether bytes are in it, which Polars does not write as JSON."""
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else None
    return (
        kind == pl.Binary
        or any(map(_binary, _fields(kind).values()))
        or (inner is not None and _binary(inner))
    )


def _text_field(fields: Mapping[str, object], name: str, of: pl.Expr | None = None) -> pl.Expr:
    value = (pl.element() if of is None else of).struct.field(name)
    kind = fields.get(name)
    if name == "arguments" and isinstance(kind, pl.Struct) and not _binary(kind):
        return pl.when(value.is_not_null()).then(value.struct.json_encode()).alias(name)
    if kind in (None, pl.Null):
        return pl.lit(None, pl.String).alias(name)
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return value.cast(pl.String).alias(name)
    if name in ("content", "reasoning", "reasoning_content", "arguments"):
        raise pa.ArrowInvalid(f"{name} of messages holds {_kind(kind)}; write it as text")
    return pl.lit(None, pl.String).alias(name)


def _alpaca(given: pl.DataFrame) -> pl.Series:
    """``messages`` of the system's line, the instruction with its input below it, and the answer."""
    asked = pl.concat_str(
        "instruction",
        pl.when(_column(given, "input").str.strip_chars() != "").then(_column(given, "input")),
        separator="\n\n",
        ignore_nulls=True,
    )
    system = _column(given, "system")
    answer = pl.coalesce(_column(given, "output"), _column(given, "response"))
    contents = given.select(
        system=pl.when(system.str.strip_chars() != "").then(system),
        user=pl.when(pl.col("instruction").is_not_null()).then(asked),
        assistant=answer,
    )
    return messages_of(contents)
