"""What several test modules need: a project whose models are the deterministic stand-in."""

import shutil
from pathlib import Path

import pytest
from projects import ROOT, STANDIN


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The demo's recipe and policy with the stand-in model, and a copy of the example seeds in ``seeds``."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("recipe.toml", "policy.toml"):
        shutil.copyfile(ROOT / "examples" / "demo" / name, folder / name)
    recipe = (folder / "recipe.toml").read_text().replace("../../", f"{ROOT}/")
    (folder / "recipe.toml").write_text(recipe)
    (folder / "models.toml").write_text(STANDIN.format(delay=0))
    shutil.copytree(ROOT / "examples" / "seeds", folder / "seeds")
    return folder
