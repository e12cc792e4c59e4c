"""Quotes are found where they stand, in the original's own offsets, and only if they stand there."""

import random

import pytest

from hydata.synthesis.grounding import MAX_EDITS, fold, locate, nearest, supported

TEXT = (
    "The lighthouse of Alexandria was built about 280 BC.  It stood on the island of Pharos,\n"
    "and a mirror of bronze — so travellers say — threw the light 50 km across the sea. "
    "It was not rebuilt after the earthquake of 1323."
)
TEXT_ZH = (
    "亚历山大灯塔建于公元前280年，耸立在法罗斯岛上。据说，铜镜把火光反射到50公里外的海面。"
    "1323年地震以后没有重建。"
)


def stands(quote: str, text: str) -> list[str] | None:
    """The stretches of the text that the quote was found as."""
    found = locate(quote, text)
    return None if found is None else [text[place.start : place.end] for place in found]


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("built about 280 BC", "built about 280 BC"),
        ("built about 280 BC. It stood on", "built about 280 BC.  It stood on"),  # white space
        ("island of Pharos, and a mirror", "island of Pharos,\nand a mirror"),
        ("a mirror of bronze - so travellers say - threw", "a mirror of bronze — so travellers say — threw"),
        ("THE LIGHTHOUSE OF ALEXANDRIA", "The lighthouse of Alexandria"),
        ("ｔｈｅ ｌｉｇｈｔ ５０ ｋｍ", "the light 50 km"),  # full width
        ("“The lighthouse of Aléxandria”", None),  # the quotation marks are not there, but nearly:
    ],
)
def test_a_quote_is_found_whatever_its_typography(quote: str, found: str | None) -> None:
    assert stands(quote, TEXT) == [found or "The lighthouse of Alexandria"]


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("耸立在法罗斯岛上", "耸立在法罗斯岛上"),
        ("建于公元前 280 年,耸立在 法罗斯岛上.", "建于公元前280年，耸立在法罗斯岛上。"),
        ("铜镜把火光反射到５０公里外", "铜镜把火光反射到50公里外"),
        ("据说铜镜把火光反射到50公里外的海面", "据说，铜镜把火光反射到50公里外的海面"),
    ],
)
def test_a_chinese_quote_as_well(quote: str, found: str) -> None:
    assert stands(quote, TEXT_ZH) == [found]


def test_a_copyists_slips_are_forgiven_but_not_numbers_and_negations() -> None:
    assert stands("a mirror of bronze, so travelers say, threw the light 50 km", TEXT) == [
        "a mirror of bronze — so travellers say — threw the light 50 km"
    ]
    assert stands("threw the light 60 km across the sea", TEXT) is None
    assert stands("It was rebuilt after the earthquake of 1323", TEXT) is None
    assert stands("1323年地震以后有重建", TEXT_ZH) is None
    assert stands("铜镜把火光反射到60公里外的海面", TEXT_ZH) is None


