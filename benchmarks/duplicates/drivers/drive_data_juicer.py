"""Data-Juicer: its command with one operator, on as many processes as there are cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

from driver import BANDS, FILES, ROWS, SHINGLE, THRESHOLD, kept, report

Path("in").mkdir()
for file in FILES:
    (Path("in") / Path(file).name).symlink_to(file)
operator = {
    "tokenization": "space",
    "window_size": SHINGLE,
    "lowercase": True,
    "jaccard_threshold": THRESHOLD,
    "num_permutations": BANDS * ROWS,
    "num_bands": BANDS,
    "num_rows_per_band": ROWS,
}
config = {
    "project_name": "benchmark",
    "dataset_path": str(Path("in").absolute()),
    "export_path": str(Path("out.jsonl").absolute()),
    "np": len(os.sched_getaffinity(0)),
    "process": [{"document_minhash_deduplicator": operator}],
}
Path("config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
subprocess.run([str(Path(sys.executable).parent / "dj-process"), "--config", "config.yaml"], check=True)
with Path("out.jsonl").open(encoding="utf-8") as lines:
    report(kept(json.loads(line)["id"] for line in lines), "py-data-juicer")
