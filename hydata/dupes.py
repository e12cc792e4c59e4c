"""What people ask about duplicates: how many there are, where they come from, who is in a cluster, and what
was nearly one.

All of it is SQL over the views of a head; ids and values come in as parameters. A ``judge`` names one place
where a recipe looks for duplicates, ``duplicates_evolve`` for example, or for those in meaning,
``semantic_evolve``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from hydata.curation.dedup import DuplicatesSettings
from hydata.curation.dedup.near import would_fall
from hydata.curation.dedup.signatures import Scope
from hydata.errors import WarehouseError
from hydata.recipe import Recipe, plan
from hydata.warehouse import Head

TEXT_CHARACTERS = 400
"""Of a record's text, shown."""

LEAST = 0.1
"""Of thresholds, as in a recipe."""
MOST_CHARACTERS = 1 << 16
"""Of a record's text, read to be compared with another's."""
SCOPES: tuple[Scope, ...] = ("conversation", "instruction")

_JUDGED = """(
    SELECT judge, record_id, cluster_id, duplicate_of, similarity, keep, exact FROM duplicates
    UNION ALL
    SELECT judge, record_id, cluster_id, duplicate_of, similarity, keep, false FROM semantic
)"""
_NOT_SYSTEM = "coalesce(m.role, '') <> 'system'"
_TURNS = f"array_to_string([m.content FOR m IN messages IF {_NOT_SYSTEM}], chr(10))"
_CONVERSATION = f"CASE WHEN step = 'respond' THEN messages[-1].content ELSE {_TURNS} END"
"""What is compared of it: of those that were made the answer, see ``SignaturesSettings``."""
_TEXTS = f"""
WITH compared AS (
    SELECT d.*, CASE WHEN starts_with(judge, 'duplicates') THEN {_CONVERSATION} ELSE {_TURNS} END AS text,
        c.step, c.prompt_id, c.model
    FROM {_JUDGED} d JOIN conversations c USING (record_id)
)
"""


@dataclass(frozen=True)
class Summary:
    """Of one ``judge``: ``records`` compared, those that are ``dropped`` and of these those that are
    ``exact`` copies, ``clusters`` of more than one record, and the size of the ``largest``."""

    judge: str
    records: int
    dropped: int
    exact: int
    clusters: int
    largest: int


@dataclass(frozen=True)
class Share:
    """What comes of one source or prompt: ``records`` and those of them that are ``dropped``."""

    name: str
    records: int
    dropped: int


@dataclass(frozen=True)
class Member:
    """A record of a cluster. ``similarity`` to ``duplicate_of``, both None for a kept one."""

    record_id: str
    keep: bool
    duplicate_of: str | None
    similarity: float | None
    made_by: str
    text: str


@dataclass(frozen=True)
class Near:
    """A record whose ``similarity`` to ``duplicate_of`` is near the threshold, with the texts of the two:
    it is dropped, or would be at a lower threshold. ``alike``: records of its cluster of which the same is
    true, itself included."""

    record_id: str
    duplicate_of: str
    similarity: float
    alike: int
    text: str
    other: str


def summaries(con: duckdb.DuckDBPyConnection) -> list[Summary]:
    """One for each judge, by name."""
    rows = con.execute(
        f"""
        SELECT judge, sum(n)::BIGINT, sum(dropped)::BIGINT, sum(exact)::BIGINT,
            count(*) FILTER (n > 1), max(n)
        FROM (
            SELECT judge, cluster_id, count(*) AS n, count(*) FILTER (NOT keep) AS dropped,
                count(*) FILTER (exact) AS exact
            FROM {_JUDGED} GROUP BY ALL
        ) GROUP BY judge ORDER BY judge
        """
    ).fetchall()
    return [Summary(*row) for row in rows]


def sizes(con: duckdb.DuckDBPyConnection, judge: str) -> list[tuple[int, int]]:
    """(n, clusters of n to 2n - 1 records) for n = 1, 2, 4 and so on."""
    return con.execute(
        f"""
        SELECT (2 ** floor(log2(n)))::BIGINT AS least, count(*)
        FROM (SELECT count(*) AS n FROM {_JUDGED} WHERE judge = ? GROUP BY cluster_id)
        GROUP BY ALL ORDER BY least
        """,
        [judge],
    ).fetchall()


