"""The scenarios: each runs the contestants and returns a section of the page, in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from calls import vllm
from calls.contestants import Contestant
from calls.measure import Run, run, stub
from calls.workload import CAP, FAULTS, OVERLOAD, P50, P99, ideal_times
from shared.page import table

IN_FLIGHT, IN_FLIGHT_REALISTIC = 256, 2_000
MOST = 0.95
"""The time to this share of the replies is told too: the time to the last is mostly one item's bad luck."""
MIB = 2**20


@dataclass(frozen=True)
class Options:
    """``envs``: the folder of environments; ``requests``: the most of a run; ``repeat``: repetitions of the
    scenarios instant and vllm; ``limit``: seconds until a run is stopped; ``vllm``: a folder to serve or a
    URL, ``vllm_python`` its interpreter."""

    envs: Path
    requests: int
    repeat: int
    limit: float
    vllm: str | None
    vllm_python: Path


Ready = Mapping[Contestant, Path]
"""Contestants and their interpreters."""


@dataclass(frozen=True)
class Cost:
    """A contestant's runs with few requests and with many."""

    small: Sequence[Run]
    large: Sequence[Run]

    def each(self, measured: Callable[[Run], float]) -> float:
        """By how much ``measured`` grows with a request: the median over the repetitions."""
        return median(
            (measured(large) - measured(small)) / (large.items - small.items)
            for small, large in zip(self.small, self.large, strict=True)
        )

    @property
    def cpu(self) -> float:
        """CPU seconds a request."""
        return self.each(lambda done: done.cpu)

    @property
    def startup(self) -> float:
        """CPU seconds before the first request and after the last."""
        return median(done.cpu for done in self.small) - self.cpu * self.small[0].items


