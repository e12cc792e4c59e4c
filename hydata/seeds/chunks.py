"""Where long text is cut: at chapters, else at the paragraph nearest to the wanted length.

``Chunker`` takes text in pieces of any size and gives chunks with their offsets, holding about two
chunks at a time, so that a book of any size streams through it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Places to cut at, the best first: behind a blank line, behind a line that ends a sentence, behind a
# sentence (Chinese stops need no space), behind a line, behind a word.
_CUTS = tuple(
    map(
        re.compile,
        (
            r"\n[ \t　]*\n\s*",
            r"[.!?…。！？”」』\"][ \t]*\n",
            r"[.!?…][\"')\]”’]*\s|[。！？…]+[”’」』）]*",
            r"\n",
            r"\s|[，、；：,;]",
        ),
    )
)

_ORDINALS = (
    "one two three four five six seven eight nine ten eleven twelve first second third fourth fifth last"
).replace(" ", "|")
_NUMBER = rf"(?:[0-9]{{1,4}}|[IVXLCDM]{{1,8}}|[ivxlc]{{1,7}}|(?i:(?:the )?(?:{_ORDINALS}))|[A-Z])"
_PARTS = "Chapter Book Part Volume Vol. Act Scene Canto Letter Section Appendix Stave"
_ALONE = "Prologue Epilogue Preface Foreword Introduction Afterword"
_ENGLISH = re.compile(
    rf"(?:{'|'.join(map(re.escape, f'{_PARTS} {_PARTS.upper()}'.split()))})\s+{_NUMBER}"
    rf"(?:\s*[.:—–-].{{0,80}}|\s+[A-Z\"“].{{0,60}})?|(?:{'|'.join(f'{_ALONE} {_ALONE.upper()}'.split())})\.?"
)
_CHINESE = re.compile(
    r"(?:第[零〇一二三四五六七八九十百千两0-9０-９]{1,7}[章回节卷部篇集折幕出](?:[\s　:：.、·].{0,40})?"
    r"|(?:卷|回)[零〇一二三四五六七八九十百千0-9]{1,5}(?:[\s　:：.、·].{0,40})?"
    r"|[序楔引][言子章]?|前言|后记|後記|尾声|尾聲|附录|附錄)"
)
_MARKDOWN = re.compile(r"#{1,3}\s+(\S.*?)\s*#*")
_WIKI = re.compile(r"\s?(={1,2}|= =)\s[^=].{0,100}\s\1\s*")
MAX_HEADING = 100


@dataclass(frozen=True, slots=True)
class Chunk:
    """``text[start:end]`` of the whole text, and the heading of the chapter it stands in."""

    start: int
    end: int
    text: str
    chapter: str | None


def heading(line: str, markdown: bool = False) -> str | None:
    """The title, if a line is the heading of a chapter.

    In Markdown any heading down to the third level is one."""
    if len(line) > MAX_HEADING + 20:
        return None
    stripped = line.strip(" \t　\f")
    if not stripped or len(stripped) > MAX_HEADING:
        return None
    if markdown:
        found = _MARKDOWN.fullmatch(stripped) if line[0] == "#" else None
        return found[1] if found else None
    if _ENGLISH.fullmatch(stripped) or _CHINESE.fullmatch(stripped):
        return stripped
    return stripped.strip("= ") if _WIKI.fullmatch(line) else None


def cut_point(text: str, target: int, limit: int) -> int:
    """Where to end a chunk at the beginning of ``text``: at the best kind of place there is between half
    the target and the limit, and of these the nearest to the target. ``limit`` if there is none."""
    low = target // 2
    for pattern in _CUTS:
        ends = [m.end() for m in pattern.finditer(text, low, limit) if low < m.end() <= limit]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return limit


class Chunker:
    """Text in, chunks out.

    A heading starts a new chunk, except right after another heading (or a line or two): so a table of
    contents, and a part's title above its first chapter's, do not fall into crumbs. ``mark`` is a
    character that stands before headings and is not part of the text; without it they are told by
    their form. In Markdown only ``#`` counts, and not inside fenced code.
    """

    def __init__(self, target: int, limit: int, markdown: bool = False, mark: str = "") -> None:
        self._target, self._limit, self._markdown, self._mark = target, max(limit, target), markdown, mark
        self._held = ""  # text of the current chunk
        self._start = 0  # its offset
        self._line = ""  # the line that is not complete yet
        self._chapter: str | None = None
        self._blank, self._fenced = True, False
        self._body = 0  # characters of the current chunk that are not headings

    def feed(self, piece: str) -> Iterator[Chunk]:
        """Takes the next piece of text; gives the chunks that are complete."""
        self._line += piece
        lines = self._line.split("\n")
        self._line = lines.pop()
        for line in lines:
            yield from self._take(line, "\n")
        if len(self._line) > self._limit:  # a line without end is text, not a heading
            line, self._line = self._line, ""
            yield from self._take(line, "")

    def close(self) -> Iterator[Chunk]:
        """The chunks that are left."""
        line, self._line = self._line, ""
        yield from self._take(line, "")
        yield from self._flush(len(self._held))

    def _take(self, line: str, end: str) -> Iterator[Chunk]:
        if self._markdown and line.lstrip().startswith(("```", "~~~")):
            self._fenced = not self._fenced
        title = None
        if self._mark:
            if line.startswith(self._mark):
                line = line.replace(self._mark, "")
                title = line.strip()
            else:
                line = line.replace(self._mark, "")
        elif not self._fenced:
            title = heading(line, self._markdown)
            # English headings stand apart; "Part I ..." at the beginning of a wrapped line is prose.
            if title and not self._blank and not self._markdown and title.isascii() and "=" not in line:
                title = None
        if title:
            # Sections of Markdown and wikis are often a few lines: they share a chunk until it is worth one.
            soft = (self._markdown and not line.startswith("# ")) or line.lstrip().startswith(("==", "= ="))
            if self._body >= self._target // 30 and (not soft or len(self._held) >= self._target // 3):
                yield from self._flush(len(self._held))
                self._chapter, self._body = title, 0
            elif self._body < self._target // 30:
                whole = f"{self._chapter} / {title}" if self._chapter else title
                self._chapter = whole if len(whole) <= MAX_HEADING else title
        elif line.strip():
            self._body += len(line)
        self._blank = not line.strip() or bool(title)
        self._held += line + end
        while len(self._held) > self._limit:
            yield from self._flush(cut_point(self._held, self._target, self._limit))

    def _flush(self, length: int) -> Iterator[Chunk]:
        """Gives the first ``length`` held characters, without the white space around them."""
        whole = self._held[:length]
        text = whole.strip()
        if text:
            start = self._start + len(whole) - len(whole.lstrip())
            yield Chunk(start, start + len(text), text, self._chapter)
        self._held = self._held[length:]
        self._start += length


def split_code(text: str, limit: int) -> list[tuple[int, int]]:
    """Parts of a source file, none longer than ``limit``: cut before a line that begins at the margin
    behind a blank one, else at a blank line, else at a line."""
    if len(text) <= limit:
        return [(0, len(text))]
    cuts = tuple(map(re.compile, (r"\n[ \t]*\n(?=[^\s}\])])", r"\n[ \t]*\n", r"\n")))
    parts, start = [], 0
    while len(text) - start > limit:
        end = start + limit
        for cut in cuts:
            if ends := [m.end() for m in cut.finditer(text, start + limit // 2, end)]:
                end = ends[-1]
                break
        parts.append((start, end))
        start = end
    return [*parts, (start, len(text))]
