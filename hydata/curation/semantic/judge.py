"""The judge "semantic": a global stage over the embeddings of a snapshot.

Instructions are compared, not records: all that share a text (several answers to one question) stay or fall
together. Memory grows with the different instructions, two bytes for each number of a vector: 0.5 GB a
million with the static vectors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from hydata.curation.dedup import kernels
from hydata.curation.dedup.clusters import FloatArray
from hydata.curation.dedup.judge import admitted_ids, chosen, in_parts
from hydata.curation.dedup.kernels import BoolArray, Int64Array
from hydata.curation.semantic.embeddings import COLUMNS as EMBEDDINGS
from hydata.curation.semantic.embeddings import EmbeddingsSettings, identity
from hydata.curation.semantic.neighbours import (
    MOST,
    Apart,
    Float16Array,
    Similar,
    across,
    joined,
    no_pairs,
    similar_pairs,
)
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY
from hydata.stage import Context, GlobalStage, Settings

VERSION = 1

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
    least ``threshold``; of two at least ``across``, and the margin ``margin`` (None: it cannot tell). Texts
    of more than ``characters`` are not compared: a long passage that two tasks share outweighs what they
    ask."""

    threshold: float
    across: float | None = None
    margin: float | None = None
    characters: int = 2000


SHORT = 16
"""Tokens up to which the threshold for averages is as it stands. Where one word in k is another, an average
over n tokens moves by an angle that falls with n: 1 - cosine goes as 1 / n. At one threshold for all, two
tasks about the same passage would be duplicates."""

MEASURED = {
    "static": Measured(0.955),
    "bundled": Measured(0.98, across=0.85, margin=1.04, characters=500),
}


class SemanticSettings(Settings):
    """``encoder``: "static", "bundled", or the "endpoint" of the role embedder; ``vectors``: a folder of
    other static ones, as model2vec writes it. ``threshold``: the least cosine of duplicates; ``thresholds``:
    other ones for the records of a label, by "dimension.label" (the higher of a pair counts). ``margin`` and
    ``across``: the least margin and cosine of duplicates in two of ``languages``, whatever their labels;
    without them none are looked for. ``characters``: longer texts are not compared. What is not given is
    what was measured for the encoder; for an endpoint, or vectors of your own, a threshold has to be."""

    enabled: bool = True
    encoder: Literal["static", "bundled", "endpoint"] = "static"
    vectors: Path | None = Field(default=None, exclude=True)  # where it lies is no part of what is compared
    threshold: float | None = Field(default=None, ge=0.3, le=1.0)
    thresholds: Mapping[str, Annotated[float, Field(ge=0.3, le=1.0)]] = Field(default_factory=dict)
    across: float | None = Field(default=None, ge=0.0, le=1.0)
    margin: float | None = Field(default=None, ge=1.0, le=2.0)
    languages: tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...] = ("en", "zh")
    characters: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _can_tell(self) -> SemanticSettings:
        if self.vectors is not None and self.encoder != "static":
            raise ValueError(
                f'vectors = "{self.vectors}": only encoder = "static" reads vectors from a folder'
            )
        if self.enabled and self.threshold is None and self.own:
            raise ValueError(
                f"threshold: none has been measured for {self.own}; give the least cosine of duplicates "
                "(`hydata judge semantic` on a sample shows what it finds)"
            )
        if (self.measured.margin is None) != (self.measured.across is None):
            raise ValueError("margin and across: for duplicates in two languages give both")
        if len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages: {', '.join(self.languages)}: name each once")
        return self

    @property
    def own(self) -> str | None:
        """What the user brought, of which nothing is known here."""
        return "an endpoint" if self.encoder == "endpoint" else str(self.vectors) if self.vectors else None

    @property
    def measured(self) -> Measured:
        """The figures that count."""
        known = Measured(1.0) if self.own else MEASURED[self.encoder]
        given = {field.name: getattr(self, field.name) for field in fields(Measured)}
        return replace(known, **{name: value for name, value in given.items() if value is not None})

    @property
    def embeddings(self) -> EmbeddingsSettings:
        """Those that the vectors depend on."""
        return EmbeddingsSettings(
            encoder=self.encoder, vectors=self.vectors, characters=self.measured.characters
        )

    def check_labels(self, file: Path, dimensions: Mapping[str, Collection[str]]) -> None:
        """Check that ``thresholds`` names labels of the taxonomy.

        Raises:
            ConfigError: names those there are.
        """
        for name in self.thresholds:
            dimension, _, label = name.partition(".")
            if label not in dimensions.get(dimension, ()):
                known = ", ".join(f"{d}.{one}" for d, labels in dimensions.items() for one in labels)
                raise ConfigError(f"{file}: semantic.thresholds: no label {name!r}; there are {known}")


