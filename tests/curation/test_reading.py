"""The compiled pass against the algorithms it stands for, written plainly here; and hostile texts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from hydata.curation import reading
from hydata.curation.measure import anchor_table, anchored_lists, blocks, phrases
from hydata.curation.reading import COUNTS, PAIR_COUNTS, kernels
from hydata.curation.words import CJK, WORD

EN = [
    "the",
    "a",
    "of",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "and",
    "ran;",
    "red,",
    "blue.",
    "Big!",
    "tea's",
    "x-ray",
    "42",
    "3.5",
    "über",
    "naïve",
]
ZH = [*"的一是不了在人有我他这中大来上国。，！？", "机器", "学习", "GPT", " ", "3"]


def read(*texts: str | None, sources: Sequence[str | None] | None = None) -> pl.DataFrame:
    column = pl.Series(texts, dtype=pl.String)
    given = pl.Series(sources or [None] * len(texts), dtype=pl.String)
    return reading.read(column, given, anchor_table())[0]


def lowered(text: str) -> str:
    """Lower case, letter by letter."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def found(pattern: str, texts: Sequence[str]) -> list[list[str]]:
    return pl.Series(texts, dtype=pl.String).str.extract_all(pattern).to_list()


def mostly_cjk(words: list[str]) -> bool:
    return 2 * len([w for w in words if pl.Series([w]).str.contains(rf"^{CJK}$").item()]) > len(words)


# --- Rae et al. 2021, table A1, as the paper's measures are commonly implemented ------------------------


def top_gram(words: list[str], n: int) -> int:
    grams = Counter(tuple(words[k : k + n]) for k in range(len(words) - n + 1))
    most = max(grams.values(), default=0)
    if most < 2:
        return 0
    longest = max(sum(map(len, gram)) for gram, count in grams.items() if count == most)
    return min(most * longest, sum(map(len, words)))


