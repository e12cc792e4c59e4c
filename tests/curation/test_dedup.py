"""Duplicates: datasketch as the oracle of signatures, brute force as the oracle of everything else."""

import json
import random
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash

from hydata.curation.dedup import COLUMNS, DuplicatesSettings, find_duplicates, stage
from hydata.curation.dedup.clusters import components
from hydata.curation.dedup.minhash import (
    PERMUTATIONS,
    SEED,
    banding,
    candidates,
    find_probability,
    signatures,
    similarities,
)
from hydata.curation.dedup.shingles import shingle_sets
from hydata.schema import Conversation, Message, conversations_frame

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled" / "duplicates"
NOBODY = pl.Series([], dtype=pl.String)
WORDS = [f"word{i}" for i in range(2_000)]
CHARACTERS = [chr(0x4E00 + i) for i in range(2_000)]


def texts(*found: str) -> pl.DataFrame:
    return pl.DataFrame({"record_id": [f"r{i}" for i in range(len(found))], "text": found})


def judge(*found: str, threshold: float = 0.8, admitted: pl.Series = NOBODY) -> dict[str, tuple[object, ...]]:
    """record_id -> (duplicate_of, similarity, exact) for dropped records."""
    judged = find_duplicates([texts(*found)], admitted, threshold)
    assert judged.height == len(found)
    dropped = judged.filter(~pl.col("keep")).select("record_id", "duplicate_of", "similarity", "exact")
    return {row[0]: row[1:] for row in dropped.iter_rows()}


def varied(rng: random.Random, count: int) -> list[str]:
    """Texts in both languages, and copies of them with more and more words changed."""
    found = []
    while len(found) < count:
        vocabulary, space = rng.choice([(WORDS, " "), (CHARACTERS, "")])
        words = [rng.choice(vocabulary) for _ in range(rng.choice([2, 6, 30, 80]))]
        for changes in rng.sample([0, 0, 1, 2, 4, 8], rng.randint(1, 4)):
            copy = list(words)
            for _ in range(changes):
                copy[rng.randrange(len(copy))] = rng.choice(vocabulary)
            found.append(
                rng.choice([str.upper, str.lower])(space.join(copy)) + rng.choice(["", " ", "\n", "!"])
            )
    return found[:count]


def test_exact_duplicates_are_equal_but_for_form() -> None:
    same = ["Name  a\n colour", "name a colour ", "Ｎａｍｅ a colour"]
    assert judge(*same, "name a color") == {"r1": ("r0", 1.0, True), "r2": ("r0", 1.0, True)}
    assert judge("命名一种颜色。", "命名一种颜色。 ") == {"r0": ("r1", 1.0, True)}


def test_fuzzy_duplicates_and_their_exact_copies() -> None:
    long = " ".join(WORDS[:60])
    near, far = long + " extra", " ".join(WORDS[:30] + WORDS[100:130])
    found = judge(long, near, far, long.upper())
    # 56 shingles are shared by 56 and 57.
    assert found == {
        "r0": ("r1", pytest.approx(56 / 57), False),
        "r3": ("r1", pytest.approx(56 / 57), False),
    }


def test_short_texts_share_nothing_but_equality() -> None:
    short = ["", "!!!", "???", "yes", "no", "yes sir", "一", "一二三四", "一二三"]
    assert judge(*short) == {}
    assert judge(*short, "Yes!", " ") == {"r3": ("r9", 1.0, False), "r0": ("r10", 1.0, True)}


def test_punctuation_is_no_word() -> None:
    assert judge("one, two; three: four! five? six.", "one two three four five six") == {
        "r1": ("r0", 1.0, False)
    }


def test_a_chain_keeps_what_is_not_near_a_kept_record() -> None:
    chain = [
        " ".join(WORDS[i * 4 : i * 4 + 60]) for i in range(4)
    ]  # neighbours 52 / 60, next but one 48 / 64
    judged = find_duplicates([texts(*chain)], NOBODY, 0.8)
    assert judged["cluster_id"].n_unique() == 1
    assert judged["keep"].sum() >= 2


def test_admitted_records_stay_and_win() -> None:
    long = " ".join(WORDS[:60])
    assert judge(long + " and more", long, admitted=pl.Series(["r1"])) == {
        "r0": ("r1", pytest.approx(56 / 58), False)
    }
    assert judge(long, long, long + " x", admitted=pl.Series(["r0", "r1"])) == {
        "r2": ("r0", pytest.approx(56 / 57), False)
    }


def test_signatures_are_datasketch_s() -> None:
    sets = shingle_sets(pl.Series(varied(random.Random(1), 50)))
    found = signatures(sets)
    for i in range(len(sets)):
        oracle = MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=int)
        oracle.update_batch(sets.values[sets.offsets[i] : sets.offsets[i + 1]].tolist())
        assert (found[i] == oracle.hashvalues).all()


def test_bands_find_the_threshold() -> None:
    assert banding(0.8) == (16, 5)
    assert find_probability(0.8, 16, 5) == pytest.approx(0.99826, abs=1e-5)
    for threshold in np.arange(0.1, 1.0, 0.05):
        bands, rows = banding(threshold)
        assert bands * rows <= PERMUTATIONS
        assert find_probability(threshold, bands, rows) >= 0.998


