"""What a lower threshold would drop, against brute force; and how two texts are shown to differ."""

import random
from itertools import combinations
from pathlib import Path

import polars as pl

from hydata.curation.dedup import judge_signed
from hydata.curation.dedup.near import ALIGNED, differing, would_fall
from hydata.curation.dedup.shingles import read_texts
from hydata.curation.dedup.signatures import sign, stored


def test_what_would_fall_is_all_that_is_near_among_the_kept(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = []
    for _ in range(80):
        words = [f"w{rng.randrange(5_000)}" for _ in range(60)]
        for changes in (0, 1, 2, 3):
            copy = list(words)
            for place in rng.sample(range(60), changes):
                copy[place] = f"w{rng.randrange(5_000)}"
            texts.append(" ".join(copy))
    ids = pl.Series([f"r{i}" for i in range(len(texts))])
    path = tmp_path / "0.parquet"
    sign(ids, "instruction", pl.Series(texts).to_arrow()).write_parquet(path)
    read = read_texts(pl.Series(texts).to_arrow()).sets
    sets = {
        id: set(read.values[a:b].tolist())
        for id, a, b in zip(ids, read.offsets[:-1], read.offsets[1:], strict=True)
    }

    def jaccard(one: str, two: str) -> float:
        return len(sets[one] & sets[two]) / len(sets[one] | sets[two])

    nobody = pl.repeat(False, len(ids), eager=True)
    kept = judge_signed(*stored([path], None, 0.8), nobody, 0.8).filter("keep").select("record_id")
    found = would_fall([path], kept, 0.8, 0.6)
    assert found.height > 50
    assert set(found["record_id"]) <= set(kept["record_id"])
    for record, _, leader, similarity in found.iter_rows():
        assert abs(similarity - jaccard(record, leader)) < 1e-6
        assert 0.6 <= similarity < 0.8
        assert leader in set(kept["record_id"]) - set(found["record_id"])
    stays = set(kept["record_id"]) - set(found["record_id"])
    missed = [pair for pair in combinations(sorted(stays), 2) if jaccard(*pair) >= 0.6]
    assert not missed
    assert would_fall([path], kept, 0.8, 0.8).is_empty()


def test_what_differs_is_in_brackets_and_the_rest_is_cut() -> None:
    same = "one two three four five six seven eight nine ten"
    assert differing(f"{same} red {same}", f"{same} blue {same}") == (
        "… seven eight nine ten [red] one two three four …",
        "… seven eight nine ten [blue] one two three four …",
    )
    assert differing(f"a {same} b", f"x {same} y") == (
        "[a] one two three four … seven eight nine ten [b]",
        "[x] one two three four … seven eight nine ten [y]",
    )
    assert differing("so it is", "So  it\nis not") == ("so it is []", "So it is [not]")
    assert differing("今天天气很好，我们去公园", "今天天气很坏，我们去公园") == (
        "… 天天气很 [好] ，我们去 …",
        "… 天天气很 [坏] ，我们去 …",
    )
    assert differing("", "") == ("", "")
    assert differing("word", "") == ("[word]", "[]")


def test_long_texts_that_share_nothing_are_shown_in_little_time() -> None:
    one, two = differing("a b " * 100_000, "b c " * 100_000)
    assert len(one.split()) < 3 * ALIGNED
    assert one.endswith("[…]")
    assert two.endswith("[…]")