def duplicate_grams(words: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    covered = k = 0
    while k < len(words) - n + 1:
        gram = tuple(words[k : k + n])
        if gram in seen:
            covered += sum(map(len, gram))
            k += n
        else:
            seen.add(gram)
            k += 1
    return covered


def duplicates(parts: list[tuple[tuple[str, ...], int]]) -> tuple[int, int]:
    seen: set[tuple[str, ...]] = set()
    count = characters = 0
    for part, length in parts:
        if part in seen:
            count, characters = count + 1, characters + length
        seen.add(part)
    return count, characters


def random_text(rng: random.Random, pieces: list[str], joint: str) -> str:
    lines = []
    for _ in range(rng.randrange(1, 12)):
        vocabulary = rng.sample(pieces, rng.choice([2, 4, 12]))
        line = joint.join(rng.choice(vocabulary) for _ in range(rng.randrange(0, 30)))
        lines += [line] * rng.choice([1, 1, 1, 2, 4])
    rng.shuffle(lines)
    return "".join(line + rng.choice(["\n", "\n\n", " \n", "\n \n"]) for line in lines)


@pytest.mark.parametrize(("pieces", "joint"), [(EN, " "), (ZH, ""), (EN + ZH, " ")])
def test_repetition_is_counted_as_by_the_reference(pieces: list[str], joint: str) -> None:
    rng = random.Random(11)
    texts = [random_text(rng, pieces, joint) for _ in range(300)]
    counts = read(*texts)
    for text, words, row in zip(
        texts, found(WORD, [lowered(t) for t in texts]), counts.iter_rows(named=True), strict=True
    ):
        step = 2 if mostly_cjk(words) else 1
        assert row["words"] == len(words)
        assert row["word_characters"] == sum(map(len, words))
        assert row["distinct_words"] == len(set(words))
        for n in (2, 3, 4):
            assert row[f"top_{n}gram"] == top_gram(words, n * step), (n, text)
        for n in range(5, 11):
            assert row[f"duplicate_{n}gram"] == duplicate_grams(words, n * step), (n, text)
        tokens = found(rf"{WORD}|\S", [lowered(line) for line in text.split("\n")])
        lines = [
            (tuple(line), len(raw.strip()))
            for line, raw in zip(tokens, text.split("\n"), strict=True)
            if line
        ]
        worded = [line for line in lines if any(c.isalnum() for token in line[0] for c in token)]
        paragraphs: list[tuple[tuple[str, ...], int]] = []
        fresh = True
        for line, raw in zip(tokens, text.split("\n"), strict=True):
            if not line:
                fresh = True
                continue
            if fresh:
                paragraphs.append(((), 0))
            before, length = paragraphs[-1]
            paragraphs[-1] = ((*before, *line, "\n"), length + len(raw.strip()))
            fresh = False
        assert row["lines"] == len(lines)
        assert row["worded_lines"] == len(worded)
        assert (row["duplicate_lines"], row["duplicate_line_characters"]) == duplicates(worded), text
        assert row["paragraphs"] == len(paragraphs)
        assert (row["duplicate_paragraphs"], row["duplicate_paragraph_characters"]) == duplicates(paragraphs)


@pytest.mark.parametrize(("pieces", "joint"), [(EN, " "), (ZH, "")])
def test_what_was_copied_is_counted_as_by_the_reference(pieces: list[str], joint: str) -> None:
    rng = random.Random(5)
    pairs = [(random_text(rng, pieces, joint), random_text(rng, pieces, joint)) for _ in range(150)]
    pairs += [(text, text) for text, _ in pairs[:10]]
    texts, sources = [text for text, _ in pairs], [source for _, source in pairs]
    counts = read(*texts, sources=sources)
    words = found(WORD, [lowered(t) for t in texts])
    asked = found(WORD, [lowered(t) for t in sources])
    for mine, theirs, row in zip(words, asked, counts.iter_rows(named=True), strict=True):
        grams, source = ([tuple(w[k : k + 5]) for k in range(len(w) - 4)] for w in (mine, theirs))
        assert tuple(row[name] for name in PAIR_COUNTS) == (
            len(grams),
            sum(gram in set(source) for gram in grams),
            len(source),
            sum(gram in set(grams) for gram in source),
            int(mine == theirs and len(mine) > 0),
        )


def random_unicode(rng: random.Random, length: int) -> str:
    """All planes, marks, controls, U+FFFD where half a surrogate pair was, and pieces of markup."""
    pieces = [
        "```",
        "\n",
        "\n\n",
        " ",
        "$$",
        "\\(",
        "\\begin{",
        "|",
        "- ",
        "1. ",
        '"',
        "“",
        "{",
        "[",
        "\ufffd",
    ]
    letters = []
    for _ in range(length):
        if rng.random() < 0.3:
            letters.append(rng.choice(pieces))
        elif rng.random() < 0.5:
            letters.append(chr(rng.randrange(0x20, 0x250)))
        else:
            letters.append(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])))
    return "".join(letters)


CLASSES = {
    "characters": [r"(?s)."],
    "inked": [r"\S"],
    "words": [WORD],
    "cjk": [CJK],
    "symbols": [r"\p{S}"],
    "controls": [r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]"],
    "unassigned": [r"[\p{Co}\p{Cn}]"],
    "replacements": ["\ufffd"],
    "braces": [r"[{}]"],
    "newlines": ["\n"],
    "mixed_script_words": [
        r"[\p{L}&&\p{Latin}][\p{L}&&\p{Cyrillic}]",
        r"[\p{L}&&\p{Cyrillic}][\p{L}&&\p{Latin}]",
    ],
}


def test_random_unicode_is_counted_as_by_regular_expressions() -> None:
    """20,000 texts: nothing crashes, and what a regular expression can count is counted alike."""
    rng = random.Random(3)
    texts = [random_unicode(rng, rng.choice([0, 1, 3, 12, 40])) for _ in range(20_000)]
    counts = read(*texts)
    column = pl.Series(texts)
    for name, patterns in CLASSES.items():
        wanted = pl.DataFrame([column.str.count_matches(p).alias(p) for p in patterns]).sum_horizontal()
        wrong = (counts[name] != wanted).arg_true()
        assert not len(wrong), (name, texts[wrong[0]], counts[name][wrong[0]], wanted[wrong[0]])


