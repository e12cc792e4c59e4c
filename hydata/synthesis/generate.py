"""Instruction generation: from seed documents to instructions (Hunyuan-Large, section 2.1.1, step 1).

Each document gets ``per_document`` instructions, each by one of the prompts written for its kind and
language. A long document is shown as a window of it. The window, the prompt, the persona and the sample
of documents are drawn by hash. An instruction must stand on its own: whoever answers it does not see
the document.

Prompts are files that differ in seed kind, task family, style and complexity. A family comes up in
proportion to its target share in ``taxonomy/task.yaml``, which leans to mathematics and code as the report
does, whatever the number of its prompts: they divide its share. ``weights`` of the recipe are
factors on that. Prompts that declare ``persona`` are told who is asking (Ge et al. 2024, arXiv
2406.20094).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args

import polars as pl
from pydantic import Field

from hydata.errors import ConfigError
from hydata.privacy import masked
from hydata.prompts import Complexity, Language, Prompt, Style
from hydata.schema import CONVERSATIONS, Conversation, Kind, Output, Reject, canonical_json
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis import bandit
from hydata.synthesis.drafts import (
    Wish,
    draft,
    fraction,
    gather,
    labels_of,
    outcome,
    pick,
    rejected,
    sample,
    sampling,
    shuffled,
)
from hydata.synthesis.text import Defect, answers, tokens

NAME: Final = "generate"
ROLE = "generator"
VARIABLES = ("text", "title", "programming_language", "persona")

Factor = Annotated[float, Field(ge=0)]


class Weights(Settings):
    """Factors on how often prompts of a family, domain, style or complexity are drawn; what is not named
    has 1, and 0 is never drawn. Families and domains are the taxonomy's ids."""

    family: Mapping[str, Factor] = {}
    domain: Mapping[str, Factor] = {}
    style: Mapping[Style, Factor] = {}
    complexity: Mapping[Complexity, Factor] = {}

    def check_labels(self, file: Path, known: Mapping[str, Collection[str]]) -> None:
        """Check the families and domains, set in ``file``, against the ids of the taxonomy, by dimension.

        Raises:
            ConfigError: names the file, the key and the labels there are.
        """
        for key, dimension, given in (("family", "task", self.family), ("domain", "domain", self.domain)):
            if unknown := sorted(set(given) - set(known.get(dimension, ()))):
                there = ", ".join(known.get(dimension, ()))
                raise ConfigError(
                    f"{file}: generate.weights.{key}: {unknown} are not in the taxonomy; use {there}"
                )


class GenerateSettings(Settings):
    """``share`` of the documents, at most ``max_documents`` a shard, get ``per_document`` instructions
    each; ``characters`` is the longest stretch of a document that a prompt shows; ``personas``: whether
    prompts that are told who is asking are drawn; ``bandit``: of the prompts
    for the same families, those that came to more in earlier runs get more of the documents."""

    per_document: int = Field(default=1, ge=1)
    share: float = Field(default=1.0, gt=0, le=1)
    max_documents: int | None = Field(default=None, ge=1)
    characters: int = Field(default=1500, ge=100)
    weights: Weights = Weights()
    personas: bool = True
    bandit: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=192, ge=1)


def _check(settings: GenerateSettings, context: Context) -> None:
    labels = {dimension.id: dimension.ids for dimension in context.taxonomy.dimensions}
    settings.weights.check_labels(context.recipe, labels)
    context.prompts.check(NAME, VARIABLES)
    if settings.weights == Weights():
        return
    unweighted = settings.model_copy(update={"weights": Weights()})
    for language, kind in product(get_args(Language), get_args(Kind)):
        prompts = context.prompts.find(NAME, language, kind)
        if _odds(prompts, unweighted, context) and not _odds(prompts, settings, context):
            families = sorted({family for p in prompts for family in p.header.families})
            raise ConfigError(
                f"{context.recipe}: generate.weights = {settings.weights.model_dump(exclude_defaults=True)}: "
                f"no prompt for documents of kind {kind!r} in {language!r} is left; give one of their "
                f"families ({', '.join(families) or 'they have none'}), domains, styles and complexities a "
                "weight above 0"
            )


def _odds(
    prompts: Sequence[Prompt], settings: GenerateSettings, context: Context
) -> list[tuple[Prompt, float]]:
    """Those of ``prompts`` that the settings let be drawn, and their odds."""
    if not settings.personas:
        prompts = [p for p in prompts if "persona" not in p.header.variables]
    return weigh(prompts, settings.weights, _shares(context))


def _uses(settings: GenerateSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield canonical_json(_shares(context))
    yield from bandit.uses(NAME, settings, context)


def _shares(context: Context) -> dict[str, float]:
    return context.taxonomy.dimension("task").target_shares()


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
    language = row["language"] or ""
    odds = _odds(context.prompts.find(NAME, language=language, kind=row["kind"]), settings, context)
    if not odds:
        return []
    # A question and the answer below it belong together: such a document is shown from its start.
    place = 0.0 if row["kind"] == "qa" else fraction("excerpt", context.seed, id)
    text, title = masked([row["text"], row["title"] or ""], context.models.privacy)  # before it is cut
    values = {
        "text": excerpt(text, settings.characters, place),
        "title": title,
        "programming_language": row["programming_language"] or "",
    }
    order = _order(odds, settings, context, id)
    labels = labels_of(row, context)
    wishes = []
    for i in range(settings.per_document):
        prompt = order[i % len(order)]
        who = {}
        if "persona" in prompt.header.variables:
            who["persona"] = pick(context.prompts.personas[language], "persona", context.seed, id, i)
        wishes.append(Wish(prompt, values | who, id, i, labels))
    return wishes


def _order(
    odds: Sequence[tuple[Prompt, float]], settings: GenerateSettings, context: Context, id: str
) -> list[Prompt]:
    """A shuffle of the prompts for each document: different ones first, repeated only when they run out. With
    a bandit it says what kind of prompt comes when, and the bandit which one."""
    order = shuffled(odds, "prompt", context.seed, id)
    if not settings.bandit or not context.weights:
        return order
    chosen: list[Prompt] = []
    for drawn in order[: settings.per_document]:
        line = bandit.rivals(drawn, odds, context, "rival", context.seed, id)
        chosen.append(next(p for p in line if p not in chosen))  # as many rivals as places: one is left
    return chosen


def weigh(
    prompts: Sequence[Prompt], weights: Weights, shares: Mapping[str, float]
) -> list[tuple[Prompt, float]]:
    """Those of ``prompts`` that may be drawn, and their odds.

    A family's odds are its share (``shares``, by label of the taxonomy's ``task``) times its weight, divided
    evenly among its prompts; a prompt of several families has its part of each, one of none an average
    family's odds. The weights of its style, its complexity and its domains (their mean) multiply them.
    """
    members = Counter(family for p in prompts for family in p.header.families)
    odds = []
    for p in prompts:
        head = p.header
        own = sum(shares[f] * weights.family.get(f, 1.0) / members[f] for f in head.families)
        if not head.families:
            own = 1 / len(shares)
        if head.domains:
            own *= sum(weights.domain.get(d, 1.0) for d in head.domains) / len(head.domains)
        own *= weights.style.get(cast(Style, head.style), 1.0) if head.style else 1.0
        own *= weights.complexity.get(head.complexity, 1.0) if head.complexity else 1.0
        if own > 0:
            odds.append((p, own))
    return odds


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
    version=2,
    settings=GenerateSettings,
    run=run,
    uses=_uses,
    check=_check,
)
