"""ROUGE-L against a plain implementation, and the nearest of a pool against comparing with all of it."""

import random
from pathlib import Path

import pytest
from seedlings import QUESTIONS, instruction

from hydata.schema import conversations_frame
from hydata.synthesis import novelty, self_instruct
from hydata.synthesis.novelty import index, nearest, opened, pool, rouge_l


def plain(a: list[str], b: list[str]) -> float:
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    return 2 * rows[-1][-1] / (len(a) + len(b))


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence() -> None:
    draw = random.Random(5)
    for _ in range(300):
        a, b = ([draw.choice("abcdef") for _ in range(draw.randint(1, 90))] for _ in range(2))
        assert rouge_l(a, b) == plain(a, b)
    assert rouge_l([], ["a"]) == 0
    assert rouge_l(["name", "two", "birds", "of", "prey"], ["name", "three", "birds", "of", "prey"]) == 0.8


@pytest.mark.parametrize("bound", [0.05, 0.4, 0.7, 0.95])
def test_the_nearest_is_that_of_comparing_with_all(bound: float) -> None:
    draw = random.Random(7)
    words = ["how", "do", "ships", "find", "the", "the", "harbour", "at", "night", "灯", "塔", "海"]
    known = [" ".join(draw.choices(words, k=draw.randint(3, 9))) for _ in range(300)]
    frame = pool(conversations_frame(instruction(text) for text in known).lazy())
    said = dict(frame.rows())
    new = [" ".join(draw.choices(words, k=draw.randint(3, 9))) for _ in range(60)] + ["", "something else"]
    found = nearest(new, index([frame[:100], frame[100:]]), bound)
    for text, near in zip(new, found, strict=True):
        own = text.split()
        likeness = max((plain(own, other), other_id) for other_id, other in said.items())[0] if own else 0
        assert (near.likeness if near else None) == (likeness if likeness > bound else None)
        if near:
            assert near.record_id == min(i for i, other in said.items() if plain(own, other) == likeness)


def test_what_is_near_to_any_admitted_instruction_is_named(tmp_path: Path) -> None:
    """Also to one of another shard: the pool is a snapshot of all."""
    admitted = conversations_frame(instruction(text) for text in QUESTIONS)
    admitted.write_parquet(tmp_path / "admitted.parquet")
    path = novelty.STAGE.run(
        {"admitted": [tmp_path / "admitted.parquet"]}, novelty.NoveltySettings(), None, tmp_path
    )
    again = novelty.STAGE.run(
        {"admitted": [tmp_path / "admitted.parquet"]}, novelty.NoveltySettings(), None, tmp_path
    )
    assert path == again
    assert opened(path) is opened(path)
    (english, chinese, other) = nearest(
        [
            "How does a lighthouse warn ships of reefs at night?",
            "请说明灯塔在现代航海中的作用。",
            "Name two birds.",
        ],
        opened(path),
        0.7,
    )
    ids = dict(zip(QUESTIONS, admitted["record_id"], strict=True))
    assert english is not None
    assert english.record_id == ids[QUESTIONS[0]]
    assert chinese is not None
    assert chinese.record_id == ids["请说明灯塔在古代航海中的作用。"]
    assert other is None


def test_a_reject_names_what_it_is_near_to(run, instructions) -> None:
    settings = self_instruct.SelfInstructSettings(count=30, max_overlap=0.05)
    out = run(self_instruct.STAGE, instructions, settings)
    near = out.rejects.filter(reason="not_novel")
    assert near.height > 0
    named = near["detail"].str.extract(r"like ([0-9a-f]{32}): ")
    assert set(named) <= set(instructions["record_id"])
