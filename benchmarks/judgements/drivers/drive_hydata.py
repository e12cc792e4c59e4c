"""hydata: every measure of a column of texts in one go, or the compiled pass under it alone."""

from concurrent.futures import ThreadPoolExecutor

import polars as pl
from driver import SET, run

from hydata.curation import rules
from hydata.curation.measure import anchor_table
from hydata.curation.reading import read

PREFIX = "response_"
THREADS = 2


def judge(texts: pl.Series, _: str) -> pl.DataFrame:
    return rules.measures_of_texts(texts)


def threaded(texts: pl.Series, language: str) -> list[pl.DataFrame]:
    """The same by two threads, each half of the batch, as the command does it with pieces of a file."""
    half = len(texts) // THREADS
    return list(POOL.map(lambda part: judge(part, language), (texts[:half], texts[half:])))


def compiled(texts: pl.Series, _: str) -> object:
    return read(texts, pl.repeat(None, len(texts), dtype=pl.String, eager=True), anchor_table())


def values(texts: pl.Series, language: str) -> dict[str, pl.Series]:
    found = judge(texts, language)
    named = {
        name.removeprefix(PREFIX): found[name] for name in found.columns if found[name].null_count() == 0
    }
    return {name: column for name, column in named.items() if column.dtype.is_numeric()}


POOL = ThreadPoolExecutor(THREADS)
JUDGES = {"whole": judge, "whole, two threads": threaded, "compiled pass alone": compiled}

if __name__ == "__main__":
    run(
        JUDGES[SET],
        values,
        "hydata",
        "polars",
        "numba",
        rows=16_384,
        given=lambda batch: pl.Series(batch).rechunk(),
    )
