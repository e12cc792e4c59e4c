"""The judge "contamination": what of the benchmarks a record repeats, and which item it says in other words.

Seeds and conversations are measured alike; of a conversation all turns are searched for n-grams, and what the
user asks is compared by meaning. The measures decide nothing: the policy has the thresholds. An overlap is no
proof and a missing one is none of innocence: what was not compared has null.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from hydata.curation.alone import FileJudge
from hydata.curation.contamination import index
from hydata.curation.contamination.index import Index
from hydata.curation.contamination.items import Benchmark, Items, read_benchmark, sha256_of
from hydata.curation.contamination.meaning import Meaning, Near, read_meaning
from hydata.curation.dedup.kernels import Int64Array
from hydata.curation.semantic.encoders import Encoder, bundled, static
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY, Output, canonical_json, hash128, instruction_text, judgements_frame
from hydata.stage import Context, MapStage, Settings

JUDGE = "contamination"
VERSION = 2

ROWS = 2048
"""Texts that are judged at a time: what is held of them is a few times their size."""
BYTES = 8 << 20

MEASURES = pl.Schema(
    {
        "benchmark": pl.String(),
        "item": pl.String(),
        "part": pl.String(),
        "overlap": pl.Float32(),
        "span": pl.Int32(),
        "similar_benchmark": pl.String(),
        "similar_item": pl.String(),
        "similarity": pl.Float32(),
        "agreement": pl.Float32(),
        "paraphrase": pl.Float32(),
    }
)
"""``overlap``: the share of the words of ``item``'s ``part`` (question, choices, answer) that the record
repeats in n-grams, ``span`` the words of the longest run that both have; null and 0 where there is no n-gram
in common. ``similarity``, ``agreement`` and ``paraphrase`` are as in ``meaning.Near``, of ``similar_item``;
null where the text is too long to compare, or has no vector."""

COLUMNS = pl.Schema({**JUDGEMENT_KEY, "checked": pl.String(), **MEASURES})
"""``checked`` is the identity of the benchmarks that the record was compared with, as in the table
``benchmarks``."""


class ContaminationSettings(Settings):
    """``benchmarks``: files by name; without any there is nothing to measure. ``words`` and ``characters``:
    the n of n-grams in texts with spaces and in Chinese. ``encoder``: what finds paraphrases: static vectors;
    "bundled": multilingual-e5-small as well, for translations; or nothing."""

    benchmarks: Mapping[str, Benchmark] = Field(default_factory=dict)
    words: int = Field(default=13, ge=5, le=50)
    characters: int = Field(default=13, ge=8, le=80)
    encoder: Literal["static", "bundled", "none"] = "static"

    def beside(self, folder: Path) -> ContaminationSettings:
        """The same with files relative to ``folder``."""
        moved = {
            name: benchmark.model_copy(update={"file": folder / benchmark.file})
            for name, benchmark in self.benchmarks.items()
        }
        return self.model_copy(update={"benchmarks": moved})


@dataclass(frozen=True)
class Checker:
    """All that records are compared with; ``identity`` is that of the files' content and the settings."""

    identity: str
    benchmarks: tuple[Items, ...]
    index: Index
    meaning: Meaning | None

    def measure(self, texts: pl.Series, asked: pl.Series) -> pl.DataFrame:
        """``MEASURES`` of each text; ``asked`` is the instruction in it, or the text again."""
        parts = [
            self._measure(texts.slice(begin, count), asked.slice(begin, count))
            for begin, count in _portions(texts)
        ]
        return pl.concat(parts) if parts else pl.DataFrame(schema=MEASURES)

    def _measure(self, texts: pl.Series, asked: pl.Series) -> pl.DataFrame:
        found = self.index.find(texts, asked)
        near = self.meaning.find(asked, texts) if self.meaning else None
        units = self.index.units
        copied, similar = _units(units, found.unit), _units(units, near.unit if near else None, len(texts))
        return pl.DataFrame(
            {
                **{name: copied[name] for name in ("benchmark", "item", "part")},
                "overlap": found.overlap,
                "span": found.span,
                "similar_benchmark": similar["benchmark"],
                "similar_item": similar["item"],
                **_numbers(near, len(texts)),
            }
        ).cast(MEASURES)


def _units(units: pl.DataFrame, numbers: Int64Array | None, count: int = 0) -> pl.DataFrame:
    chosen = pl.Series(np.full(count, -1) if numbers is None else numbers)
    return units.select(pl.all().gather(chosen.set(chosen < 0, None)))


def _numbers(near: Near | None, count: int) -> dict[str, pl.Series]:
    return {
        name: pl.Series(getattr(near, name), nan_to_null=True)
        if near
        else pl.repeat(None, count, dtype=pl.Float32, eager=True)
        for name in ("similarity", "agreement", "paraphrase")
    }


def _portions(texts: pl.Series) -> Iterable[tuple[int, int]]:
    """(begin, count) of runs of texts that are not too many, nor too long together unless they are one."""
    sizes = texts.str.len_bytes().fill_null(0).to_numpy()
    begin, held = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if place > begin and (held + size > BYTES or place - begin == ROWS):
            yield begin, place - begin
            begin, held = place, 0
        held += size
    if len(sizes):
        yield begin, len(sizes) - begin


def identity(settings: ContaminationSettings) -> str:
    """The identity of what records are compared with: 12 hex digits.

    Raises:
        ConfigError: a benchmark's file cannot be read.
    """
    hashes = [(name, sha256_of(benchmark.file)) for name, benchmark in sorted(settings.benchmarks.items())]
    by = [encoder.identity for encoder in _encoders(settings.encoder)]
    said = settings.model_dump(mode="json")
    return hash128(VERSION, canonical_json(said), canonical_json(hashes), canonical_json(by))[:12]


