"""What a rule is: a named, typed Polars expression with its source written beside it.

A family module under ``hydata.curation.rules`` writes a rule as a function of one text column, and
``@measure`` turns it into a :class:`Measure`; adding a rule is adding such a function. Beside the columns of
``hydata.schema.CONVERSATIONS`` a rule may use three texts made from ``messages``: ``instruction``,
``response`` (null while there is none) and ``text``, the contents of all turns; and of each text

    counted(text, "lines")            what the compiled pass counted (``hydata.curation.reading.COUNTS``)
    count_phrases(text, "refusals")   matches of a list of regular expressions, on the texts that may have one
    on_candidates(where, rule, ...)   any function of columns, on the rows where it may find something

``text`` is counted as the sum of its parts: ``instruction``, ``response``, and ``rest``, the other turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from typing import Literal

import numpy as np
import polars as pl

from hydata.curation import reading
from hydata.curation.reading import Anchors
from hydata.curation.reading.kernels import UInt64Array

Column = Literal["instruction", "response", "text"]

PARTS = ("instruction", "response", "rest")
"""What the compiled pass reads of a record."""
_ANCHORS = "# anchors:"
_STOP_WORDS = ("en", "zh")
_SEARCHED = ":phrases:"
_FLAGS = "(?im)"
_PHRASES_A_THREAD = 16
"""A thread's last list may go over it by its own length: no more than 31 in all."""


@dataclass(frozen=True)
class Measure:
    """``expressions`` maps each column of the judge's table to the expression behind it; all share
    ``dtype``. ``doc`` is the rule's docstring: what it counts, and where it comes from."""

    name: str
    dtype: pl.DataType
    expressions: Mapping[str, pl.Expr]
    doc: str


def measure(dtype: type[pl.DataType], *columns: Column) -> Callable[[Callable[[pl.Expr], pl.Expr]], Measure]:
    """Make a rule of a function from a text column to a value per row; null where there is no text.

    It is measured once for each of ``columns``, named ``<column>_<function>``; a rule on the whole
    ``text`` (the default) is named by its function alone.
    """

    def decorate(rule: Callable[[pl.Expr], pl.Expr]) -> Measure:
        name = rule.__name__
        expressions = {}
        for column in columns or ("text",):
            text = pl.col(column)
            there = pl.any_horizontal(pl.col(part).is_not_null() for part in parts_of(text))
            expressions[name if column == "text" else f"{column}_{name}"] = pl.when(there).then(
                rule(text).cast(dtype)
            )
        return Measure(name=name, dtype=dtype(), expressions=expressions, doc=(rule.__doc__ or "").strip())

    return decorate


def parts_of(text: pl.Expr) -> tuple[str, ...]:
    """The columns that a text column consists of."""
    name = text.meta.output_name()
    return PARTS if name == "text" else (name,)


def counted(text: pl.Expr, count: str) -> pl.Expr:
    """What the compiled pass counted of a text, as Int64; of ``text`` the sum over its parts."""
    return pl.sum_horizontal(pl.col(f"{part}:{count}").cast(pl.Int64) for part in parts_of(text))


def on_candidates(
    where: pl.Expr,
    rule: Callable[..., pl.Series],
    *columns: pl.Expr,
    dtype: type[pl.DataType] = pl.UInt32,
    default: int | None = 0,
) -> pl.Expr:
    """``rule`` of the ``columns``, as Series, of the rows where ``where`` holds; ``default`` elsewhere."""

    def run(given: Sequence[pl.Series]) -> pl.Series:
        chosen = given[0].arg_true()
        if not len(chosen):
            return pl.repeat(default, len(given[0]), dtype=dtype(), eager=True)
        found = rule(*(column.gather(chosen) for column in given[1:])).cast(dtype())
        place = np.zeros(len(given[0]), np.uint32)
        place[chosen.to_numpy()] = np.arange(1, len(chosen) + 1, dtype=np.uint32)
        return pl.concat([pl.Series([default], dtype=dtype()), found]).gather(place)

    return pl.map_batches([where.fill_null(False), *columns], run, return_dtype=dtype(), is_elementwise=True)


@dataclass(frozen=True)
class Block:
    """Phrases of a list with what a text needs for one to match: of each of ``anchors`` one."""

    anchors: tuple[tuple[str, ...], ...]
    phrases: tuple[str, ...]


def count_phrases(text: pl.Expr, name: str, within: int | None = None) -> pl.Expr:
    """Matches in ``text`` of the lines of ``rules/phrases/<name>.txt``, summed over the lines; in its first
    ``within`` characters, if that is given.

    A line "# anchors:" says of the phrases up to the next one what a text that they match has one of (see
    ``hydata.curation.reading``); of several such lines in a row it has one each. The compiled pass knows
    which texts do, and only these are searched, by ``search``.
    """
    return pl.sum_horizontal(f"{part}{_SEARCHED}{name}:{within or ''}" for part in parts_of(text))


def search(frame: pl.DataFrame, expressions: Iterable[pl.Expr]) -> list[pl.Series]:
    """The columns that ``count_phrases`` stands for in ``expressions``; ``frame`` has the texts and their
    anchors.

    Polars keeps 32 compiled regular expressions for each thread that searches, and to compile those of all
    lists takes as long as to judge 2,000 records. So each list is searched by the same thread, always.
    """
    wanted = {root for one in expressions for root in one.meta.root_names() if _SEARCHED in root}
    under_way = []
    for column in sorted(wanted):
        part, _, name, within = column.split(":")
        run = partial(_count, name=name, within=int(within) if within else None)
        under_way.append(
            (column, _searcher(os.getpid(), name).submit(run, frame[part], _anchors_of(frame, part)))
        )
    return [found.result().alias(column) for column, found in under_way]


