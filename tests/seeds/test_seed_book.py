"""Books: where they are cut, and that their offsets are true."""

import io
import random
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from hydata.schema import Document, Reject
from hydata.seeds import Limits, SeedSettings, Source, read
from hydata.seeds.chunks import Chunk, Chunker, cut_point, heading, split_code
from hydata.seeds.io import clean
from hydata.seeds.man import man_text

PARAGRAPH = "The harbour lay quiet in the early light. Nobody had yet come to the boats; the gulls slept.\n\n"
ABSATZ = "　　却说那日天色将晚，众人都在亭中闲坐，只听得外面有人说话。宝玉便起身走到门口，向外望了一望。\n"


def chunks(text: str, step: int, **options: object) -> list[Chunk]:
    chunker = Chunker(300, 600, **options)
    found: list[Chunk] = []
    for start in range(0, len(text), step):
        found += chunker.feed(text[start : start + step])
    return [*found, *chunker.close()]


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 1",
        "CHAPTER I.",
        "CHAPTER XIV. The Letter",
        "Chapter the Last",
        "BOOK ONE: 1805",
        "Part II",
        "EPILOGUE",
        "第一回 甄士隐梦幻识通灵 贾雨村风尘怀闺秀",
        "第十章",
        "　　第12章：归来",
        "楔子",
        " = Robert Boulter = ",
    ],
)
def test_headings(line: str) -> None:
    assert heading(line) == line.strip(" 　=")


@pytest.mark.parametrize(
    "line",
    [
        "第四回中既将薛家母子在荣府中寄居等事略已表明，此回暂可不写了。",
        "Chapter 1 of the report was lost, and with it all that we knew of the harbour, boats and the men.",
        "Part of the crew",
        "Act now",
        "",
        "x" * 500,
        "# Not in plain text",
    ],
)
def test_prose_is_no_heading(line: str) -> None:
    assert heading(line) is None


def test_cut_prefers_paragraphs_then_sentences_then_anything() -> None:
    text = "a b. " * 50 + "\n\n" + "c d. " * 100
    assert cut_point(text, 240, 500) == 252
    sentences = "Word word word word. " * 60
    assert sentences[: cut_point(sentences, 240, 500)].endswith(". ")
    chinese = "天色将晚众人都在亭中闲坐。" * 60
    assert chinese[: cut_point(chinese, 240, 500)].endswith("。")
    assert cut_point("x" * 1000, 240, 500) == 500


@pytest.mark.parametrize("step", [1, 7, 1000, 10**6])
def test_offsets_are_true_however_the_text_arrives(step: int) -> None:
    text = "".join(f"Chapter {n}\n\n" + PARAGRAPH * 9 for n in range(1, 5)) + ABSATZ * 20 + "y" * 2000
    found = chunks(text, step)
    assert all(text[c.start : c.end] == c.text for c in found)
    assert max(len(c.text) for c in found) <= 600
    assert [c.chapter for c in found if c.text.startswith("Chapter")] == [f"Chapter {n}" for n in range(1, 5)]
    assert [(c.start, c.end) for c in found] == [(c.start, c.end) for c in chunks(text, 13)]
    # Nothing but white space lies between the chunks.
    joints = [0, *[edge for c in found for edge in (c.start, c.end)], len(text)]
    assert not "".join(text[a:b] for a, b in zip(joints[::2], joints[1::2], strict=True)).strip()


def test_a_table_of_contents_stays_together() -> None:
    text = (
        "".join(f"Chapter {n}\n" for n in range(1, 9))
        + "\nChapter 1\n\n"
        + PARAGRAPH * 2
        + "Chapter 2\n\n"
        + PARAGRAPH
    )
    found = chunks(text, 50)
    assert len(found) == 2
    assert found[1].chapter == "Chapter 2"


def test_markdown_fences_hide_headings() -> None:
    text = "# Title\n\n" + PARAGRAPH * 2 + "```sh\n# a comment\n```\n" + "# Next\n\n" + PARAGRAPH
    assert [c.chapter for c in chunks(text, 10, markdown=True)] == ["Title", "Next"]


def test_random_text_never_breaks_the_chunker() -> None:
    random.seed(7)
    for _ in range(40):
        text = "".join(random.choices(["\n", "\n\n", "。", ". ", "a", "字", " ", "Chapter 1\n", "#"], k=1500))
        found = chunks(text, random.randint(1, 400))
        assert all(text[c.start : c.end] == c.text for c in found)


def test_txt_with_crlf_bom_and_title(reading) -> None:
    text = "Title: The Harbour\r\n\r\nChapter 1\r\n\r\n" + PARAGRAPH.replace("\n", "\r\n") * 60
    items = reading("harbour.txt", b"\xef\xbb\xbf" + text.encode())
    decoded = clean(text)
    assert all(isinstance(d, Document) and decoded[d.start : d.end] == d.text for d in items)
    assert items[-1].title == "The Harbour / Chapter 1"
    assert [d.position for d in items] == list(range(len(items)))
    assert all(1500 <= len(d.text) <= 6000 for d in items[:-1])


def test_chinese_novel_in_gb18030(reading) -> None:
    text = "第一回 起\n" + ABSATZ * 10 + "第二回 承\n" + ABSATZ * 10
    items = reading("小说.txt", text.encode("gb18030"))
    assert [d.title for d in items] == ["小说 / 第一回 起", "小说 / 第二回 承"]
    assert all(text[d.start : d.end] == d.text for d in items)


