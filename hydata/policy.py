"""Measures become decisions: thresholds in one TOML file, applied as one SQL query.

A policy has *sections*: one for each gate before an expensive step, and ``final``. A section names the
judges whose verdict it ``requires`` and a list of ``drop`` conditions, each a reason with a
threshold on one measure:

    [final]
    requires = ["rules", "critiques"]

    [final.drop]
    too_short  = { measure = "rules.response_characters", below = 20 }
    low_tier   = { measure = "critiques.tier", above = 3 }
    truncated  = { measure = "rules.cut_by_length", equals = true }

A record is *dropped* with every reason that holds; else *undecided* if a required judge has not
judged it; else *kept*. A measure is ``table.column``; of repeated judgements numbers are averaged and a
flag counts if any repeat raises it. A condition on a missing or null measure does not hold.
``labels.DIMENSION`` is a record's label in that dimension. Values are bound as SQL
parameters; table and column names are checked against the declared schemas.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import duckdb
import polars as pl
from pydantic import Field, model_validator

from hydata.errors import ConfigError, WarehouseError
from hydata.schema import DECISIONS, JUDGEMENT_KEY, canonical_json, hash128
from hydata.settings import read_toml
from hydata.stage import Settings
from hydata.warehouse import quoted, write_atomic

Scalar = bool | int | float | str


class Condition(Settings):
    """A threshold on one measure. Exactly one of ``above``, ``below``, ``equals``, ``any_of`` is set.

    ``above`` and ``below`` are strict. ``languages`` limits the condition to records whose
    instruction is in one of these languages (ISO 639-1).
    """

    measure: str = Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$")
    above: float | None = Field(default=None, allow_inf_nan=False)
    below: float | None = Field(default=None, allow_inf_nan=False)
    equals: bool | int | float | str | None = None
    any_of: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> Condition:
        given = [name for name in ("above", "below", "equals", "any_of") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{self.measure}: give exactly one of above, below, equals, any_of (got {given})"
            )
        return self

    def fits(self, dtype: pl.DataType) -> bool:
        """Whether a measure of this type can be compared so."""
        if self.above is not None or self.below is not None:
            return dtype.is_numeric()
        if isinstance(self.equals, bool):
            return dtype == pl.Boolean
        if self.equals is not None and not isinstance(self.equals, str):
            return dtype.is_numeric()
        return dtype == pl.String

    def __str__(self) -> str:
        """The comparison in words, without the measure."""
        if self.above is not None:
            said = f"above {self.above:g}"
        elif self.below is not None:
            said = f"below {self.below:g}"
        elif self.equals is not None:
            said = f"is {str(self.equals).lower() if isinstance(self.equals, bool) else self.equals}"
        else:
            said = f"one of {', '.join(self.any_of or ())}"
        return said + (f" (only {', '.join(self.languages)})" if self.languages is not None else "")

    def expression(self) -> pl.Expr:
        """Whether the condition holds, never null, over columns that are named as measures are; beside them,
        for ``languages``, ``language.instruction_language``. It agrees with the SQL of ``decide`` on one
        judgement."""
        measure = pl.col(self.measure)
        if self.above is not None:
            holds = measure.cast(pl.Float64) > self.above
        elif self.below is not None:
            holds = measure.cast(pl.Float64) < self.below
        elif self.any_of is not None:
            holds = measure.is_in(list(self.any_of))
        elif isinstance(self.equals, bool | str):
            holds = measure == self.equals
        else:
            holds = measure.cast(pl.Float64) == self.equals
        if self.languages is not None:
            holds &= pl.col("language.instruction_language").is_in(list(self.languages))
        return holds.fill_null(False)

    @property
    def table(self) -> str:
        return self.measure.split(".")[0]

    @property
    def column(self) -> str:
        return self.measure.split(".")[1]


class Order(Settings):
    """One key of the order in which the answers to one instruction are preferred."""

    measure: str = Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$")
    order: Literal["ascending", "descending"]


class Section(Settings):
    """The conditions of one gate or of the final decision. Those of the gates named in ``also`` hold too.

    ``answers_per_instruction`` keeps that many of the answers to one instruction, the first by
    ``prefer``, then by record id; the others are dropped as ``not_best_answer``.
    """

    requires: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    drop: Mapping[str, Condition] = {}
    answers_per_instruction: int | None = Field(default=None, ge=1)
    prefer: tuple[Order, ...] = ()

    def without(self, tables: Collection[str]) -> Section:
        """The section as it is before some judges have judged: nothing of their tables is required or looked
        at."""
        drop = {reason: c for reason, c in self.drop.items() if c.table not in tables}
        requires = tuple(table for table in self.requires if table not in tables)
        return self.model_copy(update={"drop": drop, "requires": requires})


class Policy(Settings):
    """A whole policy file."""

    gates: Mapping[str, Section] = {}
    final: Section

    @model_validator(mode="after")
    def _known_gates(self) -> Policy:
        for section in (self.final, *self.gates.values()):
            for name in section.also:
                gate = self.gates.get(name.removeprefix("gates."))
                if gate is None or gate.also:
                    known = ", ".join(f"gates.{g}" for g, s in self.gates.items() if not s.also)
                    raise ValueError(f"also = [{name!r}]: give gates without `also` of their own: {known}")
        return self

    def section(self, name: str) -> Section:
        """``final`` or ``gates.NAME``, with the conditions of those in its ``also`` before its own."""
        own = self.own(name)
        inherited = {reason: c for gate in own.also for reason, c in self.own(gate).drop.items()}
        return own.model_copy(update={"drop": {**inherited, **own.drop}, "also": ()})

    def own(self, name: str) -> Section:
        """The section as it is written, without what it inherits."""
        return self.final if name == "final" else self.gates[name.removeprefix("gates.")]

    def hash(self, name: str) -> str:
        """The identity of one section."""
        return hash128(canonical_json(self.section(name).model_dump(mode="json")))


def load_policy(path: Path, gates: Iterable[str]) -> Policy:
    """Read and check a policy file that must have a section for each of ``gates``.

    Raises:
        ConfigError: unreadable, an unknown key, a wrong value, a missing gate.
    """
    policy = read_toml(path, Policy)
    for gate in gates:
        if gate not in policy.gates:
            raise ConfigError(f"{path}: no section [gates.{gate}]; add one (it may be empty)")
    return policy


def record_policy(root: Path, recipe: str, policy: Policy) -> None:
    """Keep beside the head what the decisions of a recipe's run were made by."""
    write_atomic(_kept(root, recipe), policy.model_dump_json(exclude_none=True).encode())


