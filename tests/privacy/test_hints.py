"""What a hint or a cheaper pattern leaves out is nothing that the whole search would find."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from hydata.curation.files import ROWS
from hydata.curation.privacy import judge_rows
from hydata.privacy import FindSettings, banking, contact, documents, find, mask
from hydata.privacy.finder import matches_at, starts
from hydata.privacy.hints import NUMBER, Hint, Maybe, automaton
from hydata.privacy.mask import FINDERS
from hydata.privacy.names import NAME

SHARED = Path(__file__).parents[3] / "shared" / "data"
TEXTS = 1_500
VALUES = (
    *("o'neil+x@mail.example.co.uk", "jo (at) ex.org", "+27 61 222 4762", "(415) 555-2671 ext. 12"),
    *("010-62345678", "84.17.46.53", "::ffff:10.1.2.3", "fe80::1a:2", "536-22-8726", "11010519491231002X"),
    *("A123456(3)", "4012 8888 8888 1881", "# 4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"),
    *("MT84MALT011000012345MTLCAST001S", "X1234567", "京A12345", "228 W 10th St, New York, NY 10014"),
    *("Hauptstraße 12", "PO Box 99", "南岗区中山路123号", "AKIAIOSFODNN7EXAMPLE", "ab12cd34ef"),
    *("postgres://u:p4ss@host", "-----BEGIN PRIVATE KEY-----", "Bearer abcdef0123456789abcd"),
)
WORDS = (
    *(
        "call ",
        "电话",
        "card ",
        "身份证",
        "ID no. ",
        "ſſn ",
        "passport ",
        "plate ",
        "tags number ",
        "lives at ",
    ),
    *(
        "api key",
        "aws_secret ac",
        "cess-key id",
        "to\u212aen",
        "ſecret",
        "密码",
        "pwd",
        " is ",
        "是",
        "=",
        ": ",
    ),
    *(
        "[EMAIL_1]",
        "[",
        "]",
        "(",
        ")",
        "{",
        "at",
        "AT",
        "://",
        "::",
        "@",
        "'",
        "+",
        "-",
        "--",
        "#",
        "# ",
        "/",
    ),
    *(" ", "  ", "\n", "\u00a0", ".", ". ", "。", ",", ", ", "x", "Apt 4", "the ", "St", "路", "号", "三"),
    *("0", "00", "1", "86", "13", "123", "4567", "1 1 1 1 1 1 1 1 1 1 1 1 1 1", "12-34-56", "０１２３", "＠"),
    *("‐", "‑", "‒", "–", "İ", "ı", "ß", "ẞ", "É", "\u212a", "\u200b", "😀", "é", "中文", "\x00", "K", "k"),
)


def _fuzzed(seed: int) -> list[str]:
    draw = random.Random(seed)
    texts = []
    for _ in range(TEXTS):
        parts = []
        for _ in range(draw.choice((1, 3, 8, 20))):
            part = draw.choice(VALUES if draw.random() < 0.4 else WORDS)
            if draw.random() < 0.2:
                part = part[draw.randrange(len(part)) :]
            parts.append(part.upper() if draw.random() < 0.1 else part)
        texts.append("".join(parts))
    return texts


def _numeric(seed: int) -> list[str]:
    draw = random.Random(seed)
    signs = [*"0123456789" * 2, *" -.()+#/aZ$@'_", "# ", " (", "86", "00", "+1", "DE8", "\u00a0", "x.co"]
    return ["".join(draw.choices(signs, k=draw.choice((5, 15, 40)))) for _ in range(TEXTS)]


FUZZED = [*_fuzzed(1), *_numeric(2)]


def _said(hint: Hint, text: str) -> bool:
    lower = text.lower()
    shapes = (
        "".join(f"[{re.escape(c.chars)}]?" if isinstance(c, Maybe) else f"[{re.escape(c)}]" for c in shape)
        for shape in hint.shapes
    )
    return any(word in lower for word in hint.words) or any(re.search(shape, text) for shape in shapes)


def test_the_automaton_knows_what_searches_know() -> None:
    hints = [h for finder in (*FINDERS, NAME) for h in (*finder.hints, *finder.needs)]
    known = automaton(list(dict.fromkeys(hints)))
    column = known.read_all(pl.Series([*FUZZED, None], dtype=pl.String)).tolist()
    assert column.pop() == 0
    for text, bits in zip(FUZZED, column, strict=True):
        assert known.read(text) == bits
        assert bits == sum(bit for hint, bit in known.bits.items() if _said(hint, text)), text


def test_a_text_is_read_as_it_is_encoded() -> None:
    known = automaton([NUMBER, Hint(("key",))])
    for text in ("", "\ud800 key", "😀" * 3 + "1 2 3 4 5 6", "\U0010ffff"):
        assert known.read(text) == sum(bit for hint, bit in known.bits.items() if _said(hint, text))


def test_too_many_hints_are_refused() -> None:
    with pytest.raises(ValueError, match="65 hints"):
        automaton([Hint((str(number),)) for number in range(65)])


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: finder.kind)
def test_no_need_hides_a_place(finder: mask.Finder) -> None:
    known = mask._hints()
    for text in FUZZED:
        bits = known.read(text)
        if bits & known.of(finder.hints):
            asked = set(finder.find(text, lambda hint, bits=bits: bool(bits & known.bits[hint])))  # type: ignore[misc]
            assert asked == set(finder.find(text, lambda _: True)), text


HIDING = (
    *(
        "j {at} b.com",
        "j [ at ] b.com",
        "j (AT) b (dot) com",
        "j[at]b.com",
        "Calle Mayor 5",
        '"Calle Mayor 5"',
    ),
    *("住在Calle Mayor 5", "Via Roma 12", "Hauptstraße, 12", "Lange Gasse 3", "POBox 99", "P.O.Box 12"),
    *(
        "12A 5th St",
        "12A 5th Street, Apt 4",
        "10 de la Rosa St",
        "5 del Mar 7, Apt 3",
        "路三号",
        "é\nRue X 9",
    ),
    *("paſſport A1234567", "licenſe plate AB12 CDE", "to\u212aen=a1b2c3d4", "pwd=a1b2c3d4", "ſecret: a1b2c3"),
    *("api key a1b2c3d4", "::1:2", "1::", "call 1-2-3-4-5-6-7", "BEARER a", "basic abcdef0123456789abcd"),
)
"""Texts short enough that a finder's hint alone decides."""


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: finder.kind)
def test_no_hint_hides_a_place(finder: mask.Finder) -> None:
    known = mask._hints()
    for text in (*HIDING, *VALUES, *FUZZED, *(f"{word}{value}" for word in WORDS for value in VALUES)):
        if not known.read(text) & known.of(finder.hints):
            assert not [*finder.find(text, lambda _: True)], text


