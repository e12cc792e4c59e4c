"""Files that come with hydata: templates of a project's settings, the prompts and the taxonomy.

Prompts and taxonomy stand at the top of the repository; an installed wheel carries them under
``share/hydata``. ``write_project`` copies all of them for the user to edit.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from hydata.errors import ConfigError
from hydata.recipe import Recipe

_PACKAGE = Path(__file__).parent
TEMPLATES = _PACKAGE / "templates"


def shared(name: str) -> Path:
    """The folder ``prompts`` or ``taxonomy`` of the repository, or of the installed package.

    Raises:
        ConfigError: the installation is not complete.
    """
    for folder in (_PACKAGE.parent / name, Path(sys.prefix) / "share" / "hydata" / name):
        if folder.is_dir():
            return folder
    raise ConfigError(f"hydata's folder {name}/ is missing from the installation; install hydata again")


def write_project(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Copy templates, prompts and taxonomy into ``folder``; yields each path and whether it was written."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*sorted(TEMPLATES.glob("*.toml")), shared("prompts"), shared("taxonomy")]
    for source in sources:
        target = folder / source.name
        written = not target.exists()
        if written and source.is_dir():
            shutil.copytree(source, target)
        elif written:
            shutil.copyfile(source, target)
        yield target, written


def default_recipe(seeds: tuple[str, ...]) -> Recipe:
    """The recipe of the templates, for commands that need no project of the user's own."""
    recipe = Recipe(file=TEMPLATES / "recipe.toml", prompts=shared("prompts"), taxonomy=shared("taxonomy"))
    return recipe.model_copy(update={"ingest": recipe.ingest.model_copy(update={"paths": seeds})})