def by_prompt(con: duckdb.DuckDBPyConnection, judge: str, most: int) -> list[Share]:
    """Which prompt and model repeat themselves: by step, prompt and model, those that lost most first."""
    name = "concat_ws(' ', step, prompt_id, model)"
    return _shares(
        con, f"SELECT {name} AS name, keep FROM {_JUDGED} JOIN conversations USING (record_id)", judge, most
    )


def by_source(con: duckdb.DuckDBPyConnection, judge: str, most: int) -> list[Share]:
    """By the file that records come from, those that lost most first."""
    query = f"""
    SELECT coalesce(d.file, c.uri, c.step) AS name, keep
    FROM {_JUDGED} JOIN conversations c USING (record_id)
    LEFT JOIN documents d ON d.document_id = c.document_ids[1]
    """
    return _shares(con, query, judge, most)


def _shares(con: duckdb.DuckDBPyConnection, query: str, judge: str, most: int) -> list[Share]:
    rows = con.execute(
        f"""
        SELECT name, count(*), count(*) FILTER (NOT keep) AS dropped FROM ({query} WHERE judge = ?)
        GROUP BY name HAVING dropped > 0 ORDER BY dropped DESC, name LIMIT ?
        """,
        [judge, most],
    ).fetchall()
    return [Share(*row) for row in rows]


def largest(con: duckdb.DuckDBPyConnection, judge: str, most: int) -> list[str]:
    """The ids of the largest clusters of more than one record."""
    rows = con.execute(
        f"""
        SELECT cluster_id FROM {_JUDGED} WHERE judge = ? GROUP BY cluster_id HAVING count(*) > 1
        ORDER BY count(*) DESC, cluster_id LIMIT ?
        """,
        [judge, most],
    ).fetchall()
    return [cluster for (cluster,) in rows]


def least_similar(con: duckdb.DuckDBPyConnection, judge: str, most: int) -> list[str]:
    """The ids of dropped records that were nearest to being kept, one of a cluster."""
    rows = con.execute(
        f"""
        SELECT arg_min(record_id, similarity) AS record_id FROM {_JUDGED}
        WHERE judge = ? AND NOT keep AND similarity < 1 GROUP BY cluster_id
        ORDER BY min(similarity), record_id LIMIT ?
        """,
        [judge, most],
    ).fetchall()
    return [record for (record,) in rows]


def members(
    con: duckdb.DuckDBPyConnection, id: str, judge: str | None, most: int
) -> tuple[str, list[Member]]:
    """The judge and the records of a cluster, the one that is named first, then kept ones: ``id`` is that of
    the cluster or of any of its records, or how it begins. ``judge`` None: of those that know it the one that
    dropped most.

    Raises:
        WarehouseError: there is none, or more than one.
    """
    if not id:
        raise WarehouseError("name a cluster or a record; `hydata dupes report` lists the largest clusters")
    id = id.lower()
    found = con.execute(
        f"""
        SELECT DISTINCT judge, cluster_id FROM {_JUDGED} AS found
        WHERE (starts_with(cluster_id, $id) OR starts_with(record_id, $id))
            AND judge = coalesce($judge, judge)
        ORDER BY (SELECT count(*) FROM {_JUDGED} d WHERE d.judge = found.judge AND NOT keep) DESC, judge
        """,
        {"id": id, "judge": judge},
    ).fetchall()
    if not found:
        raise WarehouseError(
            f"{id}: no cluster or compared record begins so; `hydata dupes report` lists the largest"
        )
    name, cluster = found[0]
    others = sorted({other for judge_of, other in found if judge_of == name})
    if len(others) > 1:
        raise WarehouseError(
            f"{id}: {len(others)} clusters of {name} hold it; give more of the id, or --judge"
        )
    rows: list[Any] = con.execute(
        f"""
        {_TEXTS}
        SELECT record_id, keep, duplicate_of, similarity,
            concat_ws(' ', step, prompt_id, model), left(text, ?)
        FROM compared WHERE judge = ? AND cluster_id = ?
        ORDER BY starts_with(record_id, ?) OR record_id IN (
                SELECT duplicate_of FROM {_JUDGED} WHERE judge = ? AND starts_with(record_id, ?)
            ) DESC, keep DESC, duplicate_of, similarity DESC, record_id
        LIMIT ?
        """,
        [TEXT_CHARACTERS, name, cluster, id, name, id, most],
    ).fetchall()
    return name, [Member(*row) for row in rows]


def has_signatures(judge: str) -> bool:
    """Whether a judge compares signatures, by which what is near a threshold can be found."""
    return judge.startswith("duplicates")


