"""Source code: language, licence, and what is left out."""

from pathlib import Path

import pytest

from hydata.schema import Document, Reject
from hydata.seeds import SeedSettings, read, walk
from hydata.seeds.code import language_of
from hydata.seeds.licences import creative_commons, recognise

MIT = (
    "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of this "
    'software and associated documentation files (the "Software")'
)
BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted"


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.py", "", "Python"),
        ("A.CPP", "", "C++"),
        ("a.h", "int f(void);", "C"),
        ("a.h", "class A {};", "C++"),
        ("Dockerfile", "FROM x", "Dockerfile"),
        ("CMakeLists.txt", "", "CMake"),
        ("tool", "#!/usr/bin/env -S python3 -u\n", "Python"),
        ("tool", "#!/bin/bash\n", "Shell"),
        ("notes.txt", "#!/bin/bash\n", None),
        ("README", "text", None),
    ],
)
def test_language(name: str, text: str, language: str | None) -> None:
    assert language_of(name, text) == language


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        (MIT.replace(" ", "\n   "), "MIT"),
        (
            BSD + ". Neither the name of the author may be used to endorse or promote products.",
            "BSD-3-Clause",
        ),
        (BSD, "BSD-2-Clause"),
        ("Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 2, June 1991", "GPL-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\n Version 3, 2007 ... GNU Affero General Public License", "GPL-3.0"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3", "AGPL-3.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n Version 2.1, February 1999", "LGPL-2.1"),
        ("GNU LESSER GENERAL PUBLIC LICENSE Version 3, GNU General Public License version 3", "LGPL-3.0"),
        ("Mozilla Public License Version 2.0", "MPL-2.0"),
        ("Permission to use, copy, modify, and/or distribute this software for any purpose with fee", "ISC"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Creative Commons Legal Code CC0 1.0 Universal", "CC0-1.0"),
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2", "PSF-2.0"),
        ("Format: x\n\nFiles: *\nCopyright: me\nLicense: Expat\n\nFiles: debian/*\nLicense: GPL-2+\n", "MIT"),
        ("All rights reserved.", None),
    ],
)
def test_licence_texts(text: str, licence: str | None) -> None:
    assert recognise(text) == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC ZERO 1.0", "CC0-1.0"),
        ("CC BY-NC-ND 3.0", "CC-BY-NC-ND-3.0"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("All rights reserved", None),
    ],
)
def test_creative_commons(text: str, licence: str | None) -> None:
    assert creative_commons(text) == licence


def tree(root: Path, files: dict[str, str]) -> dict[str, Document | Reject]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found: dict[str, Document | Reject] = {}
    for source in walk([root]):
        for item in read(source, SeedSettings()):
            assert isinstance(item, (Document, Reject))
            found[source.path.relative_to(root).as_posix()] = item
    return found


def test_nearest_licence_counts_and_a_header_wins(tmp_path: Path) -> None:
    found = tree(
        tmp_path / "repo",
        {
            "LICENSE": MIT,
            "a.py": "x = 1\n",
            "lib/deep/b.py": "x = 1\n",
            "lib/COPYING": "GNU GENERAL PUBLIC LICENSE Version 3",
            "c.py": "# SPDX-License-Identifier: Apache-2.0 OR MIT\nx = 1\n",
            "d.c": "/* SPDX-License-Identifier: ISC */\nint x;\n",
        },
    )
    licences = {name: item.licence for name, item in found.items() if isinstance(item, Document)}
    assert licences == {"a.py": "MIT", "lib/deep/b.py": "GPL-3.0", "c.py": "Apache-2.0 OR MIT", "d.c": "ISC"}


def test_licences_above_the_named_folder_count_only_in_a_repository(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    outside = tree(tmp_path / "stray" / "src", {"a.py": "x = 1\n"})
    assert outside["a.py"].licence is None
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "LICENSE").write_text(BSD)
    inside = tree(tmp_path / "repo" / "src", {"a.py": "x = 1\n"})
    assert inside["a.py"].licence == "BSD-2-Clause"


def test_generated_and_vendored_files_are_left_out(tmp_path: Path) -> None:
    found = tree(
        tmp_path / "site-packages" / "repo",  # what lies above the named folder does not count
        {
            "own.py": "x = 1\n",
            "about.py": "# Tools that write files should say DO NOT EDIT at their top.\n" * 80 + "x = 1\n",
            "node_modules/m/i.js": "var x;\n",
            "src/vendor/v.go": "package v\n",
            "dist/b.js": "var x;\n",
            "gen.go": "// Code generated by stringer. DO NOT EDIT.\npackage g\n",
            "gen.py": '"""@generated by a tool"""\nx = 1\n',
            "a_pb2.py": "x = 1\n",
            "app.min.js": "var x;\n",
            "one.js": "var x=1;" * 1000,
            "package-lock.json": "{}",
            "Cargo.lock": "[[package]]\n",
        },
    )
    reasons = {name: item.reason for name, item in found.items() if isinstance(item, Reject)}
    assert reasons == {
        "node_modules/m/i.js": "vendored",
        "src/vendor/v.go": "vendored",
        "dist/b.js": "vendored",
        "about.py": "generated",
        "gen.go": "generated",
        "gen.py": "generated",
        "a_pb2.py": "generated",
        "app.min.js": "generated",
        "one.js": "generated",
        "package-lock.json": "generated",
        "Cargo.lock": "generated",
    }
    assert isinstance(found["own.py"], Document)


def test_long_source_is_split_with_true_offsets(reading) -> None:
    text = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(300))
    items = reading("long.py", text, code_chunk=2000)
    assert len(items) > 3
    assert "".join(item.text for item in items) == text
    assert all(text[i.start : i.end] == i.text for i in items)
    assert [i.position for i in items] == list(range(len(items)))


def test_binary_and_oversized_source(reading) -> None:
    assert reading("a.c", b"int x;\x00\x01\x02" * 50)[0].reason == "not_text"
    assert reading("a.c", b"int x;\n" * 500, limits={"document_bytes": 1000})[0].reason == "too_large"
