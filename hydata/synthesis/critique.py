"""Critique: models score complete conversations (Hunyuan-Large, section 2.1.1, step 4).

Five aspects are scored from 1 (bad) to 4 (excellent); the overall tier runs the other way, from 1 (the
critic's "A", excellent) to 4 ("D", wrong or useless). The critic writes its reason before its scores,
and letters for tiers so that it does not confuse the two scales. Its reply is constrained to a JSON schema
with bounded lengths, so that even a very small model comes to an end. A critic's failure leaves no
judgement: the policy then calls the record undecided.

The prompt is that of the record's *family*, its ``task`` label: prompts name their ``families`` and, for
records without that label, their ``domains``; those that name none are for all others.

Each row is one judgement: ``raw_tier`` is the critic's own, ``tier`` the same or, with a calibration, what
its scores come to by the cut-offs of its family (``critic.calibration``). The judgements of one record, of
several critics or repeats, are combined on each of its rows: ``combined_tier`` is the median tier, of an even
number the worse of the two in the middle, so that of two judgements the worse one counts and one outlier
among three does not; ``disagreement`` is the worst less the best tier. A policy that asks for
``critiques.tier`` gets the mean instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import polars as pl
from pydantic import BaseModel, Field, model_validator

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call, Model, Sampling
from hydata.models.router import role_entry
from hydata.privacy import PrivacySettings, masked
from hydata.prompts import Prompt, PromptLibrary
from hydata.schema import JUDGEMENT_KEY, Message, Output, Reject, rejects_frame
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.critic.calibration import GENERAL, Calibration, load_calibration
from hydata.synthesis.drafts import failed, gather, labels_of, language_of, pick, read_messages, sampling

NAME = "critique"
ROLE: Final = "critic"
VERSION = 3
VARIABLES = ("conversation", "response", "reference", "tools")
ASPECTS = ("accuracy", "relevance", "completeness", "usefulness", "clarity")
TIERS = "ABCD"

CRITIQUES = pl.Schema(
    {
        **JUDGEMENT_KEY,
        **dict.fromkeys(ASPECTS, pl.Int8()),
        "tier": pl.Int8(),
        "raw_tier": pl.Int8(),
        "combined_tier": pl.Int8(),
        "disagreement": pl.Int8(),
        "family": pl.String(),
        "issues": pl.List(pl.String()),
        "reason": pl.String(),
        "prompt_id": pl.String(),
        "model": pl.String(),
        "request_hash": pl.String(),
    }
)

Score = Literal[1, 2, 3, 4]


class Critique(BaseModel):
    """What the critic replies, in the order in which it is to think."""

    reason: str = Field(max_length=240)
    issues: list[Annotated[str, Field(max_length=80)]] = Field(max_length=3)
    accuracy: Score
    relevance: Score
    completeness: Score
    usefulness: Score
    clarity: Score
    tier: Literal["A", "B", "C", "D"]


class CritiqueSettings(Settings):
    """``critics``: every model of the role judges each conversation, or one routed by the role's weights;
    each does so ``repeats`` times. ``calibration``: a file of ``hydata critic evaluate``, relative to the
    recipe. ``characters`` is the longest conversation, answer, reference and list of tools shown whole; of a
    longer one the beginning and the end are, with a mark between them (``shortened``)."""

    critics: Literal["all", "routed"] = "routed"
    repeats: int = Field(default=1, ge=1)
    calibration: Path | None = Field(default=None, exclude=True)  # identified by its content
    characters: int = Field(default=4000, ge=100)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=400, ge=1)

    @model_validator(mode="after")
    def _repeats_differ(self) -> CritiqueSettings:
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("repeats > 1 needs temperature > 0: at 0 every repeat says the same")
        return self


# --- prompts and calibration ----------------------------------------------------------------------------


def prompts_for(
    library: PromptLibrary, step: str, language: str, labels: Mapping[str, str | None]
) -> tuple[str, tuple[Prompt, ...]]:
    """The family that a record's labels put it into, and the prompts of the step for it, in its language or
    else in English. A family without a prompt of its own is ``general``."""
    found = library.find(step, language) or library.find(step, "en")
    task, domain = labels.get("task"), labels.get("domain")
    if own := tuple(p for p in found if task is not None and task in p.header.families):
        return str(task), own
    for family in (p.header.families[0] for p in found if domain in p.header.domains and p.header.families):
        if task is None:
            return family, tuple(p for p in found if family in p.header.families)
    return GENERAL, tuple(p for p in found if not p.header.families)


def check_prompts(library: PromptLibrary, step: str, context: Context) -> None:
    """Check that every family of a prompt is a label, and that there is a prompt for all others.

    Raises:
        ConfigError: names the prompt and what there is.
    """
    known = {d.id: d.ids for d in context.taxonomy.dimensions}
    for prompt in library.find(step):
        for dimension, wanted in (("task", prompt.header.families), ("domain", prompt.header.domains)):
            if unknown := sorted(set(wanted) - set(known.get(dimension, ()))):
                raise ConfigError(
                    f"{prompt.file}: {unknown[0]!r} is no label of the dimension {dimension!r}; "
                    f"there are {', '.join(known.get(dimension, ())) or 'none'}"
                )
    for language in {p.language for p in library.find(step)} | {"en"}:
        if not prompts_for(library, step, language, {})[1]:
            raise ConfigError(
                f"{library.folder / step}: no prompt without `families` for {language!r}; records of other "
                f"families need one, e.g. general.{language}.md"
            )


def calibration_of(settings: CritiqueSettings, context: Context) -> Calibration:
    """The calibration that the settings name, empty if they name none.

    Raises:
        ConfigError: it is missing or wrong, is of other prompts, or of none of the role's critics.
    """
    if settings.calibration is None:
        return Calibration()
    found = load_calibration(settings.calibration)
    names = {n for weights in role_entry(context.models.config, ROLE).alternatives for n in weights}
    critics = [c for name in sorted(names) if (c := found.critic(context.models.model(name).identity))]
    remedy = "run `hydata critic evaluate` again with these, or take [critique] calibration out"
    if not critics:
        raise ConfigError(
            f"{settings.calibration}: of {[c.identity for c in found.critics]}, none of which plays the role "
            f"{ROLE!r}; {remedy}"
        )
    if any(c.prompts != context.prompts.hash(NAME) for c in critics):
        raise ConfigError(
            f"{settings.calibration}: found with other prompts/{NAME} than there are now; {remedy}"
        )
    return found


def _check(settings: CritiqueSettings, context: Context) -> None:
    if context.prompts.find(NAME):
        check_prompts(context.prompts, NAME, context)
        context.prompts.check(NAME, VARIABLES)
    try:
        calibration_of(settings, context)
    except ConfigError as error:
        raise ConfigError(f"{context.recipe}: critique.calibration: {error}") from error


def _uses(settings: CritiqueSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    if settings.calibration is not None:
        yield calibration_of(settings, context).hash()


# --- one conversation -----------------------------------------------------------------------------------


def shown(message: Message) -> str:
    """What a critic sees of a message: its text and its calls of tools, not its reasoning."""
    calls = (f"{call.name}({call.arguments})" for call in message.tool_calls)
    return "\n".join(part for part in (message.content, *calls) if part)


def values_of(row: Mapping[str, Any], characters: int, privacy: PrivacySettings) -> dict[str, str]:
    """What a prompt may show of a complete conversation, masked before it is shortened: half a number is not
    known for one."""
    messages = read_messages(row)
    before = "\n\n".join(f"{m.role}: {shown(m)}" for m in messages[:-1])
    values = {
        "conversation": before,
        "response": shown(messages[-1]),
        "reference": (row["reference"] or {}).get("answer") or "",
        "tools": row["tools"] or "",
    }
    texts = masked(list(values.values()), privacy)
    return {name: shortened(text, characters) for name, text in zip(values, texts, strict=True)}


def shortened(text: str, characters: int) -> str:
    """The beginning and the end of a long text, where the result of an answer stands, and a mark between
    them: a critic takes an unmarked cut for the answer's own."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters …]\n{text[-half:]}"


