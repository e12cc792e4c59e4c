"""Judges that give a text one score from 0 to 1, by a trained scorer or, without one, by a heuristic.

A heuristic is a function from texts to scores with a version. What is scored of a record are its instruction
(the user's turns) and its response (the last turn, if the assistant's); ``score`` is made of both as the
judge says: the worse of the two for toxicity, else that of the answer, or of the instruction while there is
none. ``version`` of a judgement says which scorer gave it: ``h`` and a number for the heuristic with the
hashes of its phrases, or the hash of the trained one. The two are not on one scale: a threshold is a
scorer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
from pydantic import Field

from hydata.curation.alone import FileJudge
from hydata.curation.scorer import Scorer, load_scorer, score_texts
from hydata.curation.weighted import phrases
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY, Output, instruction_text, judgements_frame, response_text
from hydata.stage import Context, MapStage, Settings

SCORES = pl.Schema({"score": pl.Float32(), "instruction_score": pl.Float32(), "response_score": pl.Float32()})
COLUMNS = pl.Schema({**JUDGEMENT_KEY, **SCORES})


class ScoreSettings(Settings):
    """``model``: a file of ``hydata classifier train``, in a recipe relative to it; none: the heuristic."""

    model: Path | None = Field(default=None, exclude=True)  # identified by its content


@dataclass(frozen=True)
class Heuristic:
    """``score(texts)`` gives Float32 from 0 to 1, null for a null or blank text; ``lists`` are the phrases it
    looks for. ``VERSION`` goes up when it changes; changed phrases are noticed by themselves."""

    name: str
    version: int
    score: Callable[[pl.Series], pl.Series]
    lists: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What its judgements carry as their version."""
        return "-".join([f"h{self.version}", *(phrases(name).hash[:6] for name in self.lists)])


def map_stage(heuristic: Heuristic, combined: pl.Expr) -> MapStage:
    """The judge of a warehouse; ``combined`` makes ``score`` of the other two columns of ``SCORES``."""

    async def run(conversations: pl.DataFrame, settings: ScoreSettings, context: Context) -> Output:
        texts = conversations.select(instruction_text(), response_text())
        scorer = _scorer(heuristic, settings)
        judged = judgements_frame(conversations["record_id"], heuristic.name, _version(heuristic, scorer))
        found = _scored(heuristic, scorer, texts, combined)
        return Output(pl.concat([judged, found], how="horizontal").match_to_schema(COLUMNS))

    def uses(settings: ScoreSettings, context: Context) -> Iterable[str]:
        return (_version(heuristic, _scorer(heuristic, settings)),)

    def check(settings: ScoreSettings, context: Context) -> None:
        try:
            _scorer(heuristic, settings)
        except ConfigError as error:
            raise ConfigError(f"{context.recipe}: [{heuristic.name}] model: {error}") from error

    return MapStage(
        name=heuristic.name,
        table=heuristic.name,
        columns=COLUMNS,
        version=heuristic.version,
        settings=ScoreSettings,
        run=run,
        uses=uses,
        check=check,
        computes=True,
    )


def file_judge(heuristic: Heuristic, combined: pl.Expr, doc: str) -> FileJudge:
    """The judge of files; a plain text has its one score."""

    return FileJudge(
        name=heuristic.name,
        doc=doc,
        settings=ScoreSettings,
        columns=SCORES,
        judge=partial(_judge_rows, heuristic, combined),
        counts={"without a score": pl.col("score").is_null()},
        by_processes=lambda settings: settings.model is not None,
    )


def _judge_rows(
    heuristic: Heuristic, combined: pl.Expr, rows: pl.DataFrame, settings: ScoreSettings
) -> pl.DataFrame:
    scorer = _scorer(heuristic, settings)
    plain = pl.when(pl.col("messages").is_null()).then("text")
    found = _scored(heuristic, scorer, rows.select("instruction", "response"), combined)
    of_texts = _of(heuristic, scorer, rows.select(plain).to_series())
    return found.with_columns(score=pl.coalesce("score", of_texts))


def _scored(
    heuristic: Heuristic, scorer: Scorer | None, texts: pl.DataFrame, combined: pl.Expr
) -> pl.DataFrame:
    return pl.DataFrame(
        {f"{part}_score": _of(heuristic, scorer, texts[part]) for part in ("instruction", "response")}
    ).select(combined.cast(pl.Float32).alias("score"), "instruction_score", "response_score")


def _of(heuristic: Heuristic, scorer: Scorer | None, texts: pl.Series) -> pl.Series:
    return heuristic.score(texts) if scorer is None else score_texts(texts, scorer)


def _scorer(heuristic: Heuristic, settings: ScoreSettings) -> Scorer | None:
    if settings.model is None:
        return None
    scorer = load_scorer(settings.model)
    if scorer.card.name != heuristic.name:
        raise ConfigError(
            f"{settings.model}: is a model of {scorer.card.name}, not of {heuristic.name}; name the right one"
        )
    return scorer


def _version(heuristic: Heuristic, scorer: Scorer | None) -> str:
    return heuristic.identity if scorer is None else scorer.identity


WORSE = pl.max_horizontal("instruction_score", "response_score")
"""For what is bad in either part."""
ANSWER = pl.coalesce("response_score", "instruction_score")
"""For what the answer is worth; of an instruction alone, what that is."""
