"""Web pages: files and archives."""

import gzip
import zlib

import pytest

from hydata.schema import Document, Reject
from hydata.seeds.markup import html_text
from hydata.seeds.web import main_text

PARAGRAPHS = [
    "The harbour lay quiet in the early light, and nobody had yet come down to the boats that morning.",
    "By noon the market had filled with people from the villages, who sold fish, bread and good rope.",
    "In the evening the lamps were lit along the quay, and the last ferry left with a long slow whistle.",
]
BODY = "<article><h1>The Harbour</h1>" + "".join(f"<p>{p}</p>" for p in PARAGRAPHS) + "</article>"
MENU = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/log-in'>Log in</a></li></ul></nav>"
HEAD = (
    "<title>The Harbour</title>"
    '<link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">'
    '<link rel="canonical" href="https://example.org/harbour">'
    '<meta property="article:published_time" content="2021-03-04T05:06:07Z">'
)
PAGE = f"<!doctype html><html><head>{HEAD}</head><body>{MENU}{BODY}<footer>Imprint</footer></body></html>"


def test_page(reading) -> None:
    (page,) = reading("harbour.html", PAGE)
    assert page.kind == "web"
    assert (page.uri, page.title, page.published) == (
        "https://example.org/harbour",
        "The Harbour",
        "2021-03-04",
    )
    assert page.licence == "CC-BY-SA-4.0"
    assert all(p in page.text for p in PARAGRAPHS)
    assert "Log in" not in page.text


def test_page_without_an_address_has_its_file(reading) -> None:
    (page,) = reading("harbour.html", f"<html><body>{BODY}</body></html>")
    assert page.uri == "harbour.html"


@pytest.mark.parametrize("address", ["javascript:alert(1)", "/relative", "file:///etc/passwd"])
def test_only_web_addresses_are_believed(reading, address: str) -> None:
    html = f'<html><head><link rel="canonical" href="{address}"></head><body>{BODY}</body></html>'
    assert reading("harbour.html", html)[0].uri == "harbour.html"


def test_chinese_page_in_gbk(reading) -> None:
    text = "清晨的港口十分安静，还没有人来到船边。中午的时候，市场上挤满了从各个村子里来的人。" * 4
    head = '<head><meta charset="gbk"><title>港口</title></head>'
    html = f"<html>{head}<body><article><p>{text}</p></article></body></html>"
    (page,) = reading("gbk.html", html.encode("gbk"))
    assert page.title == "港口"
    assert text in page.text


@pytest.mark.parametrize(
    "html",
    [
        "<html><body></body></html>",
        "<html><head><script>var a = 1;</script></head><body><script>b()</script></body></html>",
        "<!doctype html>",
    ],
)
def test_pages_without_text_are_rejects(reading, html: str) -> None:
    (item,) = reading("empty.html", html)
    assert item.reason == "no_main_text"


@pytest.mark.parametrize(
    "html",
    [
        "<html><body>" + "<div>" * 20_000 + "deep",
        "<html>" + "<a" * 5000,
        "<html><body><p>"
        + "\0\x01\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        + "text",
        f"<html><body>{BODY}".replace("quiet", "qu\0iet"),
    ],
)
def test_hostile_markup_is_survived(reading, html: str) -> None:
    reading("hostile.html", html)


def test_oversized_page(reading) -> None:
    (item,) = reading("big.html", "<html>" + "x" * 5000, limits={"document_bytes": 1000})
    assert item.reason == "too_large"


def test_layout_tables_and_source_indentation_leave_no_trace() -> None:
    table = "<table><tr><td></td><td></td></tr></table>"
    text = main_text(f"<html><body>{table}<article>\n\t\t\n\t\t\t{BODY}</article></body></html>")
    assert "|" not in text
    assert "\t" not in text


def test_posts_as_text() -> None:
    listed = "<ul><li>one</li><li>two &amp; three</li></ul>"
    html = f"<p>Use <code>x</code>:</p><pre><code>a\n  b\n</code></pre>{listed}tail"
    assert html_text(html) == "Use `x`:\n\n```\na\n  b\n```\n\n- one\n- two & three\n\ntail"
    assert html_text("a < b") == "a < b"
    assert html_text("no markup &lt;here&gt;") == "no markup <here>"
    html_text("<div>" * 50_000 + "deep")


