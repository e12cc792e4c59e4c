"""Which recipe, at which revision of its repository, made what is in the warehouse.

Recorded beside the head when a recipe has run, because an export may happen on another day, with
another recipe file in its place.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydata.errors import WarehouseError
from hydata.privacy import PrivacySettings
from hydata.warehouse import write_atomic


@dataclass(frozen=True)
class Provenance:
    """``recipe_sha256`` is of the recipe file; ``git_revision`` of the repository it lies in, with ``-dirty``
    behind it if files there were changed; None outside a repository; ``privacy`` is what of a record is not
    exported (of a warehouse that does not say, what a recipe leaves out that does not say either)."""

    recipe: str
    recipe_sha256: str
    git_revision: str | None
    privacy: PrivacySettings = field(default_factory=PrivacySettings)

    def told(self) -> dict[str, Any]:
        """The fields of a manifest that tell of it; ``anonymised`` are the kinds of personal data that the
        export has placeholders for."""
        return {
            "recipe": self.recipe,
            "recipe_sha256": self.recipe_sha256,
            "git_revision": self.git_revision,
            "anonymised": list(self.privacy.replaces),
        }


def record_provenance(
    root: Path,
    recipe: str,
    file: Path,
    recipe_sha256: str | None = None,
    privacy: PrivacySettings | None = None,
) -> None:
    """Keep the provenance of a run of the recipe in ``file``.

    ``recipe_sha256`` is of the bytes that were loaded; without it the file is read now, and the hash is
    ``unknown`` if it is gone.
    """
    if recipe_sha256 is None:
        recipe_sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "unknown"
    kept = {
        "recipe": recipe,
        "recipe_sha256": recipe_sha256,
        "git_revision": _git_revision(file.parent),
        "privacy": (privacy or PrivacySettings()).model_dump(mode="json"),
    }
    write_atomic(root / "heads" / f"{recipe}.provenance", json.dumps(kept).encode())


def read_provenance(root: Path, recipe: str) -> Provenance:
    """The provenance of the recipe's last run.

    Raises:
        WarehouseError: the recipe never ran to its end.
    """
    path = root / "heads" / f"{recipe}.provenance"
    if not path.exists():
        raise WarehouseError(f"{path}: missing; run recipe {recipe} again to record it")
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Provenance(**kept | {"privacy": PrivacySettings.model_validate(kept.get("privacy", {}))})


def _git_revision(folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
