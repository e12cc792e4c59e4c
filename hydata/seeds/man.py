"""Manual pages (roff with the ``man`` or ``mdoc`` macros) as plain text.

No typesetting: section headings and paragraphs are kept, fonts and spacing dropped, macros that a page
defines for itself passed over. Good enough to read, and far better than markup in a training text.
"""

from __future__ import annotations

import re
import shlex

from hydata.seeds.source import words

_NAME = re.compile(r"\.[1-9][a-z]{0,5}(?:\.gz|\.zst)?$")
_PAGE = re.compile(r"^[.'][ \t]*(?:TH|Dd|SH|Sh)\b", re.M)
_REQUEST = re.compile(r"[.'][ \t]*([A-Za-z]{1,3}|\\\"|\.)?[ \t]*(.*)")
_GLYPH_LIST = """
lq=“ rq=” oq=‘ cq=’ dq=" aq=' bu=• em=— en=– hy=- co=© rg=® tm=™ ->=→ <-=← ti=~ ha=^ rs=\\ ga=` mu=× bv=| or=|
fm=′ sc=§ de=° +-=± mi=−
"""
_GLYPHS = {pair[:2]: pair[3:] for pair in _GLYPH_LIST.split()}
_ESCAPE = re.compile(
    r"\\(?:f(?:\((..)|\[[^\]]*\]|.)|s(?:[-+]?\d{1,2}|\[[^\]]*\]|\([-+]?..)|\((..)|\[([^\]]*)\]|\*(?:\((..)|\[([^\]]*)\]|(.))"
    r"|[hvwoDlLkn]'[^']*'|n(?:\(..|\[[^\]]*\]|.)|\".*|(.)|$)"
)
_FONTS = words("B I R SM SB BR RB RI IR BI IB")
_ALTERNATING = words("BR RB RI IR BI IB")
_PARAGRAPHS = words("PP P LP HP Pp sp IP TP It Bl El RS RE Bd Ed EX EE nf fi br")
_HAN_END = re.compile(r"[\u3000-\u9fff\uff00-\uffef]$")


def is_man_page(file: str, text: str) -> bool:
    """Whether a file is a manual page: named after a section, and written in one of its macro sets."""
    return bool(_NAME.search(file.lower()) and _PAGE.search(text[:50_000]))


def man_text(roff: str) -> tuple[str | None, str]:
    """Title (``grep(1)``) and text."""
    title: str | None = None
    paragraphs: list[str] = [""]
    filled, skipping = True, 0  # depth of \{ ... \} of conditions that are passed over
    lines = iter(roff.split("\n"))
    for line in lines:
        if skipping or re.match(r"[.'][ \t]*(?:if|ie|el)\b", line):
            skipping = max(0, skipping + line.count(r"\{") - line.count(r"\}"))
            continue
        if not line.startswith((".", "'")):
            _add(paragraphs, _plain(line), filled)
            continue
        match = _REQUEST.match(line)
        name, rest = (match[1] or "", match[2]) if match else ("", "")
        if name in ("de", "ig", "am"):
            for inner in lines:
                if re.match(r"\.[ \t]*\.", inner):
                    break
        elif name in ("TH", "Dt"):
            words = _words(rest)
            title = f"{words[0]}({words[1]})" if len(words) > 1 else None
        elif name in ("SH", "SS", "Sh", "Ss"):
            paragraphs += [" ".join(_words(rest)), ""]
        elif name in _FONTS:
            _add(paragraphs, ("" if name in _ALTERNATING else " ").join(_words(rest)), filled)
        elif name in _PARAGRAPHS:
            filled = {"nf": False, "EX": False, "Bd": False, "fi": True, "EE": True, "Ed": True}.get(
                name, filled
            )
            paragraphs.append("")
            if name in ("IP", "It") and (words := _words(rest)):
                paragraphs[-1] = words[0]
        elif name[:1].isupper():  # mdoc's and a page's own macros mark up their arguments
            _add(paragraphs, " ".join(_words(rest)), filled)
    return title, "\n\n".join(filter(None, (p.strip() for p in paragraphs)))


def _add(paragraphs: list[str], text: str, filled: bool) -> None:
    """Adds a line to the last paragraph; an empty one ends it."""
    if not text.strip():
        if filled:
            paragraphs.append("")
        return
    before = paragraphs[-1]
    joint = "" if not before else "\n" if not filled else "" if _HAN_END.search(before) else " "
    paragraphs[-1] = before + joint + text


def _words(text: str) -> list[str]:
    """Arguments of a macro: parted by spaces, quoted ones whole."""
    text = re.sub(r'\\".*', "", text).replace(r"\ ", "\xa0")
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.quotes, lexer.escape = True, "", '"', ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that is not closed
        words = text.split()
    return [_plain(word) for word in words]


def _plain(text: str) -> str:
    """Text without escapes."""

    def put(match: re.Match[str]) -> str:
        glyph = match[2] or match[3] or match[4] or match[5]
        if glyph is not None:
            return _GLYPHS.get(glyph, "")
        return {
            "-": "-",
            " ": " ",
            "~": " ",
            "e": "\\",
            "\\": "\\",
            "'": "'",
            "`": "`",
            ".": ".",
            "0": " ",
            "t": "\t",
        }.get(match[7] or "", "")

    return _ESCAPE.sub(put, text).replace("\xa0", " ")
