"""What every driver begins and ends with.

    python drive_NAME.py OUT THRESHOLD FILE...

The files are Parquet, columns ``id`` (from 0, in order) and ``text``. A byte for each document goes to
OUT, 1 if it is kept.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import numpy as np
import pyarrow.parquet as pq

OUT, THRESHOLD, FILES = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
SHINGLE = 5
BANDS, ROWS = 16, 5
"""Finds 99.8% of the pairs at 0.8, for tools that let them be set."""


def batches(rows: int = 10_000) -> Iterator[list[str]]:
    """All texts."""
    for file in FILES:
        for batch in pq.ParquetFile(file).iter_batches(rows, columns=["text"]):
            yield batch.column(0).to_pylist()


def shingles(text: str) -> list[str]:
    """Five words in a row, each Chinese character a word; a shorter text is one shingle."""
    words = WORD.findall(text.lower())
    if len(words) <= SHINGLE:
        return [" ".join(words)]
    return [" ".join(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)]


def report(keep: Iterable[bool], *packages: str) -> None:
    """Write what is kept, and say which versions it was."""
    np.fromiter(keep, np.bool_).tofile(OUT)
    print("\n" + json.dumps(", ".join(f"{package} {version(package)}" for package in packages)), flush=True)


def kept(ids: Iterable[int]) -> Iterator[bool]:
    """For each document whether its id is among ``ids``."""
    keep = np.zeros(sum(pq.read_metadata(file).num_rows for file in FILES), np.bool_)
    keep[list(ids)] = True
    return iter(keep)
