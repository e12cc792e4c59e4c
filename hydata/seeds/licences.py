"""Which licence a source file stands under, as an SPDX identifier.

An ``SPDX-License-Identifier`` in the file's own header wins; else the nearest licence file above it
speaks for it, recognised by phrases that only this licence has. None means unknown, not free.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from hydata.seeds.source import Source

HEADER = 4_000
"""Characters of a source file in which a licence header is looked for."""

_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+() -]{2,80}?)\s*(?:\*/|-->|\"|$)", re.M)
_CREATIVE_COMMONS = re.compile(
    r"(?:creativecommons\.org/(?:licenses|publicdomain)/|\bCC[ -]?)"
    r"(zero|0|mark|by(?:[ -](?:nc|sa|nd))*)[ /-](\d\.\d)",
    re.I,
)
_FILES = re.compile(r"(?:un)?licen[cs]e|copying|copyright", re.I)
_DEBIAN = re.compile(r"^Files: \*\n(?:.+\n)*?License: *(\S.*)$", re.M)

# Of two that begin at the same place the first counts.
_PHRASES: tuple[tuple[str, str], ...] = (
    ("Apache-2.0", r"apache license,? version 2\.0"),
    ("MPL-2.0", r"mozilla public license,? v(?:ersion|\.) ?2\.0"),
    ("AGPL-3.0", r"gnu affero general public license"),
    ("LGPL-3.0", r"gnu lesser general public license version 3"),
    ("LGPL-2.1", r"gnu lesser general public license version 2\.1"),
    ("LGPL-2.0", r"gnu library general public license version 2"),
    ("GPL-3.0", r"gnu general public license version 3"),
    ("GPL-2.0", r"gnu general public license version 2"),
    ("PSF-2.0", r"python software foundation license version 2"),
    ("Unlicense", r"this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    (
        "ISC",
        r"permission to use, copy, modify, and(?:/or)? distribute this software for any purpose with",
    ),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.*endorse or promote products"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy of this software"),
)
_COMPILED = tuple((name, re.compile(phrase)) for name, phrase in _PHRASES)
_DEBIAN_NAMES = {
    "expat": "MIT",
    "mit": "MIT",
    "isc": "ISC",
    "apache-2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "mpl-2.0": "MPL-2.0",
    "cc0-1.0": "CC0-1.0",
    "gpl-2": "GPL-2.0-only",
    "gpl-2+": "GPL-2.0-or-later",
    "gpl-3": "GPL-3.0-only",
    "gpl-3+": "GPL-3.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-2.1+": "LGPL-2.1-or-later",
    "lgpl-3": "LGPL-3.0-only",
    "lgpl-3+": "LGPL-3.0-or-later",
    "public-domain": "LicenseRef-public-domain",
}


def creative_commons(text: str) -> str | None:
    """The SPDX identifier of a Creative Commons licence, by its address or its usual short name."""
    if found := _CREATIVE_COMMONS.search(text):
        name, version = found[1].upper().replace(" ", "-"), found[2]
        return (
            f"CC0-{version}" if name in ("ZERO", "0") else f"CC-{name}-{version}" if name != "MARK" else None
        )
    return None


def licence_of_file(source: Source, text: str) -> str | None:
    """The licence of a source file whose text is ``text``."""
    if header := _SPDX.search(text[:HEADER]):
        return header[1].strip()
    return _nearest(source.path.absolute().parent, (source.root or source.path.parent).absolute())


@lru_cache(maxsize=65536)
def _nearest(folder: Path, root: Path) -> str | None:
    """The licence of the nearest folder upwards that states one: up to the root of the repository, or,
    outside of any, to the folder the user named. What lies higher belongs to something else."""
    if found := _stated_in(folder):
        return found
    last = (
        folder == folder.parent or (folder / ".git").exists() or (folder == root and not _in_repository(root))
    )
    return None if last else _nearest(folder.parent, root)


@lru_cache(maxsize=1024)
def _in_repository(folder: Path) -> bool:
    return any((parent / ".git").exists() for parent in (folder, *folder.parents))


def _stated_in(folder: Path) -> str | None:
    try:
        paths = sorted(path for path in folder.iterdir() if _FILES.match(path.name))
    except OSError:
        return None
    for path in (*paths, folder / "debian" / "copyright"):
        try:
            if path.is_file() and (
                found := recognise(path.read_bytes()[:100_000].decode("utf-8", "replace"))
            ):
                return found
        except OSError:
            continue
    return None


def recognise(text: str) -> str | None:
    """The SPDX identifier of a licence text, or of the main entry of a Debian copyright file."""
    if spdx := _SPDX.search(text):
        return spdx[1].strip()
    if debian := _DEBIAN.search(text):
        name = debian[1].strip()
        if found := _DEBIAN_NAMES.get(name.lower()):
            return found
    flat = " ".join(text.lower().split())
    # A licence says its own name first; further on it may name others it is compatible with.
    places = [(match.start(), name) for name, phrase in _COMPILED if (match := phrase.search(flat))]
    return min(places, key=lambda place: place[0])[1] if places else None
