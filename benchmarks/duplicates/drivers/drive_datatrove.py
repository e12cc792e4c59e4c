"""datatrove: its four stages by the local executor, on as many processes as there are cores."""

import gzip
import json
import os
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.typeshelper import Languages
from driver import BANDS, FILES, ROWS, SHINGLE, kept, report

CORES = len(os.sched_getaffinity(0))
CONFIG = MinhashConfig(
    n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64)
)


def reader() -> ParquetReader:
    return ParquetReader(str(Path(FILES[0]).parent), glob_pattern="*.parquet", id_key="id")


def step(name: str, pipeline: list[object], tasks: int) -> None:
    LocalPipelineExecutor(pipeline, tasks=tasks, workers=CORES, logging_dir=f"logs/{name}").run()


def main() -> None:
    tasks = max(len(FILES), 1)
    step("1", [reader(), MinhashDedupSignature("signatures", CONFIG, language=Languages.english)], tasks)
    step("2", [MinhashDedupBuckets("signatures", "buckets", config=CONFIG)], BANDS)
    step("3", [MinhashDedupCluster("buckets", "removed", config=CONFIG)], 1)
    step("4", [reader(), MinhashDedupFilter("removed"), JsonlWriter("kept")], tasks)
    # its writer leaves out what is zero
    texts = (gzip.decompress(path.read_bytes()) for path in Path("kept").glob("*.gz"))
    rows = (json.loads(line) for text in texts for line in text.splitlines())
    report(kept(int(row.get("id", 0)) for row in rows), "datatrove")


if __name__ == "__main__":
    main()