@dataclass(frozen=True)
class Found:
    """Of n instructions in keep order: ``first``, the first of its cluster; ``leader``, the kept one that it
    is a duplicate of, itself where it is kept; their ``similarity``; and ``cross_lingual``: whether they
    were found by the margin, as texts of two languages."""

    first: Int64Array
    leader: Int64Array
    similarity: FloatArray
    cross_lingual: BoolArray


def find_semantic(
    instructions: pl.DataFrame, vectors: Float16Array, admitted: int, settings: SemanticSettings
) -> Found:
    """Clusters of instructions that ``vectors`` are of, in keep order; ``instructions`` has their
    ``language``, ``numbers`` and ``threshold``. The first ``admitted`` are kept whatever they resemble.

    Languages are compared once, by what is kept of each: paraphrases would stand in the way of a margin, and
    margins taken again, after a translation has fallen, would let the next nearest fall as well. What is led
    by one that has fallen for a translation follows it, if it is at least as near to it as translations are.
    """
    least = instructions["threshold"].to_numpy()
    apart = conflicts(instructions["numbers"])
    pairs, led = _settled(similar_pairs(vectors, least, apart), vectors, least, apart, admitted)
    measured = settings.measured
    between = no_pairs()
    if measured.margin is not None and measured.across is not None:
        kept, spoken = led.leader == np.arange(len(least)), instructions["language"]
        found = []
        for pair in combinations(settings.languages, 2):
            left, right = (np.flatnonzero(kept & _speaking(spoken, language)) for language in pair)
            found.append(across(vectors, left, right, measured.across, measured.margin))
        between = _falling(joined(found), apart, admitted)
        after = _lead(joined([pairs, between]), len(least), admitted).leader
        fallen = kept & (after != np.arange(len(least)))
        followers = np.flatnonzero(~kept & fallen[led.leader])
        new = after[led.leader[followers]]
        cosine = (vectors[followers].astype(np.float32) * vectors[new]).sum(axis=1)
        near = cosine >= measured.across
        one, two = np.minimum(new, followers)[near], np.maximum(new, followers)[near]
        between = joined([between, _falling(Similar(one, two, cosine[near]), apart, admitted)])
        pairs, led = _settled(joined([pairs, between]), vectors, least, apart, admitted)
    place = np.arange(len(least))
    found_across = np.isin(
        _key(np.minimum(led.leader, place), np.maximum(led.leader, place)), _key(between.one, between.two)
    )
    return Found(led.first, led.leader, led.similarity, found_across)


@dataclass(frozen=True)
class _Led:
    """As in ``Found``."""

    first: Int64Array
    leader: Int64Array
    similarity: FloatArray


def _settled(
    pairs: Similar, vectors: Float16Array, least: FloatArray, apart: Apart, admitted: int
) -> tuple[Similar, _Led]:
    """The pairs and those that are missing among what they keep, and the leaders by them. Of a crowd not all
    pairs are found at first, so what is kept is compared again until nothing falls. Each round adds a pair
    of two kept ones, which cannot have been there."""
    while True:
        led = _lead(pairs, len(least), admitted)
        kept = led.leader == np.arange(len(least))
        crowded = bool(len(pairs.two)) and np.bincount(pairs.two).max() >= MOST
        if not crowded:  # then only what shares a cluster can have been missed, between cells
            kept &= np.bincount(led.first, kept, len(least))[led.first] > 1
        chosen_ones = np.flatnonzero(kept)
        found = similar_pairs(vectors[chosen_ones], least[chosen_ones], _of(apart, chosen_ones))
        again = Similar(chosen_ones[found.one], chosen_ones[found.two], found.similarity)
        falls = again.two >= admitted
        if not falls.any():
            return pairs, led
        pairs = joined([pairs, Similar(again.one[falls], again.two[falls], again.similarity[falls])])


def _lead(pairs: Similar, count: int, admitted: int) -> _Led:
    first, leader, best = np.arange(count), np.arange(count), np.ones(count, np.float32)
    kernels.join_components(first, pairs.one, pairs.two)
    one, two = pairs.one.astype(np.uint64), pairs.two.astype(np.uint64)
    kernels.lead(one, two, pairs.similarity, admitted, leader, best)
    return _Led(first, leader, best)


def _falling(pairs: Similar, apart: Apart, admitted: int) -> Similar:
    """Those of the pairs by which one may be dropped."""
    falls = (pairs.two >= admitted) & ~apart(pairs.one, pairs.two)
    return Similar(pairs.one[falls], pairs.two[falls], pairs.similarity[falls])


