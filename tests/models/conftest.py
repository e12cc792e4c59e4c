"""One fixture: a conversation with a scripted server."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import pointing, serving

from hydata.models import open_models


@pytest.fixture
def converse(tmp_path: Path) -> Callable:
    """``converse(body, *answers, **settings)`` runs ``body(models, model, script)`` against a script."""

    def run(
        body: Callable, *answers: object, journal: Path = tmp_path / "journal.sqlite", **settings: object
    ):
        async def main():
            async with (
                serving(*answers) as script,
                open_models(pointing(script.url, **settings), journal) as models,
            ):
                return await body(models, models.route("generator", "r1"), script)

        return asyncio.run(main())

    return run
