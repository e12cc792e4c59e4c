"""What several test modules need: a project whose models are the deterministic stand-in."""

from pathlib import Path

import pytest
from projects import make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The demo's recipe and policy with the stand-in model, and a copy of the example seeds in ``seeds``."""
    return make_project(tmp_path / "project")
