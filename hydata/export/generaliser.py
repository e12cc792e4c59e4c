"""The mappings from simple to complex instructions as training data for a generaliser model.

One conversation a pair of the table ``generalisations``: the prompt of ``prompts/generalise/`` with the
simple instruction, by which the trained model will be asked again, then the complex one as the answer.
It is written like a mix, by ``export_messages``: same form, same reasons to drop a row, same manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from hydata.errors import ConfigError, WarehouseError
from hydata.export.messages import Manifest, export_messages
from hydata.export.provenance import Provenance
from hydata.policy import label_pick
from hydata.prompts import PromptLibrary
from hydata.schema import MIXES, Conversation, Message, conversations_frame
from hydata.taxonomy import Taxonomy

MIX = "generaliser"
STEP: Final = "generalise"

_PAIRS = f"""
    SELECT g.complex_id, s.messages[-1].content AS simple, c.messages[-1].content AS complex,
           regexp_extract(g.prompt_id, '\\.([a-z]+)@', 1) AS language, l.difficulty
    FROM generalisations AS g
    JOIN conversations AS s ON s.record_id = g.simple_id
    JOIN conversations AS c ON c.record_id = g.complex_id
    LEFT JOIN (SELECT record_id, {label_pick("difficulty")} AS difficulty
               FROM labels GROUP BY record_id) AS l
         ON l.record_id = g.complex_id
    ORDER BY g.complex_id
"""


def export_generaliser(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    prompts: PromptLibrary,
    taxonomy: Taxonomy,
    provenance: Provenance,
) -> Manifest:
    """Write every pair to ``path`` (``*.jsonl``) with its manifest.

    ``con`` has the views ``generalisations``, ``conversations`` and ``labels``. The difficulty that the
    prompt names is that of the complex instruction, where a judge has labelled it.

    Raises:
        WarehouseError: there are no pairs.
        ConfigError: a language has no prompt.
    """
    levels = {label.id: label for label in taxonomy.dimension("difficulty").labels}
    made = []
    for id, simple, complex, language, difficulty in con.execute(_PAIRS).fetchall():
        found = prompts.find(STEP, language=language)
        if not found:
            raise ConfigError(
                f"{prompts.folder / STEP}: no prompt for {language!r}; add <name>.{language}.md there"
            )
        level = levels.get(difficulty)
        values = {"instruction": simple, "difficulty": level.name.in_language(language) if level else ""}
        asked = found[int(id[:8], 16) % len(found)].render_from(values)
        made.append(Conversation(STEP, (*asked, Message("assistant", complex)), parent_ids=(id,)))
    if not made:
        raise WarehouseError(
            "no pairs yet: a pair is an instruction and an evolution of it that both passed the gates; "
            "run a recipe with [evolve]"
        )
    conversations = conversations_frame(made)
    mixes = conversations.select(mix=pl.lit(MIX), record_id="record_id", weight=pl.lit(1.0)).cast(MIXES)
    with duckdb.connect() as own:
        own.register("conversations", conversations)
        own.register("mixes", mixes)
        return export_messages(own, MIX, path, provenance, certified=False)
