"""The judge "semantic": a global stage over the embeddings of a snapshot.

Instructions are compared, not records: all that share a text (several answers to one question) stay or fall
together. Memory grows with the different instructions, two bytes for each number of a vector: 0.5 GB a
million with the static vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from hydata.curation.dedup import kernels
from hydata.curation.dedup.clusters import FloatArray
from hydata.curation.dedup.kernels import BoolArray, Int64Array
from hydata.curation.semantic.embeddings import EmbeddingsSettings
from hydata.curation.semantic.neighbours import Float16Array, across, similar_pairs
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY, judgements_frame
from hydata.stage import Context, GlobalStage

VERSION = 1
PART_ROWS = 100_000

COLUMNS = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "cluster_id": pl.String(),
        "duplicate_of": pl.String(),
        "similarity": pl.Float32(),
        "keep": pl.Boolean(),
        "cross_lingual": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class Measured:
    """What an encoder's figures mean (docs/decisions/0009): duplicates of one language have a cosine of at
    least ``threshold``; of two at least ``across``, and the margin ``margin`` (None: it cannot tell)."""

    threshold: float
    across: float = 1.0
    margin: float | None = None


SHORT = 16
"""Tokens up to which the threshold for averages is as it stands. Where one word in k is another, an average
over n tokens moves by an angle that falls with n: 1 - cosine goes as 1 / n. At one threshold for all, two
tasks about the same long passage would be duplicates."""

MEASURED = {"static": Measured(0.955), "bundled": Measured(0.98, across=0.85, margin=1.02)}


class SemanticSettings(EmbeddingsSettings):
    """``threshold``: the least cosine of duplicates; ``thresholds``: other ones for the records of a label,
    by "dimension.label" (the highest of a pair's counts). ``margin`` and ``across``: the least margin and
    cosine of duplicates of two of ``languages``; without a margin none are looked for. What is not given is
    what was measured for the encoder; for an endpoint, or vectors of your own, a threshold has to be."""

    enabled: bool = True
    threshold: float | None = Field(default=None, ge=0.3, le=1.0)
    thresholds: Mapping[str, float] = Field(default_factory=dict)
    across: float | None = Field(default=None, ge=0.0, le=1.0)
    margin: float | None = Field(default=None, ge=1.0, le=2.0)
    languages: tuple[str, ...] = ("en", "zh")

    @model_validator(mode="after")
    def _can_tell(self) -> SemanticSettings:
        if self.enabled and self.threshold is None and self.own:
            raise ValueError(
                f"threshold: none has been measured for {self.own}; give the least cosine of duplicates "
                "(`hydata judge semantic` on a sample shows what it finds)"
            )
        for name, least in self.thresholds.items():
            if name.count(".") != 1 or not 0.3 <= least <= 1.0:
                raise ValueError(f'thresholds: {name!r} = {least}: give "dimension.label" = 0.3 to 1.0')
        return self

    @property
    def own(self) -> str | None:
        """What the user brought, of which nothing is known here."""
        return "an endpoint" if self.encoder == "endpoint" else str(self.vectors) if self.vectors else None

    @property
    def measured(self) -> Measured:
        """The figures that count."""
        known = Measured(1.0) if self.own else MEASURED[self.encoder]
        return Measured(
            known.threshold if self.threshold is None else self.threshold,
            known.across if self.across is None else self.across,
            known.margin if self.margin is None else self.margin,
        )

    @property
    def embeddings(self) -> EmbeddingsSettings:
        """Those that the vectors depend on."""
        return EmbeddingsSettings(**self.model_dump(include=set(EmbeddingsSettings.model_fields)))


@dataclass(frozen=True)
class Found:
    """Of n instructions in keep order: ``first``, the first of its cluster; ``leader``, the kept one that it
    is a duplicate of, itself where it is kept; their ``similarity``; and whether they are
    ``cross_lingual``."""

    first: Int64Array
    leader: Int64Array
    similarity: FloatArray
    cross_lingual: BoolArray


def find_semantic(
    instructions: pl.DataFrame, vectors: Float16Array, admitted: int, settings: SemanticSettings
) -> Found:
    """Clusters of instructions that ``vectors`` are of, in keep order; ``instructions`` has their
    ``language``, ``numbers`` and ``threshold``. The first ``admitted`` are kept whatever they resemble."""
    least = instructions["threshold"].to_numpy()
    found = [similar_pairs(vectors, least)]
    measured = settings.measured
    if measured.margin is not None:
        for pair in combinations(settings.languages, 2):
            left, right = (_speaking(instructions["language"], language) for language in pair)
            found.append(across(vectors, left, right, measured.across, measured.margin))
    one = np.concatenate([pairs.one for pairs in found])
    two = np.concatenate([pairs.two for pairs in found])
    similarity = np.concatenate([pairs.similarity for pairs in found])
    agree = ~_conflicting(instructions["numbers"], one, two)
    order = np.flatnonzero(agree)[np.lexsort((one[agree], two[agree]))]
    one, two, similarity = one[order], two[order], similarity[order]

    first = np.arange(len(least))
    kernels.join_components(first, one, two)
    leader, best = np.arange(len(least)), np.ones(len(least), np.float32)
    kernels.lead(one.astype(np.uint64), two.astype(np.uint64), similarity, admitted, leader, best)
    language = instructions["language"]
    other = language.gather(leader).ne_missing(language)
    return Found(first, leader, best, other.to_numpy())


def _speaking(languages: pl.Series, language: str) -> Int64Array:
    return np.flatnonzero((languages == language).fill_null(False).to_numpy())


def _conflicting(numbers: pl.Series, one: Int64Array, two: Int64Array) -> BoolArray:
    """Whether each text of a pair has a number that the other lacks. One that has some more than the other
    may say the rest in words."""
    pairs = pl.DataFrame({"one": numbers.gather(one), "two": numbers.gather(two)})
    more = [pl.col(a).list.set_difference(b).list.len() > 0 for a, b in (("one", "two"), ("two", "one"))]
    return pairs.select((more[0] & more[1]).fill_null(False)).to_series().to_numpy()


def judge_embedded(
    records: pl.DataFrame, vectors: Float16Array, admitted: pl.Series, settings: SemanticSettings
) -> pl.DataFrame:
    """``record_id`` and the measures of ``COLUMNS``, one row a record, in the order of ids. ``records`` has,
    of each of ``vectors``, ``record_id``, ``text``, ``length``, ``language``, ``numbers`` and ``threshold``;
    ``admitted`` says which stay whatever they resemble.

    ``cluster_id`` and ``duplicate_of`` are the ids of the first record, in keep order, that has the text.
    """
    ordered = (
        records.with_columns(admitted=admitted)
        .with_row_index("row")
        .sort("admitted", "length", "record_id", descending=[True, True, False])
    )
    first = ordered.unique("text", keep="first", maintain_order=True).with_row_index("place")
    rows = first["row"].to_numpy()
    found = find_semantic(first, vectors[rows], int(first["admitted"].sum()), settings)
    keep = pl.Series(found.leader == np.arange(len(first)))
    ids = first["record_id"]
    judged = first.select(
        "text",
        cluster_id=ids.gather(found.first),
        duplicate_of=ids.gather(found.leader).set(keep, None),
        similarity=pl.Series(found.similarity).set(keep, None),
        keep=keep,
        cross_lingual=pl.Series(found.cross_lingual),
    )
    return records.select("record_id", "text").join(judged, on="text").drop("text").sort("record_id")


def stage(name: str) -> GlobalStage:
    """The global stage of this name, which is the judge's name too.

    It reads ``embeddings``; of these, those that ``decisions`` keep and ``duplicates`` keep, where the
    snapshot has them; ``labels``, for the thresholds; and ``admitted``. A record without a vector is not
    judged.
    """

    def run(
        tables: Mapping[str, list[Path]], settings: SemanticSettings, context: Context
    ) -> Iterator[pl.DataFrame]:
        """Frames of ``COLUMNS`` in the order of ids."""
        records, vectors = stored(tables["embeddings"], _chosen(tables))
        records = with_thresholds(records, tables.get("labels", []), settings)
        admitted = [pl.read_parquet(path, columns=["record_id"]) for path in tables.get("admitted", [])]
        always = pl.concat([pl.DataFrame(schema={"record_id": pl.String}), *admitted])["record_id"]
        found = judge_embedded(records, vectors, records["record_id"].is_in(always.implode()), settings)
        judged = judgements_frame(found["record_id"], name, str(VERSION))
        table = pl.concat([judged, found.drop("record_id")], how="horizontal").match_to_schema(COLUMNS)
        yield from table.iter_slices(PART_ROWS) if table.height else [table]

    return GlobalStage(
        name=name,
        table="semantic",
        columns=COLUMNS,
        version=VERSION,
        settings=SemanticSettings,
        run=run,
    )


def with_thresholds(records: pl.DataFrame, labels: list[Path], settings: SemanticSettings) -> pl.DataFrame:
    """The records with their ``threshold``: the highest of their labels', or the general one, and for
    averages over many tokens nearer to 1 (``SHORT``)."""
    general = settings.measured.threshold
    names, least = list(settings.thresholds), list(settings.thresholds.values())
    if labels and names:
        wanted = (
            pl.scan_parquet(labels)
            .select("record_id", name=pl.concat_str("dimension", pl.lit("."), "label"))
            .filter(pl.col("name").is_in(names))
            .with_columns(threshold=pl.col("name").replace_strict(names, least, return_dtype=pl.Float64))
            .group_by("record_id")
            .agg(pl.col("threshold").max())
            .collect()
        )
        records = records.join(wanted, on="record_id", how="left", maintain_order="left")
    else:
        records = records.with_columns(threshold=pl.lit(None, pl.Float64))
    apart = (1 - pl.col("threshold").fill_null(general)) * SHORT / pl.col("averaged").clip(lower_bound=SHORT)
    return records.with_columns(threshold=(1 - apart).cast(pl.Float32))


def stored(paths: list[Path], chosen: pl.DataFrame | None) -> tuple[pl.DataFrame, Float16Array]:
    """The records in shards of ``embeddings`` that have a vector, those of ``chosen`` (``record_id``; None:
    all), and their vectors, of shape (records, dimensions).

    Raises:
        ConfigError: several encoders made them.
    """
    frames, parts = [], []
    for path in paths:
        frame = pl.read_parquet(path).with_row_index("row").filter(pl.col("vector").is_not_null())
        if chosen is not None:
            frame = frame.join(chosen, on="record_id", how="semi", maintain_order="left")
        if frame.height:
            flat = frame["vector"].explode().to_numpy().astype(np.float16)
            parts.append(flat.reshape(frame.height, -1))
            frames.append(frame.drop("vector", "row"))
    if not frames:
        empty = pl.read_parquet(paths[0]).clear().drop("vector") if paths else pl.DataFrame()
        return empty, np.empty((0, 1), np.float16)
    records = pl.concat(frames)
    encoders = records["encoder"].unique().sort().to_list()
    if len(encoders) > 1:
        raise ConfigError(
            f"{paths[0].parent.parent}: vectors of several encoders ({', '.join(encoders)}) cannot be "
            "compared; make them anew by one: hydata run --rebuild embeddings"
        )
    return records, np.concatenate(parts)


def _chosen(tables: Mapping[str, list[Path]]) -> pl.DataFrame | None:
    """What decisions and duplicates keep."""
    kept = []
    if tables.get("decisions"):
        kept.append(pl.scan_parquet(tables["decisions"]).filter(pl.col("status") == "kept"))
    if tables.get("duplicates"):
        kept.append(pl.scan_parquet(tables["duplicates"]).filter("keep"))
    frames = [frame.select("record_id").unique().collect() for frame in kept]
    if not frames:
        return None
    return frames[0].join(frames[1], on="record_id", how="semi") if len(frames) > 1 else frames[0]
