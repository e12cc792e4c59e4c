"""What people ask of a warehouse: the funnel of a run, and the whole story of one record.

All of it is SQL over the views of a head; ids and values come in as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import duckdb
import polars as pl

from hydata.curation.mix import CONTINUED
from hydata.errors import WarehouseError
from hydata.policy import Policy
from hydata.schema import JUDGEMENT_KEY
from hydata.verdicts import explained

MAX_LINE = 160
"""Characters of a text shown on one line of a story."""

GONE = "not current any more: its stage was run again, or its file left out"


@dataclass(frozen=True)
class FunnelRow:
    """A step of the funnel: how many rows there are, and why others went no further."""

    step: str
    rows: int
    dropped: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class _Made:
    """A step that makes the ``rows`` a query counts; what went no further are the rejects of ``stage``."""

    name: str
    rows: str
    stage: str | None = None


@dataclass(frozen=True)
class _Decided:
    """A step that a ``section`` of the policy decides: the ``rows`` a query of it counts went on."""

    name: str
    section: str
    rows: str = "SELECT count(*) FROM admitted WHERE gate = ?"


_STEPS = (
    _Made("documents", "SELECT count(*) FROM documents", "ingest"),
    _Made("conversations read", "SELECT count(*) FROM conversations WHERE step = 'dataset'"),
    _Made("instructions extracted", "SELECT count(*) FROM conversations WHERE step = 'extract'", "extract"),
    _Made("instructions generated", "SELECT count(*) FROM conversations WHERE step = 'generate'", "generate"),
    _Decided("admitted to evolve", "gates.evolve"),
    _Made("instructions evolved", "SELECT count(*) FROM conversations WHERE step = 'evolve'", "evolve"),
    _Made(
        "instructions self-instructed",
        "SELECT count(*) FROM conversations WHERE step = 'self_instruct'",
        "self_instruct",
    ),
    _Made(
        "instructions generalised",
        "SELECT count(*) FROM conversations WHERE step = 'generalise'",
        "generalise",
    ),
    _Decided("admitted to respond", "gates.respond"),
    _Made("responses", "SELECT count(*) FROM conversations WHERE step = 'respond'", "respond"),
    _Made("follow-ups", "SELECT count(*) FROM conversations WHERE step = 'follow_up'", "follow_up"),
    _Decided("admitted to critique", "gates.critique"),
    _Made(
        "critiqued", "SELECT count(*) FROM conversations SEMI JOIN critiques USING (record_id)", "critique"
    ),
    _Decided("kept", "final", "SELECT count(*) FROM decisions WHERE policy = ? AND status = 'kept'"),
)

_UNUSED = f"CASE WHEN record_id IN ({CONTINUED}) THEN 'part of a longer one' ELSE 'left out to balance' END"
"""Why a kept record has the weight 0 in a mix."""
_REJECTED = "SELECT reason FROM rejects WHERE stage = ?"
_REFUSED = """
    SELECT unnest(CASE WHEN status = 'undecided' THEN list_transform(reasons, lambda r: 'undecided: no ' || r)
                       ELSE reasons END) AS reason
    FROM decisions WHERE policy = ? AND status <> 'kept'
