"""An environment of its own for each contestant."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


class InstallError(Exception):
    """A contestant's environment cannot be built; the text says why."""


def environment(name: str, packages: Sequence[str], envs: Path, bare: Sequence[str] = ()) -> Path:
    """The Python that has ``packages``, this one if there are none. The environment is built under ``envs``
    unless it stands there. ``bare`` packages come without what they ask for.

    Raises:
        InstallError: with pip's errors.
    """
    if not packages:
        return Path(sys.executable)
    folder = envs / re.split(r"\W", packages[0])[0]
    python, listed = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join([*packages, *bare])
    if listed.exists() and listed.read_text("utf-8") == wanted:
        return python
    print(f"{name}: building its environment", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for told in ([*packages], ["--no-deps", *bare] if bare else []):
        done = subprocess.run([*pip, *told], capture_output=True, text=True) if told else None
        if done and done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
            raise InstallError("; ".join(errors)[-300:] or f"pip: exit code {done.returncode}")
    listed.write_text(wanted, "utf-8")
    return python
