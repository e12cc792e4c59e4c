"""A mix as messages-JSONL, the form the Hunyuan-Large trainer reads.

One JSON object a line, ``{"messages": [{"role": "system", ...}, {"role": "user", ...}, ...]}``, UTF-8 with
non-ASCII characters as they are. A conversation without a system message gets the default one. Rows come
in the order of record ids, which are hashes: shuffled, and the same every time. What the trainer could not
read is dropped with a reason and listed beside the file, never repaired:

* ``control_token``: a message holds one of the trainer's own tokens, by which it finds its loss mask;
* ``tool_calls``: the form has no place for calls of tools;
* ``malformed``: not user and assistant in turn up to an assistant's answer, or an empty turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from hydata.errors import WarehouseError
from hydata.export.contamination import write_certificate
from hydata.export.jsonl import BATCH_ROWS, Written, write_jsonl
from hydata.export.provenance import Provenance
from hydata.schema import CONTROL_TOKENS, DEFAULT_SYSTEM_PROMPT

VISIBLE = r"[^\s\pZ\p{Cc}\p{Cf}]"
"""What a turn needs one of: SQL's ``trim`` would take a line break or an ideographic space for text."""

_COPIES = """
    SELECT count(*) FILTER (copies IS NULL), count(*) FILTER (copies * listed > 1), count(*)
    FROM (SELECT record_id, count(*) AS listed FROM mixes WHERE mix = $mix AND weight > 0 GROUP BY record_id)
    LEFT JOIN (SELECT record_id, count(*) AS copies FROM conversations GROUP BY record_id) USING (record_id)
"""

TURNS = "list_filter(messages, lambda m: m.role <> 'system')"
DEFECT = """
           CASE WHEN len(list_filter(messages, lambda m: len(list_filter($tokens::VARCHAR[],
                         lambda t: contains(coalesce(m.content, ''), t))) > 0)) > 0 THEN 'control_token'
                WHEN tools IS NOT NULL OR len(list_filter(messages, lambda m:
                         m.role = 'tool' OR len(m.tool_calls) > 0)) > 0 THEN 'tool_calls'
                WHEN len(turns) = 0 OR len(turns) % 2 = 1
                     OR len(messages) - len(turns) > 1
                     OR len(list_filter(messages[2:], lambda m: m.role = 'system')) > 0
                     OR len(list_filter(messages, lambda m:
                         NOT regexp_matches(coalesce(m.content, ''), $visible))) > 0
                     OR len(list_filter(turns, lambda m, i:
                         m.role <> (CASE WHEN i % 2 = 1 THEN 'user' ELSE 'assistant' END))) > 0
                     THEN 'malformed' END
"""
"""What is wrong with a conversation of ``messages``, ``turns`` (``TURNS``) and ``tools``, as SQL; null if
nothing is. ``$tokens`` and ``$visible`` are parameters."""

WRITTEN = """
           list_concat(CASE WHEN messages[1].role = 'system' THEN []
                            ELSE [{'role': 'system', 'content': $system}] END,
                       list_transform(messages, lambda m: {'role': m.role, 'content': m.content}))
"""
"""``messages`` as they are exported, as SQL; ``$system`` is a parameter."""

FORM = {"tokens": list(CONTROL_TOKENS), "system": DEFAULT_SYSTEM_PROMPT, "visible": VISIBLE}
"""The parameters of both."""

_ROWS = f"""
    WITH mixed AS (
        SELECT c.record_id, c.tools, c.messages, {TURNS} AS turns
        FROM mixes JOIN conversations AS c USING (record_id)
        WHERE mixes.mix = $mix AND mixes.weight > 0
    )
    SELECT record_id, {DEFECT} AS reason, {WRITTEN} AS messages
    FROM mixed ORDER BY record_id
"""


@dataclass(frozen=True)
class Manifest:
    """What an exported file holds and where it came from. ``tokens`` counts all messages;
    ``tokenizer`` is its name or ``estimated``; ``dropped`` counts rows by reason; ``anonymised`` are the
    kinds of personal data that stand in it as placeholders; ``contamination`` is the certificate's file
    beside it, where there is one."""

    file: str
    mix: str
    rows: int
    tokens: int
    tokenizer: str
    bytes: int
    sha256: str
    dropped: Mapping[str, int]
    contamination: str | None
    contamination_sha256: str | None
    recipe: str
    recipe_sha256: str
    git_revision: str | None
    anonymised: Sequence[str]


def export_messages(
    con: duckdb.DuckDBPyConnection, mix: str, path: Path, provenance: Provenance, certified: bool = True
) -> Manifest:
    """Write a mix to ``path`` (``*.jsonl``), the dropped rows (``record_id``, ``reason``) to
    ``*.dropped.parquet``, what it was compared with to ``*.contamination.json`` and its manifest to
    ``*.manifest.json``, each atomically.

    The manifest goes first and comes last: where one stands, the files beside it are its own.
    ``con`` has the views of the warehouse; for a mix that is not ``certified``, which was compared with
    nothing, those of conversations and mixes.

    Raises:
        WarehouseError: there is no such mix, or its records are not among the conversations, each once.
    """
    _check(con, mix)

    def describe(written: Written) -> Manifest:
        certificate, sha256 = write_certificate(con, mix, path, written.sha256) if certified else (None, None)
        return Manifest(
            file=path.name,
            mix=mix,
            rows=written.rows,
            tokens=round(written.tokens),
            tokenizer="estimated",
            bytes=written.size,
            sha256=written.sha256,
            dropped=written.dropped,
            contamination=certificate.name if certificate else None,
            contamination_sha256=sha256,
            **provenance.told(),
        )

    rows = con.sql(_ROWS, params={"mix": mix, **FORM}).to_arrow_reader(BATCH_ROWS)
    return write_jsonl(path, rows, ("messages",), describe, provenance.privacy)


def _check(con: duckdb.DuckDBPyConnection, mix: str) -> None:
    names = [row[0] for row in con.execute("SELECT DISTINCT mix FROM mixes ORDER BY mix").fetchall()]
    if mix not in names:
        raise WarehouseError(
            f"no mix {mix!r} here; mixes: {', '.join(names) or 'none yet, run a recipe first'}"
        )
    ((absent, repeated, mixed),) = con.execute(_COPIES, {"mix": mix}).fetchall()
    if absent:
        raise WarehouseError(
            f"mix {mix}: {absent:,} of its {mixed:,} records are not among the conversations; "
            "the mix is older than the conversations: run the recipe to its end"
        )
    if repeated:
        raise WarehouseError(
            f"mix {mix}: {repeated:,} of its {mixed:,} records occur more than once; "
            "run the recipe to its end, with --rebuild of the stage that made them"
        )