def last_policy(root: Path, recipe: str) -> Policy | None:
    """The policy of the recipe's last run; None if that was before policies were recorded."""
    path = _kept(root, recipe)
    return Policy.model_validate_json(path.read_bytes()) if path.exists() else None


def _kept(root: Path, recipe: str) -> Path:
    return root / "heads" / f"{recipe}.policy"


def check_measures(
    policy: Policy, path: Path, schemas: Mapping[str, pl.Schema], dimensions: Iterable[str]
) -> None:
    """Check that every table and measure a policy names exists and can be compared as asked.

    Raises:
        ConfigError: names the section, the measure and those there are.
    """
    measures = {**schemas, **DERIVED, "labels": pl.Schema(dict.fromkeys(dimensions, pl.String()))}
    for name in ("final", *(f"gates.{gate}" for gate in policy.gates)):
        section = policy.own(name)  # what is inherited is checked where it is written
        for table in section.requires:
            if table not in schemas:
                raise ConfigError(
                    f"{path}: [{name}] requires {table!r}; tables: {', '.join(sorted(schemas))}"
                )
        used = [(f"{reason}: ", c.measure) for reason, c in section.drop.items()]
        for reason, measure in (*used, *(("prefer: ", p.measure) for p in section.prefer)):
            table, column = measure.split(".")
            if table not in schemas:
                raise ConfigError(f"{path}: [{name}] {reason}measure {measure!r}: no table {table!r}")
            if column not in measures[table]:
                known = ", ".join(c for c in measures[table] if c not in JUDGEMENT_KEY)
                raise ConfigError(f"{path}: [{name}] {reason}measure {measure!r}: measures there are {known}")
        for reason, condition in section.drop.items():
            dtype = measures[condition.table][condition.column]
            if not condition.fits(dtype):
                raise ConfigError(
                    f"{path}: [{name}] {reason}: {condition.measure} is {dtype}; compare numbers with above "
                    "and below, flags with equals = true or false, text with equals or any_of"
                )


# --- SQL ---------------------------------------------------------------------------------------------

ONE_ANSWER = "final, one answer"
"""What decisions are called that keep one answer to an instruction, to be continued."""
DECISION_ROWS = 1_000_000
"""Rows of one frame of decisions: about 50 MB."""