"""


def funnel(con: duckdb.DuckDBPyConnection) -> list[FunnelRow]:
    """From documents to the mix, with the reasons for what was dropped, most frequent first.

    An admission is never withdrawn: under a changed policy, more may be admitted than the reasons leave.
    """
    rows = []
    for step in _STEPS:
        match step:
            case _Made(name, query, stage):
                rows.append(FunnelRow(name, _count(con, query), _reasons(con, _REJECTED, stage)))
            case _Decided(name, section, query):
                rows.append(FunnelRow(name, _count(con, query, section), _reasons(con, _REFUSED, section)))
    mixed = _count(con, "SELECT count(*) FROM mixes WHERE weight > 0")
    unused = f"SELECT {_UNUSED} AS reason FROM mixes WHERE weight = 0 AND ? IS NOT NULL"
    rows.append(FunnelRow("in the mix", mixed, _reasons(con, unused, "mix")))
    return rows


def _count(con: duckdb.DuckDBPyConnection, query: str, *parameters: str) -> int:
    ((count,),) = con.execute(query, parameters).fetchall()
    return int(count)


def _reasons(con: duckdb.DuckDBPyConnection, query: str, of: str | None) -> tuple[tuple[str, int], ...]:
    counted = f"SELECT reason, count(*) AS n FROM ({query}) GROUP BY reason ORDER BY n DESC, reason"
    return tuple(con.execute(counted, [of]).fetchall()) if of is not None else ()


# --- the story of one record -----------------------------------------------------------------------------


@dataclass(frozen=True)
class StoryLine:
    """One line of a story: ``depth`` to indent by, a ``label`` and a ``text`` (hostile: escape it)."""

    depth: int
    label: str
    text: str = ""


def find_id(con: duckdb.DuckDBPyConnection, prefix: str) -> tuple[str, str]:
    """The table (``documents`` or ``conversations``) and full id that ``prefix`` stands for.

    Raises:
        WarehouseError: none or several ids begin so.
    """
    found = con.execute(
        "SELECT 'conversations', record_id FROM conversations WHERE starts_with(record_id, $id) "
        "UNION SELECT 'documents', document_id FROM documents WHERE starts_with(document_id, $id) LIMIT 5",
        {"id": prefix.lower()},
    ).fetchall()
    if len(found) == 1:
        return found[0][0], found[0][1]
    if not found:
        raise WarehouseError(
            f"no record or document has an id that begins with {prefix!r}; "
            'list some with: hydata sql "SELECT record_id, step FROM conversations LIMIT 5"'
        )
    raise WarehouseError(f"{prefix!r} is ambiguous: {', '.join(i for _, i in found)}; give more digits")


def story(
    con: duckdb.DuckDBPyConnection,
    prefix: str,
    policy: Policy | None = None,
    schemas: Mapping[str, pl.Schema] = MappingProxyType({}),
) -> Iterator[StoryLine]:
    """Where a record or document came from, what was judged and decided of it, what came of it. With the
    ``policy`` that decided, and the ``schemas`` of the tables, also by which values."""
    table, id = find_id(con, prefix)
    if table == "documents":
        yield from _document(con, id, 0)
        yield from _judgements(con, id)
        yield from _rejects(con, id)
    else:
        yield from _record(con, id, policy, schemas)
    column = "document_ids" if table == "documents" else "parent_ids"
    children = con.execute(
        f"SELECT c.step, c.record_id, d.status, d.reasons FROM conversations AS c "
        f"LEFT JOIN decisions AS d ON d.record_id = c.record_id AND d.policy = 'final' "
        f"WHERE list_contains(c.{column}, ?) ORDER BY c.step, c.record_id",
        [id],
    ).fetchall()
    if children:
        yield StoryLine(0, "what came of it")
        for step, child, status, reasons in children:
            fate = f"{status} {', '.join(reasons or [])}".strip() if status else ""
            yield StoryLine(1, f"{step} {child}", fate)


def _record(
    con: duckdb.DuckDBPyConnection, id: str, policy: Policy | None, schemas: Mapping[str, pl.Schema]
) -> Iterator[StoryLine]:
    yield StoryLine(0, f"record {id}")
    yield from _messages(con, id, 1)
    yield StoryLine(0, "origin")
    yield from _origin(con, id, 1, set())
    yield StoryLine(0, "judgements")
    yield from _judgements(con, id)
    yield StoryLine(0, "decisions")
    held = {} if policy is None else {v.section: v.findings for v in explained(con, policy, schemas, id)}
    for name, status, reasons in con.execute(
        "SELECT policy, status, reasons FROM decisions WHERE record_id = ? ORDER BY policy", [id]
    ).fetchall():
        yield StoryLine(1, name, f"{status} {', '.join(reasons)}".strip())
        for found in held.get(name, ()):
            if found.holds:
                seen = f"{found.condition.measure} = {_short(found.value)}, dropped if {found.condition}"
                yield StoryLine(2, found.reason, seen)
    yield from _rejects(con, id)
    for name, weight, unused in con.execute(
        f"SELECT mix, weight, {_UNUSED} FROM mixes WHERE record_id = ?", [id]
    ).fetchall():
        yield StoryLine(1, f"mix {name}", f"weight {weight:g}" if weight else unused)


def _judgements(con: duckdb.DuckDBPyConnection, id: str) -> Iterator[StoryLine]:
    for judge in _judges(con):
        con.execute(f'SELECT * FROM "{judge}" WHERE record_id = ? ORDER BY judge, repeat', [id])
        names = [c[0] for c in con.description or ()]
        for row in con.fetchall():
            seen = dict(zip(names, row, strict=True))
            # the rules measure some fifty things, most of which an ordinary text does not show
            silent: tuple[object, ...] = (None, []) if judge != "rules" else (None, [], 0, False)
            measures = ", ".join(
                f"{k}={_short(v)}" for k, v in seen.items() if k not in JUDGEMENT_KEY and v not in silent
            )
            who = seen["judge"] if seen["judge"] == judge else f"{judge} by {seen['judge']}"
            yield StoryLine(1, f"{who} (version {seen['version']})", measures)


def _judges(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The tables that hold judgements, known by their key, in the order of the plan."""
    found = con.execute(
        "SELECT table_name FROM duckdb_columns() WHERE list_contains(?, column_name) "
        "GROUP BY table_name HAVING count(*) = ? ORDER BY min(table_oid)",
        [JUDGEMENT_KEY.names(), len(JUDGEMENT_KEY)],
    )
    return [name for (name,) in found.fetchall()]


