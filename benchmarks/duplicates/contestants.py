"""The contestants: what pip installs for each, and what is to be known of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """``driver``: its script; ``packages``: what pip installs (none: it runs in the environment of this
    benchmark); ``most``: the most documents that it is given."""

    name: str
    driver: str
    packages: tuple[str, ...]
    most: int


ARROW = ("pyarrow", "numpy")

CONTESTANTS = (
    Contestant("hydata", "drive_hydata.py", (), 10_000_000),
    Contestant("datasketch", "drive_datasketch.py", ("datasketch==2.0.0", "xxhash", *ARROW), 1_000_000),
    Contestant("rensa", "drive_rensa.py", ("rensa==0.5.0", *ARROW), 1_000_000),
    Contestant("gaoya", "drive_gaoya.py", ("gaoya==0.2.2", *ARROW), 1_000_000),
    Contestant(
        "text-dedup",
        "drive_text_dedup.py",
        ("text-dedup==0.4.0", "datasets<4", "setuptools<81", *ARROW),
        100_000,
    ),
    Contestant(
        "datatrove",
        "drive_datatrove.py",
        ("datatrove[io,processing]==0.10.1", "spacy", "jieba", *ARROW),
        100_000,
    ),
    Contestant("data-juicer", "drive_data_juicer.py", ("py-data-juicer==1.6.1", "aiohttp", *ARROW), 100_000),
)
