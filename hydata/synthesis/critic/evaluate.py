"""How far a critic agrees with humans, and which biases it has.

Every labelled answer is judged as the stage ``critique`` judges a record: by that very stage. Of a pair four
verdicts follow, each compared with the humans':

tier         the answer with the better combined tier of the critic's own
score        the answer with the higher mean of the five aspects
calibrated   the answer with the better tier by cut-offs, which were found on other instructions (five folds)
compared     the answer that wins when both are shown together, in both orders; otherwise a tie

``accuracy`` is over the pairs that humans decided, a critic's tie counting one half, as a coin would;
``exact`` and ``kappa`` (Cohen's) are over all pairs with the three outcomes a, b and tie, where a tie is
right only if humans tied as well; ``spearman`` is the rank correlation of the critic's difference (of tiers,
of mean scores, of wins) with the humans' -1, 0, 1. Graded answers are compared tier with tier, and for the
rank correlation score with score. An answer that the critic failed on is counted and left out with its row.

Biases, as rates:

order        of pairs compared in both orders, how often the first shown wins both times, and the second
             (Zheng et al. 2023, arXiv 2306.05685, section 3.3: position bias)
padding      of answers judged again with empty words behind them (prompts/pad), how many gain a tier, how
             many lose one, and what the mean score gains (the same section: verbosity bias). Of several
             prompts for one family the padded answer may meet another one
length       the error rate on pairs where humans prefer the shorter answer less that where they prefer the
             longer (after Saito et al. 2023, arXiv 2310.10076): 0 is fair, 1 always takes the longer one
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import BaseModel, Field

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call, Model
from hydata.privacy import masked
from hydata.prompts import Prompt
from hydata.schema import Conversation, Message, Reference, conversations_frame, hash128
from hydata.stage import Context
from hydata.synthesis import critique
from hydata.synthesis.critic.calibration import GENERAL, Critic, Label, fit, tier_of
from hydata.synthesis.critic.labelled import Graded, Labelled, Pair
from hydata.synthesis.critic.statistics import kappa, share, spearman
from hydata.synthesis.critique import ASPECTS, CritiqueSettings
from hydata.synthesis.drafts import fraction, gather, pick, sampling, with_system
from hydata.synthesis.text import script_language

COMPARE = "compare"
PAD = "pad"
FOLDS = 5
METHODS = ("tier", "score", "calibrated", "compared")


class Comparison(BaseModel):
    """What the critic replies about two answers."""

    reason: str = Field(max_length=240)
    better: Literal["A", "B", "tie"]


@dataclass(frozen=True)
class Agreement:
    """Of ``rows`` that both judged. ``ties`` is the share of pairs without a winner by the critic."""

    rows: int
    accuracy: float | None
    exact: float | None
    kappa: float | None
    spearman: float | None
    ties: float | None = None


@dataclass(frozen=True)
class Bias:
    """Rates, and of how many pairs or answers. ``length`` is by method; None where humans never preferred
    the shorter answer, or never the longer."""

    compared: int
    first: float | None
    second: float | None
    consistent: float | None
    padded: int
    gained: float | None
    lost: float | None
    score_gain: float | None
    length: Mapping[str, float | None]


@dataclass(frozen=True)
class Report:
    """Of the pairs by method, of graded answers by ``tier`` and ``calibrated``. ``failures`` counts calls by
    what was asked and the reason; ``tokens`` are those of all replies, kept ones of an earlier run among
    them."""

    critic: str
    model: str
    pairs: int
    graded: int
    agreement: Mapping[str, Agreement]
    grades: Mapping[str, Agreement]
    bias: Bias
    failures: Mapping[str, int]
    calls: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class _Judged:
    """An answer's judgements together: mean score, the critic's own tier, its family."""

    score: float
    tier: int
    family: str


async def evaluate(
    rows: Sequence[Labelled], name: str, settings: CritiqueSettings, context: Context
) -> tuple[Report, Critic]:
    """Ask the critic ``name``, who plays the role in ``context``, about all rows; the report, and the
    calibration that follows from it.

    Raises:
        TransientModelError: some calls stayed unanswered; what was answered is in the journal.
        ConfigError: a prompt is missing, or the critic judged nothing.
    """
    known = {GENERAL, *(i for d in context.taxonomy.dimensions if d.id == "task" for i in d.ids)}
    if unknown := sorted({row.family for row in rows if row.family} - known):
        raise ConfigError(f"family {unknown[0]!r} of a labelled row: give one of {', '.join(sorted(known))}")
    settings = settings.model_copy(update={"calibration": None})
    critique.check_prompts(context.prompts, critique.NAME, context)
    model = context.models.route(critique.ROLE, "")
    failures: Counter[str] = Counter()
    plain = {(n, side): text for n, row in enumerate(rows) for side, text in enumerate(row.answers)}
    judged = await _judge_all(rows, plain, critique.NAME, settings, context, failures)
    padded = {
        key: text for key, text in _padded(rows, plain, context).items() if len(text) <= settings.characters
    }
    again = await _judge_all(rows, padded, PAD, settings, context, failures)
    pairs = {n: row for n, row in enumerate(rows) if isinstance(row, Pair)}
    wins = await _compare_all(pairs, model, settings, context, failures)
    if not judged:
        raise ConfigError(f"--critic {name}: not one of {len(plain)} answers was judged: {dict(failures)}")

    labels = _labels(rows, judged)
    held_out = _held_out(labels)
    verdicts = _verdicts(pairs, judged, held_out, wins)
    agreement = {method: _of_pairs(pairs, verdicts[method]) for method in METHODS}
    grades = _of_grades(rows, judged, held_out)
    stats = context.models.stats
    report = Report(
        critic=name,
        model=model.identity,
        pairs=len(pairs),
        graded=len(rows) - len(pairs),
        agreement=agreement,
        grades=grades,
        bias=_bias(pairs, judged, again, wins, verdicts),
        failures=dict(sorted(failures.items())),
        calls=stats.calls,
        prompt_tokens=stats.prompt_tokens + stats.found_prompt_tokens,
        completion_tokens=stats.completion_tokens + stats.found_completion_tokens,
    )
    figures = {f"pairs {m}": a for m, a in agreement.items() if a.rows} | {
        f"grades {m}": a for m, a in grades.items() if a.rows
    }
    return report, Critic(
        identity=model.identity,
        prompts=context.prompts.hash(critique.NAME),
        families=fit(list(labels.values())),
        agreement={what: dict(vars(a)) for what, a in figures.items()},
    )


# --- asking ---------------------------------------------------------------------------------------------

Key = tuple[int, int]
"""A row's place and the answer's in it."""


async def _judge_all(
    rows: Sequence[Labelled],
    texts: Mapping[Key, str],
    what: str,
    settings: CritiqueSettings,
    context: Context,
    failures: Counter[str],
) -> dict[Key, _Judged]:
    """The stage's judgements of these answers. Equal answers are one record, judged once."""
    records = {key: _conversation(rows[key[0]], text) for key, text in texts.items()}
    if not records:
        return {}
    ids = {key: record.record_id for key, record in records.items()}
    frame = conversations_frame({ids[key]: record for key, record in records.items()}.values())
    marks = {ids[n, side]: (rows[n].family, _language(rows[n])) for n, side in texts}
    known = pl.DataFrame(
        [(id, *mark) for id, mark in marks.items()],
        schema={"record_id": pl.String, "task": pl.String, "language": pl.String},
        orient="row",
    )
    out = await critique.run(frame.join(known, on="record_id", maintain_order="left"), settings, context)
    failures.update(f"{what}: {reason}" for reason in out.rejects["reason"])
    found = out.rows.group_by("record_id").agg(
        pl.mean_horizontal(ASPECTS).mean().alias("score"), pl.col("combined_tier", "family").first()
    )
    by_id = {id: _Judged(score, tier, family) for id, score, tier, family in found.iter_rows()}
    return {key: by_id[id] for key, id in ids.items() if id in by_id}


