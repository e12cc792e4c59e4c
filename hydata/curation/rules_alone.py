"""The rules alone, on files: every measure of each row, and whether a policy lets the row pass.

The conditions are those on the table ``rules`` of a policy file, by default the one that ``hydata init``
writes: of the section gates.critique for a row with an answer, of gates.evolve for one with an instruction
only, of gates.texts for a plain text, which is measured as an answer to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ConfigDict, ValidationError, model_validator

from hydata.curation import rules
from hydata.curation.alone import FileJudge
from hydata.curation.language import detect
from hydata.errors import ConfigError
from hydata.policy import Condition, load_policy
from hydata.schema import JUDGEMENT_KEY
from hydata.settings import explain
from hydata.stage import Settings

ANSWERED, ASKED, PLAIN = "gates.critique", "gates.evolve", "gates.texts"
_LANGUAGE = "language.instruction_language"
_MEASURES = pl.Schema({name: kind for name, kind in rules.COLUMNS.items() if name not in JUDGEMENT_KEY})

Conditions = Mapping[str, Mapping[str, Condition]]
"""Of each section: reason -> condition on the table ``rules``."""


class RulesAloneSettings(Settings):
    """``policy`` is a policy file; any other key is the reason of a condition, its value another
    threshold."""

    model_config = ConfigDict(frozen=True, extra="allow")

    policy: Path | None = None

    @model_validator(mode="after")
    def _known_reasons(self) -> RulesAloneSettings:
        self.conditions()
        return self

    def conditions(self) -> Conditions:
        """The conditions of each section, with the thresholds given here.

        Raises:
            ConfigError: the policy is wrong, or has no condition of that reason, or not with such a
            threshold.
        """
        given = {}
        for reason, value in (self.model_extra or {}).items():
            several = value if isinstance(value, list) else [value]
            if not all(isinstance(one, bool | int | float | str) for one in several):
                raise ConfigError(f"--set {reason}={value}: a threshold is a number, a flag, a text or texts")
            given[reason] = tuple(value) if isinstance(value, list) else value
        return _conditions(self.policy, tuple(sorted(given.items())))


@cache
def _conditions(policy: Path | None, thresholds: tuple[tuple[str, object], ...]) -> Conditions:
    path = policy or Path(str(resources.files("hydata") / "templates" / "policy.toml"))
    loaded = load_policy(path, [name.removeprefix("gates.") for name in (ANSWERED, ASKED, PLAIN)])
    found = {
        name: {reason: c for reason, c in loaded.section(name).drop.items() if c.table == "rules"}
        for name in (ANSWERED, ASKED, PLAIN)
    }
    for reason, value in thresholds:
        concerned = [section for section in found.values() if reason in section]
        if not concerned:
            known = ", ".join(sorted({reason for section in found.values() for reason in section}))
            raise ConfigError(f"{path}: no condition {reason!r} on a measure of the rules; there are {known}")
        for section in concerned:
            section[reason] = _with_threshold(section[reason], reason, value)
    for name, section in found.items():
        for reason, condition in section.items():
            dtype = _MEASURES.get(condition.column)
            if dtype is None or not condition.fits(dtype):
                raise ConfigError(
                    f"{path}: [{name}] {reason}: {condition.measure} "
                    + (f"cannot be compared so: it is {dtype}" if dtype else f"is no measure: {_known()}")
                )
    return found


def _known() -> str:
    return ", ".join(_MEASURES)


def _with_threshold(condition: Condition, reason: str, value: object) -> Condition:
    kind = next(k for k in ("above", "below", "equals", "any_of") if getattr(condition, k) is not None)
    try:
        return Condition.model_validate({**condition.model_dump(exclude_none=True), kind: value})
    except ValidationError as error:
        raise ConfigError(f"--set {reason}={value}: {explain(error)}") from error


def judge_rows(rows: pl.DataFrame, settings: RulesAloneSettings) -> pl.DataFrame:
    """The measures of each row, ``passed`` and ``reasons``; all null of a row without text."""
    measured = rules.measures_of_rows(rows)
    text = pl.col("text").is_not_null()
    sections = rows.select(
        section=pl.when(text & pl.col("messages").is_null())
        .then(pl.lit(PLAIN))
        .when(text & pl.col("response").is_not_null())
        .then(pl.lit(ANSWERED))
        .when(text)
        .then(pl.lit(ASKED))
    )["section"]
    asked = rows.select(pl.coalesce("instruction", "text")).to_series()
    named = measured.rename(lambda name: f"rules.{name}")
    found = [pl.Series([None], dtype=pl.List(pl.String))]
    place = np.zeros(rows.height, np.uint32)  # in ``found`` end to end
    end = 1
    for name, conditions in settings.conditions().items():
        chosen = (sections == name).fill_null(False).arg_true()
        if len(chosen):
            found.append(_reasons(named[chosen], asked.gather(chosen), conditions))
            place[chosen.to_numpy()] = np.arange(end, end + len(chosen), dtype=np.uint32)
            end += len(chosen)
    reasons = pl.concat(found).gather(place)
    return measured.with_columns(passed=reasons.list.len() == 0, reasons=reasons)


def _reasons(measured: pl.DataFrame, texts: pl.Series, conditions: Mapping[str, Condition]) -> pl.Series:
    """The reasons of the conditions that hold, in the order of the policy."""
    bare = {
        reason: condition.model_copy(update={"languages": None}).expression()
        for reason, condition in conditions.items()
    }
    limited = [reason for reason, condition in conditions.items() if condition.languages]
    holds = measured.select(**bare)
    if limited:  # the language is told where it decides something
        wanted = holds.select(pl.any_horizontal(*limited)).to_series()
        languages = detect(pl.select(pl.when(wanted).then(texts)).to_series())["language"]
        known = pl.concat([measured, languages.alias(_LANGUAGE).to_frame()], how="horizontal")
        holds = holds.with_columns(
            known.select(**{reason: conditions[reason].expression() for reason in limited})
        )
    if not holds.width:
        return pl.repeat([], measured.height, dtype=pl.List(pl.String), eager=True)
    wrong = holds.select(pl.any_horizontal(pl.all())).to_series()
    told = holds.filter(wrong).select(
        pl.concat_list(pl.when(reason).then(pl.lit(reason)) for reason in holds.columns).list.drop_nulls()
    )
    number = wrong.cast(pl.UInt32)
    return pl.concat([pl.Series([[]], dtype=pl.List(pl.String)), told.to_series()]).gather(
        number.cum_sum() * number
    )


ALONE = FileJudge(
    name="rules",
    doc="""Measure the form of each row, and tell which a policy lets pass.

    One row is written for each row of the inputs, in order: `row`, a column for each measure of the rules (of
    `instruction` and `response`; a text is a response to nothing), `passed`, and `reasons`, the conditions
    that hold against it. Conditions are those of [gates.critique] of a policy file for rows with an answer,
    of [gates.evolve] for instructions alone, of [gates.texts] for texts; `--set policy=FILE` takes them from
    another file, `--set REASON=VALUE` changes the threshold of one. A row without text has no measures.
    """,
    settings=RulesAloneSettings,
    columns=pl.Schema({**_MEASURES, "passed": pl.Boolean(), "reasons": pl.List(pl.String)}),
    judge=judge_rows,
    counts={"passed": pl.col("passed")},
)
