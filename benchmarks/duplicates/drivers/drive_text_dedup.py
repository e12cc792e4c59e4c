"""text-dedup: its command, on as many processes as there are cores."""

import os
import subprocess
import sys
from pathlib import Path

from datasets import load_from_disk
from driver import BANDS, FILES, ROWS, SHINGLE, THRESHOLD, kept, report

options = {
    "path": "parquet",
    "data_files": str(Path(FILES[0]).parent / "*.parquet"),
    "split": "train",
    "column": "text",
    "output": "out",
    "ngram": SHINGLE,
    "threshold": THRESHOLD,
    "num_perm": BANDS * ROWS,
    "b": BANDS,
    "r": ROWS,
    "hash_func": "xxh3",
    "num_proc": len(os.sched_getaffinity(0)),
}
told = [text for name, value in options.items() for text in (f"--{name}", str(value))]
subprocess.run([sys.executable, "-m", "text_dedup.minhash", *told], check=True)
report(kept(load_from_disk("out")["id"]), "text-dedup", "datasets")