def _conversation(row: Labelled, answer: str) -> Conversation:
    return Conversation(
        step="dataset",
        messages=with_system((Message("user", row.instruction), Message("assistant", answer))),
        reference=Reference(row.reference, ()) if row.reference else None,
        uri=hash128(row.family, row.reference, row.language),  # with another one it is another record
    )


def _language(row: Labelled) -> str:
    return row.language or script_language(row.instruction)


def _padded(rows: Sequence[Labelled], texts: Mapping[Key, str], context: Context) -> dict[Key, str]:
    made = {}
    for (n, side), text in texts.items():
        language = _language(rows[n])
        prompts = context.prompts.find(PAD, language) or context.prompts.find(PAD, "en")
        if prompts:
            made[n, side] = pick(prompts, PAD, context.seed, rows[n].group).render(response=text)[-1].content
    return made


async def _compare_all(
    pairs: Mapping[int, Pair],
    model: Model,
    settings: CritiqueSettings,
    context: Context,
    failures: Counter[str],
) -> dict[int, tuple[int, int]]:
    """Of each pair the winner, -1 for a, 0, 1 for b, with a shown first and with b shown first."""
    if not context.prompts.find(COMPARE):
        return {}

    def calls() -> Iterator[Awaitable[int | str]]:
        for row in pairs.values():
            language = _language(row)
            labels = {"task": row.family, "language": language}
            _, prompts = critique.prompts_for(context.prompts, COMPARE, language, labels)
            prompt = pick(prompts, "prompt", context.seed, row.group)
            for turned in (False, True):
                yield _compare(row, turned, prompt, model, settings, context)

    made = await gather(calls(), context.models.window)
    failures.update(f"{COMPARE}: {reason}" for reason in made if isinstance(reason, str))
    both = zip(pairs, made[::2], made[1::2], strict=True)
    return {n: (x, y) for n, x, y in both if isinstance(x, int) and isinstance(y, int)}


