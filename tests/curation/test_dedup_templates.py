"""Texts that share a template: what large buckets hide is found by the rarest shingles, in bounded time."""

import random
from itertools import combinations, pairwise

import numpy as np
import polars as pl
import pytest

from hydata.curation.dedup import prefixes
from hydata.curation.dedup.clusters import Clusters, find_clusters, longest_first
from hydata.curation.dedup.minhash import BUCKET_ALL_PAIRS, PREDECESSORS
from hydata.curation.dedup.prefixes import prefix_pairs
from hydata.curation.dedup.shingles import ShingleSets, read_texts
from hydata.curation.dedup.signed import gathered, sign_texts

TEMPLATE = [f"word{i}" for i in range(66)]


def templated(count: int, shared: int, spread: int = 0) -> list[str]:
    """``count`` texts of the template and about 8 words of their own, and for each tenth a partner that has
    the first ``shared`` of these. Two others are alike to 62 / 78, just under 0.8."""
    rng = random.Random(shared)

    def own(number: int) -> list[str]:
        return [f"{rng.getrandbits(40):x}" for _ in range(number)]

    words = [own(8 + rng.randint(-spread, spread)) for _ in range(count)]
    words += [mine[:shared] + own(len(mine) - shared) for mine in words[: count // 10]]
    return [" ".join(TEMPLATE + mine) for mine in words]


def judge(texts: list[str], folder, threads: int | None = None) -> tuple[Clusters, np.ndarray]:
    """Clusters, and for each text its place in keep order."""
    with gathered([sign_texts(pl.Series(texts).to_arrow(), 0.8)], 0.8, folder) as signed:
        order = longest_first(signed.length)
        return find_clusters(signed, order, 0, 0.8, threads), np.argsort(order)


def near_pairs(texts: list[str]) -> np.ndarray:
    """All pairs of texts with a similarity of at least 0.8, by brute force."""
    sets = read_texts(pl.Series(texts).to_arrow()).sets
    _, shingle, count = np.unique(sets.values, return_inverse=True, return_counts=True)
    holds = np.zeros((len(texts), count.size), np.float32)
    holds[np.repeat(np.arange(len(texts)), sets.sizes), shingle] = 1
    holds = holds[:, count > 1]
    shared = holds @ holds.T
    near = shared >= 0.8 * (sets.sizes[:, None] + sets.sizes - shared) - 1e-3
    return np.argwhere(np.triu(near, 1))


def sets_of(lists: list[list[int]]) -> ShingleSets:
    values = [np.unique(np.array(one, np.uint32)) for one in lists]
    return ShingleSets(np.concatenate(values), np.concatenate(([0], np.cumsum([len(v) for v in values]))))


def proposed(sets: ShingleSets, threshold: float = 0.8) -> list[tuple[int, int]]:
    """What prefixes propose of sets that are all in a large bucket."""
    batches = prefix_pairs(sets.values, sets.offsets[:-1], sets.offsets[1:], np.arange(len(sets)), threshold)
    return [(int(p >> 32), int(p & 0xFFFFFFFF)) for batch in batches for p in batch.tolist()]


@pytest.mark.parametrize("spread", [0, 4])
@pytest.mark.parametrize("shared", [1, 2, 3])
def test_all_pairs_just_above_a_template_are_found(shared: int, spread: int, tmp_path) -> None:
    texts = templated(2_000, shared, spread)
    near = near_pairs(texts)
    assert len(near) >= 200
    found, place = judge(texts, tmp_path)
    one, two = place[near].T
    assert (found.first[one] == found.first[two]).all()
    assert not (found.keep[one] & found.keep[two]).any()
    if not spread:
        assert len(near) == 200
        assert found.keep.sum() == 2_000


def test_neither_order_nor_threads_nor_batches_change_what_is_found(tmp_path, monkeypatch) -> None:
    texts = templated(1_000, 2, 4)

    def clusters(order: list[int], threads: int | None = None) -> set[frozenset[str]]:
        found, place = judge([texts[i] for i in order], tmp_path, threads)
        frame = pl.DataFrame({"text": [texts[i] for i in order], "first": found.first[place]})
        return {frozenset(group) for group in frame.group_by("first").agg("text")["text"].to_list()}

    plain = list(range(len(texts)))
    expected = clusters(plain)
    assert any(len(group) > BUCKET_ALL_PAIRS for group in expected)
    assert sum(len(group) == 1 for group in expected) > 100
    for seed, threads in ((1, 1), (2, 2), (3, 5)):
        assert clusters(random.Random(seed).sample(plain, len(plain)), threads) == expected
    monkeypatch.setattr(prefixes, "PAIRS_AT_ONCE", 1)
    monkeypatch.setattr(prefixes, "TEXTS_A_PIECE", 7)
    assert clusters(plain) == expected


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8, 0.9, 1.0])
def test_sets_above_the_threshold_share_one_of_their_rarest(threshold: float) -> None:
    rng = random.Random(1)
    lists = []
    for _ in range(20):
        base = rng.choices(range(0, 2**32, 2**22), k=rng.randint(1, 40))
        lists += [
            base,
            base + rng.choices(range(2**32), k=rng.randint(0, 9)),
            base[rng.randint(0, 8) :] or base,
        ]
    sets = sets_of(lists)
    held = [set(sets.values[a:b].tolist()) for a, b in pairwise(sets.offsets)]
    found = proposed(sets, threshold)
    assert len(set(found)) == len(found)
    assert all(one < two for one, two in found)
    for one, two in combinations(range(len(sets)), 2):
        if len(held[one] & held[two]) >= threshold * len(held[one] | held[two]):
            assert (one, two) in found


def bound(sets: ShingleSets, pairs: int) -> int:
    return pairs * int((sets.sizes - np.ceil(0.8 * sets.sizes - 1e-6) + 1).sum())


def test_shingles_that_many_share_do_not_take_time_in_their_square() -> None:
    rng = random.Random(1)
    # All have the same 40 shingles; 45 of 60; in each of 40 places one of 20, so that 400 share it.
    for count in (1_000, 4_000):
        same = sets_of([[i << 24 for i in range(40)]] * count)
        assert len(proposed(same)) < (PREDECESSORS + 1) * count
        most = sets_of([rng.sample([i << 24 for i in range(60)], 45) for _ in range(count)])
        assert len(proposed(most)) <= bound(most, PREDECESSORS + 1)
    slots = [[rng.randrange(20) << 26 | slot << 20 for slot in range(40)] for _ in range(8_000)]
    assert len(proposed(sets_of(slots))) <= bound(sets_of(slots), PREDECESSORS + 1)


def test_shingles_that_a_few_share_make_as_many_pairs_as_may_be_at_the_most() -> None:
    rng = random.Random(2)
    lists = [[rng.randrange(125) << 25 | slot << 20 for slot in range(20)] for _ in range(4_000)]
    sets = sets_of(lists)
    found = proposed(sets)
    assert len(set(found)) == len(found) <= bound(sets, BUCKET_ALL_PAIRS)
