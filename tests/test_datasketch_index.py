"""The example that reads stored signatures into datasketch's index, on signatures as a run stores them."""

import random
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from projects import ROOT

from hydata.curation.dedup.signatures import sign
from hydata.schema import hash128
from hydata.warehouse import Head, NodeState, write_head, write_shard

EXAMPLE = runpy.run_path(str(ROOT / "examples" / "datasketch_index.py"))


def texts() -> list[str]:
    """Sixty texts, each followed by a copy with two words changed."""
    rng = random.Random(1)
    found = []
    for i in range(60):
        words = [
            rng.choice([f"word{rng.randrange(900)}", chr(0x4E00 + rng.randrange(900))]) for _ in range(80)
        ]
        found.append(" ".join(words))
        words[10] = words[50] = f"other{i}"
        found.append(" ".join(words))
    return found


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """Two shards of conversations' signatures, and one of instructions', which must not come in."""
    every = pl.DataFrame({"text": texts()})
    every = every.with_columns(id=pl.Series([hash128(text) for text in every["text"]]))
    shards = []
    for number, (part, scope) in enumerate(
        [(every[:50], "conversation"), (every[50:], "conversation"), (every[:9], "instruction")]
    ):
        frame = sign(part["id"], scope, part["text"].to_arrow())
        path = f"signatures/signatures-0123456789ab/{number}.parquet"
        shards.append(write_shard(tmp_path, path, {"signatures": frame}))
    write_head(tmp_path, Head("main", {"signatures/read": NodeState("", {"": tuple(shards)})}))
    return tmp_path


def test_the_index_finds_what_shares_a_band(warehouse: Path) -> None:
    index = EXAMPLE["opened"]()
    assert (index.b, index.r, index.h) == (16, 5, 80)
    signatures = {record: sketch.hashvalues for record, sketch in EXAMPLE["stored"](warehouse)}
    assert len(signatures) == 120
    assert EXAMPLE["fill"](index, EXAMPLE["stored"](warehouse)) == 120
    assert EXAMPLE["fill"](index, EXAMPLE["stored"](warehouse)) == 0
    bands = {record: values.reshape(16, 5) for record, values in signatures.items()}
    for text in texts():
        asked = EXAMPLE["sketch"](text)
        assert (asked.hashvalues == signatures[hash128(text).encode()]).all(), "datasketch hashes otherwise"
        mine = asked.hashvalues.reshape(16, 5)
        expected = {record for record, theirs in bands.items() if np.any(np.all(mine == theirs, axis=1))}
        assert set(index.query(asked)) == expected


def test_a_new_text_s_duplicates_are_printed(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original, copy = texts()[:2]
    EXAMPLE["main"](str(warehouse), original + "!")
    said, *found = capsys.readouterr().out.splitlines()
    assert said == "120 records are new in the index"
    assert found[0] == f"1.00  {hash128(original)}"
    assert hash128(copy) in found[1]
    assert 0.6 < float(found[1].split()[0]) < 0.95  # 66 of 86 shingles
