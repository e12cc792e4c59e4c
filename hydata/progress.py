"""Progress on a terminal: a live line a node; elsewhere plain lines, so that a log stays readable.

A unit of progress is a job (a shard, a pack, a snapshot) or, where a stage calls models, a call: a shard of
20,000 instructions takes hours, its calls move every second.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hydata.models import Ledger, Stats
from hydata.recipe import Node
from hydata.run import Progress

PLAIN_SECONDS = 10.0
"""Seconds between the lines of a node that runs on, where the output is not a terminal."""


class RunProgress(Progress, AbstractContextManager["RunProgress"]):
    """Reports nodes, jobs and model calls with counts, rates and the time left.

    Only nodes with work are shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console, get_renderable=self._line, refresh_per_second=4, transient=True
            )
        self._node: Node | None = None
        self._jobs = self._done = self._rows = 0
        self._began = self._told = time.monotonic()
        self._ledger = Ledger()
        self._before = Stats()

    def __enter__(self) -> RunProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_node()
        if self._live:
            self._live.stop()

    def node(self, node: Node, done: int, total: int, ledger: Ledger) -> None:
        self._end_node()
        self._node = node if total > done else None
        self._done, self._jobs, self._rows = 0, total - done, 0
        self._began = self._told = time.monotonic()
        self._ledger, self._before = ledger, ledger.total

    def job(self, node: Node, rows: int) -> None:
        self._done += 1
        self._rows += rows

    def tick(self) -> None:
        now = time.monotonic()
        if self._live is None and self._node is not None and now - self._told >= PLAIN_SECONDS:
            self._told = now
            self._console.print(self._line(), highlight=False)

    def _end_node(self) -> None:
        if self._node is not None and self._done == self._jobs:
            self._console.print(self._line(final=True), highlight=False)
        self._node = None

    def _line(self, final: bool = False) -> Text:
        if self._node is None:
            return Text("")
        seconds = time.monotonic() - self._began
        stats = self._ledger.total
        calls = stats.calls - self._before.calls
        ended = stats.ended - self._before.ended
        tokens = stats.completion_tokens - self._before.completion_tokens
        parts = [f"{self._node.id:<24}", f"{seconds:6.1f} s", f"{self._done}/{self._jobs} jobs"]
        if calls:
            cached = stats.cached - self._before.cached
            parts.append(f"{ended}/{calls} calls" + (f" ({cached} from the journal)" if cached else ""))
            parts.append(f"{tokens / max(seconds, 1e-9):.0f} tokens/s")
            if retries := stats.retries - self._before.retries:
                parts.append(f"{retries} retries")
            if cost := stats.cost - self._before.cost:
                parts.append(f"cost {cost:.4g}")
        if final:
            parts.append(f"{self._rows:,} rows")
        else:
            share = ended / calls if calls else self._done / self._jobs if self._jobs else 0.0
            if seconds > 2 and share > 0:
                parts.append(f"{seconds * (1 - share) / share:.0f} s left")
        return Text("  ".join(parts))
