"""A critic's training set: what it was asked and the judgement it should have given, as messages-JSONL.

The question is the critic's prompt, rendered again from the record as it was for the judgement; the answer is
the judgement's JSON in the order in which a critic is to write it. Only judgements that something else
confirms are taken:

* ``humans``: the record stands in a preference pair of an ingested set, and in all of its pairs whose two
  records were judged the preferred one has the better combined tier;
* ``critics``: at least two judgements of the record, all of one tier, and no pair against it.

Of a record's judgements the one with the combined tier whose scores are nearest to the mean of all is
taken, then the first. Everything else is counted by its reason, and so are ``control_token`` (a message holds
one of the trainer's own tokens) and ``prompt_gone`` (the prompt has been edited since).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from hydata.errors import WarehouseError
from hydata.privacy import PrivacySettings, masked_messages
from hydata.prompts import Prompt, PromptLibrary
from hydata.schema import CONTROL_TOKENS, Message
from hydata.synthesis.critique import ASPECTS, NAME, TIERS, Critique, values_of
from hydata.synthesis.drafts import with_system
from hydata.warehouse import write_atomic

BATCH_ROWS = 5_000

_AWAY = " + ".join(f"pow({aspect} - avg({aspect}) OVER record, 2)" for aspect in ASPECTS)
_ROWS = f"""
    WITH records AS (
        SELECT record_id, count(*) AS judgements, max(tier) - min(tier) AS disagreement,
               any_value(combined_tier) AS tier
        FROM critiques WHERE combined_tier IS NOT NULL GROUP BY record_id
    ),
    human AS (
        SELECT chosen_id, rejected_id FROM preferences SEMI JOIN sources ON preferences.source = sources.file
    ),
    pairs AS (
        SELECT chosen_id, rejected_id, c.tier < r.tier AS confirmed
        FROM human JOIN records AS c ON chosen_id = c.record_id JOIN records AS r ON rejected_id = r.record_id
    ),
    said AS (
        SELECT record_id, bool_and(confirmed) AS confirmed FROM (
            SELECT chosen_id AS record_id, confirmed FROM pairs
            UNION ALL SELECT rejected_id, confirmed FROM pairs
        ) GROUP BY record_id
    ),
    ranked AS (
        SELECT record_id, {", ".join(ASPECTS)}, issues, reason, prompt_id,
               row_number() OVER (
                   PARTITION BY record_id ORDER BY tier <> combined_tier, away, repeat
               ) AS place
        FROM (SELECT *, {_AWAY} AS away FROM critiques WINDOW record AS (PARTITION BY record_id))
    )
    SELECT ranked.* EXCLUDE (place), records.tier,
           CASE WHEN said.confirmed THEN 'humans'
                WHEN NOT said.confirmed THEN 'against_humans'
                WHEN records.judgements < 2 THEN 'judged_once'
                WHEN records.disagreement > 0 THEN 'critics_disagree'
                ELSE 'critics' END AS ground,
           c.messages, c.reference, c.tools
    FROM records JOIN ranked USING (record_id) JOIN conversations AS c USING (record_id)
         LEFT JOIN said USING (record_id)
    WHERE place = 1 ORDER BY record_id
"""

CHOSEN = ("humans", "critics")


@dataclass(frozen=True)
class TrainingSet:
    """What was written: ``chosen`` counts rows by what confirmed them, ``dropped`` records by the reason."""

    file: str
    rows: int
    chosen: Mapping[str, int]
    dropped: Mapping[str, int]
    bytes: int
    sha256: str


def export_training(
    con: duckdb.DuckDBPyConnection,
    prompts: PromptLibrary,
    characters: int,
    path: Path,
    privacy: PrivacySettings,
) -> TrainingSet:
    """Write the set to ``path`` (``*.jsonl``) and what it holds to ``*.manifest.json``, each atomically.

    ``con`` has the views ``critiques``, ``conversations``, ``preferences`` and ``sources``; ``prompts`` and
    ``characters`` are those of the recipe that made the critiques; ``privacy`` says what of a record is not
    shown.

    Raises:
        WarehouseError: there are no critiques.
    """
    by_id = {prompt.id: prompt for prompt in prompts.find(NAME)}
    chosen: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    digest, size = hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with aside.open("wb") as out:
            for row in _rows(con):
                made = row["ground"]
                if made in CHOSEN:
                    made = _example(row, by_id.get(row["prompt_id"]), characters, privacy)
                if isinstance(made, str):
                    dropped[made] += 1
                    continue
                line = json.dumps({"messages": made}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
                out.write(line)
                digest.update(line)
                size += len(line)
                chosen[row["ground"]] += 1
            out.flush()
            os.fsync(out.fileno())
        if not chosen and not dropped:
            raise WarehouseError("no critiques here yet; `hydata run` makes them")
        path.with_suffix(".manifest.json").unlink(missing_ok=True)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    found = TrainingSet(
        path.name,
        chosen.total(),
        dict(sorted(chosen.items())),
        dict(sorted(dropped.items())),
        size,
        digest.hexdigest(),
    )
    body = json.dumps(vars(found), indent=2, ensure_ascii=False) + "\n"
    write_atomic(path.with_suffix(".manifest.json"), body.encode())
    return found


def _rows(con: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    for batch in con.sql(_ROWS).to_arrow_reader(BATCH_ROWS):
        yield from pl.DataFrame(pl.from_arrow(batch)).iter_rows(named=True)


def _example(
    row: Mapping[str, Any], prompt: Prompt | None, characters: int, privacy: PrivacySettings
) -> list[dict[str, str]] | str:
    """The messages, or the reason why there are none."""
    if prompt is None:
        return "prompt_gone"
    scores = {aspect: row[aspect] for aspect in ASPECTS}
    written = {"reason": row["reason"], "issues": row["issues"], **scores, "tier": TIERS[row["tier"] - 1]}
    answer = Critique.model_validate(written)
    asked = with_system(prompt.render_from(values_of(row, characters, privacy)))
    said = Message("assistant", json.dumps(answer.model_dump(), ensure_ascii=False))
    messages = masked_messages((*asked, said), privacy)
    if any(token in message.content for message in messages for token in CONTROL_TOKENS):
        return "control_token"
    return [{"role": message.role, "content": message.content} for message in messages]
