"""What came of the tokens: how many accepted rows each prompt and model made, and how many were lost.

A row is *accepted* when the final policy keeps it. It is put to the account of every prompt in its lineage,
traced through ``parent_ids``: the prompt that generated an instruction, those that evolved it, the one it
was answered by. Tokens are those of a prompt's own calls, in whichever run of the recipe they were paid for.

    made      records of the prompt and model that are current
    rejected  calls of the step that came to nothing
    accepted  accepted rows that are among the made ones or descend from them
    useful    made ones that are accepted or have an accepted descendant
    rate      useful / (made + rejected)

Steps that judge make no records: of their prompts and models there are the calls, the tokens and the
judgements that failed (``failures``).

One evolved and one plain answer may both be accepted, so there can be more accepted rows than useful
records; the rate is of the records, and its interval Wilson's (1927), which is honest for few trials and
rates near zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import duckdb

from hydata.schema import Step

STEPS: tuple[str, ...] = tuple(step for step in get_args(Step) if step != "dataset")
"""The steps that make records, in the order of the plan."""

JUDGES = ("embeddings", "label", "critique")
"""The steps whose models judge records."""


@dataclass(frozen=True)
class Yield:
    """One prompt of a step, asked of one model. ``reason`` is the most frequent one of its rejects."""

    step: str
    prompt: str
    model: str
    calls: int
    tokens: int
    made: int
    rejected: int
    reason: str | None
    reason_rejects: int
    accepted: int
    useful: int

    @property
    def attempts(self) -> int:
        return self.made + self.rejected

    @property
    def per_thousand(self) -> float | None:
        """Accepted rows for 1,000 tokens; None where no tokens were paid for."""
        return 1000 * self.accepted / self.tokens if self.tokens else None

    @property
    def rate(self) -> float | None:
        return self.useful / self.attempts if self.attempts else None

    @property
    def interval(self) -> tuple[float, float]:
        """Of the rate, with 95% confidence."""
        return wilson(self.useful, self.attempts)


@dataclass(frozen=True)
class Failures:
    """One prompt of a judge, asked of one model: ``rejected`` judgements failed."""

    step: str
    prompt: str
    model: str
    calls: int
    tokens: int
    rejected: int
    reason: str | None
    reason_rejects: int


_FAILED = """
    reasons AS (
        SELECT stage AS step, prompt_id AS prompt, coalesce(model, '') AS model, reason, count(*) AS n
        FROM rejects WHERE prompt_id IS NOT NULL AND list_contains($steps, stage) GROUP BY ALL
    ),
    failed AS (
        SELECT step, prompt, model, sum(n)::BIGINT AS rejected,
               first(reason ORDER BY n DESC, reason) AS reason, max(n) AS reason_rejects
        FROM reasons GROUP BY step, prompt, model
    ),
    spent AS (
        SELECT step, prompt, model, sum(calls)::BIGINT AS calls,
               sum(prompt_tokens + completion_tokens)::BIGINT AS tokens
        FROM usage WHERE recipe = $recipe AND list_contains($steps, step) GROUP BY ALL
    )
"""

_FAILURES = f"""
    WITH {_FAILED}
    SELECT step, prompt, model, coalesce(calls, 0), coalesce(tokens, 0), coalesce(rejected, 0), reason,
           coalesce(reason_rejects, 0)
    FROM spent FULL JOIN failed USING (step, prompt, model)
    ORDER BY list_position($steps, step), prompt, model
"""

_YIELDS = f"""
    WITH RECURSIVE line AS (
        SELECT record_id AS accepted_id, record_id FROM decisions WHERE policy = 'final' AND status = 'kept'
        UNION
        SELECT line.accepted_id, child.parent_id
        FROM line JOIN (SELECT record_id, unnest(parent_ids) AS parent_id FROM conversations) AS child
            USING (record_id)
    ),
    records AS (
        SELECT step, coalesce(prompt_id, step) AS prompt, coalesce(model, '') AS model, record_id
        FROM conversations WHERE list_contains($steps, step)
    ),
    made AS (SELECT step, prompt, model, count(*) AS made FROM records GROUP BY ALL),
    traced AS (
        SELECT step, prompt, model,
               count(DISTINCT accepted_id) AS accepted, count(DISTINCT record_id) AS useful
        FROM records JOIN line USING (record_id) GROUP BY ALL
    ),
    {_FAILED}
    SELECT step, prompt, model, coalesce(calls, 0), coalesce(tokens, 0), coalesce(made, 0),
           coalesce(rejected, 0), reason, coalesce(reason_rejects, 0),
           coalesce(accepted, 0), coalesce(useful, 0)
    FROM spent
    FULL JOIN made USING (step, prompt, model)
    FULL JOIN failed USING (step, prompt, model)
    FULL JOIN traced USING (step, prompt, model)
    ORDER BY list_position($steps, step), accepted / nullif(tokens, 0) DESC NULLS LAST, prompt, model
"""


def yields(con: duckdb.DuckDBPyConnection, recipe: str) -> list[Yield]:
    """Every prompt and model of the steps that make records, step by step, the best yield first.

    ``con`` has the views of the recipe's head; ``recipe`` is its name, under which the tokens were counted.
    """
    return [Yield(*row) for row in con.execute(_YIELDS, {"steps": STEPS, "recipe": recipe}).fetchall()]


def failures(con: duckdb.DuckDBPyConnection, recipe: str) -> list[Failures]:
    """Every prompt and model of the steps that judge; ``con`` and ``recipe`` as of ``yields``."""
    return [Failures(*row) for row in con.execute(_FAILURES, {"steps": JUDGES, "recipe": recipe}).fetchall()]


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    p, n = successes / trials, trials
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
