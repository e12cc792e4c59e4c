"""hydata: its command, as a user gives it, and what it wrote."""

import sys
from pathlib import Path

import polars as pl
from driver import FILES, OUT, THRESHOLD, report

from hydata.cli import main

sys.argv = ["hydata", "judge", "duplicates", *FILES, "-o", "found.parquet", "--threshold", str(THRESHOLD)]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
report(pl.read_parquet(Path("found.parquet"), columns=["keep"])["keep"], "hydata", "numba", "numpy")
assert Path(OUT).exists()