def signed_for(head: Head, judge: str) -> tuple[Scope, list[str]]:
    """The text that a judge compares, and the current shards of its signatures. Where a recipe has compared
    responses by either text, the conversation.

    Raises:
        WarehouseError: there is no such judge, or its signatures are not here.
    """
    for scope in SCOPES:
        for node in plan(Recipe(duplicates=DuplicatesSettings(responses=scope))):
            if node.stage is not None and node.stage.name == judge:
                sources = node.reads["signatures"]
                if all(source in head.nodes for source in sources):
                    found = [shard for source in sources for shard in head.nodes[source].shards]
                    compared: Scope = (
                        "conversation" if sources[0].endswith("/conversation") else "instruction"
                    )
                    return compared, [shard.path for shard in found if shard.rows["signatures"]]
    raise WarehouseError(f"{judge}: no signatures of what it compares are here; `hydata run` makes them")


def find_near(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    head: Head,
    judge: str,
    threshold: float,
    within: float,
) -> None:
    """Fill the temporary table ``near`` with what ``judge`` kept or dropped for less than ``within``:
    ``keep``, ``record_id``, ``cluster_id``, ``duplicate_of``, ``similarity``. Kept ones are those that a
    threshold lower by so much would drop.

    Raises:
        WarehouseError: the judge dropped records that are less similar than ``threshold``.
    """
    row = con.execute(
        "SELECT min(similarity) FROM duplicates WHERE judge = $judge AND NOT keep", {"judge": judge}
    ).fetchone()
    least = row[0] if row else None
    if least is not None and least < threshold - 1e-6:  # similarities are of single precision
        raise WarehouseError(
            f"{judge} dropped records that are {least:.3f} alike: its threshold was lower than {threshold}; "
            "say with --threshold what the recipe has"
        )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE near AS
        SELECT keep, record_id, cluster_id, duplicate_of, similarity FROM duplicates
        WHERE judge = $judge AND NOT keep AND similarity < 1 AND similarity <= ($threshold + $within)::FLOAT
        """,
        {"judge": judge, "threshold": threshold, "within": within},
    )
    found = con.sql("SELECT record_id FROM duplicates WHERE judge = ? AND keep", params=[judge])
    kept = pl.DataFrame(found.to_arrow_table())
    paths = [root / path for path in signed_for(head, judge)[1]]
    missed = would_fall(paths, kept, threshold, max(threshold - within, LEAST)).select(
        pl.lit(True).alias("keep"), pl.all()
    )
    con.register("missed", missed)
    con.execute("INSERT INTO near SELECT * FROM missed")
    con.unregister("missed")


def near_counts(con: duckdb.DuckDBPyConnection, keep: bool) -> list[tuple[float, int]]:
    """(similarity, records from it to less than 0.01 above), of ``find_near``'s, nearest to the threshold
    first."""
    found = con.execute(
        """
        SELECT floor(similarity * 100 + 1e-4) / 100, count(*) FROM near WHERE keep = ? GROUP BY ALL
        """,
        [keep],
    ).fetchall()
    return sorted(found, reverse=keep)


def near_pairs(con: duckdb.DuckDBPyConnection, scope: Scope, keep: bool, most: int) -> list[Near]:
    """One of each cluster of ``find_near``'s, nearest to the threshold first."""
    asked = "array_to_string([m.content FOR m IN messages IF m.role = 'user'], chr(10))"
    compared = asked if scope == "instruction" else _CONVERSATION
    order = f"similarity {'DESC' if keep else ''}, record_id"
    rows = con.execute(
        f"""
        WITH chosen AS (
            SELECT *, count(*) OVER (PARTITION BY cluster_id) AS alike FROM near WHERE keep = $keep
            QUALIFY row_number() OVER (PARTITION BY cluster_id ORDER BY {order}) = 1
            ORDER BY {order} LIMIT $most
        ), texts AS (
            SELECT record_id, left({compared}, $characters) AS text
            FROM conversations
            WHERE record_id IN (SELECT record_id FROM chosen UNION ALL SELECT duplicate_of FROM chosen)
        )
        SELECT chosen.record_id, duplicate_of, similarity, alike, one.text, two.text
        FROM chosen JOIN texts one USING (record_id) JOIN texts two ON two.record_id = duplicate_of
        ORDER BY {order}
        """,
        {"keep": keep, "most": most, "characters": MOST_CHARACTERS},
    ).fetchall()
    return [Near(*row) for row in rows]
