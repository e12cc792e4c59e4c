"""The critic alone, on the rows of files: by the stage ``critique``, without a warehouse.

A row is a complete conversation in ``messages`` (role, content and, as OpenAI writes them, tool_calls; the
last one is the assistant's), or an answer in ``output`` or ``response`` to an ``instruction``, with an
``input`` perhaps (Alpaca). A ``reference`` answer, the ``task`` (its family), the ``tools`` and the
``language`` are used where they are. Nothing else of a row is looked at.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hydata.curation.files import whole
from hydata.errors import ConfigError
from hydata.schema import Conversation, Message, Reference, ToolCall, canonical_json, conversations_frame
from hydata.stage import Context
from hydata.synthesis import critique
from hydata.synthesis.critique import ASPECTS, CritiqueSettings

BATCH_ROWS = 2_000
"""Rows whose calls are under way together, and in memory."""

COLUMNS = pl.Schema(
    {
        "row": pl.Int64(),
        "tier": pl.Int8(),
        **dict.fromkeys(ASPECTS, pl.Float64()),
        "issues": pl.List(pl.String()),
        "reason": pl.String(),
        "family": pl.String(),
        "disagreement": pl.Int8(),
        "judgements": pl.Int32(),
    }
)
"""``tier`` is the combined one, 1 best to 4, aspects are means over the judgements, ``issues`` those of all
of them; ``reason`` is the first one's, or, where ``tier`` is null, why there is none."""


async def judge_rows(paths: Sequence[Path], settings: CritiqueSettings, context: Context) -> pl.DataFrame:
    """One row of ``COLUMNS`` for each row of the files, in order.

    Raises:
        ConfigError: a file cannot be read, or its rows have none of the forms.
        TransientModelError: some calls stayed unanswered; what was answered is in the journal.
    """
    critique.check_prompts(context.prompts, critique.NAME, context)
    frames = [pl.DataFrame(schema=COLUMNS)]
    rows = enumerate(row for path in paths for row in read_rows(path))
    while batch := list(islice(rows, BATCH_ROWS)):
        frames.append(await _judge(batch, settings, context))
    return pl.concat(frames)


async def _judge(
    batch: Iterable[tuple[int, Mapping[str, Any]]], settings: CritiqueSettings, context: Context
) -> pl.DataFrame:
    kept: list[tuple[str, str | None, str | None]] = []
    conversations, places, failed = [], [], []
    for number, row in batch:
        read = _conversation(row)
        if isinstance(read, str):
            failed.append((number, read))
            continue
        conversations.append(read)
        places.append(number)
        kept.append((str(number), _text(row, "task") or _text(row, "family"), _text(row, "language")))
    # a row is a record of its own here, though another one may hold the same: calls for equal ones are shared
    known = pl.DataFrame(
        kept, schema={"record_id": pl.String, "task": pl.String, "language": pl.String}, orient="row"
    )
    frame = conversations_frame(conversations).drop("record_id")
    frame = pl.concat([known, frame], how="horizontal")
    out = await critique.run(frame, settings, context)
    found = out.rows.group_by("record_id").agg(
        pl.col("combined_tier").first().alias("tier"),
        *(pl.col(aspect).cast(pl.Float64).mean() for aspect in ASPECTS),
        pl.col("issues").explode().drop_nulls().unique(maintain_order=True),
        pl.col("reason", "family", "disagreement").first(),
        pl.len().alias("judgements"),
    )
    why = out.rejects.group_by("record_id").agg(
        pl.concat_str("reason", pl.lit(": "), "detail").first().alias("failure")
    )
    missing = pl.DataFrame(failed, schema={"row": pl.Int64, "failure": pl.String}, orient="row")
    numbered = pl.DataFrame({"row": pl.Series(places, dtype=pl.Int64)}).with_columns(
        record_id=pl.col("row").cast(pl.String)
    )
    judged = numbered.join(found, on="record_id", how="left").join(why, on="record_id", how="left")
    together = pl.concat([judged, missing], how="diagonal").sort("row")
    return (
        together.with_columns(
            reason=pl.when(pl.col("tier").is_null()).then("failure").otherwise("reason"),
            judgements=pl.col("judgements").fill_null(0),
        )
        .select(COLUMNS.names())
        .cast(COLUMNS)
    )


def _text(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    return value if isinstance(value, str) and value else None


def _conversation(row: Mapping[str, Any]) -> Conversation | str:
    """The row as a complete conversation, or what is wrong with it."""
    messages = _messages(row)
    if isinstance(messages, str):
        return messages
    if not messages or messages[-1].role != "assistant":
        return "not_complete: the last message is not the assistant's"
    if not critique.shown(messages[-1]).strip():
        return "empty: the answer is empty"
    reference = _text(row, "reference")
    return Conversation(
        step="dataset",
        messages=messages,
        tools=_text(row, "tools") or (canonical_json(row["tools"]) if row.get("tools") else None),
        reference=Reference(reference, ()) if reference else None,
    )


def _messages(row: Mapping[str, Any]) -> tuple[Message, ...] | str:
    turns = row.get("messages")
    if turns is not None:
        if not isinstance(turns, list) or not all(_is_message(turn) for turn in turns):
            return "malformed: messages are not a list of role (system, user, assistant, tool) and content"
        return tuple(
            Message(turn["role"], turn.get("content") or "", tool_calls=_calls(turn)) for turn in turns
        )
    answer = _text(row, "output") or _text(row, "response")
    asked = [part for part in (_text(row, "instruction"), _text(row, "input")) if part]
    if not asked or answer is None:
        return "malformed: neither messages nor an instruction with an output or response"
    return (Message("user", "\n\n".join(asked)), Message("assistant", answer))


def _calls(turn: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The calls of tools that can be read."""
    calls = turn.get("tool_calls")
    functions = (
        [c.get("function") or c for c in calls if isinstance(c, dict)] if isinstance(calls, list) else []
    )
    return tuple(
        ToolCall(f["name"], arguments if isinstance(arguments, str) else canonical_json(arguments))
        for f in functions
        if isinstance(f, dict) and isinstance(f.get("name"), str)
        for arguments in (f.get("arguments"),)
    )


def _is_message(turn: object) -> bool:
    return (
        isinstance(turn, dict)
        and turn.get("role") in ("system", "user", "assistant", "tool")
        and isinstance(turn.get("content"), str | None)
    )


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a Parquet file or of JSONL (plain, gzip, zstd or bz2); blank lines do not count.

    Raises:
        ConfigError: names the file, and the line where there are lines.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, or a folder; name Parquet or JSONL files")
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1" or path.suffix.lower() == ".parquet"
    try:
        yield from _parquet(path) if parquet else _jsonl(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); is it cut off?") from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from batch.to_pylist()


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with pa.input_stream(str(path), compression="detect") as stream:
        for number, line in enumerate(io.BufferedReader(stream), 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                row = orjson.loads(whole(text))
            except orjson.JSONDecodeError as error:
                raise ConfigError(
                    f"{path}, line {number}: not JSON ({error}); mend it or leave it out"
                ) from error
            if not isinstance(row, dict):
                raise ConfigError(f"{path}, line {number}: no JSON object; write one object a line")
            yield row
