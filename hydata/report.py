"""What people ask of a warehouse: the funnel of a run, and the whole story of one record.

All of it is SQL over the views of a head; ids and values come in as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from hydata.errors import WarehouseError

MAX_LINE = 160
"""Characters of a text shown on one line of a story."""


@dataclass(frozen=True)
class FunnelRow:
    """A step of the funnel: how many rows there are, and why others went no further."""

    step: str
    rows: int
    dropped: tuple[tuple[str, int], ...] = ()


_STEPS = (
    ("documents", "SELECT count(*) FROM documents", "ingest"),
    ("conversations read", "SELECT count(*) FROM conversations WHERE step = 'dataset'", None),
    ("instructions generated", "SELECT count(*) FROM conversations WHERE step = 'generate'", "generate"),
    ("admitted to evolve", "gates.evolve", None),
    ("instructions evolved", "SELECT count(*) FROM conversations WHERE step = 'evolve'", "evolve"),
    (
        "instructions self-instructed",
        "SELECT count(*) FROM conversations WHERE step = 'self_instruct'",
        "self_instruct",
    ),
    ("admitted to respond", "gates.respond", None),
    ("responses", "SELECT count(*) FROM conversations WHERE step = 'respond'", "respond"),
    ("admitted to critique", "gates.critique", None),
    ("critiqued", "SELECT count(*) FROM conversations SEMI JOIN critiques USING (record_id)", "critique"),
    ("kept", "final", None),
)


def funnel(con: duckdb.DuckDBPyConnection) -> list[FunnelRow]:
    """From documents to the mix, with the reasons for what was dropped, most frequent first."""
    rows = []
    for name, source, stage in _STEPS:
        if stage is None and not source.startswith("SELECT"):
            count = "SELECT count(*) FROM decisions WHERE policy = ? AND status = 'kept'"
            reasons = con.execute(
                "SELECT reason, count(*) AS n FROM (SELECT unnest(CASE WHEN status = 'undecided' THEN "
                "list_transform(reasons, lambda r: 'undecided: no ' || r) ELSE reasons END) AS reason "
                "FROM decisions WHERE policy = ? AND status <> 'kept') "
                "GROUP BY reason ORDER BY n DESC, reason",
                [source],
            ).fetchall()
            rows.append(FunnelRow(name, _count(con, count, [source]), tuple(reasons)))
            continue
        reasons = []
        if stage is not None:
            reasons = con.execute(
                "SELECT reason, count(*) AS n FROM rejects WHERE stage = ? "
                "GROUP BY reason ORDER BY n DESC, reason",
                [stage],
            ).fetchall()
        rows.append(FunnelRow(name, _count(con, source, []), tuple(reasons)))
    left_out = _count(con, "SELECT count(*) FROM mixes WHERE weight = 0", [])
    rows.append(
        FunnelRow(
            "in the mix",
            _count(con, "SELECT count(*) FROM mixes WHERE weight > 0", []),
            (("left out to balance", left_out),) if left_out else (),
        )
    )
    return rows


def _count(con: duckdb.DuckDBPyConnection, query: str, parameters: list[object]) -> int:
    row = con.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])


# --- the story of one record -----------------------------------------------------------------------------


@dataclass(frozen=True)
class StoryLine:
    """One line of a story: ``depth`` to indent by, a ``label`` and a ``text`` (hostile: escape it)."""

    depth: int
    label: str
    text: str = ""


_JUDGES = ("rules", "language", "duplicates", "labels", "critiques", "agreement")
_KEY = ("record_id", "judge", "version", "repeat")


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


def story(con: duckdb.DuckDBPyConnection, prefix: str) -> Iterator[StoryLine]:
    """Where a record or document came from, what was judged and decided of it, what came of it."""
    table, id = find_id(con, prefix)
    if table == "documents":
        yield from _document(con, id, 0)
    else:
        yield from _record(con, id)
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


def _record(con: duckdb.DuckDBPyConnection, id: str) -> Iterator[StoryLine]:
    yield StoryLine(0, f"record {id}")
    yield from _messages(con, id, 1)
    yield StoryLine(0, "origin")
    yield from _origin(con, id, 1, set())
    yield StoryLine(0, "judgements")
    for judge in _JUDGES:
        con.execute(f'SELECT * FROM "{judge}" WHERE record_id = ? ORDER BY judge, repeat', [id])
        names = [c[0] for c in con.description or ()]
        for row in con.fetchall():
            seen = dict(zip(names, row, strict=True))
            # the rules measure some fifty things, most of which an ordinary text does not show
            silent: tuple[object, ...] = (None, []) if judge != "rules" else (None, [], 0, False)
            measures = ", ".join(
                f"{k}={_short(v)}" for k, v in seen.items() if k not in _KEY and v not in silent
            )
            who = seen["judge"] if seen["judge"] == judge else f"{judge} by {seen['judge']}"
            yield StoryLine(1, f"{who} (version {seen['version']})", measures)
    yield StoryLine(0, "decisions")
    for policy, status, reasons in con.execute(
        "SELECT policy, status, reasons FROM decisions WHERE record_id = ? ORDER BY policy", [id]
    ).fetchall():
        yield StoryLine(1, policy, f"{status} {', '.join(reasons)}".strip())
    for stage, reason, detail in con.execute(
        "SELECT stage, reason, detail FROM rejects WHERE record_id = ? ORDER BY stage, reason", [id]
    ).fetchall():
        yield StoryLine(1, f"not taken on by {stage}", f"{reason} {_short(detail)}".strip())
    for name, weight in con.execute("SELECT mix, weight FROM mixes WHERE record_id = ?", [id]).fetchall():
        yield StoryLine(1, f"mix {name}", f"weight {weight:g}" if weight else "left out to balance")


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
    if row is None or id in seen:
        return
    seen.add(id)
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
