"""Instruction generalisation: simple instructions to complex ones of the types that are weak.

Hunyuan-Large (section 2.1.1, step 2) trains a system on mappings from simple to complex instructions and
has it write complex ones for the types it lacks. The mappings are the table ``generalisations``; here the
model of the role ``generaliser`` plays that system, and where ``models.toml`` has no such role, that of the
role ``evolver``, by the same prompt.

A *target* is a type (capability, domain, language, difficulty) and the count wanted of it. Capability,
domain and language are those of the simple instruction, the difficulty is what is made. A *slot* is an
admitted simple instruction and a number below ``max_per_parent``; it becomes the ``sample_index`` of what is
made of it, so that a record tells its slot and nothing is asked twice. Two stages fill the targets:

* ``aim`` (global) gives free slots to the targets that lack something, one part a target. It appends: slots
  once given stay given, and a later run looks only for what is still missing.
* ``generalise`` (map) takes one target's slots in their order, as many at once as are missing, until
  the count is reached. Slots it did not need are ``not_needed``; a target it could not fill is a reject
  ``shortfall`` that says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import polars as pl
from pydantic import Field, model_validator

from hydata.curation.decisions import ADMITTED
from hydata.errors import ConfigError
from hydata.privacy import masked
from hydata.schema import CONVERSATIONS, Conversation, Output, Reject
from hydata.stage import Context, GlobalStage, MapStage, Settings
from hydata.synthesis.drafts import (
    Wish,
    draft,
    fraction,
    gather,
    labels_of,
    language_of,
    outcome,
    pick,
    read_messages,
    rejected,
    sampling,
)
from hydata.synthesis.failures import NEW_TOKENS, find_failure
from hydata.synthesis.text import Defect, tokens

NAME: Final = "generalise"
ROLE = "generaliser"
FALLBACK = "evolver"
VARIABLES = ("instruction", "difficulty")

ANY = "*"
LANGUAGES = ("en", "zh")

AIMS = pl.Schema(
    {
        "target": pl.String(),
        "wanted": pl.Int64(),
        "place": pl.Int64(),
        "slot": pl.Int64(),
        "target_difficulty": pl.String(),
        **ADMITTED,
    }
)
"""A slot of a target: what of the target is missing (``wanted``), the slot's place in the line, its number,
and the admitted instruction. A target that nothing fits has one row without a record."""


class Target(Settings):
    """A weak type and how many complex instructions of it are wanted. ``task`` (the capability), ``domain``
    and ``difficulty`` are labels of the taxonomy, ``language`` is ``en`` or ``zh``; ``*`` fits any."""

    task: str = ANY
    domain: str = ANY
    language: str = ANY
    difficulty: str = ANY
    count: int = Field(ge=1)

    @property
    def name(self) -> str:
        return "/".join((self.task, self.domain, self.language, self.difficulty))


class AimSettings(Settings):
    """The part of ``GeneraliseSettings`` that decides which slots are given."""

    targets: tuple[Target, ...] = ()
    max_per_parent: int = 1
    attempts: int = 4


class DrawSettings(Settings):
    """The part of ``GeneraliseSettings`` that decides what is made of a slot."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 256