def test_html_book(reading) -> None:
    body = "".join(f"<h2>Chapter {n}</h2>" + f"<p>{PARAGRAPH}</p>" * 3 for n in (1, 2))
    items = reading(
        "b.html", f"<html><head><title>Harbour</title></head><body>{body}</body></html>", kind="book"
    )
    assert [d.title for d in items] == ["Harbour / Chapter 1", "Harbour / Chapter 2"]


CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
OPF = """<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Harbour</dc:title>
<dc:language>en-GB</dc:language><dc:rights>CC0-1.0</dc:rights></metadata><manifest>
<item id="two" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text%20one.xhtml" media-type="application/xhtml+xml"/>
<item id="lost" href="lost.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="one"/><itemref idref="lost"/><itemref idref="two"/></spine></package>"""


def epub(members: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def chapter(number: int) -> str:
    text = f"<html><body><h1>Chapter {number}</h1><p>{PARAGRAPH}</p><p>{PARAGRAPH}</p></body></html>"
    return f'<?xml version="1.0" encoding="utf-8"?>{text}'


def test_epub_in_spine_order_with_a_missing_chapter(reading) -> None:
    data = epub(
        {
            "META-INF/container.xml": CONTAINER,
            "OPS/book.opf": OPF,
            "OPS/two.xhtml": chapter(2),
            "OPS/text one.xhtml": chapter(1),
        }
    )
    items = reading("harbour.epub", data)
    books = [d for d in items if isinstance(d, Document)]
    assert [d.title for d in books] == ["Harbour / Chapter 1", "Harbour / Chapter 2"]
    assert (books[0].language, books[0].licence) == ("en", "CC0-1.0")
    (reject,) = [r for r in items if isinstance(r, Reject)]
    assert (reject.reason, reject.position) == ("broken_archive", 1)
    assert "lost.xhtml" in reject.detail


@pytest.mark.parametrize(
    "limits",
    [{"archive_bytes": 1 << 20}, {"archive_members": 3}, {"expansion_from_bytes": 1 << 20, "expansion": 10}],
)
def test_zip_bomb_is_refused_before_it_is_opened(reading, limits: dict[str, int]) -> None:
    data = epub({"META-INF/container.xml": CONTAINER, "OPS/book.opf": OPF, "OPS/one.xhtml": bytes(8 << 20)})
    (item,) = reading("bomb.epub", data, limits=limits)
    assert item.reason == "decompression_bomb"


def test_oversized_chapter_is_left_out(reading) -> None:
    members = {"META-INF/container.xml": CONTAINER, "OPS/book.opf": OPF, "OPS/two.xhtml": chapter(2)}
    data = epub({**members, "OPS/text one.xhtml": chapter(1) + " " * 100_000})
    items = reading("b.epub", data, limits={"document_bytes": 50_000})
    assert {r.reason for r in items if isinstance(r, Reject)} == {"too_large", "broken_archive"}
    assert sum(isinstance(d, Document) for d in items) == 1


def test_entity_bomb_in_a_package_file(reading) -> None:
    bomb = '<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    data = epub({"META-INF/container.xml": CONTAINER, "OPS/book.opf": bomb + "]><package>&i;</package>"})
    (item,) = reading("bomb.epub", data)
    assert isinstance(item, Reject)


def test_records_with_a_text(reading) -> None:
    rows = '{"text": "Cut \\ud800 here"}\n{"text": "  "}\n[1]\n{"text": "Second", "url": "https://example.org/a"}\n'
    first, blank, broken, second = reading("c4.jsonl", rows)
    assert first.text == "Cut \ufffd here"
    assert (blank.reason, blank.position) == ("empty_record", 2)
    assert (broken.reason, broken.position) == ("not_an_object", 3)
    assert (second.kind, second.uri, second.position) == ("web", "https://example.org/a", 4)


def test_man_page() -> None:
    title, text = man_text(
        '.\\" comment\n.TH GREP 1 "GNU"\n.de Id\n.ds Dt x\n..\n.if n \\{\\\n.ds x y\n.\\}\n.SH NAME\n'
        "grep \\- 打印匹配的行\n.SH OPTIONS\n.TP\n"
        '.BI \\-A " NUM"\nPrint \\fINUM\\fR lines,\nthen stop.\n.nf\na\n  b\n.fi\n'
    )
    assert title == "GREP(1)"
    assert text == "NAME\n\ngrep - 打印匹配的行\n\nOPTIONS\n\n-A NUM Print NUM lines, then stop.\n\na\n  b"


def test_code_is_split_between_definitions() -> None:
    text = "".join(f"def f{n}():\n    x = {n}\n\n    return x\n\n\n" for n in range(200))
    parts = split_code(text, 1000)
    assert "".join(text[a:b] for a, b in parts) == text
    assert all(text[a:b].startswith("def ") for a, b in parts)
    assert all(b - a <= 1000 for a, b in parts)


def test_a_long_book_streams(tmp_path: Path) -> None:
    peaks = []
    for size in (4, 8):  # memory must not grow with the file
        path = tmp_path / f"{size}.txt"
        with path.open("w", encoding="utf-8") as file:
            for number in range(10 * size):
                file.write(f"Chapter {number + 1}\n\n" + PARAGRAPH * 1000 + "“Yes.”\n\n")
        tracemalloc.start()
        count = sum(
            1 for _ in read(Source(path, path.name), SeedSettings(limits=Limits(document_bytes=1 << 20)))
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count > 300 * size
    assert peaks[1] < 1.2 * peaks[0], peaks
