"""Where the repository is, and a project whose only model is the deterministic stand-in."""

import asyncio
import shutil
from contextlib import chdir
from pathlib import Path

from hydata.recipe import load_recipe
from hydata.run import run_recipe
from hydata.session import Session

ROOT = Path(__file__).parent.parent

STANDIN = """
[endpoints.standin]
engine = "standin"
delay = {delay}

[models.first]
endpoint = "standin"

[models.second]
endpoint = "standin"
temperature = 0.3

[roles.generator]
models = {{ first = 1 }}
[roles.evolver]
models = {{ first = 1, second = 1 }}
[roles.responder]
models = {{ first = 1, second = 1 }}
[roles.critic]
models = {{ first = 1 }}
[roles.labeller]
models = {{ second = 1 }}
"""


def make_project(folder: Path) -> Path:
    """The demo's recipe and policy with the stand-in model, and a copy of the example seeds in ``seeds``."""
    folder.mkdir()
    for name in ("recipe.toml", "policy.toml"):
        shutil.copyfile(ROOT / "examples" / "demo" / name, folder / name)
    recipe = (folder / "recipe.toml").read_text().replace("../../", f"{ROOT}/")
    (folder / "recipe.toml").write_text(recipe)
    (folder / "models.toml").write_text(STANDIN.format(delay=0))
    shutil.copytree(ROOT / "examples" / "seeds", folder / "seeds")
    return folder


def run_project(
    project: Path, root: Path, *seeds: str, rebuild: tuple[str, ...] = (), until: str | None = None
) -> Session:
    """Run the project's recipe on ``seeds``, relative to it, or on all it has. Ids hold these paths, and what
    the stand-in writes hangs on ids: by relative paths it is the same wherever the project lies."""
    with chdir(project):
        recipe = load_recipe(project / "recipe.toml", seeds or ("seeds",))
        return asyncio.run(run_recipe(root, recipe, rebuild=rebuild, until=until))
