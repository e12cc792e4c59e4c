"""Prints real text that is on this machine anyway: sources and READMEs of installed packages.

The demo reads them as seeds at run time, beside those in examples/seeds. Nothing of them is in the
repository.
"""

import importlib.metadata
import os

PACKAGES = ("datasketch", "typer", "trafilatura")
SOURCES = ("minhash.py", "lsh.py", "models.py", "utils.py")

for name in PACKAGES:
    for file in importlib.metadata.files(name) or ():
        if file.name == "METADATA" or file.name in SOURCES:  # METADATA carries the README
            print(os.path.relpath(file.locate()))
