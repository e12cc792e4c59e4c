"""What the stub server saw of a client."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Seen:
    """``requests`` are chat requests with an item's mark, ``distinct`` their items, ``answered`` the items
    that got a good answer, ``again`` good answers to items that had one, ``abandoned`` requests whose client
    left. Times are seconds since the first request; ``every_hundredth``: when the 100th, 200th, ... item
    was answered. ``occupied`` is the time integral of requests being served up to ``fed``, when the last new
    item came."""

    requests: int = 0
    unmarked: int = 0
    distinct: int = 0
    answered: int = 0
    again: int = 0
    abandoned: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    peak_connections: int = 0
    peak_serving: int = 0
    every_hundredth: list[float] = field(default_factory=list)
    serving_each_second: list[int] = field(default_factory=list)
    fed: float = 0.0
    occupied: float = 0.0
    cpu_seconds: float = 0.0

    def seconds_to(self, items: int) -> float | None:
        """When ``items`` (a hundred or a multiple) had been answered; None if they never were."""
        place = items // 100 - 1
        return self.every_hundredth[place] if place < len(self.every_hundredth) else None