async def _compare(
    row: Pair, turned: bool, prompt: Prompt, model: Model, settings: CritiqueSettings, context: Context
) -> int | str:
    """Who wins, or the reason why nobody knows."""
    asked, *answers, reference = masked(
        [f"user: {row.instruction}", *row.answers, row.reference or ""], context.models.privacy
    )
    first, second = reversed(answers) if turned else answers
    values = {
        "conversation": asked[-settings.characters :],
        "response_a": first[: settings.characters],
        "response_b": second[: settings.characters],
        "reference": reference[: settings.characters],
    }
    call = Call(prompt.render_from(values), sampling(settings, context), purpose=prompt.id)
    try:
        comparison, _ = await context.models.structured(model, call, Comparison)
    except TerminalModelError as error:
        return error.reason
    place = {"A": -1, "tie": 0, "B": 1}[comparison.better]
    return -place if turned else place


# --- comparing ------------------------------------------------------------------------------------------


def _labels(rows: Sequence[Labelled], judged: Mapping[Key, _Judged]) -> dict[int, Label]:
    """Of the rows whose answers were all judged."""
    made = {}
    for n, row in enumerate(rows):
        sides = [judged.get((n, side)) for side in range(len(row.answers))]
        scores = [side.score for side in sides if side]
        if len(scores) == len(sides):
            family = sides[0].family if sides[0] else GENERAL
            made[n] = Label(family, row.group, scores[0], scores[-1], row.verdict, isinstance(row, Graded))
    return made


def _held_out(labels: Mapping[int, Label]) -> dict[int, tuple[int, int]]:
    """The tiers of both answers by cut-offs that were found without the instruction's own labels."""
    folds = {n: int(fraction("fold", label.group) * FOLDS) for n, label in labels.items()}
    made = {}
    for fold in set(folds.values()):
        families = fit([label for n, label in labels.items() if folds[n] != fold])
        for n, label in labels.items():
            if folds[n] == fold:
                cutoffs = families.get(label.family, families[GENERAL]).cutoffs
                made[n] = (tier_of(label.first, cutoffs), tier_of(label.second, cutoffs))
    return made


