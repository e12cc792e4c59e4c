"""The contestants, and an environment of its own for each."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contestant:
    """``driver``: its script and extra arguments. ``packages``: what pip installs into its environment
    (none: it runs in the one that this benchmark runs in). ``items``: the most requests it is given in the
    instant scenario; ``small``: the few that tell its start-up. ``keeps``: what is on disk of a reply as soon
    as it has come. A ``floor`` is a bare client, for comparison."""

    name: str
    driver: tuple[str, ...]
    packages: tuple[str, ...]
    items: int
    small: int
    keeps: str
    floor: bool = False


# The last release of distilabel does not work with what its dependencies have become since.
DISTILABEL = (
    *("distilabel[openai]==1.5.3", "openai<2", "datasets<4", "huggingface_hub<1", "requests"),
    "setuptools<81",
)
# Its extra "inference" also wants vllm, sglang and bitsandbytes, which an endpoint does not need; one of
# their dependencies can be had from its maker's own index only.
DATATROVE = ("datatrove[io]==0.10.1", "aiofiles", "httpx", "aiosqlite", "xxhash<4")
CURATOR = ("bespokelabs-curator==0.1.31",)
CLIENTS = ("httpx", "openai", "aiohttp", "uvloop")

CONTESTANTS = (
    Contestant("hydata", ("drive_hydata.py",), (), 20_000, 1_000, "the reply, synced"),
    Contestant("datatrove", ("drive_datatrove.py",), DATATROVE, 20_000, 1_000, "the reply"),
    Contestant("datatrove-bare", ("drive_datatrove.py", "bare"), DATATROVE, 20_000, 1_000, "nothing"),
    Contestant("curator", ("drive_curator.py",), CURATOR, 10_000, 1_000, "the reply"),
    Contestant("distilabel", ("drive_distilabel.py",), DISTILABEL, 5_120, 512, "nothing"),
    Contestant("aiohttp", ("drive_client.py", "aiohttp"), CLIENTS, 20_000, 1_000, "nothing", floor=True),
    Contestant("openai", ("drive_client.py", "openai"), CLIENTS, 5_000, 500, "nothing", floor=True),
    Contestant("httpx", ("drive_client.py", "httpx"), CLIENTS, 5_000, 500, "nothing", floor=True),
)


class InstallError(Exception):
    """A contestant's environment cannot be built; the text says why."""


def interpreter(contestant: Contestant, envs: Path) -> Path:
    """The contestant's Python; its environment is built under ``envs`` unless it stands there.

    Raises:
        InstallError: with pip's errors.
    """
    if not contestant.packages:
        return Path(sys.executable)
    folder = envs / re.split(r"\W", contestant.packages[0])[0]
    python, listed = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(contestant.packages)
    if listed.exists() and listed.read_text("utf-8") == wanted:
        return python
    print(f"{contestant.name}: building its environment", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *contestant.packages], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        raise InstallError("; ".join(errors)[-300:] or f"pip: exit code {done.returncode}")
    listed.write_text(wanted, "utf-8")
    return python
