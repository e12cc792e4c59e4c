"""What every driver begins and ends with.

    python drive_NAME.py TEXTS.json REPEATS

TEXTS.json has lists of texts by their name. What is told is the CPU time of the best of REPEATS passes over
each list, in this one process, after a first text that loads what is loaded late; and how many values were
found.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

SHARE = json.loads(sys.argv[3]) if len(sys.argv) > 3 else 1


def run(judges: dict[str, Callable[[list[str]], int]], *packages: str) -> None:
    """Time each of ``judges``, which say how many values there are in some texts."""
    sets = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    told = {}
    for name, judge in judges.items():
        judge(["Write to a.b@example.org."])
        for title, texts in sets.items():
            some = texts[: max(1, round(len(texts) * SHARE))]
            seconds = []
            for _ in range(int(sys.argv[2])):
                before = time.process_time()
                found = judge(some)
                seconds.append(time.process_time() - before)
            told.setdefault(name, {})[title] = (min(seconds) / len(some), found / len(some))
    print("\n" + json.dumps({"told": told, "versions": ", ".join(f"{p} {version(p)}" for p in packages)}))