@pytest.mark.parametrize("text", HIDING[:13])
def test_a_short_value_is_found_as_beside_others(text: str) -> None:
    kind = "address" if "at" not in text.lower() else "email"
    assert kind in {found.kind for found in find(text, FindSettings())}


def test_cheaper_starts_hide_no_match() -> None:
    for text in FUZZED:
        for some, pattern in (
            (starts(contact._SHAPED_SPOT, text), contact._SHAPES),
            (starts(contact._SPOT, text), contact._ANY),
            (starts(banking._CHECK, text, back=2), banking._IBAN),
            (documents._numbers(text), documents._NUMBERED),
        ):
            spans = [match.span() for match in matches_at(some, pattern, text)]
            assert spans == [match.span() for match in pattern.finditer(text)], (pattern.pattern, text)


def test_addresses_that_are_read_from_their_end_are_those_from_their_beginning() -> None:
    for host, local, length, letters in contact.FORMS:
        whole = re.compile(local.pattern + host.pattern, host.flags)
        for text in FUZZED:
            spans = list(contact._ended_by(host, local, length, letters, text))
            assert spans == [match.span() for match in whole.finditer(text)], text


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _same(texts: list[str]) -> None:
    """The judge of columns has for every text the places that are masked in it alone."""
    settings = FindSettings()
    rows = pl.concat([pl.DataFrame(schema=ROWS), pl.DataFrame({"text": texts})], how="diagonal")
    for text, spans in zip(texts, judge_rows(rows, settings)["spans"], strict=True):
        alone = [{"kind": f.kind, "start": f.start, "end": f.end} for f in find(text, settings)]
        assert spans.to_list() == alone, text


def test_columns_and_single_texts_have_the_same_places() -> None:
    _same(FUZZED)


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data is not on this machine")
def test_columns_and_single_texts_have_the_same_places_in_real_texts() -> None:
    files = sorted((SHARED / "labelled" / "pii").iterdir())
    files += [SHARED / "instructions" / f"alpaca_raw_rows_0-3252_{name}.json" for name in ("en", "zh")]
    for file in files:
        lines = file.read_text("utf-8")
        rows = json.loads(lines) if file.suffix == ".json" else [*map(json.loads, lines.splitlines())]
        _same(["\n\n".join(_strings(row)) for row in rows])