def test_a_text_reads_alike_in_any_company() -> None:
    rng = random.Random(4)
    texts: list[str | None] = [random_text(rng, EN + ZH, " ") for _ in range(40)]
    texts[7] = None
    together = read(*texts)
    assert together.row(7) == (0,) * (len(COUNTS) + len(PAIR_COUNTS) + 2)
    for k in (0, 6, 8, 39):
        assert read(texts[k]).row(0) == together.row(k)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "word " * (n // 5),
        lambda n: "字" * (n // 3),
        lambda n: "[" * n,
        lambda n: '{"a":' * (n // 5),
        lambda n: "```\n" * (n // 4),
        lambda n: "\n" * n,
        lambda n: "a\n\n" * (n // 3),
        lambda n: "é" * (n // 2),
        lambda n: "Ã©" * (n // 4),
        lambda n: "".join(f"w{k} " for k in range(n // 7)),
        lambda n: "| a " * (n // 4),
        lambda n: "\ufffd" * (n // 3),
        lambda n: "x" * n,
    ],
)
def test_ten_megabytes_are_read(make: Callable[[int], str]) -> None:
    text = make(10_000_000)
    counts = read(text)
    assert counts["characters"].item() == len(text)
    # What grows with a text grows in proportion: a tenth of it has a tenth of the words.
    assert counts["words"].item() == pytest.approx(
        10 * read(make(1_000_000))["words"].item(), rel=0.1, abs=10
    )


def test_bytes_that_are_no_utf8_are_read() -> None:
    data = np.frombuffer(bytes(range(256)) * 4 + b"\xf4\xbf\xbf\xbf\xe4\xb8", np.uint8)
    offsets = np.array([0, 100, 611, len(data)], np.int64)
    nothing, none, zeros = np.empty(0, np.uint8), np.zeros(3, np.bool_), np.zeros(4, np.int64)
    for array in (offsets, nothing, zeros):
        array.flags.writeable = False
    table, characters = anchor_table(), reading.characters.reading_table()
    counts, others = (np.zeros((len(COUNTS), 3), np.uint32) for _ in range(2))
    kernels.read_texts(
        data,
        offsets,
        ~none,
        nothing,
        zeros,
        none,
        table.marks,
        characters.lower,
        characters.encodings,
        table.sieve,
        table.keys,
        table.values,
        counts,
        np.zeros((2, 3), np.uint64),
        others,
        np.zeros((2, 3), np.uint64),
        np.zeros((len(PAIR_COUNTS), 3), np.uint32),
    )
    assert (counts[0] > 0).all()
    assert not others.any()


# --- anchors ---------------------------------------------------------------------------------------------


def test_an_anchor_is_found_in_any_case_and_nowhere_else() -> None:
    groups = [["sorry", "über"], ["无法", "图"], ["<"], ["can't", "not_able"], ["^no", "^无"], ["json"]]
    table = reading.anchors([*groups, *([f"filler{k}"] for k in range(58)), ["the"], ["sorry"]])
    expected = {
        "So SORRY!": ([0], 2),
        "ÜBER the": ([0], 1),
        "他无法来": ([1], 0),
        "无 法": ([4], 0),
        "地图": ([1], 0),
        "a < b": ([2], 0),
        "sorryful, json5": ([], 0),
        "JSON。": ([5], 0),
        "I can’t": ([3], 0),
        "Can. T": ([3], 0),
        "can\nt": ([], 0),
        "can 't a, not able": ([3], 0),
        "can not": ([], 0),
        "oh no": ([], 0),
        "oh\n\n “No.": ([4], 0),
        "<无>": ([2, 4], 0),
        "他无": ([], 0),
        "no无": ([4], 0),
        "": ([], 0),
    }
    found, _ = reading.read(
        pl.Series(list(expected)), pl.Series([None] * len(expected), dtype=pl.String), table
    )
    told = zip(expected, found["anchors_0"], found["anchors_1"], strict=True)
    assert {t: ([bit for bit in range(64) if low >> bit & 1], high) for t, low, high in told} == expected


@pytest.mark.parametrize(
    "wrong", ["two words x", "三个字", "<<", "", "a1!", "^a_b", "^<", "a__b", "^三个", "a字"]
)
def test_an_anchor_that_cannot_be_found_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="anchor"):
        reading.anchors([[wrong]])


def test_more_groups_than_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="129 groups"):
        reading.anchors([[f"w{k}"] for k in range(129)])


def test_lists_of_phrases_are_anchored() -> None:
    assert {"refusals", "role_markers", "html", "urls", "asks_json"} <= set(anchored_lists())
    for name in anchored_lists():
        assert [phrase for block in blocks(name) for phrase in block.phrases] == phrases(name)
        assert all(line for block in blocks(name) for line in block.anchors)
