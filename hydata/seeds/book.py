"""Books and other running text: txt, Markdown, HTML books, EPUB, man pages, and records with a text.

Text is split at chapters and paragraphs into chunks (``chunks.py``); ``start`` and ``end`` of a document
are its place in the whole text: decoded and cleaned (``io.clean``), for HTML and EPUB after
extraction, for EPUB chapter files joined by blank lines, for a record within its own text.

An HTML file is a book, not a web page, if it is long and its headings are numbered chapters. Records
with a ``text`` (or ``content``, ``paragraphs``) and no question or instruction are read as books too,
each by itself; with a ``url`` they are web pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from hydata.schema import Document, Item
from hydata.seeds import epub, markup
from hydata.seeds.chunks import Chunk, Chunker, heading
from hydata.seeds.head import Head, peek
from hydata.seeds.io import decode_html, pieces, whole_bytes, whole_text
from hydata.seeds.licences import licence_of_file
from hydata.seeds.man import is_man_page, man_text
from hydata.seeds.records import Record, field, language_of, licence_of, line_of, records, tags_of, text_of
from hydata.seeds.source import BadInput, SeedSettings, Source, words
from hydata.seeds.web import SUFFIXES as HTML_SUFFIXES
from hydata.seeds.web import looks_like_html

KIND = "book"

MARKDOWN = (".md", ".markdown", ".mdown", ".mkd", ".qmd", ".rmd")
PROSE = (".txt", ".text", ".rst", ".org", ".adoc", ".asciidoc", ".pod", ".texi", *MARKDOWN)
NOT_PROSE = words(
    ".json .jsonl .ndjson .csv .tsv .tab .parquet .xml .svg .rss .atom .plist .toml .yaml .yml .ini "
    ".cfg .conf .properties .mod .sum .lock .log .po .pot .srt .vtt .bib .ics .eml .pem .crt .key "
    ".map .patch .diff .env .desktop .tsbuildinfo .rtf .ps .css .in .am .ac .m4 .typed .pth .list "
    ".editorconfig .template .tmpl .j2"
)
LICENCE_NAMES = re.compile(
    r"(?:un)?licen[cs]es?|copying(?:\.lesser)?|copyright|notice|authors|contributors|maintainers", re.I
)
HTML_BOOK_BYTES = 200_000
HTML_BOOK_CHAPTERS = 3
TEXTS = ("text", "content", "paragraphs", "body", "article", "document", "raw_content")
TITLES = ("title", "rhythmic", "chapter", "name")

_HTML_HEADING = re.compile(r"<h[1-4][^>]*>(.{1,300}?)</h[1-4]>", re.I | re.S)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)
_MARKDOWN_TITLE = re.compile(r"^#\s+(\S.*?)\s*#*$", re.M)
_GUTENBERG_TITLE = re.compile(r"^Title: +(\S.*)$", re.M)


def detects(head: Head, settings: SeedSettings) -> float:
    source = head.source
    if _is_epub(head):
        return 1.0
    if head.records:
        return 0.6 if any(text_of(field(r, settings.columns.text, TEXTS)) for r in head.records) else 0.0
    if not head.text:
        return 0.0
    if _is_html(head):
        chapters = sum(bool(heading(markup.html_text(m[1]))) for m in _HTML_HEADING.finditer(head.text))
        return 0.9 if head.size >= HTML_BOOK_BYTES and chapters >= HTML_BOOK_CHAPTERS else 0.0
    name = PurePosixPath(source.file).name
    if LICENCE_NAMES.fullmatch(PurePosixPath(name).stem):
        return 0.0
    if source.suffix in PROSE:
        return 0.5
    return 0.0 if source.suffix in NOT_PROSE or name.startswith(".") else 0.2


def _is_epub(head: Head) -> bool:
    named = b"application/epub+zip" in head.data[:200] or head.source.suffix == ".epub"
    return named and head.data.startswith(b"PK")


def _is_html(head: Head) -> bool:
    return looks_like_html(head.text) or head.source.suffix in HTML_SUFFIXES


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    head = peek(source)
    if _is_epub(head):
        yield from _epub(source, settings)
    elif head.records or source.suffix in (".csv", ".tsv", ".tab", ".parquet", ".json", ".jsonl"):
        yield from _records(source, settings)
    elif _is_html(head):
        yield from _html(source, settings)
    else:
        yield from _plain(head, settings)


def _html(source: Source, settings: SeedSettings) -> Iterator[Item]:
    html = decode_html(whole_bytes(source, settings.limits))
    title = line_of(markup.html_text("".join(_TITLE.findall(html[:65536])[:1])))
    chunker = Chunker(settings.chunk, settings.chunk_max, mark=markup.MARK)
    yield from _documents(source, [markup.html_text(html, headings=True)], chunker, title)


def _plain(head: Head, settings: SeedSettings) -> Iterator[Item]:
    """Text or Markdown as a stream, a manual page as a whole."""
    source = head.source
    licence = licence_of_file(source, head.text)
    if is_man_page(source.file, head.text):
        title, page = man_text(whole_text(source, settings.limits))
        documents = _documents(source, [page], Chunker(settings.chunk, settings.chunk_max), title)
    else:
        markdown = source.suffix in MARKDOWN
        title = title_of(head.text, markdown) or PurePosixPath(source.file).stem
        chunker = Chunker(settings.chunk, settings.chunk_max, markdown)
        documents = _documents(source, pieces(source, settings.limits), chunker, title)
    for document in documents:
        yield replace(document, licence=licence)


def title_of(text: str, markdown: bool = False) -> str | None:
    """What a text calls itself: its first Markdown heading, the title in Project Gutenberg's header, or a
    first line that stands alone, is short and is no sentence."""
    text = text[:4000]
    if found := (_MARKDOWN_TITLE if markdown else _GUTENBERG_TITLE).search(text):
        return found[1]
    first, _, rest = text.lstrip("\ufeff \n").partition("\n")
    alone = rest.partition("\n")[0].strip() == "" and rest.strip() != ""
    line = first.strip(" \t　*=")
    if (
        markdown
        or not alone
        or not 2 <= len(line) <= 80
        or heading(first)
        or line[-1] in ".,;:!?。，；：！？…"
    ):
        return None
    return line


def _documents(
    source: Source, text: Iterable[str], chunker: Chunker, title: str | None
) -> Iterator[Document]:
    def chunks() -> Iterator[Chunk]:
        for piece in text:
            yield from chunker.feed(piece)
        yield from chunker.close()

    for index, chunk in enumerate(chunks()):
        yield Document(
            kind="book",
            uri=source.file,
            file=source.file,
            position=index,
            text=chunk.text,
            title=_joined(title, chunk.chapter),
            start=chunk.start,
            end=chunk.end,
        )


def _joined(title: str | None, chapter: str | None) -> str | None:
    """``book / chapter``; a chapter whose first heading is the book's own title says it already."""
    if title and chapter and not chapter.startswith(title):
        return f"{title} / {chapter}"
    return chapter or title