def test_recall_and_precision_against_brute_force() -> None:
    found = varied(random.Random(2), 600)
    sets = [set(s) for s in _shingles(found)]
    near = {
        (i, j)
        for i, j in combinations(range(len(found)), 2)
        if len(sets[i] & sets[j]) >= 0.8 * len(sets[i] | sets[j])
    }
    judged = find_duplicates([texts(*found)], NOBODY, 0.8)
    cluster = dict(judged.select("record_id", "cluster_id").iter_rows())
    linked = sum(cluster[f"r{i}"] == cluster[f"r{j}"] for i, j in near)
    assert linked == len(near)
    kept = set(judged.filter("keep")["record_id"])
    for record, leader, similarity in (
        judged.filter(~pl.col("keep")).select("record_id", "duplicate_of", "similarity").iter_rows()
    ):
        a, b = sets[int(record[1:])], sets[int(leader[1:])]
        assert leader in kept
        assert similarity == pytest.approx(len(a & b) / len(a | b))
        assert similarity >= np.float32(0.8)


def _shingles(found: list[str]) -> list[list[int]]:
    from hydata.curation.words import normalised

    sets = shingle_sets(pl.DataFrame({"text": found}).select(normalised(pl.col("text"))).to_series())
    return [sets.values[sets.offsets[i] : sets.offsets[i + 1]].tolist() for i in range(len(sets))]


def test_the_result_does_not_depend_on_order_or_shards() -> None:
    frame = texts(*varied(random.Random(3), 300))
    admitted = pl.Series(["r5", "r77"])
    expected = find_duplicates([frame], admitted, 0.8)
    for seed, shards in ((1, 1), (2, 7), (3, 300)):
        shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
        parts = [shuffled.gather_every(shards, i) for i in range(shards)]
        assert find_duplicates([*parts, parts[0]], admitted, 0.8).equals(expected)


def test_a_template_that_many_share_is_found_in_bounded_time() -> None:
    template = " ".join(WORDS[:100])
    found = find_duplicates([texts(*[f"{template} {i}" for i in range(5_000)])], NOBODY, 0.8)
    assert found["cluster_id"].n_unique() == 1
    assert found["keep"].sum() == 1


def test_random_unicode_gets_one_row_each() -> None:
    rng = random.Random(4)
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    found = [
        "".join(chr(rng.choice(points)) for _ in range(rng.choice([0, 1, 8, 100]))) for _ in range(1_000)
    ]
    assert find_duplicates([texts(*found)], NOBODY, 0.8).height == 1_000
    assert find_duplicates([], NOBODY, 0.8).is_empty()


def test_candidates_and_components() -> None:
    keys = np.array([[1, 1], [1, 2], [3, 2], [4, 4]], np.uint32)
    assert candidates(keys).tolist() == [[0, 1], [1, 2]]
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)
    assert set(components(1001, chain[::-1])) == {0, 1000}
    sets = shingle_sets(pl.Series(["a b c d e f", "a b c d e f g", "x"]))
    assert similarities(sets, np.array([[0, 1], [0, 2]]), 0.5).tolist() == pytest.approx([2 / 3, 0.0])


@pytest.mark.parametrize(("scope", "dropped"), [("instruction", 2), ("conversation", 1)])
def test_the_stage_compares_what_its_scope_says(tmp_path: Path, scope: str, dropped: int) -> None:
    question = Message("user", "How do tides work?")
    answers = ["The moon pulls the sea.", "Water follows gravity, mostly.", "The moon  pulls the sea."]
    conversations = conversations_frame(
        Conversation(
            "respond", (Message("system", "x" * i), question, Message("assistant", answer)), sample_index=i
        )
        for i, answer in enumerate(answers)
    )
    paths = []
    for i, part in enumerate(conversations.iter_slices(2)):
        paths.append(tmp_path / f"{i}.parquet")
        part.write_parquet(paths[-1])
    made = stage("duplicates_conversations")
    context = SimpleNamespace()
    found = pl.concat(made.run({"conversations": paths}, DuplicatesSettings(scope=scope), context))
    assert found.schema == COLUMNS == made.columns
    assert sorted(found["record_id"]) == sorted(conversations["record_id"])
    assert set(found["judge"]) == {"duplicates_conversations"}
    assert (~found["keep"]).sum() == dropped
    everything = {"conversations": paths, "admitted": paths}
    assert pl.concat(made.run(everything, DuplicatesSettings(scope=scope), context))["keep"].all()
    empty = list(made.run({"conversations": []}, DuplicatesSettings(), context))
    assert [frame.schema for frame in empty] == [COLUMNS]


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_what_another_tool_kept_and_we_drop_is_truly_near() -> None:
    lines = (LABELLED / "gpteacher_toolformer_survival_by_similarity.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [f"{row['instruction']}\n{row['input']}\n{row['response']}" for row in rows]
    judged = find_duplicates([texts(*found)], NOBODY, 0.8)
    assert judged.height == len(rows)
    sets = [set(s) for s in _shingles(found)]
    for record, leader in (
        judged.filter(~pl.col("keep")).select("record_id", "duplicate_of").head(300).iter_rows()
    ):
        a, b = sets[int(record[1:])], sets[int(leader[1:])]
        assert len(a & b) >= 0.8 * len(a | b) - 1e-6
