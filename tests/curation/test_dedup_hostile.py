"""Texts that are made to be slow, large or wrong: right results in bounded time and memory."""

import random

import numpy as np
import polars as pl
import pytest

from hydata.curation.dedup.clusters import find_clusters, longest_first
from hydata.curation.dedup.kernels import BUCKETED
from hydata.curation.dedup.shingles import read_texts
from hydata.curation.dedup.signed import gathered, sign_texts


def judge(texts: pl.Series, tmp_path, threshold: float = 0.8):
    parts = (sign_texts(part.to_arrow(), threshold) for part in texts.to_frame().iter_slices(50_000))
    parts = (
        sign_texts(part.to_series().to_arrow(), threshold) for part in texts.to_frame().iter_slices(50_000)
    )
    with gathered(parts, threshold, tmp_path) as signed:
        return find_clusters(signed, longest_first(signed.length), 0, threshold)


def test_a_million_identical_rows_are_one(tmp_path) -> None:
    texts = pl.repeat("The same few words in every one of the rows.", 1_000_000, eager=True)
    found = judge(texts, tmp_path)
    assert found.keep.sum() == 1
    assert (found.first == 0).all()
    assert found.exact.sum() == 999_999


def test_rows_that_are_all_distinct_are_all_kept(tmp_path) -> None:
    texts = pl.select(pl.format("{} {} {}", *(pl.int_range(200_000) * k for k in (7, 11, 13)))).to_series()
    found = judge(texts, tmp_path)
    assert found.keep.all()
    assert (found.first == np.arange(200_000)).all()


def test_a_hundred_thousand_variants_of_a_template_are_one_cluster(tmp_path) -> None:
    template = " ".join(f"word{i}" for i in range(120))
    texts = pl.select(pl.format(f"{template} {{}}", pl.int_range(100_000))).to_series()
    found = judge(texts, tmp_path)
    assert (found.first == 0).all()
    assert found.keep.sum() == 1


@pytest.mark.parametrize("piece", ["a ", "汉", "½", "é", "e\u0301 ", "word "])
def test_one_very_long_text(piece: str, tmp_path) -> None:
    text = piece * (10_000_000 // len(piece.encode()))
    found = judge(pl.Series([text, "short", text + "!"]), tmp_path)
    assert found.keep.tolist() in ([True, True, False], [True, False, True])


def test_a_text_of_many_different_words(tmp_path) -> None:
    rng = random.Random(1)
    words = [f"{rng.getrandbits(40):x}" for _ in range(1_500_000)]
    assert len(" ".join(words)) > 14_000_000
    found = judge(pl.Series([" ".join(words), " ".join(words[:-9])]), tmp_path)
    assert found.keep.tolist() == [True, False]
    assert found.similarity[1] > 0.999


def test_shingles_whose_hashes_fall_into_few_buckets_are_sorted_all_the_same() -> None:
    # A long text of few different words has few different shingles, each of them thousands of times.
    rng = random.Random(2)
    for count in (BUCKETED - 1, BUCKETED, BUCKETED + 5, 3 * BUCKETED):
        words = " ".join(rng.choice("ab") for _ in range(count))
        sets = read_texts(pl.Series([words]).to_arrow()).sets
        assert len(sets.values) == 32
        assert (np.diff(sets.values.astype(np.int64)) > 0).all()


def test_texts_of_a_character_or_none(tmp_path) -> None:
    texts = pl.Series(["", " ", "\n", "a", "A", "。", ".", "é", "e\u0301", "\u0301", "\u200d", "\x00"])
    found = judge(texts, tmp_path)
    kept = sorted(longest_first(read_texts(texts.to_arrow()).length)[found.keep].tolist())
    assert len(kept) == 8
