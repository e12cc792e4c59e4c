"""Asks the stored signatures for a new text's duplicates, through an index of datasketch.

    python examples/datasketch_index.py WAREHOUSE TEXT [redis://HOST:PORT/DB]

hydata's signatures are datasketch's own: 80 permutations of scheme "affine32", seed 1, over 32-bit shingles.
So ``MinHashLSH`` takes them as they stand in the Parquet files, with the 16 bands of 5 that hydata uses at
0.8, and no text is hashed again. An index in memory goes with the process. One in Redis is shared: whoever
asks puts in what is new. What an index finds are candidates; the share of equal values, printed before each,
estimates the Jaccard similarity, with an error of about 0.05 at 0.8.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
from datasketch import LeanMinHash, MinHash, MinHashLSH

from hydata.curation.dedup.minhash import PERMUTATIONS, SEED, banding
from hydata.curation.dedup.shingles import read_texts
from hydata.warehouse import latest_head

SCHEME = "affine32"
NAME = b"hydata-signatures-1-"
"""What every key of the index in Redis begins with; 1 is the version of the signatures."""


def stored(
    root: Path, scope: str = "conversation", only: list[bytes] | None = None
) -> Iterator[tuple[bytes, LeanMinHash]]:
    """Ids and signatures of the records of a warehouse's last run, or ``only`` of some, a shard at a time.

    Ids are bytes, because datasketch pickles any other key on its way to Redis and unpickles what comes back,
    and what is unpickled may run code: nobody should do that with what others have written.
    """
    wanted = pl.col("scope") == scope
    if only is not None:
        wanted &= pl.col("record_id").is_in([record.decode() for record in only])
    for path in latest_head(root).paths("signatures"):
        shard = pl.scan_parquet(root / path).filter(wanted).select("record_id", "signature").collect()
        for record, values in shard.iter_rows():
            yield record.encode(), LeanMinHash(seed=SEED, hashvalues=values, scheme=SCHEME)


def sketch(text: str) -> MinHash:
    """The signature of a new text, by datasketch alone; only its shingles are read by hydata."""
    fresh = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME, hashfunc=int)
    fresh.update_batch(read_texts(pl.Series([text]).to_arrow()).sets.values.tolist())
    return fresh


def opened(threshold: float = 0.8, redis: str | None = None) -> MinHashLSH:
    """An empty index in memory; with a ``redis`` address the one there, whatever is in it already."""
    storage: dict[str, object] = {"type": "dict"}
    if redis is not None:
        at = urlsplit(redis)
        server = {"host": at.hostname, "port": at.port or 6379, "db": int(at.path.strip("/") or 0)}
        storage = {"type": "redis", "basename": NAME, "redis": server}
    bands = banding(threshold)
    return MinHashLSH(num_perm=PERMUTATIONS, params=bands, storage_config=storage, prepickle=False)


def fill(index: MinHashLSH, records: Iterator[tuple[bytes, LeanMinHash]]) -> int:
    """Put in the records that are not in yet; how many that were. Redis gets them many at a time."""
    known = set(index.keys)
    before = len(known)
    with index.insertion_session() as session:
        for record, signature in records:
            if record not in known:
                session.insert(record, signature, check_duplication=False)
                known.add(record)
    return len(known) - before


def main(warehouse: str, text: str, redis: str | None = None) -> None:
    root = Path(warehouse)
    index = opened(redis=redis)
    print(f"{fill(index, stored(root)):,} records are new in the index")
    asked = sketch(text)
    found = [
        (asked.jaccard(signature), record) for record, signature in stored(root, only=index.query(asked))
    ]
    for similarity, record in sorted(found, reverse=True):
        print(f"{similarity:.2f}  {record.decode()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
