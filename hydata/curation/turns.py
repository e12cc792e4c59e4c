"""The turns of many conversations end to end, so that what is asked of a turn is one call on a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_LETTERS = {"system": b"s", "user": b"u", "assistant": b"a", "tool": b"t"}


@dataclass(frozen=True)
class Turns:
    """All messages of a column ``messages``: those of row i are ``offsets[i]`` up to ``offsets[i + 1]``.
    ``there`` is false for a row that is null; ``fields`` is a column of structs, ``hydata.schema.MESSAGE``."""

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
    for name, letter in _LETTERS.items():
        codes[(role == name).fill_null(False).to_numpy()] = ord(letter)
    words = pa.Array.from_buffers(
        pa.large_string(), len(turns.there), [None, pa.py_buffer(turns.offsets), pa.py_buffer(codes)]
    )
    made = pl.Series("roles", pl.from_arrow(words), dtype=pl.String)
    return made if turns.there.all() else made.set(~pl.Series(turns.there), None)


def parts(messages: pl.Series) -> pl.DataFrame:
    """``instruction``: the user's turns; ``response``: the last turn, if it is the assistant's; ``rest``: all
    others. Turns of one part stand between blank lines. Null: there is no such turn."""
    turns = turns_of(messages)
    role, row = turns["role"], turns.row
    asked = (role == "user").fill_null(False).to_numpy()
    last = np.zeros(len(row), np.bool_)
    last[turns.offsets[1:][np.diff(turns.offsets) > 0] - 1] = True
    answers = last & (role == "assistant").fill_null(False).to_numpy()
    rows = len(turns.there)
    return pl.DataFrame(
        {
            name: _joined(turns["content"], row, chosen, rows)
            for name, chosen in (
                ("instruction", asked),
                ("response", answers),
                ("rest", ~asked & ~answers),
            )
        },
        schema=dict.fromkeys(("instruction", "response", "rest"), pl.String),
    )


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
    return pl.concat([pl.Series([None], dtype=pl.String), contents.cast(pl.String)]).gather(place)
