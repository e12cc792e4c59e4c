"""Duplicates: datasketch as the oracle of signatures, brute force as the oracle of everything else."""

import asyncio
import json
import random
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from datasketch import MinHash

from hydata.compiled import POINTS
from hydata.curation.characters import ASSIGNED
from hydata.curation.dedup import COLUMNS, DuplicatesSettings, judge_signed, kernels, signatures, stage
from hydata.curation.dedup.characters import normal_form
from hydata.curation.dedup.minhash import (
    PERMUTATIONS,
    SEED,
    band_keys,
    banding,
    candidates,
    find_probability,
    keys_of,
    shared_shingles,
)
from hydata.curation.dedup.minhash import signatures as minhash_signatures
from hydata.curation.dedup.shingles import Texts, read_texts
from hydata.curation.dedup.signatures import SignaturesSettings, sign, stored
from hydata.curation.dedup.signed import gathered, sign_texts
from hydata.curation.words import words
from hydata.errors import WarehouseError
from hydata.schema import Conversation, Message, conversations_frame

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled" / "duplicates"
Corpus = Callable[[random.Random, int], list[str]]
NOBODY = pl.Series([], dtype=pl.String)
WORDS = [f"word{i}" for i in range(2_000)]
CHARACTERS = [chr(0x4E00 + i) for i in range(2_000)]


def texts(*found: str) -> pl.DataFrame:
    return pl.DataFrame({"record_id": [f"r{i}" for i in range(len(found))], "text": found})


def find_duplicates(frames: list[pl.DataFrame], admitted: pl.Series, threshold: float) -> pl.DataFrame:
    ids = pl.concat([pl.Series([], dtype=pl.String), *(frame["record_id"] for frame in frames)])
    parts = [sign_texts(frame["text"].to_arrow(), threshold) for frame in frames]
    with gathered(parts, threshold, Path()) as signed:
        return judge_signed(ids, signed, ids.is_in(admitted.implode()), threshold)


def judge_stored(
    paths: list[Path], chosen: pl.DataFrame | None, admitted: pl.Series, threshold: float
) -> pl.DataFrame:
    ids, signed = stored(paths, chosen, threshold)
    return judge_signed(ids, signed, ids.is_in(admitted.implode()), threshold)


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


def templated(rng: random.Random, count: int) -> list[str]:
    """Texts of one template and a few words of their own each: most are alike to just under 0.8, and every
    tenth is near to another. In the bands all are in large buckets."""
    found = []
    while len(found) < count:
        own = [rng.choice(WORDS) for _ in range(rng.randint(7, 9))]
        found.append(own)
        if len(found) % 9 == 0:
            found.append(own[: rng.randint(1, 3)])
            found[-1] += [rng.choice(WORDS) for _ in range(8 - len(found[-1]))]
    return [" ".join(CHARACTERS[:66]) + " " + " ".join(own) for own in found[:count]]


CORPORA = pytest.mark.parametrize("corpus", [varied, templated])


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
    sets = read(varied(random.Random(1), 50)).sets
    found = minhash_signatures(sets)
    for i in range(len(sets)):
        oracle = MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=int)
        oracle.update_batch(sets.values[sets.offsets[i] : sets.offsets[i + 1]].tolist())
        assert (found[i] == oracle.hashvalues).all()
    for threshold in (0.3, 0.8):
        assert (keys_of(found, *banding(threshold)) == band_keys(sets, threshold)).all()


def test_bands_find_the_threshold() -> None:
    assert banding(0.8) == (16, 5)
    assert find_probability(0.8, 16, 5) == pytest.approx(0.99826, abs=1e-5)
    for threshold in np.arange(0.1, 1.0, 0.05):
        bands, rows = banding(threshold)
        assert bands * rows <= PERMUTATIONS
        assert find_probability(threshold, bands, rows) >= 0.998


@CORPORA
def test_recall_and_precision_against_brute_force(corpus: Corpus) -> None:
    found = corpus(random.Random(2), 600)
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


def read(found: list[str]) -> Texts:
    return read_texts(pl.Series(found, dtype=pl.String).to_arrow())