def _rejects(con: duckdb.DuckDBPyConnection, id: str) -> Iterator[StoryLine]:
    for stage, reason, detail in con.execute(
        "SELECT stage, reason, detail FROM rejects WHERE record_id = ? ORDER BY stage, reason", [id]
    ).fetchall():
        yield StoryLine(1, f"not taken on by {stage}", f"{reason} {_short(detail)}".strip())


def _messages(con: duckdb.DuckDBPyConnection, id: str, depth: int) -> Iterator[StoryLine]:
    row = con.execute("SELECT messages FROM conversations WHERE record_id = ?", [id]).fetchone()
    for message in row[0] if row else ():
        yield StoryLine(depth, message["role"], _short(message["content"]))


def _origin(con: duckdb.DuckDBPyConnection, id: str, depth: int, seen: set[str]) -> Iterator[StoryLine]:
    """A record's step, prompt and model, then its parents' or its documents'."""
    row = con.execute(
        "SELECT step, prompt_id, model, sample_index, finish_reason, uri, position, parent_ids, document_ids "
        "FROM conversations WHERE record_id = ?",
        [id],
    ).fetchone()
    if id in seen:
        return
    seen.add(id)
    if row is None:
        yield StoryLine(depth, f"record {id}", GONE)
        return
    step, prompt, model, sample, finish, uri, position, parents, documents = row
    facts = {
        "prompt": prompt,
        "model": model,
        "sample": sample,
        "finish": finish,
        "uri": uri,
        "position": position,
    }
    text = ", ".join(f"{k} {v}" for k, v in facts.items() if v is not None)
    yield StoryLine(depth, f"{step} {id}", text)
    for parent in parents:
        yield from _origin(con, parent, depth + 1, seen)
        for line in _messages(con, parent, depth + 2):
            if line.label == "user":
                yield line
    for document in () if parents else documents:
        yield from _document(con, document, depth + 1)


def _document(con: duckdb.DuckDBPyConnection, id: str, depth: int) -> Iterator[StoryLine]:
    row = con.execute(
        'SELECT kind, uri, file, position, "start", "end", title, language, licence, text '
        "FROM documents WHERE document_id = ?",
        [id],
    ).fetchone()
    if row is None:
        yield StoryLine(depth, f"document {id}", GONE)
        return
    kind, uri, file, position, start, end, title, language, licence, text = row
    yield StoryLine(depth, f"document {id}", f"{kind}, {language}, licence {licence or 'unknown'}")
    yield StoryLine(depth + 1, "from", f"{uri} (file {file}, position {position}, characters {start}-{end})")
    if title:
        yield StoryLine(depth + 1, "title", _short(title))
    yield StoryLine(depth + 1, "text", _short(text))


def _short(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"
