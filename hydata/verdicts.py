"""What a policy makes of a warehouse: why one record stands where it does, and what another one would change.

Judgements are stored apart from thresholds, so both are queries over the judgements there are; nothing is
judged or called. A section is applied to the records that the last run applied it to, with the duplicates
among these, once for each policy. A record that only the second policy lets in may lack a judgement, because
later judges see what earlier conditions leave: it *waits*. Balancing comes after the decisions and is not
compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from hydata.curation.decisions import LABELS, continuing_dropped, write_contaminated
from hydata.curation.preferences import SOURCE
from hydata.errors import ConfigError
from hydata.policy import Finding, Policy, check_measures, decide, findings, load_policy
from hydata.recipe import GATES
from hydata.warehouse import quoted

BATCH_ROWS = 65_536

SECTIONS = (*(f"gates.{gate}" for gate in GATES), "final")
"""In the order in which a record meets them."""

_SEARCH = "SET search_path = 'decided,main'"

Move = Literal["enter", "wait", "leave"]
"""Into what is kept; out of what is dropped, while a required judge is missing yet; out of what is kept."""

_MOVES: Mapping[Move, str] = {
    "enter": "status_a <> 'kept' AND status_b = 'kept'",
    "wait": "status_a = 'dropped' AND status_b = 'undecided'",
    "leave": "status_a = 'kept' AND status_b <> 'kept'",
}

_BOTH = """
    SELECT record_id, a.status AS status_a, a.reasons AS reasons_a,
        b.status AS status_b, b.reasons AS reasons_b
    FROM by_a AS a JOIN by_b AS b USING (record_id)
