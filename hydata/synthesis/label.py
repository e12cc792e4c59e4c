"""Labels from a model: one label of every taxonomy dimension for a sample of the instructions.

Asking a model about every record is dear, so this stage labels a sample, and a classifier trained on
these labels (``curation``) covers the rest. The reply is constrained to the taxonomy's ids. A label's
confidence is its share of ``votes`` independent replies; with one vote it says 1 and means little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, Field, create_model, model_validator

from hydata.errors import TerminalModelError
from hydata.models import Call
from hydata.privacy import masked
from hydata.schema import JUDGEMENT_KEY, Output, Reject, instruction_text, rejects_frame
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.drafts import failed, gather, language_of, pick, sample, sampling
from hydata.taxonomy import Taxonomy

NAME = "label"
ROLE = "labeller"
VERSION = 2
VARIABLES = ("labels", "instruction")

LABELS = pl.Schema(
    {**JUDGEMENT_KEY, "dimension": pl.String(), "label": pl.String(), "confidence": pl.Float32()}
)


class LabelSettings(Settings):
    """``share`` of the instructions, at most ``max_per_shard``, are labelled; ``characters`` is the
    longest start of an instruction that is shown."""

    share: float = Field(default=1.0, gt=0, le=1)
    max_per_shard: int | None = Field(default=None, ge=1)
    votes: int = Field(default=1, ge=1)
    characters: int = Field(default=1500, ge=100)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=96, ge=1)

    @model_validator(mode="after")
    def _votes_differ(self) -> LabelSettings:
        if self.votes > 1 and self.temperature == 0:
            raise ValueError("votes > 1 needs temperature > 0: at 0 every vote says the same")
        return self


def _check(settings: LabelSettings, context: Context) -> None:
    context.prompts.check(NAME, VARIABLES)


def _uses(settings: LabelSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.taxonomy.hash
    yield context.models.identity(ROLE)


@lru_cache(maxsize=8)
def labels_schema(taxonomy: Taxonomy) -> type[BaseModel]:
    """The reply as a pydantic model: one field a dimension, its values the labels' ids."""
    fields: dict[str, Any] = {d.id: (Literal[d.ids], ...) for d in taxonomy.dimensions}
    return create_model("Labels", **fields)


async def _labels(
    row: Mapping[str, Any], settings: LabelSettings, context: Context
) -> list[dict[str, object]] | Reject:
    """The rows of one record, or why it has none. One failed vote fails the record: the confidence of
    a label should not depend on which votes came through."""
    id, text = row["record_id"], row["instruction"]
    language = language_of(row, text)
    prompts = context.prompts.find(NAME, language=language) or context.prompts.find(NAME, language="en")
    prompt = pick(prompts, "prompt", context.seed, id)
    values = {
        "labels": context.taxonomy.describe(prompt.language),
        "instruction": masked([text], context.models.privacy)[0][: settings.characters],
    }
    messages, drawn = prompt.render_from(values), sampling(settings, context)
    schema, model = labels_schema(context.taxonomy), context.models.route(ROLE, id, {"language": language})
    try:
        votes = [
            (await context.models.structured(model, Call(messages, drawn, i, purpose=prompt.id), schema))[0]
            for i in range(settings.votes)
        ]
    except TerminalModelError as error:
        return failed(NAME, prompt, model, error, id)
    rows: list[dict[str, object]] = []
    for dimension in context.taxonomy.dimensions:
        counts = Counter(getattr(vote, dimension.id) for vote in votes)
        # Ties go to the label that stands first in the taxonomy.
        label = max(dimension.ids, key=lambda label: counts[label])
        rows.append(
            {
                "record_id": id,
                "judge": ROLE,
                "version": str(VERSION),
                "repeat": 0,
                "dimension": dimension.id,
                "label": label,
                "confidence": counts[label] / settings.votes,
            }
        )
    return rows


async def run(conversations: pl.DataFrame, settings: LabelSettings, context: Context) -> Output:
    """Instructions to rows of ``LABELS``, one for each dimension."""
    chosen = sample(conversations["record_id"], settings.share, settings.max_per_shard, NAME, context.seed)
    rows = conversations.with_columns(instruction_text())
    asked = pl.col("record_id").is_in(sorted(chosen))
    calls = (_labels(row, settings, context) for row in rows.filter(asked).iter_rows(named=True))
    made = await gather(calls, context.models.window)
    rejects = [Reject(NAME, "not_sampled", record_id=id) for id in rows.filter(~asked)["record_id"]]
    rejects += [m for m in made if isinstance(m, Reject)]
    labels = [row for m in made if not isinstance(m, Reject) for row in m]
    return Output(pl.DataFrame(labels, schema=LABELS), rejects_frame(rejects))


STAGE = MapStage(
    name=NAME,
    table="labels",
    columns=LABELS,
    version=VERSION,
    settings=LabelSettings,
    run=run,
    uses=_uses,
    check=_check,
)
