"""Real seeds, where they lie beside the repository: every file is detected, and nothing is lost."""

from collections import Counter
from pathlib import Path

import pytest

from hydata.schema import Conversation, Document, Item, Preference, Reject
from hydata.seeds import SeedSettings, read, walk
from hydata.seeds.io import clean

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not on this machine")


def items(folder: str, pages: int = 1) -> list[Item]:
    """All items of a folder; of its HTML files only every ``pages``-th is read."""
    sources = [s for n, s in enumerate(walk([DATA / folder])) if s.path.suffix != ".html" or n % pages == 0]
    return [item for source in sources for item in read(source, SeedSettings())]


def kinds(found: list[Item]) -> dict[str, int]:
    return dict(Counter(i.kind if isinstance(i, Document) else type(i).__name__ for i in found))


def reasons(found: list[Item]) -> dict[str, int]:
    return dict(Counter(i.reason for i in found if isinstance(i, Reject)))


def test_web_pages() -> None:
    found = items("web_pages", pages=20)
    assert kinds(found) == {"web": 23, "Reject": 1}
    assert reasons(found) == {"unknown_kind": 1}  # the manifest
    assert all(i.title and i.uri for i in found if isinstance(i, Document))


def test_wet_and_broken_archive() -> None:
    sources = [s for s in walk([DATA / "warc"]) if "wet" in s.file or "broken" in s.file]
    found = [item for source in sources for item in read(source, SeedSettings())]
    assert kinds(found)["web"] == 6
    assert reasons(found) == {"not_text": 5, "http_status": 1, "no_main_text": 1}


def test_questions() -> None:
    found = items("web_qa")
    assert kinds(found) == {"qa": 6066}
    answered = [d for d in found if isinstance(d, Document) and d.answer_start is not None]
    assert len(answered) > 6000
    assert all(d.text[: d.answer_start].endswith("\n\n") for d in answered)


def test_code() -> None:
    found = items("code")
    assert set(kinds(found)) == {"code", "book", "web", "Reject"}
    code = [d for d in found if isinstance(d, Document) and d.kind == "code"]
    licences = {d.file.split("/code/")[1].split("/")[0]: d.licence for d in code}
    assert licences["js-express"] == "MIT"
    assert licences["go-mux"] == "BSD-3-Clause"
    assert all(d.programming_language for d in code)


def test_books_have_true_offsets() -> None:
    found = [d for d in items("books") if isinstance(d, Document)]
    assert len(found) > 1500
    text = clean((DATA / "books/zh/红楼梦_1-40回.txt").read_bytes().decode())
    chapters = [d for d in found if "红楼梦" in d.file]
    assert all(text[d.start : d.end] == d.text for d in chapters)
    assert max(len(d.text) for d in found) <= 6000
    assert len({d.title for d in chapters}) == 40


def test_encyclopedic() -> None:
    found = items("encyclopedic")
    assert set(kinds(found)) == {"book", "qa"}
    assert not any(d.text.startswith(".TH") for d in found if isinstance(d, Document))


def test_instruction_sets() -> None:
    found = items("instructions")
    assert kinds(found) == {"Conversation": 19942, "Preference": 600}
    ids = [i.record_id for i in found if isinstance(i, Conversation)]
    assert len(set(ids)) == len(ids)
    assert all(i.chosen.messages[:-1] == i.rejected.messages[:-1] for i in found if isinstance(i, Preference))