"""

CHANGES = pl.Schema(
    {
        "section": pl.String(),
        "record_id": pl.String(),
        "step": pl.String(),
        "status_a": pl.String(),
        "reasons_a": pl.List(pl.String()),
        "status_b": pl.String(),
        "reasons_b": pl.List(pl.String()),
    }
)


@dataclass(frozen=True)
class Verdict:
    """A ``section`` and one record: its ``status`` and ``reasons`` as the last run decided, what each
    condition of the policy makes of it now, and the required judges that are ``missing``."""

    section: str
    status: str
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Totals:
    """Of a ``section``: the ``records`` it is applied to, those kept by one policy and by the other, and how
    many make each ``Move``."""

    section: str
    records: int
    kept_a: int
    kept_b: int
    enter: int
    wait: int
    leave: int


@dataclass(frozen=True)
class Rule:
    """A rule by which ``records`` enter or leave, and the ids of ``some`` of them."""

    name: str
    records: int
    some: tuple[str, ...]


def read_policy(con: duckdb.DuckDBPyConnection, path: Path, schemas: Mapping[str, pl.Schema]) -> Policy:
    """A policy file, checked against the tables and labels there are.

    Raises:
        ConfigError: it is wrong.
    """
    policy = load_policy(path, GATES)
    labelled = con.execute("SELECT DISTINCT dimension FROM labels").fetchall()
    check_measures(policy, path, schemas, {*LABELS, *(name for (name,) in labelled)})
    return policy


def explained(
    con: duckdb.DuckDBPyConnection, policy: Policy, schemas: Mapping[str, pl.Schema], record_id: str
) -> list[Verdict]:
    """A verdict of every section that the last run applied to the record, in their order."""
    decided = {
        name: (status, tuple(reasons))
        for name, status, reasons in con.execute(
            "SELECT policy, status, reasons FROM decisions WHERE record_id = ?", [record_id]
        ).fetchall()
    }
    verdicts = []
    for section in SECTIONS:
        if section in decided:
            with _as_decided(con, section):
                found, missing = findings(con, policy, section, schemas, record_id)
            status, reasons = decided[section]
            verdicts.append(Verdict(section, status, reasons, tuple(found), tuple(missing)))
    return verdicts


def compared(
    con: duckdb.DuckDBPyConnection, a: Policy, b: Policy, schemas: Mapping[str, pl.Schema]
) -> list[Totals]:
    """The totals of every section. Each record whose status or reasons differ is left as a row of ``CHANGES``
    in the table ``changes`` of ``con``, since there may be more of them than memory holds."""
    con.execute(
        """
        CREATE OR REPLACE TABLE changes (section VARCHAR, record_id VARCHAR, step VARCHAR, status_a VARCHAR,
            reasons_a VARCHAR[], status_b VARCHAR, reasons_b VARCHAR[])
        """
    )
    totals = []
    for section in SECTIONS:
        with _as_decided(con, section):
            for name, policy in (("a", a), ("b", b)):
                _apply(con, policy, section, schemas, f"by_{name}")
            (counts,) = con.execute(
                f"""
                SELECT count(*), count(*) FILTER (status_a = 'kept'), count(*) FILTER (status_b = 'kept'),
                    {", ".join(f"count(*) FILTER ({moved})" for moved in _MOVES.values())}
                FROM ({_BOTH})
                """
            ).fetchall()
            con.execute(
                f"""
                INSERT INTO main.changes
                SELECT $section, record_id, step, status_a, reasons_a, status_b, reasons_b
                FROM ({_BOTH}) JOIN conversations USING (record_id)
                WHERE status_a <> status_b OR reasons_a <> reasons_b
                """,
                {"section": section},
            )
        totals.append(Totals(section, *counts))
    return totals


def changes(con: duckdb.DuckDBPyConnection) -> Iterator[pl.DataFrame]:
    """What ``compared`` left: frames of ``CHANGES``, in the order of sections and ids."""
    found = con.sql(
        "FROM changes ORDER BY list_position($sections, section), record_id",
        params={"sections": list(SECTIONS)},
    )
    for batch in found.to_arrow_reader(BATCH_ROWS):
        yield pl.DataFrame(batch).cast(CHANGES)


def by_rule(con: duckdb.DuckDBPyConnection, section: str, move: Move, show: int) -> list[Rule]:
    """The rules behind a move that ``compared`` found, most first: what dropped the records under the first
    policy, or for those that leave, under the second; or the judges that are missing. A record counts under
    each of its rules."""
    side = "b" if move == "leave" else "a"
    found = con.execute(
        f"""
        SELECT rule, count(*) AS records, min(record_id, $some) FROM (
            SELECT record_id, if(status_{side} = 'undecided', 'no ', '') || unnest(reasons_{side}) AS rule
            FROM changes WHERE section = $section AND {_MOVES[move]}
        )
        GROUP BY rule ORDER BY records DESC, rule
        """,
        {"section": section, "some": max(show, 1)},
    )
    return [Rule(name, records, tuple(ids[:show])) for name, records, ids in found.fetchall()]


def _apply(
    con: duckdb.DuckDBPyConnection, policy: Policy, section: str, schemas: Mapping[str, pl.Schema], table: str
) -> None:
    """Write what the policy decides into a table of ``record_id``, ``status``, ``reasons``. What continues a
    conversation that is not kept is dropped too, which can only be told once that one is decided: as often as
    there are rounds of follow-ups."""
    con.execute(f"CREATE OR REPLACE TABLE {table} (record_id VARCHAR, status VARCHAR, reasons VARCHAR[])")
    con.execute(f"CREATE OR REPLACE VIEW of_dropped AS {continuing_dropped(table, 'main.conversations')}")
    write_contaminated(con, policy.section(section))
    also_drop = {"earlier_turn": "earlier", "contaminated_seed": "of_contaminated"}
    dropped = 0
    while True:
        con.execute("CREATE OR REPLACE TABLE earlier AS SELECT record_id FROM conversations WHERE false")
        if section == "final" and dropped:
            con.execute("INSERT INTO earlier FROM of_dropped")
        con.execute(f"DELETE FROM {table}")
        with con.cursor() as reading:  # what is read must be another connection's than what writes meanwhile
            reading.execute(_SEARCH)
            for frame in decide(reading, policy, section, schemas, also_drop=also_drop):
                con.register("decided_rows", frame.to_arrow())
                con.execute(f"INSERT INTO {table} SELECT record_id, status, reasons FROM decided_rows")
                con.unregister("decided_rows")
        ((now,),) = con.execute("SELECT count(*) FROM of_dropped").fetchall()
        if section != "final" or now == dropped:
            return
        dropped = now


@contextmanager
def _as_decided(con: duckdb.DuckDBPyConnection, section: str) -> Iterator[None]:
    """Views as the section's decision sees them, before those of the warehouse: its own conversations, the
    duplicates among these, the pairs of datasets."""
    gate = "critique" if section == "final" else section.removeprefix("gates.")
    con.execute("CREATE SCHEMA decided")
    con.execute(_SEARCH)
    try:
        for view, where in (
            (
                "conversations",
                f"record_id IN (SELECT record_id FROM main.decisions WHERE policy = {quoted(section)})",
            ),
            ("duplicates", f"judge = {quoted(f'duplicates_{gate}')}"),
            ("semantic", f"judge = {quoted(f'semantic_{gate}')}"),
            ("preferences", f"source <> {quoted(SOURCE)}"),
        ):
            con.execute(f"CREATE VIEW decided.{view} AS SELECT * FROM main.{view} WHERE {where}")
        yield
    finally:
        con.execute("SET search_path = 'main'")
        con.execute("DROP SCHEMA decided CASCADE")


def check_record(table: str, record_id: str) -> None:
    """Raise unless an id is a conversation's: of documents nothing is decided.

    Raises:
        ConfigError: it is a document's.
    """
    if table != "conversations":
        raise ConfigError(
            f"{record_id} is a document; policies decide on conversations, `hydata why` tells of it"
        )
