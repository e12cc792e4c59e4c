"""Which final answers are the same: numbers by value and unit, formulas by math-verify, the rest by text.

``classes`` is a partition, and does not depend on the order of the answers: distinct answers are compared in
sorted order, and what is connected by comparisons is one class. So equivalence is symmetric and transitive
even where the comparison of formulas is neither.

Formulas are compared in a process of its own with limits (``math_worker``). What that cannot read or finish
is equal to its own text alone, and so is what is too long, too deep or too large (``magnitude``) to try. The
formulas of one question have ``GROUP_SECONDS`` together, so that no row can hold up a run.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import combinations
from pathlib import Path

from hydata.synthesis.answers import Answer
from hydata.synthesis.magnitude import too_large
from hydata.synthesis.notation import SCALE, UNITS

SECONDS = 1.0
"""Of processor time, for one comparison; those of MATH's answers take 0.08 at most."""
GROUP_SECONDS = 3.0
"""Of processor time, for all comparisons of one question; what is left then stays apart."""
PATIENCE = 120.0
"""Of the clock, for a worker that neither answers nor computes."""
LENGTH = 400
DEPTH = 16
FORMULAS = 24
"""So many different formulas of one question are compared with each other: 276 pairs."""
DISTINCT = 300
"""So many different answers are compared with each other; further ones, of a sorted list, by text."""
PLACES = 6
"""A decimal with at least so many places stands for what rounds to it: 0.333333 for 1/3."""


def classes(answers: Sequence[Answer | None]) -> list[int | None]:
    """The class of each answer: 0 is the largest; of equals, one with a whole number, since true answers
    tend to be round; then the first when sorted. None for a failed extraction, which is in no class."""
    votes = Counter(answer for answer in answers if answer is not None)
    distinct = sorted(votes, key=_order)
    unit = _common_unit(votes)
    root = list(range(len(distinct)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    tried = [i for i, answer in enumerate(distinct) if answer.kind == "math"][:FORMULAS]
    opaque = {i for i, answer in enumerate(distinct) if answer.kind == "math"} - set(tried)
    spent = 0.0
    for i in tried:
        # A group that has used up its time is hostile: its other formulas stay apart.
        readable, seconds = _math((distinct[i].text,)) if spent < GROUP_SECONDS else (False, 0.0)
        spent += seconds
        if not readable:
            opaque.add(i)
    for i, j in combinations(range(min(len(distinct), DISTINCT)), 2):
        if find(i) == find(j) or {i, j} & opaque:
            continue
        a, b = distinct[i], distinct[j]
        if not _are_formulas(a, b):
            same = _same(a, b, unit)
        elif spent < GROUP_SECONDS:
            same, seconds = _math((a.text, b.text))
            spent += seconds
        else:
            same = False
        if same:
            root[max(find(i), find(j))] = min(find(i), find(j))
    members = {answer: find(i) for i, answer in enumerate(distinct)}
    sizes = Counter(dict.fromkeys(members.values(), 0))
    for answer, count in votes.items():
        sizes[members[answer]] += count
    whole = {root for answer, root in members.items() if answer.kind == "number" and answer.text.isdecimal()}
    ranked = sorted(sizes, key=lambda root: (-sizes[root], root not in whole, root))
    rank = {root: n for n, root in enumerate(ranked)}
    return [None if answer is None else rank[members[answer]] for answer in answers]


def equivalent(a: Answer, b: Answer) -> bool:
    """Whether two answers to one question are the same."""
    return len(set(classes((a, b)))) == 1


def _order(answer: Answer) -> tuple[str, str, str]:
    return answer.kind, answer.text, answer.unit or ""


def _common_unit(votes: Counter[Answer]) -> str | None:
    """The unit that most answers have; one without a unit is taken to mean it."""
    units: Counter[str] = Counter()
    for answer, count in votes.items():
        if answer.unit is not None and UNITS[answer.unit][0] != SCALE:
            units[answer.unit] += count
    return min(units, key=lambda unit: (-units[unit], unit)) if units else None


def _are_formulas(a: Answer, b: Answer) -> bool:
    """Whether it takes math-verify to compare them."""
    return "math" in {a.kind, b.kind} <= {"math", "number", "text"}


def _same(a: Answer, b: Answer, unit: str | None) -> bool:
    """Whether answers without a formula are."""
    return a == b or (a.kind == b.kind == "number" and _same_number(a, b, unit))


def _same_number(a: Answer, b: Answer, unit: str | None) -> bool:
    left, right = UNITS.get(a.unit or unit or ""), UNITS.get(b.unit or unit or "")
    x, y = a.value, b.value
    scaled = [n.value * UNITS[n.unit][1] if n.unit and UNITS[n.unit][0] == SCALE else n.value for n in (a, b)]
    if scaled != [x, y]:  # 4 million is 4,000,000, and also the 4 of who was asked for millions
        return scaled[0] == scaled[1] or (x == y and None in (a.unit, b.unit))
    if left is not None and right is not None:
        if left[0] != right[0]:
            return False
        if left != right:
            return x * left[1] == y * right[1]
    if x == y:
        return True
    places = [len(n.text.partition(".")[2]) for n in (a, b)]
    return any(p >= PLACES and round(x, p) == round(y, p) for p in places)


# --- formulas ---------------------------------------------------------------------------------------


def _depth(text: str) -> int:
    deepest = depth = 0
    for c in text:
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(c, 0)
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=65_536)
def _math(texts: tuple[str, ...]) -> tuple[bool, float]:
    """Whether one formula can be read, or two are equal; and the processor time it took to find out, which
    is remembered too: a group's budget must not hang on what was compared before."""
    if any(len(t) > LENGTH or _depth(t) > DEPTH or too_large(t) for t in texts):
        return False, 0.0
    return _WORKER.ask(texts)


class _Worker:
    """The process, started at the first question and again after each that ended it; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, texts: tuple[str, ...]) -> tuple[bool, float]:
        """The worker's word and its seconds; one that did not live to tell has used them all."""
        with self._lock:
            if self._process is None:
                self._process = self._start()
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            # The kernel ends a worker that computes too long; one that does not even compute (swapped out,
            # stopped) is killed, late enough that a busy machine is no reason.
            late = threading.Timer(PATIENCE, process.kill)
            late.start()
            try:
                process.stdin.write(json.dumps(texts) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                late.cancel()
            if line:
                same, seconds = json.loads(line)
                return same, seconds
            self._end()
            return False, SECONDS

    def _start(self) -> subprocess.Popen[str]:
        file = Path(__file__).with_name("math_worker.py")
        return subprocess.Popen(
            [sys.executable, "-P", str(file), str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0"},  # sympy's order of terms, and so what it can simplify, hangs on it
            text=True,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        process.wait()

    def close(self) -> None:
        """End the process; it goes by itself when its input closes."""
        with self._lock:
            self._end()


_WORKER = _Worker()
atexit.register(_WORKER.close)