def _encoders(encoder: str) -> tuple[Encoder, ...]:
    """Those that are used: for paraphrases, for translations."""
    makers = {"static": (static,), "bundled": (static, bundled), "none": ()}
    return tuple(make() for make in makers[encoder])


_one_at_a_time = threading.Lock()


def checker(settings: ContaminationSettings) -> Checker:
    """What the settings name, read once for as long as the files stay what they are.

    Raises:
        ConfigError: there is no benchmark, or one cannot be read.
    """
    if not settings.benchmarks:
        raise ConfigError(
            "no benchmarks to compare with: name files, [contamination] benchmarks = { NAME = FILE } in the "
            "recipe or --benchmark FILE"
        )
    with _one_at_a_time:
        return _checker(
            tuple(sorted(settings.benchmarks.items())),
            settings.words,
            settings.characters,
            settings.encoder,
            identity(settings),
        )


@lru_cache(maxsize=2)
def _checker(
    benchmarks: tuple[tuple[str, Benchmark], ...], words: int, characters: int, encoder: str, known_as: str
) -> Checker:
    read = tuple(read_benchmark(name, benchmark) for name, benchmark in benchmarks)
    meaning = read_meaning(read, *_encoders(encoder)) if encoder != "none" else None
    return Checker(known_as, read, index.build(read, words, characters), meaning)


# --- in the warehouse ------------------------------------------------------------------------------------


async def run(records: pl.DataFrame, settings: ContaminationSettings, context: Context) -> Output:
    """One row in ``COLUMNS`` for each document or conversation; nothing is rejected."""
    if "document_id" in records.columns:
        titled = pl.concat_str("title", "text", separator="\n", ignore_nulls=True)
        ids, texts = records["document_id"], records.select(titled.alias("text")).to_series()
        asked = records["text"]
    else:
        contents = pl.col("messages").list.eval(pl.element().struct.field("content"))
        ids = records["record_id"]
        texts = records.select(contents.list.join("\n\n", ignore_nulls=True).fill_null("")).to_series()
        asked = records.select(instruction_text()).to_series()
    found = checker(settings)
    judged = judgements_frame(ids, JUDGE, str(VERSION)).with_columns(checked=pl.lit(found.identity))
    measured = found.measure(texts, asked)
    return Output(pl.concat([judged, measured], how="horizontal").match_to_schema(COLUMNS))


def _uses(settings: ContaminationSettings, context: Context) -> Iterable[str]:
    return (identity(settings),) if settings.benchmarks else ()


def _check(settings: ContaminationSettings, context: Context) -> None:
    """A benchmark that cannot be read is missed before any work."""
    if settings.benchmarks:
        checker(settings)


STAGE = MapStage(
    name=JUDGE,
    table=JUDGE,
    columns=COLUMNS,
    version=VERSION,
    settings=ContaminationSettings,
    run=run,
    uses=_uses,
    check=_check,
    computes=True,
)


# --- alone, on files ---------------------------------------------------------------------------------------


class AloneSettings(ContaminationSettings):
    """``overlap`` and ``paraphrase``: above these a row is contaminated."""

    overlap: float = Field(default=0.5, ge=0, le=1)
    paraphrase: float = Field(default=0.6, ge=0, le=1)

    @property
    def measured(self) -> ContaminationSettings:
        return ContaminationSettings(
            benchmarks=self.benchmarks,
            words=self.words,
            characters=self.characters,
            encoder=self.encoder,
        )


def judge_rows(rows: pl.DataFrame, settings: AloneSettings) -> pl.DataFrame:
    """Of each row the measures, and whether these are above the thresholds. ``benchmark`` and ``item`` are
    those that more speaks for."""
    asked = rows.select(pl.coalesce("instruction", "text")).to_series()
    measured = checker(settings.measured).measure(rows["text"], asked)
    copied, said = pl.col("overlap") > settings.overlap, pl.col("paraphrase") > settings.paraphrase
    by_meaning = ~copied & (said | (pl.col("overlap") == 0)).fill_null(False)
    there = rows["text"].is_not_null()
    return measured.select(
        contaminated=(copied | said.fill_null(False)) & there,
        **{
            name: pl.when(by_meaning).then(f"similar_{name}").otherwise(name)
            for name in ("benchmark", "item")
        },
        part=pl.when(by_meaning & pl.col("similar_item").is_not_null())
        .then(pl.lit(index.QUESTION))
        .otherwise("part"),
        overlap="overlap",
        span="span",
        similarity="similarity",
        agreement="agreement",
        paraphrase="paraphrase",
    )


ALONE = FileJudge(
    name=JUDGE,
    doc="""Find rows that hold benchmark items, copied or in other words.

    One row is written for each row of the inputs, in order: `row`, `contaminated`, the `benchmark` and `item`
    that it is likest and the `part` (question, choices, answer) that it repeats; `overlap` (the share of the
    item's words that the row repeats in n-grams) and `span` (the longest run of words that both have);
    `similarity` (a cosine), `agreement` of numbers, and `paraphrase`, which is made of both; of functions, of
    the cosine, the words, the code and the shapes of the examples. With `--set`: `overlap` and `paraphrase`
    (thresholds), `words` and `characters` (the n of n-grams), `encoder` (none: no paraphrases; bundled:
    translations as well).
    """,
    settings=AloneSettings,
    columns=pl.Schema(
        {
            "contaminated": pl.Boolean(),
            **{
                name: MEASURES[name]
                for name in (
                    "benchmark",
                    "item",
                    "part",
                    "overlap",
                    "span",
                    "similarity",
                    "agreement",
                    "paraphrase",
                )
            },
        }
    ),
    judge=judge_rows,
    counts={"contaminated": pl.col("contaminated")},
)
