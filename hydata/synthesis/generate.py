"""Instruction generation: from seed documents to instructions (Hunyuan-Large, section 2.1.1, step 1).

Each document gets ``per_document`` instructions, each by one of the prompts written for its kind and
language. A long document is shown as a window of it. The window, the prompt and the sample of
documents are drawn by hash. An instruction must stand on its own: whoever answers it does not see
the document.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any, Final

import polars as pl
from pydantic import Field

from hydata.schema import CONVERSATIONS, Conversation, Output, Reject
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis import bandit
from hydata.synthesis.drafts import (
    Wish,
    draft,
    fraction,
    gather,
    labels_of,
    outcome,
    rejected,
    sample,
    sampling,
    weighted_place,
)
from hydata.synthesis.text import Defect, answers, tokens

NAME: Final = "generate"
ROLE = "generator"
VARIABLES = ("text", "title", "programming_language")


class GenerateSettings(Settings):
    """``share`` of the documents, at most ``max_documents`` a shard, get ``per_document`` instructions
    each; ``characters`` is the longest stretch of a document that a prompt shows. ``bandit``: prompts that
    came to more in earlier runs get more of the documents."""

    per_document: int = Field(default=1, ge=1)
    share: float = Field(default=1.0, gt=0, le=1)
    max_documents: int | None = Field(default=None, ge=1)
    characters: int = Field(default=1500, ge=100)
    bandit: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=192, ge=1)


def _uses(settings: GenerateSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield from bandit.uses(NAME, settings, context)


_BREAKS = (re.compile(r"\n\s*\n"), re.compile(r"\n|(?<=[.!?])\s+|(?<=[。！？])"))


def excerpt(text: str, characters: int, place: float) -> str:
    """A window of at most ``characters`` of ``text``, beginning and ending between paragraphs where it
    can, else between lines or sentences; ``place`` in [0, 1) says where in the text it lies."""
    if len(text) <= characters:
        return text
    start = int(place * (len(text) - characters))
    window = text[start : start + characters]
    if start > 0:
        window = window[_first_break(window, characters // 3) :]
    return window[: _last_break(window, 2 * len(window) // 3)].strip()


def _first_break(window: str, limit: int) -> int:
    for pattern in _BREAKS:
        if found := pattern.search(window, 0, limit):
            return found.end()
    return 0


def _last_break(window: str, least: int) -> int:
    for pattern in _BREAKS:
        ends = [found.start() for found in pattern.finditer(window, least)]
        if ends:
            return ends[-1]
    return len(window)


def _wishes(row: Mapping[str, Any], settings: GenerateSettings, context: Context) -> list[Wish]:
    """The instructions to ask for of one document; none if no prompt fits it."""
    id = row["document_id"]
    prompts = context.prompts.find(NAME, language=row["language"] or "", kind=row["kind"])
    if not prompts:
        return []
    # A question and the answer below it belong together: such a document is shown from its start.
    place = 0.0 if row["kind"] == "qa" else fraction("excerpt", context.seed, id)
    values = {
        "text": excerpt(row["text"], settings.characters, place),
        "title": row["title"] or "",
        "programming_language": row["programming_language"] or "",
    }
    # A shuffle of the prompts for each document: different ones first, repeated only when they run out.
    weights = {p.id: bandit.weight(p, settings, context) for p in prompts}
    order = sorted(prompts, key=lambda p: weighted_place(weights[p.id], "prompt", context.seed, id, p.id))
    labels = labels_of(row, context)
    return [Wish(order[i % len(order)], values, id, i, labels) for i in range(settings.per_document)]


async def _instruction(
    wish: Wish, row: Mapping[str, Any], settings: GenerateSettings, context: Context
) -> Conversation | Reject:
    made = await draft(wish, ROLE, sampling(settings, context), context)
    if not isinstance(made, Defect) and answers(made.text):
        made = Defect("not_a_request", made.text)
    if not isinstance(made, Defect) and _copied(made.text, str(wish.values["text"])):
        made = Defect("copied", made.text)
    if isinstance(made, Defect):
        return rejected(NAME, ROLE, wish, made, row["document_id"], context)
    return made.conversation(NAME, (), (row["document_id"],), row["licence"])


def _copied(instruction: str, text: str) -> bool:
    """Whether the instruction is a stretch of the document word by word."""
    return " ".join(tokens(instruction)) in " ".join(tokens(text))


async def run(documents: pl.DataFrame, settings: GenerateSettings, context: Context) -> Output:
    """Documents to instructions (``CONVERSATIONS``, step ``generate``)."""
    chosen = sample(documents["document_id"], settings.share, settings.max_documents, NAME, context.seed)
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[Conversation | Reject]]:
        for row in documents.iter_rows(named=True):
            id = row["document_id"]
            if id not in chosen:
                rejects.append(Reject(NAME, "not_sampled", record_id=id))
            elif wishes := _wishes(row, settings, context):
                for wish in wishes:
                    yield _instruction(wish, row, settings, context)
            else:
                detail = f"no prompt for kind {row['kind']!r}, language {row['language']!r}"
                rejects.append(Reject(NAME, "no_prompt", detail, id))

    return outcome(await gather(calls(), context.models.window), rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=GenerateSettings,
    run=run,
    uses=_uses,
)