async def _judge(
    row: Mapping[str, Any],
    family: str,
    prompt: Prompt,
    model: Model,
    values: Mapping[str, str],
    draw: Sampling,
    index: int,
    repeat: int,
    calibration: Calibration,
    context: Context,
) -> dict[str, object] | Reject:
    call = Call(prompt.render_from(values), draw, sample_index=index, purpose=prompt.id)
    try:
        critique, reply = await context.models.structured(model, call, Critique)
    except TerminalModelError as error:
        return failed(NAME, prompt, model, error, row["record_id"])
    scores = {aspect: int(getattr(critique, aspect)) for aspect in ASPECTS}
    raw = TIERS.index(critique.tier) + 1
    critic = calibration.critic(model.identity)
    return {
        "record_id": row["record_id"],
        "judge": ROLE,
        "version": str(VERSION),
        "repeat": repeat,
        **scores,
        "tier": critic.tier(family, sum(scores.values()) / len(scores)) if critic else raw,
        "raw_tier": raw,
        "family": family,
        "issues": critique.issues,
        "reason": critique.reason,
        "prompt_id": prompt.id,
        "model": reply.model,
        "request_hash": reply.request_hash,
    }


def _critics(
    row: Mapping[str, Any],
    draw: Sampling,
    labels: Mapping[str, str | None],
    settings: CritiqueSettings,
    context: Context,
) -> tuple[Model, ...]:
    if settings.critics == "all":
        return context.models.all(ROLE, draw, labels)
    return (context.models.route(ROLE, row["record_id"], labels),)


