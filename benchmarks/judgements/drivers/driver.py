"""What every driver begins and ends with.

    python drive_NAME.py OUT SET RECORDS REPEATS FILE...

The files are Parquet, column ``text``, named by their language. As many records of each language are judged,
RECORDS together, REPEATS times; what is told is the CPU time (user and system) of this process, all threads,
and of the processes that it started and that have ended, within the judging alone, and the time that passed,
after a first batch that loads what is loaded late. The values of the first records of each language go to
OUT, of the set "whole" only.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

OUT, SET, RECORDS, REPEATS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
FILES = sys.argv[5:]
LANGUAGES = ("en", "zh")
VALUES = 1_000
"""Records of a language whose values are written."""
WARM = 200

Values = Mapping[str, Sequence[float]]


def batches(language: str, count: int, rows: int) -> Iterator[pa.Array]:
    """The first ``count`` texts of a language."""
    left = count
    for file in FILES:
        if Path(file).stem.split("-")[0] != language or not left:
            continue
        for batch in pq.ParquetFile(file).iter_batches(rows, columns=["text"]):
            part = batch.column(0)[:left]
            left -= len(part)
            yield part
            if not left:
                return


def _cpu() -> float:
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def run(
    judge: Callable[[list[str], str], object],
    values: Callable[[list[str], str], Values],
    *packages: str,
    rows: int = 1_000,
    given: Callable[[pa.Array], object] = pa.Array.to_pylist,
) -> None:
    """Time ``judge(texts, language)`` on batches of ``rows``, and write ``values`` of the first."""
    seconds: dict[str, list[float]] = {}
    walls: dict[str, list[float]] = {}
    for language in LANGUAGES:
        judge(given(next(batches(language, WARM, WARM))), language)
        for _ in range(REPEATS):
            used = wall = 0.0
            for batch in batches(language, RECORDS // len(LANGUAGES), rows):
                texts = given(batch)
                start, before = time.perf_counter(), _cpu()
                judge(texts, language)
                used += _cpu() - before
                wall += time.perf_counter() - start
            seconds.setdefault(language, []).append(used)
            walls.setdefault(language, []).append(wall)
    tables = []
    for language in LANGUAGES if SET == "whole" else ():
        parts = [values(given(batch), language) for batch in islice(batches(language, VALUES, VALUES), 1)]
        columns = {name: np.asarray(column, np.float64) for name, column in parts[0].items()}
        height = len(next(iter(columns.values())))
        tables.append(pa.table({"language": [language] * height, **columns}))
    if tables:
        pq.write_table(pa.concat_tables(tables, promote_options="default"), OUT)
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    told = {"seconds": seconds, "walls": walls, "versions": versions}
    print("\n" + json.dumps(told), flush=True)