@pytest.mark.parametrize(
    "quote",
    [
        "Keepers carried the fuel up the stairs each evening.",
        "Alexander the Great built the tower himself.",
        "and",  # stands inside a word first
        "",
        "…",
        "守塔人每天傍晚把燃料搬上楼梯",
    ],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert locate(quote, "The island of Pharos. 灯塔") is None


def test_whole_words_only() -> None:
    text = "The cart stood by the art school. 12345 and 345."
    assert [text[p.start - 1 : p.end + 1] for p in locate("art", text)] == [" art "]
    assert [p.start for p in locate("345", text)] == [text.rindex("345")]


def test_a_quote_that_occurs_several_times_is_found_where_it_occurs_first() -> None:
    text = "Salt dissolves in water. Sugar does too. Salt dissolves in water."
    assert [p.start for p in locate("salt dissolves in water", text)] == [0]


def test_an_elided_quote_is_its_pieces_in_order() -> None:
    assert stands("The lighthouse of Alexandria [...] stood on the island of Pharos", TEXT) == [
        "The lighthouse of Alexandria",
        "stood on the island of Pharos",
    ]
    assert stands("stood on the island of Pharos … The lighthouse of Alexandria", TEXT) is None
    assert stands("亚历山大灯塔……没有重建", TEXT_ZH) == ["亚历山大灯塔", "没有重建"]


@pytest.mark.parametrize(
    ("quote", "text", "found"),
    [
        ("cafe\u0301 in Zürich", "the café in Zurich", "café in Zurich"),
        ("the efficient fix", "so the eﬃcient ﬁx of", "the eﬃcient ﬁx"),  # ligatures: one for several
        ("STRASSE IN BERLIN", "die Straße in Berlin", "Straße in Berlin"),
        ("istanbul is old", "İstanbul is old", "İstanbul is old"),
        ("half ½ way", "half 1⁄2 way", "half 1⁄2 way"),
        ("zero\u200bwidth joiner", "zerowidth\u200d joiner", "zerowidth\u200d joiner"),
        ("한국어 문장", "이것은 한국어 문장 이다", "한국어 문장"),
        ("a \ud800 lone half", "there is a \ud800 lone half", "a \ud800 lone half"),
    ],
)
def test_offsets_are_the_originals_in_every_script(quote: str, text: str, found: str) -> None:
    assert stands(quote, text) == [found]


def test_every_folded_character_knows_where_it_came_from() -> None:
    rng = random.Random(3)
    letters = "aB é ﬁ½“”—…　 \n\t中文，。ＡＢß\u200b\u0301İ😀한\ud800"
    for _ in range(300):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(60)))
        folded = fold(text)
        assert len(folded.text) == len(folded.offsets)
        assert folded.offsets == sorted(folded.offsets)
        assert all(0 <= offset < len(text) for offset in folded.offsets)
        assert fold(folded.text).text == folded.text


def edit_distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def test_the_nearest_stretch_is_the_nearest_of_all() -> None:
    rng = random.Random(11)
    for _ in range(200):
        text = "".join(rng.choice("abc ") for _ in range(rng.randrange(1, 25)))
        pattern = "".join(rng.choice("abc ") for _ in range(rng.randrange(1, 9)))
        found = nearest(pattern, text)
        every = [text[i:j] for i in range(len(text) + 1) for j in range(i, len(text) + 1)]
        assert found.edits == min(edit_distance(pattern, stretch) for stretch in every)
        assert edit_distance(pattern, text[found.start : found.end]) == found.edits


def test_a_near_match_keeps_the_true_ends_of_what_left_words_out() -> None:
    found = stands("It stood on the island Pharos", TEXT)
    assert found == ["It stood on the island of Pharos"]
    assert len("of ") <= MAX_EDITS * len("It stood on the island Pharos")


EVIDENCE = "They reached Vienna in 1554, when the ambassador Ogier de Busbecq sent 1,200 bulbs; three died."


@pytest.mark.parametrize(
    ("answer", "question", "holds"),
    [
        ("Ogier de Busbecq", "Who sent the bulbs?", True),
        ("In 1554.", "When did tulips reach Vienna?", True),
        ("1200", "How many bulbs were sent?", True),
        ("3", "How many bulbs died?", True),
        ("1555", "When did tulips reach Vienna?", False),
        ("The Ottoman sultan", "Who sent the bulbs?", False),
        ("The ambassador Ogier de Busbecq from Flanders and Antwerp", "Who sent the bulbs?", False),
        ("Yes", "Did tulips reach Vienna in 1554?", False),  # nothing that could be looked up
        ("Vienna", "Was it Vienna or Prague that they reached?", True),
        ("Prague", "Was it Vienna or Prague that they reached?", False),
    ],
)
def test_an_answer_must_stand_in_its_quotes(answer: str, question: str, holds: bool) -> None:
    assert supported(answer, EVIDENCE, question) is holds


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ("僧人乐僔", True),
        ("公元366年", True),
        ("乐僔", True),
        ("玄奘法师", False),
        ("公元365年", False),
        ("是的", False),
    ],
)
def test_a_chinese_answer_as_well(answer: str, holds: bool) -> None:
    evidence = "莫高窟始建于前秦建元二年，即公元366年，相传由僧人乐僔开凿。"
    assert supported(answer, evidence, "莫高窟最早是谁开凿的，在哪一年？") is holds


def test_a_hostile_text_costs_linear_time() -> None:
    text = "ab " * 20_000
    assert locate("ba " * 100 + "c", text) is None
    assert locate('{"quotes": ["}{"]} {{ 7*7 }}', text) is None
