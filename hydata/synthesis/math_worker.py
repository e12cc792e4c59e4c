"""A process of its own that compares formulas by math-verify; started by ``equivalence``, never imported.

sympy has no bound: ``10^{10^{10}}`` is worked out in C code that no exception reaches, and math-verify's own
timeouts are signals, which threads cannot use. So this process reads one JSON list of LaTeX texts a line,
answers one line, ``[equal, seconds]``, and has the kernel end it (SIGPROF at its default) when one line
takes more than its seconds of processor time: not of the clock, so that a busy machine changes no result. Its
memory is bounded too. It is given no environment, and imports nothing of hydata.
"""

import json
import logging
import resource
import signal
import sys
import time
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

MEMORY = 1 << 30
TARGETS = (LatexExtractionConfig(boxed_match_priority=0),)


def _parsed(text: str, known: dict[str, list[Any]]) -> list[Any]:
    """What math-verify reads in a formula; empty where that is only its own text again."""
    if text not in known:
        if len(known) > 512:
            known.clear()
        found = parse(f"${text}$", TARGETS, parsing_timeout=None)
        known[text] = found if any(not isinstance(part, str) for part in found) else []
    return known[text]


def main(seconds: float) -> None:
    """Answer ``[a]`` by whether it can be read, ``[a, b]`` by whether they are equal."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    known: dict[str, list[Any]] = {}
    _parsed("1", known)  # compiles math-verify's expressions, which belongs to no line
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        began = time.process_time()
        texts = json.loads(line)
        try:
            read = [_parsed(text, known) for text in texts]
            # verify takes a gold answer and a guess; "a + 3z = 0" for a gold "0" is equal one way round only.
            equal = all(read) and (
                len(read) == 1
                or (verify(*read, timeout_seconds=None) and verify(*reversed(read), timeout_seconds=None))
            )
        except (MemoryError, RecursionError):
            equal = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps([bool(equal), time.process_time() - began]), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