Verdicts = Mapping[int, float]
"""By row, what speaks for b less what speaks for a: its sign is the critic's verdict."""


def _verdicts(
    pairs: Mapping[int, Pair],
    judged: Mapping[Key, _Judged],
    held_out: Mapping[int, tuple[int, int]],
    wins: Mapping[int, tuple[int, int]],
) -> dict[str, Verdicts]:
    both = {n: (judged[n, 0], judged[n, 1]) for n in pairs if (n, 0) in judged and (n, 1) in judged}
    return {
        "tier": {n: a.tier - b.tier for n, (a, b) in both.items()},
        "score": {n: round(b.score - a.score, 6) for n, (a, b) in both.items()},
        "calibrated": {n: held_out[n][0] - held_out[n][1] for n in both},
        "compared": {n: (x + y) / 2 if x == y else 0 for n, (x, y) in wins.items()},
    }


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _of_pairs(pairs: Mapping[int, Pair], verdicts: Verdicts) -> Agreement:
    theirs = [pairs[n].verdict for n in verdicts]
    ours = [_sign(v) for v in verdicts.values()]
    credit = [1 + a * b for a, b in zip(ours, theirs, strict=True) if b]  # 2 right, 1 tie, 0 wrong
    return Agreement(
        rows=len(ours),
        accuracy=sum(credit) / len(credit) / 2 if credit else None,
        exact=share([a == b for a, b in zip(ours, theirs, strict=True)]),
        kappa=kappa(ours, theirs),
        spearman=spearman(list(verdicts.values()), theirs),
        ties=share([a == 0 for a in ours]),
    )


def _of_grades(
    rows: Sequence[Labelled], judged: Mapping[Key, _Judged], held_out: Mapping[int, tuple[int, int]]
) -> dict[str, Agreement]:
    graded = [(n, row) for n, row in enumerate(rows) if isinstance(row, Graded) and (n, 0) in judged]
    theirs, scores = [row.verdict for _, row in graded], [row.score for _, row in graded]
    given = {
        "tier": [judged[n, 0].tier for n, _ in graded],
        "calibrated": [held_out[n][0] for n, _ in graded],
    }
    made = {}
    for method, tiers in given.items():
        right = share([a == b for a, b in zip(tiers, theirs, strict=True)])
        near = spearman([-t for t in tiers], scores)
        made[method] = Agreement(len(tiers), right, right, kappa(tiers, theirs), near)
    means = [judged[n, 0].score for n, _ in graded]
    made["score"] = Agreement(len(means), None, None, None, spearman(means, scores))
    return made


def _bias(
    pairs: Mapping[int, Pair],
    judged: Mapping[Key, _Judged],
    again: Mapping[Key, _Judged],
    wins: Mapping[int, tuple[int, int]],
    verdicts: Mapping[str, Verdicts],
) -> Bias:
    moved = [(judged[key], padded) for key, padded in again.items() if key in judged]
    return Bias(
        compared=len(wins),
        first=share([w == (-1, 1) for w in wins.values()]),
        second=share([w == (1, -1) for w in wins.values()]),
        consistent=share([x == y for x, y in wins.values()]),
        padded=len(moved),
        gained=share([after.tier < before.tier for before, after in moved]),
        lost=share([after.tier > before.tier for before, after in moved]),
        score_gain=sum(y.score - x.score for x, y in moved) / len(moved) if moved else None,
        length={method: _length_bias(pairs, verdicts[method]) for method in METHODS},
    )


def _length_bias(pairs: Mapping[int, Pair], verdicts: Verdicts) -> float | None:
    errors: dict[bool, list[float]] = {True: [], False: []}
    for n, verdict in verdicts.items():
        row = pairs[n]
        longer = _sign(len(row.response_b.strip()) - len(row.response_a.strip()))
        if row.verdict and longer:
            errors[row.verdict == longer].append((1 - _sign(verdict) * row.verdict) / 2)
    if not errors[True] or not errors[False]:
        return None
    return sum(errors[False]) / len(errors[False]) - sum(errors[True]) / len(errors[True])