def instant(ready: Ready, options: Options) -> str:
    """What a request costs each contestant when the server takes no time."""
    costs: dict[str, Cost] = {}
    rows = []
    failed = []
    for contestant, python in ready.items():
        many = min(options.requests, contestant.items)
        few = min(contestant.small, many // 4)
        pairs = [
            [_run(contestant, python, "instant", items, IN_FLIGHT, options.limit) for items in (few, many)]
            for _ in range(options.repeat)
        ]
        cost = Cost([small for small, _ in pairs], [large for _, large in pairs])
        unfinished = [done for pair in pairs for done in pair if done.complete is None]
        if unfinished:
            failed.append(f"{contestant.name}: {_last_words(unfinished[0])}")
            continue
        costs[contestant.name] = cost
        rows.append(
            [
                contestant.name,
                contestant.keeps,
                f"{many:,}",
                f"{max(many - (done.complete or 0) for done in cost.large):,}",
                f"{1 / cost.each(lambda done: done.wall):,.0f}",
                f"{cost.cpu * 1000:.3f}",
                f"{cost.cpu / costs['hydata'].cpu:.1f}" if "hydata" in costs else "",
                f"{cost.startup:.1f}",
                f"{median(done.peak_bytes for done in cost.small) / MIB:,.0f}",
                f"{median(done.peak_bytes for done in cost.large) / MIB:,.0f}",
            ]
        )
    head = [
        *("contestant", "on disk of a reply at once", "requests", "without reply", "requests/s"),
        *("CPU s per 1,000", "times hydata's", "start-up CPU s", "MiB, few requests", "MiB, all"),
    ]
    servers = [done.seen.cpu_seconds / done.items for cost in costs.values() for done in cost.large]
    versions = sorted({cost.large[0].versions for cost in costs.values()})
    return _section(
        f"Instant: the server answers at once, {IN_FLIGHT} in flight",
        table(head, rows),
        f"Medians of {options.repeat}; requests/s and CPU without start-up. The stub itself took at most "
        f"{max(servers, default=0) * 1000:.3f} CPU s per 1,000. Versions: {'; '.join(versions)}.",
        *failed,
    )


def realistic(ready: Ready, options: Options) -> str:
    """How busy each contestant keeps a server that takes its time and fails now and then."""
    items = options.requests // 100 * 100
    most = int(items * MOST) // 100 * 100
    slots = min(IN_FLIGHT_REALISTIC, items)
    ideal = ideal_times(items, slots)
    rows = [["ideal", f"{items:,}", f"{ideal[most - 1]:.1f}", "", f"{ideal[-1]:.1f}", *[""] * 6]]
    failed = []
    for contestant, python in ready.items():
        if contestant.floor:  # a bare client has nothing for faults
            continue
        done = _run(contestant, python, "realistic", items, slots, options.limit)
        seen = done.seen
        replies = seen.answered if done.complete is None else done.complete
        rows.append(
            [
                contestant.name,
                f"{replies:,}",
                *_beside(ideal[most - 1], seen.seconds_to(most)),
                *_beside(ideal[-1], seen.seconds_to(items)),
                f"{seen.occupied / (seen.fed * slots):.1%}" if seen.fed else "",
                f"{seen.requests:,}",
                f"{seen.again:,}",
                f"{done.cpu * 1000 / replies:.2f}" if replies else "",
                f"{done.peak_bytes / MIB:,.0f}",
            ]
        )
        if done.ended != "done":
            failed.append(f"{contestant.name}: {_last_words(done)}")
    head = [
        *("contestant", "replies", f"s to {MOST:.0%}", "ideal/measured", "s to all", "ideal/measured"),
        *("slots busy", "attempts", "answered twice", "CPU s per 1,000", "MiB"),
    ]
    faults = ", ".join(f"{share:.1%} {fault}" for fault, share in FAULTS.items())
    return _section(
        f"Realistic: {items:,} requests, {slots:,} in flight; p50 {P50:g} s, p99 {P99:g} s, cap {CAP:g} s",
        table(head, rows),
        f"Of all attempts fail: {faults}. {' and '.join(OVERLOAD)} come at once and with Retry-After: 1, the "
        "others after the latency of an answer. Ideal: list scheduling of the very same attempts over the "
        "slots, without any wait. Slots busy: requests being served, over slots, on average until the last "
        "new request came. CPU with start-up.",
        *failed,
    )


def memory(ready: Ready, options: Options) -> str:
    """Whether hydata's memory grows with the number of requests."""
    rows = []
    for contestant, python in ready.items():
        if contestant.name == "hydata":
            for items in (options.requests, options.requests * 10):
                done = _run(contestant, python, "instant", items, IN_FLIGHT, options.limit)
                complete = f"{done.complete or 0:,}"
                rows.append([f"{items:,}", complete, f"{done.peak_bytes / MIB:,.0f}", f"{done.wall:.1f}"])
    return _section("Memory: hydata", table(["requests", "replies", "peak MiB", "seconds"], rows))


def against_vllm(ready: Ready, options: Options) -> str:
    """Output tokens a second from one vLLM server, by its own benchmark client and by hydata."""
    if options.vllm is None:
        raise SystemExit("the scenario vllm needs --vllm FOLDER or --vllm URL")
    python = options.vllm_python.absolute()
    with vllm.server(options.vllm, python) as served:
        rounds = vllm.compare(served, python, options.envs, options.repeat)
    rows = [
        [
            *(f"{done.bench.tokens:,}", f"{done.bench.speed:.1f}", f"{done.hydata.tokens:,}"),
            *(f"{done.hydata.speed:.1f}", f"{done.hydata.speed / done.bench.speed:.1%}"),
        ]
        for done in rounds
    ]
    ratio = sum(done.hydata.speed for done in rounds) / sum(done.bench.speed for done in rounds)
    return _section(
        f"vLLM {served.version}: {vllm.REQUESTS} times {vllm.MAX_TOKENS} tokens, {vllm.IN_FLIGHT} in flight",
        table(
            ["vllm bench serve, output tokens", "tokens/s", "hydata, output tokens", "tokens/s", "ratio"],
            rows,
        ),
        f"In turns on one server. Over all rounds hydata has {ratio:.1%} of what vLLM's own client has.",
    )


SCENARIOS: Mapping[str, Callable[[Ready, Options], str]] = {
    "instant": instant,
    "realistic": realistic,
    "memory": memory,
    "vllm": against_vllm,
}


def _run(contestant: Contestant, python: Path, mode: str, items: int, in_flight: int, limit: float) -> Run:
    print(f"{contestant.name}: {mode}, {items:,} requests", file=sys.stderr, flush=True)
    with stub(mode) as url:
        return run([str(python), *contestant.driver], url, items, in_flight, limit)


def _beside(ideal: float, measured: float | None) -> list[str]:
    return ["never", ""] if measured is None else [f"{measured:.1f}", f"{ideal / measured:.1%}"]


def _last_words(done: Run) -> str:
    return f"{done.ended}; it said last: {' '.join(done.log.split())[-300:]}"


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *paragraphs])
