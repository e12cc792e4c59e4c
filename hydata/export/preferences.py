"""Preference pairs as JSONL for DPO: the conversational form of TRL with an explicit prompt.

One JSON object a line, ``{"prompt": [messages], "chosen": [message], "rejected": [message]}``, with
``margin`` (which TRL's reward trainer reads), ``source`` and both ids. It holds the pairs made from samples
and those of preference datasets alike. A prompt without a system message gets the default one, as in the
messages export. Rows come in the order of ids. What is left out is listed beside the file, with the reasons
of the messages export and two more:

* ``chosen_not_kept``: the final policy does not keep the chosen one, so it is no example to follow;
* ``prompts_differ``: the pair differs before its last turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from hydata.errors import WarehouseError
from hydata.export.jsonl import BATCH_ROWS, Written, write_jsonl
from hydata.export.messages import DEFECT, FORM, TURNS, WRITTEN
from hydata.export.provenance import Provenance

# DuckDB's slices include their end: [:-2] is all but the last.
_ROWS = f"""
    WITH pairs AS (SELECT DISTINCT chosen_id, rejected_id, source, margin FROM preferences),
    paired AS (
        SELECT record_id FROM (SELECT chosen_id AS record_id FROM pairs UNION SELECT rejected_id FROM pairs)
    ),
    written AS (
        SELECT record_id, {DEFECT} AS reason, {WRITTEN} AS messages
        FROM (SELECT record_id, tools, messages, {TURNS} AS turns
              FROM conversations SEMI JOIN paired USING (record_id))
    ),
    kept AS (SELECT record_id FROM decisions WHERE policy = 'final' AND status = 'kept')
    SELECT p.chosen_id, p.rejected_id, p.source, p.margin,
           CASE WHEN kept.record_id IS NULL THEN 'chosen_not_kept'
                WHEN c.reason IS NOT NULL THEN c.reason
                WHEN r.reason IS NOT NULL THEN r.reason
                WHEN c.messages[:-2] <> r.messages[:-2] THEN 'prompts_differ' END AS reason,
           c.messages[:-2] AS prompt, c.messages[-1:] AS chosen, r.messages[-1:] AS rejected
    FROM pairs AS p
    JOIN written AS c ON c.record_id = p.chosen_id
    JOIN written AS r ON r.record_id = p.rejected_id
    LEFT JOIN kept ON kept.record_id = p.chosen_id
    ORDER BY p.chosen_id, p.rejected_id, p.source, p.margin
"""

_ABSENT = """
    SELECT count(*) FROM (SELECT unnest([chosen_id, rejected_id]) AS record_id FROM preferences)
    ANTI JOIN conversations USING (record_id)
"""

FIELDS = ("prompt", "chosen", "rejected", "margin", "source", "chosen_id", "rejected_id")


@dataclass(frozen=True)
class PairsManifest:
    """What an exported file holds and where it came from. ``length_difference`` is the mean number of
    characters that the chosen answer has more than the rejected one, ``chosen_longer`` the share of pairs
    where it has; both are null without pairs. ``sources`` counts pairs by where they are from."""

    file: str
    rows: int
    tokens: int
    tokenizer: str
    bytes: int
    sha256: str
    dropped: Mapping[str, int]
    sources: Mapping[str, int]
    length_difference: float | None
    chosen_longer: float | None
    recipe: str
    recipe_sha256: str
    git_revision: str | None
    anonymised: Sequence[str]


def export_preferences(con: duckdb.DuckDBPyConnection, path: Path, provenance: Provenance) -> PairsManifest:
    """Write all pairs to ``path`` (``*.jsonl``), beside it those left out with the reasons, and a manifest.

    ``con`` has the views ``preferences``, ``conversations`` and ``decisions``.

    Raises:
        WarehouseError: there are no pairs, or a half of one is not among the conversations.
    """
    ((pairs,),) = con.execute("SELECT count(*) FROM preferences").fetchall()
    if not pairs:
        raise WarehouseError(
            "no preference pairs here: a recipe makes them from several answers to an instruction "
            "([respond] samples, [prefer]) once these are judged; run it to its end"
        )
    ((absent,),) = con.execute(_ABSENT).fetchall()
    if absent:
        raise WarehouseError(
            f"{absent:,} halves of pairs are not among the conversations; run the recipe to its end"
        )
    lengths = _Lengths()

    def describe(written: Written) -> PairsManifest:
        return PairsManifest(
            file=path.name,
            rows=written.rows,
            tokens=round(written.tokens),
            tokenizer="estimated",
            bytes=written.size,
            sha256=written.sha256,
            dropped=written.dropped,
            sources=dict(sorted(lengths.sources.items())),
            length_difference=lengths.sum / written.rows if written.rows else None,
            chosen_longer=lengths.longer / written.rows if written.rows else None,
            **provenance.told(),
        )

    batches = con.sql(_ROWS, params=FORM).to_arrow_reader(BATCH_ROWS)
    return write_jsonl(path, lengths.of(batches), FIELDS, describe, provenance.privacy)


class _Lengths:
    """Lengths of the pairs that pass by."""

    def __init__(self) -> None:
        self.sum = 0
        self.longer = 0
        self.sources: dict[str, int] = {}

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        def characters(side: str) -> pl.Expr:
            return pl.col(side).list.last().struct.field("content").str.len_chars().cast(pl.Int64)

        for batch in batches:
            frame = pl.DataFrame(pl.from_arrow(batch)).filter(pl.col("reason").is_null())
            more = frame.select(more=characters("chosen") - characters("rejected"))["more"]
            self.sum += int(more.sum())
            self.longer += int((more > 0).sum())
            for source, count in frame["source"].value_counts().iter_rows():
                self.sources[source] = self.sources.get(source, 0) + count
            yield batch
