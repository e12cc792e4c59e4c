"""HTML written by people (posts, book chapters) as plain text: nothing is left out but what is not text.

A whole page with menus and advertisements is ``web``'s business, which looks for the main text.
"""

from __future__ import annotations

import re

from lxml import etree, html

from hydata.seeds.source import words

_BLOCK = words(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr html li main nav ol p pre section summary table tbody "
    "td tfoot th thead tr ul"
)
_PARAGRAPH = words("p pre ul ol dl table blockquote h1 h2 h3 h4 h5 h6 figure div section article")
_SKIP = words("script style head noscript template iframe object svg math audio video select button")
HEADINGS = frozenset(("h1", "h2", "h3"))

_SPACE = re.compile(r"[ \t\n\f\xa0]+")
MARK = "\x01"
"""Stands before a heading while ``headings`` is asked for; a control character that text cannot hold."""


def html_text(source: str, headings: bool = False) -> str:
    """The text of an HTML fragment or document: blocks apart by blank lines, ``- `` before list items,
    code blocks between fences. With ``headings``, ``MARK`` stands before the text of h1 to h3.

    Markup that cannot be parsed at all is returned as it stands.
    """
    if "<" not in source:
        source = source.strip()
        return html.fromstring(f"<p>{source}</p>").text_content() if "&" in source else source
    source = source.replace(MARK, "")
    source = re.sub(r"^\s*<\?xml[^>]*\?>", "", source)  # lxml refuses text with an encoding declaration
    try:
        root = html.fromstring(source)
    except (etree.ParserError, ValueError):
        return source.strip()
    out: list[str] = []
    _write(root, out, headings)
    text = "".join(out)
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _write(root: html.HtmlElement, out: list[str], headings: bool) -> None:
    """Depth first without recursion: hostile pages nest a hundred thousand elements."""
    stack: list[tuple[html.HtmlElement, bool]] = [(root, False)]
    pre: html.HtmlElement | None = None
    while stack:
        element, leaving = stack.pop()
        tag = element.tag if isinstance(element.tag, str) else ""
        if not leaving:
            skip = not tag or tag in _SKIP
            stack.append((element, True))
            if skip:
                continue
            if tag in _BLOCK:
                _break(out, 2 if tag in _PARAGRAPH and pre is None else 1)
            if tag == "pre" and pre is None:
                pre = element
                out.append("```\n")
            elif tag == "li":
                out.append("- ")
            elif tag == "br":
                out.append("\n")
            elif tag in ("td", "th") and element.getprevious() is not None:
                out.append(" | ")
            elif tag in HEADINGS and headings:
                out.append(MARK)
            elif tag == "code" and pre is None:
                out.append("`")
            _text(out, element.text, pre is not None)
            stack.extend((child, False) for child in reversed(element))
            continue
        if tag and tag not in _SKIP:
            if tag == "code" and pre is None:
                out.append("`")
            if element is pre:
                _break(out, 1)
                out.append("```")
                pre = None
            if tag in _BLOCK:
                _break(out, 2 if tag in _PARAGRAPH and pre is None else 1)
        if element is not root:
            _text(out, element.tail, pre is not None)


def _text(out: list[str], text: str | None, keep: bool) -> None:
    if not text:
        return
    if not keep:
        text = _SPACE.sub(" ", text)
        if not out or out[-1].endswith(("\n", " ")):
            text = text.lstrip(" ")
    if text:
        out.append(text)


def _break(out: list[str], newlines: int) -> None:
    """Ends the line; leaves at most ``newlines`` newlines at the end."""
    tail = "".join(out[-3:])
    if not tail or tail.endswith(("- ", MARK)):
        return
    if missing := newlines - (len(tail) - len(tail.rstrip("\n"))):
        out.append("\n" * max(0, missing))
