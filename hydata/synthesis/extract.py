"""Instruction extraction: instructions with reference answers from documents (Hunyuan-Large, section 4.1).

Two roads, by what the document is:

- *Q&A* needs no model: the question, cleaned, is the instruction, and the answer the reference, a single span
  of the document (``questions``);
- *other documents* are shown to the role ``extractor``, a stretch at a time, by a prompt of a family
  (mathematics, logic, knowledge, anything). It replies with quotes of the text, a question and a short answer
  that rests on them. Each quote must be found in the document (``grounding``) and the answer in the quotes;
  what is stored are the quotes' places in the document, not the model's copy of them.

Either way whoever is asked later does not see the document, so the instruction must stand on its own, and
``documents.text[start:end]`` of the spans is what the reference rests on. Every document is a parent or
rejected with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import polars as pl
from pydantic import BaseModel, Field

from hydata.curation.measure import count_matches
from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call
from hydata.prompts import Prompt
from hydata.schema import CONVERSATIONS, Conversation, Message, Output, Reference, Reject, Span
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.drafts import (
    failed,
    fraction,
    gather,
    labels_of,
    outcome,
    sample,
    sampling,
    sampling_json,
    with_system,
)
from hydata.synthesis.generate import excerpt
from hydata.synthesis.grounding import Found, fold, locate, supported
from hydata.synthesis.questions import (
    clean_question,
    find_answer_defect,
    find_question_defect,
    is_personal,
    trim_answer,
)
from hydata.synthesis.text import MIN_TOKENS, Defect, answers, asks, clean_instruction, find_defect, tokens

NAME: Final = "extract"
ROLE = "extractor"
VARIABLES = ("text", "title")
LANGUAGES = ("en", "zh")


class Extraction(BaseModel):
    """What the extractor replies, in the order in which it is to think: what the text says, what one may ask
    about it, what the answer is. Nothing to extract is an empty question."""

    quotes: list[Annotated[str, Field(max_length=300)]] = Field(max_length=3)
    question: str = Field(max_length=400)
    answer: str = Field(max_length=300)


class ExtractSettings(Settings):
    """Of Q&A, answers whose score is known to be below ``min_score`` are left out, as are questions and
    answers that are longer (characters). Of other documents, ``share`` of them, at most ``max_documents`` a
    shard, are shown to the extractor ``per_document`` times, ``characters`` at a time; 0 asks no model."""

    qa: bool = True
    min_score: int = 1
    max_question: int = Field(default=3000, ge=1)
    max_answer: int = Field(default=4000, ge=1)
    share: float = Field(default=0.0, ge=0, le=1)
    max_documents: int | None = Field(default=None, ge=1)
    per_document: int = Field(default=1, ge=1)
    characters: int = Field(default=1500, ge=100)
    temperature: float = Field(default=0.3, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)


def _check(settings: ExtractSettings, context: Context) -> None:
    if settings.share > 0:
        context.prompts.check(NAME, VARIABLES)


def _uses(settings: ExtractSettings, context: Context) -> Iterable[str]:
    if settings.share > 0:
        yield context.prompts.hash(NAME, VARIABLES)
        try:
            yield context.models.identity(ROLE)
        except ConfigError as error:
            raise ConfigError(
                f"{error}, or set extract.share = 0 in the recipe: Q&A is extracted without a model"
            ) from error


# --- Q&A, without a model --------------------------------------------------------------------------------


def _unfit(settings: ExtractSettings) -> pl.Expr:
    """Why a Q&A document is not even looked at, or null; by columns, so that a long one costs nothing."""
    length, start = pl.col("text").str.len_chars(), pl.col("answer_start")
    prose = pl.col("text").str.replace_all(r"(?s)```.*?```", "")
    reasons = {
        "no_answer": start.is_null() | (start >= length),
        "unsupported_language": ~pl.col("language").is_in(LANGUAGES).fill_null(False),
        "low_score": pl.col("score") < settings.min_score,
        "question_too_long": start > settings.max_question,
        "answer_too_long": length - start > settings.max_answer,
        # what points at a picture, as the rules judge sees it
        "missing_media": count_matches(prose, "missing_media") > 0,
    }
    return pl.coalesce(pl.when(holds).then(pl.lit(reason)) for reason, holds in reasons.items())


def _answered(row: Mapping[str, Any]) -> Conversation | Reject:
    """The question of a Q&A document, with its answer as the reference."""
    id, text = row["document_id"], row["text"]
    question = clean_question(text[: row["answer_start"]])
    start, end = trim_answer(text, row["answer_start"])
    defect = _defect(question, text[start:end], row["language"])
    if defect is not None:
        return Reject(NAME, defect.reason, defect.detail, id)
    return Conversation(
        step=NAME,
        messages=with_system((Message("user", question),)),
        document_ids=(id,),
        reference=Reference(text[start:end], (Span(id, start, end),)),
        licence=row["licence"],
    )


def _defect(question: str, answer: str, language: str) -> Defect | None:
    if defect := find_defect(question, language, ""):
        return defect
    if not asks(question):
        return Defect("not_a_request", question)
    if defect := find_question_defect(question) or find_answer_defect(answer, question):
        return defect
    return Defect("personal", f"{question}: {answer}") if is_personal(question, answer, language) else None


# --- other documents, by a model -------------------------------------------------------------------------

SIGNS = {
    "mathematical_reasoning": re.compile(
        r"\d+(?:[.,]\d+)*|[=+×÷√∑∫≤≥]|百分之|[一二三四五六七八九十百千万]+[个倍分]"
    ),
    "logical_reasoning": re.compile(
        r"\b(?:if|unless|therefore|hence|thus|because|since|implies|otherwise|only when|must|either)\b"
        r"|如果|因此|所以|因为|除非|否则|只有|必然|一定|则|故",
        re.IGNORECASE,
    ),
}
"""What a text must show, ``MIN_SIGNS`` times, before it is asked for a question of the family."""
MIN_SIGNS = 4


@dataclass(frozen=True)
class _Reading:
    """One look at a document: the stretch ``shown`` by ``prompt``, which begins at ``start`` of its text."""

    prompt: Prompt
    shown: str
    start: int
    index: int


def _readings(row: Mapping[str, Any], settings: ExtractSettings, context: Context) -> Iterator[_Reading]:
    """The looks to take at a document, none if no prompt fits. Each shows a window of its own; those prompts
    come first whose family the window shows signs of, each of them once before any comes again."""
    id = row["document_id"]
    used: dict[str, int] = {}
    prompts = context.prompts.find(NAME, language=row["language"] or "", kind=row["kind"])
    for index in range(settings.per_document if prompts else 0):
        place = fraction("excerpt", NAME, context.seed, id, index)
        shown = excerpt(row["text"], settings.characters, place)
        ranked = []
        for prompt in prompts:
            signs = [SIGNS[family] for family in prompt.header.families if family in SIGNS]
            if all(len(sign.findall(shown)) >= MIN_SIGNS for sign in signs):
                tie = fraction("prompt", NAME, context.seed, id, prompt.id)
                ranked.append(((used.get(prompt.id, 0), not signs, tie), prompt))
        if ranked:
            _, prompt = min(ranked, key=lambda r: r[0])
            used[prompt.id] = used.get(prompt.id, 0) + 1
            yield _Reading(prompt, shown, row["text"].index(shown), index)


async def _extract(
    reading: _Reading, row: Mapping[str, Any], settings: ExtractSettings, context: Context
) -> Conversation | Reject:
    id, prompt = row["document_id"], reading.prompt
    messages = prompt.render_from({"text": reading.shown, "title": row["title"] or ""})
    call = Call(messages, sampling(settings, context), sample_index=reading.index, purpose=prompt.id)
    model = context.models.route(ROLE, id, labels_of(row, context))
    found: list[Found] | Defect | TerminalModelError
    try:
        said, reply = await context.models.structured(model, call, Extraction)
        found = ground(said, reading.shown, prompt)
    except TerminalModelError as error:
        found = error
    if isinstance(found, Defect | TerminalModelError):
        return failed(NAME, prompt, model, found, id)
    spans = (Span(id, reading.start + place.start, reading.start + place.end) for place in found)
    return Conversation(
        step=NAME,
        messages=with_system((Message("user", clean_instruction(said.question)),)),
        document_ids=(id,),
        reference=Reference(said.answer.strip(), tuple(spans)),
        licence=row["licence"],
        prompt_id=prompt.id,
        model=reply.model,
        sampling=sampling_json(reply),
        sample_index=reading.index,
        finish_reason=reply.finish_reason,
        request_hash=reply.request_hash,
    )


def ground(said: Extraction, text: str, prompt: Prompt) -> list[Found] | Defect:
    """Where the quotes of an extraction stand in ``text``, in their order and each once; or what is wrong."""
    question, answer = clean_instruction(said.question), said.answer.strip()
    if not tokens(question):
        return Defect("nothing_found", said.question)
    if defect := find_defect(question, prompt.language, prompt.own_words):
        return defect
    if answers(question):
        return Defect("not_a_request", question)
    if _within(question, text):
        return Defect("copied", question)
    if not tokens(answer):
        return Defect("no_answer", question)
    if _within(answer, question):
        return Defect("answer_in_question", f"{answer!r} in: {question}")
    quotes = [quote for quote in said.quotes if tokens(quote)]
    if not quotes:
        return Defect("no_quote", question)
    folded = fold(text)
    spans: dict[tuple[int, int], Found] = {}
    for quote in quotes:
        if len(tokens(quote)) < MIN_TOKENS:
            return Defect("short_quote", quote)
        places = locate(quote, text, folded)
        if places is None:
            return Defect("ungrounded", quote)
        spans |= {(place.start, place.end): place for place in places}
    evidence = "\n".join(text[start:end] for start, end in spans)
    if not supported(answer, evidence, question):
        return Defect("answer_not_in_quotes", f"{answer!r} from: {evidence}")
    return list(spans.values())


def _within(part: str, text: str) -> bool:
    """Whether ``part`` stands in ``text`` word by word."""
    return f" {' '.join(tokens(part))} " in f" {' '.join(tokens(text))} "


# --- the stage -------------------------------------------------------------------------------------------


async def run(documents: pl.DataFrame, settings: ExtractSettings, context: Context) -> Output:
    """Documents to instructions with references (``CONVERSATIONS``, step ``extract``)."""
    made: list[Conversation | Reject] = []
    qa = documents.filter(pl.col("kind") == "qa").with_columns(unfit=_unfit(settings))
    for row in qa.iter_rows(named=True):
        if not settings.qa:
            made.append(Reject(NAME, "not_sampled", record_id=row["document_id"]))
        elif row["unfit"] is not None:
            made.append(Reject(NAME, row["unfit"], row["text"], row["document_id"]))
        else:
            made.append(_answered(row))

    others = documents.filter(pl.col("kind") != "qa")
    chosen = sample(others["document_id"], settings.share, settings.max_documents, NAME, context.seed)
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[Conversation | Reject]]:
        for row in others.iter_rows(named=True):
            id = row["document_id"]
            if id not in chosen:
                rejects.append(Reject(NAME, "not_sampled", record_id=id))
                continue
            readings = list(_readings(row, settings, context))
            if not readings:
                detail = f"no prompt for kind {row['kind']!r}, language {row['language']!r}"
                rejects.append(Reject(NAME, "no_prompt", detail, id))
            for reading in readings:
                yield _extract(reading, row, settings, context)

    return outcome([*made, *await gather(calls(), context.models.window)], rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=ExtractSettings,
    run=run,
    uses=_uses,
    check=_check,
)