DERIVED = {"preferences": pl.Schema({"rejected": pl.Boolean()})}
"""Measures that are no judge's: ``preferences.rejected``, the record is the worse half of a
dataset's pair (the plan gives a decision those of ingest alone; pairs of samples are made after it)."""


def decide(
    con: duckdb.DuckDBPyConnection,
    policy: Policy,
    name: str,
    schemas: Mapping[str, pl.Schema],
    without: Collection[str] = (),
    also_drop: Mapping[str, str] = MappingProxyType({}),
    one_answer: bool = False,
) -> Iterator[pl.DataFrame]:
    """Apply a section to the ``conversations`` in ``con``, beside whose view stand the judges' views.

    Yields frames of ``DECISIONS`` in the order of record ids: ``status`` is kept, dropped or
    undecided; ``reasons`` are the drop reasons, or the missing judges of an undecided record. What
    concerns the tables ``without`` is left out: their judges have not judged yet. ``also_drop`` maps a
    further reason to the view of ``con`` that holds the ids of whom it concerns. ``one_answer``: instead of
    ``answers_per_instruction`` one is kept; these decisions are called ``ONE_ANSWER``.

    Raises:
        WarehouseError: two conversations have the same id.
    """
    twice = con.execute(
        "SELECT record_id FROM conversations GROUP BY record_id HAVING count(*) > 1 LIMIT 1"
    ).fetchone()
    if twice:
        raise WarehouseError(
            f"record {twice[0]} stands twice in conversations; this is a defect, please report it"
        )
    section = policy.section(name).without(without)
    if one_answer:
        section = section.model_copy(update={"answers_per_instruction": 1})
    label = ONE_ANSWER if one_answer else f"{name} without {' and '.join(without)}" if without else name
    measures, joins = _measured(section, schemas)
    parameters: list[object] = []
    reasons = [_condition(reason, c, parameters) for reason, c in section.drop.items()]
    for reason, view in also_drop.items():
        reasons.append(f"CASE WHEN c.record_id IN (SELECT record_id FROM {view}) THEN ? END")
        parameters.append(reason)
    missing = []
    for table in section.requires:
        missing.append(f"CASE WHEN {table}.record_id IS NULL THEN ? END")
        parameters.append(table)
    best = ""
    if section.answers_per_instruction is not None:
        order = [
            f'"{p.measure}" {"DESC" if p.order == "descending" else "ASC"} NULLS LAST' for p in section.prefer
        ]
        best = (
            "CASE WHEN step = 'respond' AND row_number() OVER (PARTITION BY step, parent_ids, "
            f"len(drops) = 0 AND len(gaps) = 0 ORDER BY {', '.join([*order, 'record_id'])}) > ? "
            "THEN ['not_best_answer'] ELSE [] END"
        )
        parameters.append(section.answers_per_instruction)
    measured = "".join(f', {m} AS "{m}"' for m in measures)
    query = f"""
        WITH judged AS (
            SELECT c.record_id, c.step, c.parent_ids,
                   list_filter([{", ".join(reasons) or "NULL"}]::VARCHAR[], lambda x: x IS NOT NULL) AS drops,
                   list_filter([{", ".join(missing) or "NULL"}]::VARCHAR[], lambda x: x IS NOT NULL) AS gaps
                   {measured}
            FROM conversations AS c {joins}
        ), chosen AS (
            SELECT record_id, drops, gaps,
                   CASE WHEN len(drops) = 0 AND len(gaps) = 0 THEN {best or "[]"} ELSE [] END AS worse
            FROM judged
        )
        SELECT record_id,
               CASE WHEN len(drops) + len(worse) > 0 THEN 'dropped'
                    WHEN len(gaps) > 0 THEN 'undecided' ELSE 'kept' END AS status,
               CASE WHEN len(drops) > 0 THEN drops WHEN len(gaps) > 0 THEN gaps ELSE worse END AS reasons
        FROM chosen ORDER BY record_id
        """
    for batch in con.sql(query, params=parameters).to_arrow_reader(DECISION_ROWS):
        decided = pl.DataFrame(pl.from_arrow(batch)).with_columns(policy=pl.lit(label))
        yield decided.select(DECISIONS.names()).cast(DECISIONS)


@dataclass(frozen=True)
class Finding:
    """A condition seen at one record: its measure's ``value`` there (None: not measured) and whether it
    ``holds``, for ``reason``."""

    reason: str
    condition: Condition
    value: Scalar | None
    holds: bool


