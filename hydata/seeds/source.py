"""What every reader works with: a source and the settings.

A *reader* is a module of this package with a constant ``KIND`` (its name, which ``--kind`` takes) and
two functions::

    def detects(head: Head, settings: SeedSettings) -> float    # 0: not mine ... 1: surely mine
    def read(source: Source, settings: SeedSettings) -> Iterator[Item]

``detects`` sees only the file's beginning (``head.py``), which is read once for all readers. ``read``
may raise ``BadInput`` when it cannot go on; what was yielded before stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import Field

from hydata.schema import Reject
from hydata.stage import Settings

STAGE = "ingest"


class BadInput(Exception):  # noqa: N818 - not a defect: it becomes a reject
    """The input cannot be read (further). ``position`` is where, in the unit of the reader."""

    def __init__(self, reason: str, detail: str, position: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.position = position


def words(text: str) -> frozenset[str]:
    """The words of a text as a set: long lists read better without quotes."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Source:
    """One file. ``file`` is its name as the user gave it, in POSIX form; ``root`` the folder the user
    named, if it was found in one: licences are looked up, and vendored folders judged, only below it."""

    path: Path
    file: str
    root: Path | None = None

    @property
    def suffix(self) -> str:
        """The last suffix in lower case, not counting that of a compression: ``.jsonl`` of ``a.jsonl.gz``."""
        name = PurePosixPath(self.file.lower())
        return (name.with_suffix("") if name.suffix in (".gz", ".zst") else name).suffix

    @property
    def below_root(self) -> tuple[str, ...]:
        """The folders between the root and the file."""
        if self.root is None:
            return ()
        return self.path.relative_to(self.root).parts[:-1]

    def reject(self, reason: str, detail: str = "", position: int | None = None) -> Reject:
        """A reject of this file's, or of what stands at ``position`` in it."""
        detail = detail.encode("utf-8", "replace").decode()  # a detail may quote lone surrogates
        return Reject(STAGE, reason, detail, file=self.file, position=position)


class Columns(Settings):
    """Which column (or JSON field) holds what; one that is left out is looked for by its common names."""

    question: str | None = None
    answer: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    system: str | None = None
    text: str | None = None
    title: str | None = None
    uri: str | None = None
    score: str | None = None
    tags: str | None = None
    language: str | None = None
    licence: str | None = None
    published: str | None = None


class Limits(Settings):
    """What one input may cost. Beyond a limit it becomes a reject, and reading goes on after it."""

    line_bytes: int = Field(default=16 << 20, ge=1)
    """Of a line or a JSON record."""
    document_bytes: int = Field(default=32 << 20, ge=1)
    """Of what must be held as a whole: an HTML page, a source file, a chapter of an EPUB."""
    archive_bytes: int = Field(default=1 << 30, ge=1)
    """Of all members of an EPUB together, unpacked."""
    archive_members: int = Field(default=10_000, ge=1)
    expansion: int = Field(default=200, ge=1)
    """Unpacked size over packed size. Text rarely exceeds 20; a bomb of zeros reaches 1,000 in gzip."""
    expansion_from_bytes: int = Field(default=64 << 20, ge=1)
    """The ratio is judged only beyond so many unpacked bytes: a small file of spaces is no bomb."""


class SeedSettings(Settings):
    """How seeds are read. Sizes are characters."""

    kind: str | None = None
    """Use this reader for every file, whatever it looks like."""
    columns: Columns = Columns()
    limits: Limits = Limits()
    chunk: int = Field(default=3_000, ge=1)
    """A chunk of a book ends at the paragraph nearest to so many characters."""
    chunk_max: int = Field(default=6_000, ge=1)
    code_chunk: int = Field(default=24_000, ge=1)
    """A source file up to this length is one document; a longer one is split between definitions."""
    all_tree_paths: bool = False
    """Take every path through a tree of replies (OpenAssistant), not only the best-ranked one."""
