"""What every test of a reader needs: a file written, then read as ingest reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hydata.schema import Document, Item, Reject
from hydata.seeds import SeedSettings, Source, read

Reading = Callable[..., list[Item]]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """``reading(name, data, **settings)``: all items of a file with this content."""

    def run(name: str, data: bytes | str, **settings: object) -> list[Item]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        items = list(read(Source(path, name, tmp_path), SeedSettings(**settings)))
        assert items, "a file must never vanish"
        for item in items:
            if isinstance(item, Reject):
                assert item.stage == "ingest"
                assert item.file == name
            if isinstance(item, Document):
                assert item.text.strip()
                item.text.encode()  # no lone surrogates
                assert "\0" not in item.text
                assert "\r" not in item.text
        return items

    return run
