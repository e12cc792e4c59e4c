"""Prints real text that is on this machine anyway: sources and READMEs of installed packages.

The demo reads them as seeds at run time, beside those in examples/seeds. Nothing of them is in the
repository.
"""

import importlib.metadata
import os

PACKAGES = ("datasketch", "typer", "trafilatura")

for name in PACKAGES:
    for file in importlib.metadata.files(name) or ():
        readme = file.name == "METADATA"
        if readme or (file.suffix == ".py" and file.name in ("minhash.py", "lsh.py", "models.py", "utils.py")):
            print(os.path.relpath(file.locate()))