def record(
    kind: str, content: bytes, uri: str = "http://example.org/a", media: str = "application/http"
) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
    return (
        f"{head}Content-Type: {media}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
        + b"\r\n\r\n"
    )


def response(
    body: bytes, *headers: str, status: str = "200 OK", media: str = "text/html; charset=utf-8"
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media}", *headers, "", ""]
    return record("response", "\r\n".join(lines).encode() + body)


def summary(items: list[object]) -> list[str]:
    return [i.reason if isinstance(i, Reject) else "page" for i in items if isinstance(i, (Reject, Document))]


GOOD = response(PAGE.encode())


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_archive(reading, pack) -> None:
    parts = [
        record("warcinfo", b"software: x", media="application/warc-fields"),
        GOOD,
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        response(b"\x89PNG", media="image/png"),
        response(PAGE.encode(), status="404 Not Found"),
        response(b""),
        record("conversion", "Ein Text für sich.".encode(), media="text/plain"),
    ]
    items = reading("a.warc.gz" if pack is gzip.compress else "a.warc", b"".join(map(pack, parts)))
    assert summary(items) == ["page", "not_text", "http_status", "empty", "page"]
    page, wet = items[0], items[-1]
    assert (page.uri, page.published) == ("http://example.org/a", "2021-03-04")
    assert (wet.text, wet.published) == ("Ein Text für sich.", "2020-01-02T03:04:05Z")
    assert len({item.position for item in items}) == len(items)


def test_bodies_are_unpacked_once_and_only_if_packed(reading) -> None:
    body = PAGE.encode()
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:100], body[100:])) + b"0\r\n\r\n"
    parts = [
        response(chunked, "Transfer-Encoding: chunked"),
        response(body, "Transfer-Encoding: chunked"),  # stored without the chunks, as pywb does
        response(gzip.compress(body), "Content-Encoding: gzip"),
        response(zlib.compress(body), "Content-Encoding: deflate"),
        response(body, "Content-Encoding: gzip"),
        response(body, "Content-Encoding: br"),
    ]
    items = reading("a.warc", b"".join(parts))
    assert summary(items) == ["page"] * 6
    assert len({item.text for item in items}) == 1


def test_packed_body_that_grows_too_large(reading) -> None:
    bomb = response(gzip.compress(b"<html>" + b" " * 5_000_000), "Content-Encoding: gzip")
    items = reading("a.warc", bomb + GOOD, limits={"document_bytes": 1 << 20})
    assert summary(items) == ["decompression_bomb", "page"]


@pytest.mark.parametrize(
    "junk", [b"GARBAGE\x00\xff" * 500, b"\r\nnot a record\r\n", GOOD.replace(b"Length: ", b"Length: x")]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reading_goes_on_behind_broken_records(reading, pack, junk: bytes) -> None:
    items = reading("a.warc", pack(GOOD) + junk + pack(GOOD) + pack(GOOD))
    assert summary(items).count("page") == 3
    assert "broken_record" in summary(items)


def test_damaged_gzip_member(reading) -> None:
    broken = bytearray(gzip.compress(GOOD))
    broken[60:90] = bytes(30)
    items = reading("a.warc.gz", gzip.compress(GOOD) + bytes(broken) + gzip.compress(GOOD))
    assert summary(items).count("page") >= 2
    assert "broken_record" in summary(items)


def test_archive_cut_short(reading) -> None:
    items = reading("a.warc", GOOD + GOOD[:-600])
    assert summary(items)[0] == "page"
    assert "broken_record" in summary(items)


def test_wet_text_with_changed_line_ends(reading) -> None:
    parts = [
        record("conversion", f"Text number {n}.\nSecond line.".encode(), media="text/plain") for n in range(3)
    ]
    items = reading(
        "sample.wet.txt", b"".join(parts).replace(b"\r\n", b"\n").replace(b"Second", b"A longer second")
    )
    assert [i.text for i in items] == [f"Text number {n}.\nA longer second line." for n in range(3)]
