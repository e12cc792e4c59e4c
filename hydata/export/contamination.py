"""The contamination certificate of a mix: a JSON file that says what the mix was compared with, how, and what
was removed for it, and what was not compared. It is made of the warehouse alone, so it tells of the run and
not of what the recipe says today.

It certifies no innocence: a paraphrase that kept none of its numbers, a translation, a picture's text are not
found. ``not_compared`` counts what was not even looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from hydata.policy import Condition, Section, meets
from hydata.warehouse import write_atomic

COPIED = ("overlap", "span")
"""Measures that tell of ``benchmark`` and ``item``; the others tell of ``similar_item``."""
SEED = "contaminated_seed"

_KINDS = """
    SELECT document_id AS record_id, 'seeds' AS kind FROM documents
    UNION ALL
    SELECT record_id, CASE WHEN messages[-1].role = 'assistant' THEN 'answers' ELSE 'instructions' END
    FROM conversations
"""

_CHECKED = f"""
    SELECT kind, count(*) AS rows, count(*) FILTER (c.checked = $checked) AS compared,
           count(*) FILTER (c.checked <> $checked) AS with_others,
           count(*) FILTER (c.checked IS NULL) AS not_compared,
           count(*) FILTER (c.checked = $checked AND c.paraphrase IS NULL) AS by_ngrams_only
    FROM ({_KINDS}) LEFT JOIN contamination AS c USING (record_id) GROUP BY kind ORDER BY kind DESC
"""

_REMOVED = """
    SELECT policy, reason, count(DISTINCT record_id)
    FROM (SELECT record_id, policy, unnest(reasons) AS reason FROM decisions WHERE status = 'dropped')
    WHERE list_contains(?, reason) AND (policy = 'final' OR regexp_full_match(policy, 'gates\\.[a-z_]+'))
    GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Compared:
    """Of one kind of rows: how many there are, how many were ``compared`` with these benchmarks,
    ``with_others`` (an earlier set of files; `hydata run --rebuild contamination` compares them anew) or not
    at all; and how many of the compared were so by n-grams alone, because they are too long for vectors or
    have none."""

    rows: int
    compared: int
    with_others: int
    not_compared: int
    by_ngrams_only: int


@dataclass(frozen=True)
class Hits:
    """One benchmark: its file and what of it was found. ``hits`` counts rows that meet a condition, by kind
    and reason; ``items_hit`` are the ids of the items in them."""

    name: str
    file: str
    sha256: str
    question: str
    answer: str | None
    items: int
    rows_without_question: int
    items_not_specific: int
    hits: Mapping[str, Mapping[str, int]]
    items_hit: Sequence[str]


@dataclass(frozen=True)
class Certificate:
    """``removed`` counts records by the policy's section and reason; one may be counted at several gates.
    ``in_mix``: the rows that were exported from, how many of them were compared, and how many meet a
    condition all the same (none, unless the policy was changed and not run)."""

    mix: str
    file: str
    sha256: str
    statement: str
    words: int | None
    characters: int | None
    encoder: str | None
    conditions: Mapping[str, object]
    benchmarks: Sequence[Hits]
    rows: Mapping[str, Compared]
    removed: Mapping[str, Mapping[str, int]]
    in_mix: Mapping[str, int]


def write_certificate(con: duckdb.DuckDBPyConnection, mix: str, file: Path, sha256: str) -> tuple[Path, str]:
    """Write the certificate of an exported ``file`` (``*.jsonl``) to ``*.contamination.json``; where, and its
    sha256. ``con`` has the views of the warehouse."""
    body = json.dumps(asdict(certify(con, mix, file.name, sha256)), indent=2, ensure_ascii=False) + "\n"
    path = file.with_suffix(".contamination.json")
    write_atomic(path, body.encode())
    return path, hashlib.sha256(body.encode()).hexdigest()


