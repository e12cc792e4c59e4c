"""Components and kept records are those of the set of records, however their signatures are spread."""

import asyncio
import random
from pathlib import Path

import polars as pl
import pytest

from hydata.curation.dedup import judge_signed
from hydata.curation.dedup.signatures import STAGE, SignaturesSettings, sign, stored
from hydata.schema import Conversation, Message, conversations_frame


def a_set(rng: random.Random) -> pl.DataFrame:
    """Families of near and exact duplicates, texts too short for two shingles, and a template that more texts
    share than a bucket is compared in full for."""
    vocabulary = [*(f"word{i}" for i in range(800)), *map(chr, range(0x4E00, 0x4E00 + 800))]
    texts = []
    for _ in range(120):
        words = rng.choices(vocabulary, k=rng.choice([1, 4, 12, 40, 90]))
        for changes in rng.sample([0, 0, 1, 2, 3, 5], rng.randint(1, 4)):
            copy = list(words)
            for _ in range(changes):
                copy[rng.randrange(len(copy))] = rng.choice(vocabulary)
            texts.append(" ".join(copy))
    template = rng.choices(vocabulary, k=60)
    for i in range(200):
        texts.append(" ".join([*template, *rng.choices(vocabulary, k=rng.randint(0, 16)), str(i)]))
    return pl.DataFrame({"record_id": [f"{rng.getrandbits(64):016x}" for _ in texts], "text": texts})


def test_answers_are_compared_with_those_to_their_instruction(tmp_path: Path) -> None:
    asked = " ".join(f"word{i}" for i in range(300))
    said = ["It is seven.", "It is eight.", "It  is SEVEN.", " ".join(f"because{i}" for i in range(40))]
    said.append(said[-1] + " indeed")

    def answers(step: str, parent: str, question: str = asked) -> list[Conversation]:
        turns = [(Message("user", question), Message("assistant", text)) for text in said]
        return [Conversation(step, turn, "u", i, parent_ids=(parent,)) for i, turn in enumerate(turns)]

    def kept(*groups: list[Conversation]) -> list[list[bool]]:
        frame = conversations_frame([c for group in groups for c in group])
        made = asyncio.run(STAGE.run(frame, SignaturesSettings(scope="conversation"), None)).rows
        made.write_parquet(tmp_path / "s.parquet")
        ids, signed = stored([tmp_path / "s.parquet"], None, 0.8)
        judged = judge_signed(ids, signed, ids.is_in([]), 0.8)
        keep = dict(judged.select("record_id", "keep").rows())
        return [[keep[c.record_id] for c in group] for group in groups]

    (one,) = kept(answers("respond", "00112233445566778899aabbccddeeff"))
    assert sum(one[0::2][:2]) == 1, "the same but for case and white space"
    assert one[1]
    assert sum(one[3:]) == 1
    other = answers("respond", "f" * 32, f"{asked} again")
    two = kept(answers("respond", "00112233445566778899aabbccddeeff"), other)
    assert list(map(sum, two)) == [3, 3], "the same answers to another instruction"
    assert sum(kept(answers("dataset", "f" * 32))[0]) == 1, "rows of a dataset are compared whole"
    both = kept(answers("respond", "f" * 32), answers("dataset", "0" * 32)[1:2])
    assert sum(map(sum, both)) == 3, "one that was made and a dataset's do not both stay"


@pytest.mark.parametrize("seed", range(6))
def test_one_shard_or_sixteen_shuffled_ones(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    frame = a_set(rng)
    admitted = frame["record_id"].sample(10, seed=seed)
    threshold = rng.choice([0.5, 0.7, 0.8, 0.9])

    def judged(frame: pl.DataFrame, shards: int) -> pl.DataFrame:
        paths = []
        for i in range(shards):
            part = frame.gather_every(shards, i)
            paths.append(tmp_path / f"{shards}-{i}.parquet")
            sign(part["record_id"], "conversation", part["text"].to_arrow()).write_parquet(paths[-1])
        rng.shuffle(paths)
        ids, signed = stored(paths, None, threshold)
        return judge_signed(ids, signed, ids.is_in(admitted.implode()), threshold)

    whole = judged(frame, 1)
    for shards in (1, 16):
        assert judged(frame.sample(fraction=1, shuffle=True, seed=seed + 100), shards).equals(whole)
    assert 100 < whole["keep"].sum() < whole.height - 20, "nothing to find in it"
    assert whole.filter(pl.col("record_id").is_in(admitted.implode()))["keep"].all()