def _key(one: Int64Array, two: Int64Array) -> Int64Array:
    return two << np.int64(32) | one


def _speaking(languages: pl.Series, language: str) -> BoolArray:
    speaking: BoolArray = (languages == language).fill_null(False).to_numpy()
    return speaking


def _of(apart: Apart, chosen: Int64Array) -> Apart:
    """``apart`` for the numbers of ``chosen``."""
    return lambda one, two: apart(chosen[one], chosen[two])


def conflicts(numbers: pl.Series) -> Apart:
    """Whether each text of a pair has a number that the other lacks. One that has some more than the other
    may say the rest in words."""
    group = numbers.list.join("\n").rank("dense").cast(pl.Int64).to_numpy()
    sizes = numbers.list.len().to_numpy()
    sets = pl.DataFrame({"group": group, "numbers": numbers}).unique("group")

    def apart(one: Int64Array, two: Int64Array) -> BoolArray:
        found: BoolArray = (group[one] != group[two]) & (sizes[one] > 0) & (sizes[two] > 0)
        several = np.flatnonzero(found & ((sizes[one] > 1) | (sizes[two] > 1)))
        if len(several):
            pairs = pl.DataFrame({"a": group[one[several]], "b": group[two[several]]})
            more = [
                pl.col(a).list.set_difference(b).list.len() > 0
                for a, b in (("numbers", "numbers_b"), ("numbers_b", "numbers"))
            ]
            judged = (
                pairs.unique()
                .join(sets, left_on="a", right_on="group")
                .join(sets, left_on="b", right_on="group", suffix="_b")
                .select("a", "b", apart=more[0] & more[1])
            )
            each = pairs.join(judged, on=["a", "b"], how="left", maintain_order="left")
            found[several] = each["apart"].to_numpy()
        return found

    return apart


def judge_embedded(
    records: pl.DataFrame, vectors: Float16Array, always: pl.Series, settings: SemanticSettings
) -> pl.DataFrame:
    """``record_id`` and the measures of ``COLUMNS``, one row a record, in the order of ids. ``records`` has,
    of each of ``vectors``, ``record_id``, ``text``, ``length``, ``language``, ``numbers`` and ``threshold``;
    ``always`` says which stay whatever they resemble.

    ``cluster_id`` and ``duplicate_of`` are the ids of the first record, in keep order, that has the text.
    """
    ordered = (
        records.with_columns(admitted=always)
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
        encoder = identity(settings.embeddings, context)
        records, vectors = stored(tables.get("embeddings", []), chosen(tables), encoder)
        records = with_thresholds(records, tables.get("labels", []), settings)
        found = judge_embedded(
            records, vectors, records["record_id"].is_in(admitted_ids(tables).implode()), settings
        )
        yield from in_parts(found, name, VERSION, COLUMNS)

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


def stored(
    paths: Sequence[Path], wanted: pl.DataFrame | None, encoder: str
) -> tuple[pl.DataFrame, Float16Array]:
    """The records in shards of ``embeddings`` that have a vector, those of ``wanted`` (``record_id``; None:
    all), and their vectors, of shape (records, dimensions). A record met again is taken once.

    Raises:
        ConfigError: another encoder made them.
    """
    frames: list[pl.DataFrame] = []
    parts: list[Float16Array] = []
    for path in paths:
        frame = pl.read_parquet(path).filter(pl.col("vector").is_not_null())
        if wanted is not None:
            frame = frame.join(wanted, on="record_id", how="semi", maintain_order="left")
        if not frame.height:
            continue
        others = frame.filter(pl.col("encoder") != encoder)["encoder"]
        if others.len():
            raise ConfigError(
                f"{path}: vectors by {others[0]}, and the recipe's encoder is {encoder}; these cannot be "
                "compared: hydata run RECIPE --rebuild embeddings makes them anew"
            )
        parts.append(frame["vector"].explode().to_numpy().astype(np.float16).reshape(frame.height, -1))
        frames.append(frame.drop("vector"))
    if not frames:
        return pl.DataFrame(schema=EMBEDDINGS).drop("vector"), np.empty((0, 1), np.float16)
    if len({part.shape[1] for part in parts}) > 1:
        raise ConfigError(f"{paths[0].parent}: vectors of {encoder} of different sizes; --rebuild embeddings")
    records = pl.concat(frames).with_row_index("at").unique("record_id", keep="first", maintain_order=True)
    return records.drop("at"), np.concatenate(parts)[records["at"].to_numpy()]
