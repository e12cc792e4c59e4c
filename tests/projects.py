"""Where the repository is, and a project whose only model is the deterministic stand-in."""

import shutil
from pathlib import Path

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
