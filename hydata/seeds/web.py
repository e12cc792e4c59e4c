"""Web pages saved as HTML: the main text, found by trafilatura (docs/decisions/0002-web-text.md)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from lxml import etree

from hydata.schema import Document, Item
from hydata.seeds.head import Head
from hydata.seeds.io import clean, decode_html, whole_bytes
from hydata.seeds.licences import creative_commons
from hydata.seeds.source import BadInput, SeedSettings, Source

KIND = "web"

_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>|<!--.*?-->|\s)*<(?:!doctype\s+html|html|head|body|title|meta)\b", re.I | re.S
)
SUFFIXES = (".html", ".htm", ".xhtml", ".shtml")


def looks_like_html(text: str) -> bool:
    return bool(_HTML.match(text[:65536].lstrip("\ufeff")))


def detects(head: Head, settings: SeedSettings) -> float:
    if looks_like_html(head.text):
        return 0.8
    return 0.7 if head.source.suffix in SUFFIXES and head.text else 0.0


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    html = decode_html(whole_bytes(source, settings.limits))
    yield page(html, uri=None, source=source, position=0)


def page(html: str, uri: str | None, source: Source, position: int, date: str | None = None) -> Document:
    """One page as a document; ``uri`` and ``date`` (of the crawl) stand in for what the page does not say.

    Raises BadInput("no_main_text").
    """
    from trafilatura import bare_extraction  # half a second to import

    # What it warns of (a page without text) becomes a reject here.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

    try:
        found = bare_extraction(
            html,
            url=uri,
            # Measured: the best on articles, and the only one to keep whole the paragraphs of DocBook pages.
            fast=True,
            favor_recall=True,
            include_comments=False,
            with_metadata=True,
            date_extraction_params=_DATES,
        )
    except _LIBRARY as error:
        raise BadInput("extraction_failed", f"{type(error).__name__}: {error}", position) from error
    text = _tidy(clean(getattr(found, "text", None) or ""))
    if not text:
        raise BadInput("no_main_text", "no main text on this page", position)
    address = uri or getattr(found, "url", None)
    return Document(
        kind="web",
        uri=address if address and urlsplit(address).scheme in ("http", "https") else source.file,
        file=source.file,
        position=position,
        text=text,
        title=_line(getattr(found, "title", None)),
        licence=_licence(html, _line(getattr(found, "license", None))),
        published=_line(getattr(found, "date", None)) or date,
    )


_LIBRARY = (
    AttributeError,
    TypeError,
    AssertionError,
    LookupError,
    ValueError,
    RecursionError,
    etree.LxmlError,
)
"""What a defect of the library on a hostile page looks like: the page's fault here, a reject."""
_EMPTY_ROW = re.compile(r"^[ |-]*\|[ |-]*$\n?", re.M)
_LICENCE_LINK = re.compile(r"<link\b[^>]{0,300}\brel=[\"']?license\b[^>]{0,300}>", re.I)
_DATES = {"original_date": True, "extensive_search": False}
"""The date of publication, not of the last change; a guess from numbers in the text is worse than none."""


def _licence(html: str, found: str | None) -> str | None:
    """The licence, as SPDX if it is Creative Commons; the library does not see a link in the page's head."""
    linked = _LICENCE_LINK.search(html[:65536])
    return creative_commons(linked[0] if linked else found or "") or found


def _tidy(text: str) -> str:
    """Without the rows of layout tables that hold no text, and without the indentation of the page's own
    source, which shows behind a line of white space; that of code blocks stays."""
    text = _EMPTY_ROW.sub("", text).replace("\\|", "|")
    text = re.sub(r"\n[ \t]+\n[ \t]*", "\n", text)
    return re.sub(r"[ \t]+\n", "\n", text).strip()


def _line(value: str | None) -> str | None:
    return " ".join(clean(value).split()) or None if value else None


def main_text(html: str) -> str:
    """The main text alone, as ``benchmarks/web_text.py`` measures it."""
    try:
        return page(html, None, Source(Path(), ""), 0).text
    except BadInput:
        return ""