def _epub(source: Source, settings: SeedSettings) -> Iterator[Item]:
    rejects: list[Item] = []
    with epub.open_epub(source, settings.limits) as archive:
        book = epub.package(archive, settings.limits)

        def text() -> Iterator[str]:
            for index, chapter in enumerate(epub.chapters(archive, book, settings.limits)):
                if isinstance(chapter, BadInput):
                    rejects.append(source.reject(chapter.reason, chapter.detail, index))
                else:
                    yield markup.html_text(chapter, headings=True) + "\n\n"

        chunker = Chunker(settings.chunk, settings.chunk_max, mark=markup.MARK)
        for document in _documents(source, text(), chunker, book.title or PurePosixPath(source.file).stem):
            yield replace(document, language=book.language, licence=book.licence, published=book.published)
    yield from rejects


def _records(source: Source, settings: SeedSettings) -> Iterator[Item]:
    for position, record in records(source, settings.limits):
        if isinstance(record, BadInput):
            yield source.reject(record.reason, record.detail, position)
            continue
        yield from _record(source, position, record, settings)


def _record(source: Source, position: int, record: Record, settings: SeedSettings) -> Iterator[Item]:
    columns = settings.columns
    text = text_of(field(record, columns.text, TEXTS))
    if not text:
        yield source.reject(
            "empty_record", f"no text; fields: {', '.join(map(str, list(record)[:12]))}", position
        )
        return
    url = line_of(field(record, columns.uri, ("url", "uri", "link")))
    chunker = Chunker(settings.chunk, settings.chunk_max)
    for chunk in (*chunker.feed(text), *chunker.close()):
        yield Document(
            kind="web" if url else "book",
            uri=url or source.file,
            file=source.file,
            position=position,
            text=chunk.text,
            title=line_of(field(record, columns.title, TITLES)),
            start=chunk.start,
            end=chunk.end,
            language=language_of(record, columns),
            licence=licence_of(record, columns),
            published=line_of(field(record, columns.published, ("date", "published", "timestamp"))),
            tags=tags_of(field(record, columns.tags, ("tags", "author"))),
        )