class GeneraliseSettings(Settings):
    """``targets`` are filled with at most ``max_per_parent`` complex instructions of each simple one, and at
    most ``attempts`` calls for each one missing."""

    targets: tuple[Target, ...] = ()
    max_per_parent: int = Field(default=1, ge=1)
    attempts: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        twice = [name for name, n in Counter(target.name for target in self.targets).items() if n > 1]
        if twice:
            raise ValueError(f"targets: {twice[0]} is there twice; add the counts up")
        return self

    @property
    def aim(self) -> AimSettings:
        return AimSettings(targets=self.targets, max_per_parent=self.max_per_parent, attempts=self.attempts)

    @property
    def drawing(self) -> DrawSettings:
        return DrawSettings(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


# --- aim: slots for targets -------------------------------------------------------------------------------


def check_targets(targets: Iterable[Target], context: Context) -> None:
    """Check that no target has a label that the taxonomy has not, or the lowest difficulty, which nothing
    simpler could be made into.

    Raises:
        ConfigError: names the recipe, the target and what there is.
    """
    known = {dimension.id: dimension.ids for dimension in context.taxonomy.dimensions}
    for place, target in enumerate(targets):
        allowed = {
            "task": known.get("task", ()),
            "domain": known.get("domain", ()),
            "language": LANGUAGES,
            "difficulty": known.get("difficulty", ())[1:],
        }
        for key, labels in allowed.items():
            label = getattr(target, key)
            if label not in (ANY, *labels):
                raise ConfigError(
                    f'{context.recipe}: generalise.targets[{place}]: {key} = "{label}" cannot be aimed at; '
                    f"give {ANY} or one of {', '.join(labels)}"
                )


def _fits(target: Target, difficulties: tuple[str, ...]) -> pl.Expr:
    """Whether a slot's labels fit; one whose difficulty is not known is taken for simple enough."""
    fitting = [
        pl.col(key) == wanted
        for key, wanted in (("task", target.task), ("domain", target.domain), ("language", target.language))
        if wanted != ANY
    ]
    ceiling = difficulties.index(target.difficulty) if target.difficulty != ANY else len(difficulties) - 1
    simpler = pl.col("difficulty").is_null() | pl.col("difficulty").is_in(difficulties[:ceiling])
    return pl.all_horizontal(*fitting, simpler).fill_null(value=False)


def _given(tables: Mapping[str, list[Path]]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The slots given by earlier runs (``record_id``, ``slot``), and what each target has, or is about to
    have, of them: records made, and the whole of a part that a run left unfinished."""
    aims = [
        pl.scan_parquet(path).select(*_SLOT, part=pl.lit(i)) for i, path in enumerate(tables.get("aims", ()))
    ]
    slots = pl.concat([pl.DataFrame(schema=_SLOTS).lazy(), *aims]).collect()
    made = [
        pl.scan_parquet(path)
        .filter(pl.col("step") == NAME)
        .select(record_id=pl.col("parent_ids").list.first(), slot=pl.col("sample_index").cast(pl.Int64))
        for path in tables.get("conversations", ())
    ]
    done = pl.concat([pl.DataFrame(schema=_SLOTS).lazy().select("record_id", "slot"), *made]).collect()
    rejected = [pl.scan_parquet(path).select("record_id") for path in tables.get("rejects", ())]
    settled = pl.concat([done.lazy().select("record_id"), *rejected]).collect()["record_id"].unique()
    real = slots.filter(pl.col("record_id").is_not_null())
    got = real.join(done, on=["record_id", "slot"], how="semi").group_by("target").len("n")
    open_parts = real.group_by("part", "target").agg(
        pl.col("wanted").first(), settled=pl.col("record_id").is_in(settled.implode()).all()
    )
    coming = open_parts.filter(~pl.col("settled")).group_by("target").agg(n=pl.col("wanted").sum())
    has: Counter[str] = Counter()
    for target, n in (*got.iter_rows(), *coming.iter_rows()):
        has[target] += n
    return real.select("record_id", "slot"), dict(has)


_SLOT = ("target", "wanted", "record_id", "slot")
_SLOTS = pl.Schema({**{name: AIMS[name] for name in _SLOT}, "part": pl.Int32()})
_LABELS = ("task", "domain", "language", "difficulty")


def run_aim(
    tables: Mapping[str, list[Path]], settings: AimSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """One frame of ``AIMS`` for each target that lacks something, in the recipe's order.

    The target with the fewest fitting slots for each one missing chooses first, so that a wide target does
    not take what only a narrow one could use. Slots stand in line by their number, then by a hash.
    """
    given, has = _given(tables)
    missing = {t.name: t.count - has.get(t.name, 0) for t in settings.targets}
    lacking = [t for t in settings.targets if missing[t.name] > 0]
    if not lacking:
        return
    roles = pl.col("messages").list.eval(pl.element().struct.field("role"))
    single = (roles.list.last() == "user") & ~roles.list.contains("assistant")
    admitted = pl.concat([pl.scan_parquet(path) for path in tables["admitted"]])
    free = (
        admitted.filter(single)
        .select("record_id", *_LABELS)
        .unique("record_id")
        .join(pl.LazyFrame({"slot": range(settings.max_per_parent)}, schema={"slot": pl.Int64}), how="cross")
        .join(given.lazy(), on=["record_id", "slot"], how="anti")
        .collect()
    )
    difficulties = context.taxonomy.dimension("difficulty").ids
    fitting = {t.name: free.select(_fits(t, difficulties).sum()).item() for t in lacking}
    chosen: dict[str, pl.DataFrame] = {}
    for target in sorted(lacking, key=lambda t: (fitting[t.name] / missing[t.name], t.name)):
        line = free.filter(_fits(target, difficulties)).select("record_id", "slot")
        drawn = [fraction(NAME, context.seed, target.name, id) for id in line["record_id"]]
        line = line.with_columns(drawn=pl.Series(drawn, dtype=pl.Float64)).sort("slot", "drawn", "record_id")
        line = line.head(missing[target.name] * settings.attempts).drop("drawn").with_row_index("place")
        free = free.join(line, on=["record_id", "slot"], how="anti")
        chosen[target.name] = line
    for target in lacking:
        line = chosen[target.name]
        rows = (
            line.lazy().join(admitted.unique("record_id"), on="record_id", how="left").sort("place").collect()
        )
        if rows.is_empty():
            rows = pl.DataFrame({"place": [0]})
        yield rows.with_columns(
            target=pl.lit(target.name),
            wanted=pl.lit(missing[target.name]),
            target_difficulty=pl.lit("" if target.difficulty == ANY else target.difficulty),
        ).match_to_schema(AIMS, missing_columns="insert", integer_cast="upcast")


def _check(settings: AimSettings, context: Context) -> None:
    if settings.targets:
        check_targets(settings.targets, context)
        context.prompts.check(NAME, VARIABLES)


def _aim_uses(settings: AimSettings, context: Context) -> Iterable[str]:
    return context.taxonomy.dimension("difficulty").ids


AIM = GlobalStage(
    name="aim",
    table="aims",
    columns=AIMS,
    version=1,
    settings=AimSettings,
    run=run_aim,
    uses=_aim_uses,
    check=_check,
)


# --- generalise: slots to complex instructions ------------------------------------------------------------


def role(context: Context) -> str:
    """Who generalises: the role ``generaliser`` where the models file has it, else ``evolver``."""
    return ROLE if any(name == ROLE for name in context.models.config.roles) else FALLBACK


def _uses(settings: DrawSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(role(context))
    yield context.taxonomy.hash


async def _generalise(
    row: Mapping[str, Any], settings: DrawSettings, context: Context
) -> Conversation | Reject:
    id = row["record_id"]
    (text,) = masked([read_messages(row)[-1].content], context.models.privacy)  # as the model is shown it
    language = language_of(row, text)
    prompts = context.prompts.find(NAME, language=language)
    if not prompts:
        return Reject(NAME, "no_prompt", f"no prompt for language {language!r}", id)
    labels = {label.id: label for label in context.taxonomy.dimension("difficulty").labels}
    wanted = labels.get(row["target_difficulty"])
    values = {"instruction": text, "difficulty": wanted.name.in_language(language) if wanted else ""}
    prompt = pick(prompts, "prompt", context.seed, id, row["slot"])
    wish = Wish(prompt, values, id, row["slot"], labels_of(row, context) | {"language": language})
    made = await draft(wish, role(context), sampling(settings, context), context)
    if not isinstance(made, Defect):
        made = _failure(text, made.text) or made
    if isinstance(made, Defect):
        return rejected(NAME, role(context), wish, made, id, context)
    return made.conversation(NAME, (id,), row["document_ids"] or (), row["licence"])


def _failure(simple: str, complex: str) -> Defect | None:
    if failure := find_failure(simple, complex):
        return failure
    longer = len(tokens(complex)) >= len(tokens(simple)) + NEW_TOKENS
    return None if longer else Defect("not_harder", complex)


async def run(aims: pl.DataFrame, settings: DrawSettings, context: Context) -> Output:
    """The slots of one target to complex instructions (``CONVERSATIONS``, step ``generalise``), as many as
    the target lacks. The next slots are asked once all asked before have answered, so that what is made does
    not depend on which reply comes first."""
    rows = aims.filter(pl.col("record_id").is_not_null()).sort("place").rows(named=True)
    if aims.is_empty():
        return outcome((), ())
    wanted, target = aims["wanted"][0], aims["target"][0]
    made: list[Conversation | Reject] = []
    missing, asked = wanted, 0
    while missing and asked < len(rows):
        calls = (_generalise(row, settings, context) for row in rows[asked : asked + missing])
        results = await gather(calls, context.models.window)
        asked += len(results)
        missing -= sum(isinstance(result, Conversation) for result in results)
        made += results
    rejects = [Reject(NAME, "not_needed", f"of {target}", row["record_id"]) for row in rows[asked:]]
    if missing:
        why = Counter(result.reason for result in made if isinstance(result, Reject))
        said = ", ".join(f"{reason} {n}" for reason, n in sorted(why.items()))
        detail = f"{target}: {wanted} wanted, {wanted - missing} made; {len(rows)} free slots fitted"
        rejects.append(Reject(NAME, "shortfall", f"{detail}{'; ' if said else ''}{said}"))
    return outcome(made, rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=DrawSettings,
    run=run,
    uses=_uses,
)