def certify(con: duckdb.DuckDBPyConnection, mix: str, file: str, sha256: str) -> Certificate:
    """What the warehouse says of the mix."""
    known = con.sql("SELECT DISTINCT * FROM benchmarks ORDER BY benchmark").pl().to_dicts()
    first = known[0] if known else {}
    given: dict[str, dict[str, object]] = json.loads(first.get("conditions", "{}"))
    drop = {reason: Condition.model_validate(condition) for reason, condition in given.items()}
    checked = first.get("checked", "")
    compared = {
        kind: Compared(*counts) for kind, *counts in con.execute(_CHECKED, {"checked": checked}).fetchall()
    }
    removed: dict[str, dict[str, int]] = {}
    for section, reason, count in con.execute(_REMOVED, [[*drop, SEED]]).fetchall():
        removed.setdefault(section, {})[reason] = count
    found = [hit for reason, condition in drop.items() for hit in _hits(con, reason, condition)]
    in_mix = _in_mix(con, mix, checked, Section(drop=drop))
    return Certificate(
        mix=mix,
        file=file,
        sha256=sha256,
        statement=_statement(mix, len(known), bool(drop), in_mix),
        words=first.get("words"),
        characters=first.get("characters"),
        encoder=first.get("encoder"),
        conditions=given,
        benchmarks=[
            _benchmark(row, [hit[1:] for hit in found if hit[0] == row["benchmark"]]) for row in known
        ],
        rows=compared,
        removed=removed,
        in_mix=in_mix,
    )


def _hits(
    con: duckdb.DuckDBPyConnection, reason: str, condition: Condition
) -> list[tuple[str, str, str, str, int]]:
    """(benchmark, item, kind, reason, rows) of the rows that meet the condition."""
    similar = "" if condition.column in COPIED else "similar_"
    parameters: list[object] = [reason]
    met = meets(Section(drop={reason: condition}), "contamination", parameters)
    return con.execute(
        f"""
        SELECT {similar}benchmark, {similar}item, kind, ? AS reason, count(*)
        FROM contamination JOIN ({_KINDS}) USING (record_id)
        WHERE ({met}) AND {similar}benchmark IS NOT NULL GROUP BY ALL ORDER BY ALL
        """,
        parameters,
    ).fetchall()


def _benchmark(row: Mapping[str, object], found: Sequence[tuple[str, str, str, int]]) -> Hits:
    hits: dict[str, dict[str, int]] = {}
    for _, kind, reason, count in found:
        of_kind = hits.setdefault(kind, {})
        of_kind[reason] = of_kind.get(reason, 0) + count
    return Hits(
        name=str(row["benchmark"]),
        file=str(row["file"]),
        sha256=str(row["sha256"]),
        question=str(row["question"]),
        answer=None if row["answer"] is None else str(row["answer"]),
        items=int(str(row["items"])),
        rows_without_question=int(str(row["empty"])),
        items_not_specific=int(str(row["unspecific"])),
        hits=hits,
        items_hit=sorted({item for item, *_ in found}),
    )


def _in_mix(con: duckdb.DuckDBPyConnection, mix: str, checked: str, section: Section) -> dict[str, int]:
    parameters: list[object] = [checked]
    met = meets(section, "contamination", parameters)
    ((rows, compared, meeting),) = con.execute(
        f"""
        SELECT count(*), count(*) FILTER (contamination.checked = ?), count(*) FILTER ({met})
        FROM mixes LEFT JOIN contamination USING (record_id) WHERE mixes.mix = ? AND mixes.weight > 0
        """,
        [*parameters, mix],
    ).fetchall()
    return {"rows": rows, "compared": compared, "meeting_a_condition": meeting}


def _statement(mix: str, benchmarks: int, decides: bool, in_mix: Mapping[str, int]) -> str:
    rows, compared, meeting = in_mix["rows"], in_mix["compared"], in_mix["meeting_a_condition"]
    if not benchmarks:
        return (
            f"No benchmark was compared with mix {mix}: the recipe names none ([contamination] benchmarks). "
            "Nothing is known of its contamination."
        )
    said = f"{compared:,} of {rows:,} rows of mix {mix} were compared with {benchmarks} benchmarks"
    if not decides:
        return f"{said}, but the policy has no condition on what was found: nothing was removed for it."
    return f"{said}; {meeting:,} of them meet a condition for contamination."