def _shingles(found: list[str]) -> list[list[int]]:
    sets = read(found).sets
    return [sets.values[sets.offsets[i] : sets.offsets[i + 1]].tolist() for i in range(len(sets))]


def oracle(found: list[str]) -> list[set[tuple[str, ...]]]:
    """Shingles as words, by Polars' own normal form and regular expressions."""
    lists = pl.DataFrame({"text": found}).select(words(normal_form(pl.col("text")))).to_series().to_list()
    return [
        {tuple(ws[i : i + 5]) for i in range(max(1, len(ws) - 4))} if ws else {("", text)}
        for ws, text in zip(lists, found, strict=True)
    ]


def check_against_the_oracle(found: list[str]) -> None:
    mine, theirs = [set(s) for s in _shingles(found)], oracle(found)
    assert [len(s) for s in mine] == [len(s) for s in theirs]
    names: dict[tuple[str, ...], int] = {}
    for text, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if len(b) == 1:
            (shingle,), (number,) = b, a
            if shingle[0]:
                assert names.setdefault(shingle, number) == number, found[text]
    together = list(combinations(range(0, len(found), max(1, len(found) // 100)), 2))
    for i, j in together:
        assert len(mine[i] & mine[j]) == len(theirs[i] & theirs[j]), (found[i], found[j])


def test_the_kernel_reads_words_as_polars_does() -> None:
    rng = random.Random(5)
    check_against_the_oracle(varied(rng, 400))
    accents = [
        "e\u0301t\u00e9 a b c d e",
        "\u00e9te\u0301 a b c d e",
        "ΟΔΟΣ ΣΟΦΟΣ",
        "οδος σοφος",
        "οδοσ σοφοσ",
    ]
    check_against_the_oracle(
        [*accents, "ﾊﾞﾅﾅ ガ", "バナナ ガ", "각 ᄀ", "½½ ﷺﷺ ㌖㌖", "İstanbul", "x\u0315\u0300y"]
    )
    points = [*range(0x20, 0x3000), *range(0x3000, 0x3400), *range(0xAC00, 0xAD00), *range(0xF900, 0x10000)]
    points += [*range(0x1D400, 0x1D800), *range(0x1E900, 0x1EA00), *range(0x20000, 0x20100)]
    kept = [chr(p) for p in points if not 0xD800 <= p < 0xE000]
    check_against_the_oracle(["".join(rng.choices(kept, k=rng.randint(1, 60))) for _ in range(3_000)])


def test_every_character_alone_is_read_as_polars_does() -> None:
    every = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    frame = pl.DataFrame({"text": every}).with_columns(normal=normal_form(pl.col("text")))
    frame = frame.with_columns(count=words(pl.col("normal")).list.len())
    again, found = read(frame["normal"].to_list()), read(every)
    assert (found.text == again.text).all()
    assert (found.words == again.words).all()
    assert (found.sets.sizes == np.maximum(1, frame["count"].cast(pl.Int64).to_numpy() - 4)).all()


def test_what_is_not_assigned_is_no_word_and_its_own_normal_form() -> None:
    blocks = [(ASSIGNED[1][1], ASSIGNED[2][0]), (ASSIGNED[2][1], POINTS)]
    rest = pl.DataFrame({"text": [chr(point) for block in blocks for point in range(*block)]})
    found = rest.select(normal_form(pl.col("text")) != pl.col("text"), words=words(pl.col("text")).list.len())
    assert not found["text"].any()
    assert found["words"].sum() == 0
    assert not rest["text"].str.contains(r"\s|\p{M}").any()


def test_no_character_holds_more_words_than_there_is_room_for() -> None:
    every = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    frame = pl.DataFrame({"text": every}).with_columns(bytes=pl.col("text").str.len_bytes())
    count = frame.select(words(normal_form(pl.col("text"))).list.len()).to_series()
    assert (count <= 2 * frame["bytes"]).all()


def test_what_is_no_utf8_is_read_to_its_end() -> None:
    broken = [
        b"\xff\xfe five words that are here",
        b"cut \xe4\xbd",
        b"\xf7\xbf\xbf\xbf",
        b"\x80" * 9,
        b"fine",
    ]
    texts = pa.array(broken, pa.binary()).cast(pa.large_binary())
    raw = pa.Array.from_buffers(pa.large_string(), len(broken), texts.buffers())
    assert read_texts(raw).sets.sizes.tolist() == [1, 1, 1, 1, 1]


def test_arrow_arrays_of_every_kind_are_read() -> None:
    plain = pa.array(["a", "one two three four five six", None, ""])
    expected = read_texts(plain.cast(pa.large_string())).text.tolist()
    assert read_texts(plain).text.tolist() == expected
    assert read_texts(pa.array(["x", *plain.to_pylist(), "y"])[1:-1]).text.tolist() == expected
    assert expected[2] == expected[3]
    assert len(read_texts(pa.array([], pa.string()))) == 0


@CORPORA
def test_the_result_does_not_depend_on_order_or_parts(corpus: Corpus) -> None:
    frame = texts(*corpus(random.Random(3), 300))
    admitted = pl.Series(["r5", "r77"])
    expected = find_duplicates([frame], admitted, 0.8)
    for seed, shards in ((1, 1), (2, 7), (3, 300)):
        shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
        parts = [shuffled.gather_every(shards, i) for i in range(shards)]
        assert find_duplicates(parts, admitted, 0.8).equals(expected)


def shards_of(folder: Path, frames: list[pl.DataFrame]) -> list[Path]:
    paths = []
    for frame in frames:
        paths.append(folder / f"{len(list(folder.iterdir()))}.parquet")
        sign(frame["record_id"], "instruction", frame["text"].to_arrow()).write_parquet(paths[-1])
    return paths


def test_stored_signatures_give_the_same_as_texts_in_memory(tmp_path: Path) -> None:
    long = " ".join(WORDS[:70])
    frame = texts(*varied(random.Random(8), 400), "", "!!!", long, long + "?")
    for threshold in (0.5, 0.8):
        expected = find_duplicates([frame], pl.Series(["r9"]), threshold)
        for shards in (1, 5):
            paths = shards_of(tmp_path, [frame.gather_every(shards, i) for i in range(shards)])
            found = judge_stored([*paths, paths[0]], None, pl.Series(["r9"]), threshold)
            assert found.equals(expected)
    some = frame.sample(fraction=0.5, seed=1)
    found = judge_stored(paths, some.select("record_id"), NOBODY, 0.8)
    assert found.equals(find_duplicates([some], NOBODY, 0.8))
    assert judge_stored([], None, NOBODY, 0.8).is_empty()


@CORPORA
def test_ten_increments_give_the_clusters_of_one_run(corpus: Corpus, tmp_path: Path) -> None:
    frame = texts(*corpus(random.Random(9), 500)).sample(fraction=1, shuffle=True, seed=1)
    whole = find_duplicates([frame], NOBODY, 0.8)
    paths: list[Path] = []
    admitted = NOBODY
    for night in range(10):
        paths += shards_of(tmp_path, [frame.gather_every(10, night)])
        found = judge_stored(paths, None, admitted, 0.8)
        kept = found.filter("keep")["record_id"]
        assert set(admitted) <= set(kept)
        admitted = kept
    clusters = [
        {frozenset(group) for group in table.group_by("cluster_id").agg("record_id")["record_id"].to_list()}
        for table in (whole, found)
    ]
    assert clusters[0] == clusters[1]
    dropped = found.filter(~pl.col("keep"))
    assert set(dropped["duplicate_of"]) <= set(admitted)
    assert (dropped["similarity"] >= np.float32(0.8)).all()


@CORPORA
def test_a_record_that_is_taken_down_leaves_the_rest_right(corpus: Corpus, tmp_path: Path) -> None:
    frame = texts(*corpus(random.Random(10), 300))
    paths = shards_of(tmp_path, [frame])
    before = find_duplicates([frame], NOBODY, 0.8)
    gone = before.filter(pl.col("duplicate_of").is_not_null())["duplicate_of"].unique().head(20)
    rest = frame.filter(~pl.col("record_id").is_in(gone.implode()))
    after = judge_stored(paths, rest.select("record_id"), NOBODY, 0.8)
    assert after.equals(find_duplicates([rest], NOBODY, 0.8))
    assert not set(after["cluster_id"]) & set(gone)


def test_ids_that_begin_alike_are_in_their_order(tmp_path: Path) -> None:
    found = varied(random.Random(12), 200)
    for name in ("id-{:03}", "{:032x}", "{:03}0000000-{}", "ü{:07}"):
        ids = [name.format(i // 3, i % 3) if "{}" in name else name.format(i) for i in range(len(found))]
        frame = pl.DataFrame({"record_id": ids, "text": found}).sample(fraction=1, shuffle=True, seed=1)
        judged = judge_stored(shards_of(tmp_path, [frame[:70], frame[70:]]), None, NOBODY, 0.8)
        assert judged["record_id"].to_list() == sorted(ids)
        assert judged.equals(find_duplicates([frame], NOBODY, 0.8))


def test_shards_of_an_older_version_are_named(tmp_path: Path) -> None:
    (path,) = shards_of(tmp_path, [texts("one", "two")])
    pl.read_parquet(path).drop("shingle_count").write_parquet(path)
    with pytest.raises(WarehouseError, match=r"0\.parquet.*--rebuild signatures"):
        stored([path], None, 0.8)


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


def test_candidates_components_and_shared_shingles() -> None:
    keys = np.array([[1, 1], [1, 2], [3, 2], [4, 4]], np.uint32)
    pairs, crowded = candidates(keys.T, np.arange(4))
    assert [(int(p >> 32), int(p & 0xFFFFFFFF)) for p in pairs] == [(0, 1), (1, 2)]
    assert not len(crowded)
    many = np.array([[1] * 64 + [2] * 65 + [3], [4] * 130], np.uint32)
    assert candidates(many[:1], np.arange(130))[1].tolist() == list(range(64, 129))
    assert len(candidates(many, np.arange(130))[1]) == 130
    chain, labels = np.random.default_rng(1).permutation(999), np.arange(1001)
    kernels.join_components(labels, chain, chain + 1)
    assert set(labels) == {0, 1000}
    sets = read(["a b c d e f", "a b c d e f g", "x"]).sets
    both = np.array([1, 2], np.uint64)  # rows 0 and 1, 0 and 2
    assert shared_shingles(sets.values, sets.offsets[:-1], sets.offsets[1:], both, 0.5).tolist() == [2, -1]


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
    context = SimpleNamespace()
    paths = []
    for i, part in enumerate(conversations.iter_slices(2)):
        made = asyncio.run(signatures.STAGE.run(part, SignaturesSettings(scope=scope), context))
        assert made.rows.schema == signatures.COLUMNS
        assert made.rows["record_id"].to_list() == part["record_id"].to_list()
        assert made.rejects.is_empty()
        paths.append(tmp_path / f"{i}.parquet")
        made.rows.write_parquet(paths[-1])
    judged = stage("duplicates_conversations")
    found = pl.concat(judged.run({"signatures": paths}, DuplicatesSettings(), context))
    assert found.schema == COLUMNS == judged.columns
    assert sorted(found["record_id"]) == sorted(conversations["record_id"])
    assert set(found["judge"]) == {"duplicates_conversations"}
    assert (~found["keep"]).sum() == dropped
    everything = {"signatures": paths, "admitted": paths}
    assert pl.concat(judged.run(everything, DuplicatesSettings(), context))["keep"].all()
    empty = list(judged.run({"signatures": []}, DuplicatesSettings(), context))
    assert [frame.schema for frame in empty] == [COLUMNS]


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_what_another_tool_kept_and_we_drop_is_truly_near() -> None:
    lines = (LABELLED / "gpteacher_toolformer_survival_by_similarity.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [f"{row['instruction']}\n{row['input']}\n{row['response']}" for row in rows]
    judged = find_duplicates([texts(*found)], NOBODY, 0.8)
    assert judged.height == len(rows)
    sets = [set(s) for s in _shingles(found)]
    dropped = judged.filter(~pl.col("keep")).select("record_id", "duplicate_of")
    assert dropped.height > 100
    for record, leader in dropped.iter_rows():
        a, b = sets[int(record[1:])], sets[int(leader[1:])]
        assert len(a & b) >= 0.8 * len(a | b) - 1e-6
