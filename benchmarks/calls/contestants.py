"""The contestants, and an environment of its own for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.environments import environment


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


def interpreter(contestant: Contestant, envs: Path) -> Path:
    """The contestant's Python.

    Raises:
        InstallError: with pip's errors.
    """
    return environment(contestant.name, contestant.packages, envs)