def findings(
    con: duckdb.DuckDBPyConnection,
    policy: Policy,
    name: str,
    schemas: Mapping[str, pl.Schema],
    record_id: str,
) -> tuple[list[Finding], list[str]]:
    """Every condition of a section as it is for one record, in the policy's order, and the required judges
    that have not judged it. The views of ``con`` are as for ``decide``."""
    section = policy.section(name)
    measures, joins = _measured(section, schemas)
    parameters: list[object] = []
    reasons = [_condition(reason, c, parameters) for reason, c in section.drop.items()]
    gaps = [f"{table}.record_id IS NULL" for table in section.requires]
    (row,) = con.execute(
        f"SELECT {', '.join([*measures, *reasons, *gaps, 'NULL'])} FROM (SELECT ? AS record_id) AS c {joins}",
        [*parameters, record_id],
    ).fetchall()
    values = dict(zip(measures, row, strict=False))
    held = row[len(measures) :]
    seen = [
        Finding(reason, c, values[c.measure], held[place] is not None)
        for place, (reason, c) in enumerate(section.drop.items())
    ]
    missing = held[len(seen) :]
    return seen, [table for table, gap in zip(section.requires, missing, strict=False) if gap]


def _measured(section: Section, schemas: Mapping[str, pl.Schema]) -> tuple[list[str], str]:
    """The measures that a section looks at, and the joins that bring them to the records of a relation."""
    measures = sorted(
        {c.measure for c in section.drop.values()}
        | {p.measure for p in section.prefer}
        | ({"language.instruction_language"} if any(c.languages for c in section.drop.values()) else set())
    )
    joins = []
    for table in sorted({m.split(".")[0] for m in measures} | set(section.requires)):
        columns = [m.split(".")[1] for m in measures if m.split(".")[0] == table]
        joins.append(f"LEFT JOIN ({_per_record(table, columns, schemas)}) AS {table} USING (record_id)")
    return measures, " ".join(joins)


def label_pick(dimension: str) -> str:
    """An aggregate over the rows of ``labels`` of one record: its label in a dimension.

    A model's own label goes before the classifier's, which generalises it.
    """
    return f"arg_max(label, row(judge = 'labeller', confidence)) FILTER (dimension = {quoted(dimension)})"


def _per_record(table: str, columns: list[str], schemas: Mapping[str, pl.Schema]) -> str:
    """One row per record of a judge's table: numbers averaged, flags or-ed over its repeats."""
    if table == "preferences":
        return "SELECT DISTINCT rejected_id AS record_id, true AS rejected FROM preferences"
    if table == "labels":
        picks = [f"{label_pick(c)} AS {c}" for c in columns]
    else:
        picks = []
        for column in columns:
            dtype = schemas[table][column]
            function = "bool_or" if dtype == pl.Boolean else "avg" if dtype.is_numeric() else "min"
            picks.append(f"{function}({column}) AS {column}")
    return f"SELECT {', '.join(['record_id', *picks])} FROM {table} GROUP BY record_id"


def _condition(reason: str, condition: Condition, parameters: list[object]) -> str:
    """A SQL expression that is the reason where the condition holds, else NULL; fills ``parameters``."""
    tests = []
    if condition.above is not None:
        tests.append(f"{condition.measure} > ?")
        parameters.append(condition.above)
    elif condition.below is not None:
        tests.append(f"{condition.measure} < ?")
        parameters.append(condition.below)
    elif condition.equals is not None:
        tests.append(f"{condition.measure} = ?")
        parameters.append(condition.equals)
    else:
        tests.append(f"list_contains(?, {condition.measure})")
        parameters.append(list(condition.any_of or ()))
    if condition.languages is not None:
        tests.append("list_contains(?, language.instruction_language)")
        parameters.append(list(condition.languages))
    parameters.append(reason)
    return f"CASE WHEN {' AND '.join(tests)} THEN ? END"


def meets(section: Section, table: str, parameters: list[object]) -> str:
    """A SQL expression over the relation ``table``: whether a condition of the section on it holds, in
    whatever language; fills ``parameters``."""
    own = {reason: c for reason, c in section.drop.items() if c.table == table}
    tests = [
        f"{_condition(reason, c.model_copy(update={'languages': None}), parameters)} IS NOT NULL"
        for reason, c in own.items()
    ]
    return " OR ".join(tests) or "false"