@cache
def _searcher(process: int, name: str) -> ThreadPoolExecutor:
    """The thread that searches for a list, in this process: after a fork there is none."""
    before = 0
    for other in anchored_lists():
        if other == name:
            break
        before += len(phrases(other))
    return _thread(process, before // _PHRASES_A_THREAD)


@cache
def _thread(process: int, number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"phrases-{number}")


def _anchors_of(frame: pl.DataFrame, part: str) -> list[UInt64Array]:
    return [frame[f"{part}:{column}"].to_numpy() for column in reading.FOUND]


def _count(texts: pl.Series, anchors: Sequence[UInt64Array], name: str, within: int | None) -> pl.Series:
    found = np.zeros(len(texts), np.uint32)
    for block in blocks(name):
        may = np.ones(len(texts), np.bool_)
        for column, mask in _masks(block):
            may &= (anchors[column] & mask) != 0
        chosen = np.flatnonzero(may)
        if len(chosen):
            text = texts.gather(chosen)
            if within is not None:
                text = text.str.slice(0, within)
            for phrase in block.phrases:
                found[chosen] += text.str.count_matches(_FLAGS + phrase).to_numpy()
    return pl.Series(found)


def has_anchor(text: pl.Expr, name: str) -> pl.Expr:
    """Whether a text has the anchors that some phrase of ``rules/phrases/<name>.txt`` needs."""
    return pl.any_horizontal(
        pl.all_horizontal(
            (pl.col(f"{part}:{reading.FOUND[column]}") & pl.lit(mask)) != 0 for column, mask in _masks(block)
        )
        for part in parts_of(text)
        for block in blocks(name)
    )


def count_stop_words(text: pl.Expr, language: str) -> pl.Expr:
    """How many different stop words of a language a text has."""
    first = sum(len(_stop_words(other)) for other in _STOP_WORDS[: _STOP_WORDS.index(language)])
    mask = np.uint64(((1 << len(_stop_words(language))) - 1) << first)
    return (pl.col(f"{text.meta.output_name()}:{reading.FOUND[0]}") & pl.lit(mask)).bitwise_count_ones()


def count_matches(text: pl.Expr, name: str) -> pl.Expr:
    """As ``count_phrases``, of any column: every row is searched.

    A line is a Rust regular expression, in any case, ``^`` at every line's start. Empty lines and lines that
    begin with ``# `` are comments. Each phrase runs by itself: joined by ``|`` they lose the literals that a
    search skips ahead by, and took 5 to 10 times as long.
    """
    return pl.sum_horizontal(
        (text.str.count_matches(_FLAGS + phrase) for phrase in phrases(name)), ignore_nulls=False
    )


def phrase_file(name: str) -> str:
    """The text of ``rules/phrases/<name>.txt``."""
    return (resources.files("hydata.curation.rules") / "phrases" / f"{name}.txt").read_text("utf-8")


def phrases(name: str) -> list[str]:
    """The lines of ``rules/phrases/<name>.txt`` that are no comments."""
    lines = (line.strip() for line in phrase_file(name).splitlines() if not line.startswith("# "))
    return [line for line in lines if line]


@cache
def blocks(name: str) -> tuple[Block, ...]:
    """The blocks of a list of phrases; none if it does not begin with anchors."""
    found: list[Block] = []
    anchors: list[tuple[str, ...]] = []
    for line in phrase_file(name).splitlines():
        if line.startswith(_ANCHORS):
            anchors.append(tuple(line.removeprefix(_ANCHORS).split()))
        elif line.strip() and not line.startswith("# "):
            if anchors:
                found.append(Block(tuple(anchors), ()))
                anchors = []
            if found:
                found[-1] = replace(found[-1], phrases=(*found[-1].phrases, line.strip()))
    return tuple(found)


@cache
def anchored_lists() -> tuple[str, ...]:
    """The names of the lists of phrases that have anchors."""
    folder = resources.files("hydata.curation.rules") / "phrases"
    names = sorted(file.name.removesuffix(".txt") for file in folder.iterdir())
    return tuple(name for name in names if blocks(name))


@cache
def _groups() -> Mapping[tuple[str, ...], int]:
    """The stop words, one by one, then the different lines of anchors of all lists, and the place of each.
    Stop words come first, for all of a language are counted in one column."""
    words = [(word,) for language in _STOP_WORDS for word in _stop_words(language)]
    lines = (line for name in anchored_lists() for block in blocks(name) for line in block.anchors)
    return {line: place for place, line in enumerate(dict.fromkeys((*words, *lines)))}


def _masks(block: Block) -> list[tuple[int, np.uint64]]:
    """The column of ``reading.FOUND`` and the bit of each of the block's anchors."""
    places = (_groups()[line] for line in block.anchors)
    return [(place // 64, np.uint64(1 << place % 64)) for place in places]


@cache
def _stop_words(language: str) -> tuple[str, ...]:
    return tuple(phrases(f"stop_words.{language}"))


@cache
def anchor_table() -> Anchors:
    """All anchors of the rules: a bit for each stop word, and one for each line of anchors."""
    return reading.anchors(_groups())


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole`` as Float32, 0 where there is nothing to divide by, null where ``whole`` is null."""
    return pl.when(whole == 0).then(0.0).otherwise(part / whole).cast(pl.Float32)
