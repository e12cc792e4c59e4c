"""What every driver begins and ends with: the same arguments, one line of JSON at the end.

    python drive_NAME.py URL ITEMS IN_FLIGHT FOLDER

URL ends in ``/v1``; FOLDER is an empty one for whatever the contestant keeps (cache, journal, output).
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for ``workload``

URL = sys.argv[1]
ITEMS, IN_FLIGHT = int(sys.argv[2]), int(sys.argv[3])
SCRATCH = Path(sys.argv[4])


def report(complete: int, *packages: str, **more: float) -> None:
    """Say how many items have their own whole answer, and by which versions."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print("\n" + json.dumps({"complete": complete, "versions": versions, **more}), flush=True)
