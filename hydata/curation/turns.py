"""The turns of many conversations end to end, so that what is asked of a turn is one call on a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hydata.schema import MESSAGE

ROLES = {"system": b"s", "user": b"u", "assistant": b"a", "tool": b"t"}


@dataclass(frozen=True)
class Turns:
    """All messages of a column ``messages``: those of row i are ``offsets[i]`` up to ``offsets[i + 1]``.
    ``there`` is false for a row that is null; ``fields`` is a column of structs,
    ``hydata.schema.MESSAGE``."""

    offsets: npt.NDArray[np.int64]
    there: npt.NDArray[np.bool_]
    fields: pl.Series

    def __getitem__(self, field: str) -> pl.Series:
        return self.fields.struct.field(field)

    @property
    def row(self) -> npt.NDArray[np.int64]:
        """The row of each message."""
        return np.repeat(np.arange(len(self.there)), np.diff(self.offsets))

    def per_row(self, counts: pl.Series) -> npt.NDArray[np.int64]:
        """The sum over the messages of each row."""
        sums = np.concatenate(([0], np.cumsum(counts.cast(pl.Int64).fill_null(0).to_numpy())))
        found: npt.NDArray[np.int64] = sums[self.offsets[1:]] - sums[self.offsets[:-1]]
        return found


def turns_of(messages: pl.Series) -> Turns:
    """The turns of a column ``messages``."""
    lengths = messages.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    there = messages.is_not_null().to_numpy()
    flat = messages.filter(pl.Series(lengths > 0)).explode()
    return Turns(np.concatenate(([0], np.cumsum(lengths))), there, flat)


def letters(messages: pl.Series) -> pl.Series:
    """The roles of each conversation as a word: s, u, a, t, and ? for any other role; null for null."""
    turns = turns_of(messages)
    role = turns["role"]
    codes = np.full(len(role), ord("?"), np.uint8)
    for name, letter in ROLES.items():
        codes[(role == name).fill_null(False).to_numpy()] = ord(letter)
    words = pa.Array.from_buffers(
        pa.large_string(), len(turns.there), [None, pa.py_buffer(turns.offsets), pa.py_buffer(codes)]
    )
    made = pl.Series("roles", pl.from_arrow(words), dtype=pl.String)
    return made if turns.there.all() else made.set(~pl.Series(turns.there), None)


def parts(messages: pl.Series) -> pl.DataFrame:
    """``instruction``: the user's turns; ``response``: the last turn, if it is the assistant's; ``rest``: all
    others. Turns of one part stand between blank lines. Null: there is no such turn, or none with content."""
    turns = turns_of(messages)
    role, row = turns["role"], turns.row
    asked = (role == "user").fill_null(False).to_numpy()
    last = np.zeros(len(row), np.bool_)
    last[turns.offsets[1:][np.diff(turns.offsets) > 0] - 1] = True
    answers = last & (role == "assistant").fill_null(False).to_numpy()
    rows = len(turns.there)
    contents = turns["content"].cast(pl.String)
    there = contents.is_not_null().to_numpy()
    return pl.DataFrame(
        {
            "instruction": _joined(contents, row, asked & there, rows),
            "response": _joined(contents, row, answers & there, rows),
            "rest": _joined(contents, row, ~asked & ~answers & there, rows),
        }
    )


def whole_text(messages: pl.Series) -> pl.Series:
    """The contents of all turns, between blank lines, as ``text``; null where there are none."""
    turns = turns_of(messages)
    contents = turns["content"].cast(pl.String)
    return _joined(contents, turns.row, contents.is_not_null().to_numpy(), len(messages)).alias("text")


def messages_of(contents: pl.DataFrame) -> pl.Series:
    """``messages`` out of a column of contents for each role, in that order; a null content is no message."""
    there = np.column_stack([column.is_not_null().to_numpy() for column in contents]).reshape(
        -1, contents.width
    )
    row, role = there.nonzero()  # row by row
    flat = pl.concat([column.rechunk() for column in contents]).gather(role * contents.height + row)
    messages = pl.DataFrame(
        {"role": pl.Series(contents.columns, dtype=pl.String).gather(role), "content": flat}
    ).match_to_schema(MESSAGE.to_schema(), missing_columns="insert")
    offsets = np.concatenate(([0], np.cumsum(there.sum(axis=1))))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), messages.to_struct().to_arrow())
    return pl.Series("messages", pl.from_arrow(lists), dtype=pl.List(MESSAGE))


def _joined(
    contents: pl.Series, row: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_], rows: int
) -> pl.Series:
    contents, row = contents.filter(pl.Series(chosen)), row[chosen]
    if len(row) > 1 and (row[1:] == row[:-1]).any():
        grouped = (
            pl.DataFrame({"row": row, "content": contents})
            .group_by("row", maintain_order=True)
            .agg(pl.col("content").str.join("\n\n"))
        )
        row, contents = grouped["row"].to_numpy(), grouped["content"]
    place = np.zeros(rows, np.uint32)
    place[row] = np.arange(1, len(row) + 1, dtype=np.uint32)
    return pl.concat([pl.Series([None], dtype=pl.String), contents]).gather(place)