async def run(conversations: pl.DataFrame, settings: CritiqueSettings, context: Context) -> Output:
    """Complete conversations to rows of ``CRITIQUES``; ``repeat`` counts the judgements of a record, critic
    by critic in the order of the models file."""
    rejects: list[Reject] = []
    calibration = calibration_of(settings, context)
    draw = sampling(settings, context)

    def calls() -> Iterator[Awaitable[dict[str, object] | Reject]]:
        for row in conversations.iter_rows(named=True):
            id, messages = row["record_id"], read_messages(row)
            if not messages or messages[-1].role != "assistant":
                rejects.append(Reject(NAME, "not_complete", "the last message is not the assistant's", id))
                continue
            asked = [m.content for m in messages if m.role == "user"]
            language = language_of(row, asked[-1] if asked else messages[-1].content)
            labels = labels_of(row, context) | {"language": language}
            family, prompts = prompts_for(context.prompts, NAME, language, labels)
            prompt = pick(prompts, "prompt", context.seed, id)
            values = values_of(row, settings.characters, context.models.privacy)
            judgement = 0
            for model in _critics(row, draw, labels, settings, context):
                for index in range(settings.repeats):
                    yield _judge(
                        row, family, prompt, model, values, draw, index, judgement, calibration, context
                    )
                    judgement += 1

    made = await gather(calls(), context.models.window)
    rejects += [m for m in made if isinstance(m, Reject)]
    rows = [m for m in made if not isinstance(m, Reject)]
    return Output(combined(pl.DataFrame(rows, schema=_SINGLE)), rejects_frame(rejects))


_SINGLE = pl.Schema({n: t for n, t in CRITIQUES.items() if n not in ("combined_tier", "disagreement")})


def combined(judgements: pl.DataFrame) -> pl.DataFrame:
    """Judgements with what those of one record come to together, as ``CRITIQUES``."""
    tier = pl.col("tier")
    return (
        judgements.with_columns(
            combined_tier=tier.sort().get(pl.len() // 2).over("record_id"),
            disagreement=(tier.max() - tier.min()).over("record_id"),
        )
        .select(CRITIQUES.names())
        .cast(CRITIQUES)
    )


STAGE = MapStage(
    name=NAME,
    table="critiques",
    columns=CRITIQUES,
    version=VERSION,
    settings=CritiqueSettings,
    run=run,
    uses=_uses,
    check=_check,
)
