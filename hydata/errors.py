"""The error tree.

    HydataError
    ├── ConfigError            a file the user wrote is wrong: names the file, the value, the remedy
    ├── WarehouseError         the data on disk does not allow this: locked, damaged, missing
    ├── ConservationError      a stage lost a row: a defect in hydata, never in the data
    └── ModelError
        ├── TransientModelError   may succeed later: the shard stays unfinished and is resumed
        │   └── EndpointDownError     and no other call of that endpoint succeeds either: the run stops
        ├── TerminalModelError    will never succeed: the record becomes a reject with the server's words
        └── BudgetError           the run's budget is used up: it stops cleanly and is resumed with a new one

Whether an error is worth a retry is decided by its type alone.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "ConfigError",
    "ConservationError",
    "EndpointDownError",
    "HydataError",
    "ModelError",
    "TerminalModelError",
    "TransientModelError",
    "WarehouseError",
]


class HydataError(Exception):
    """Base of every error hydata raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(HydataError):
    """A settings, recipe, prompt, taxonomy or policy file is wrong."""

    exit_code = 2


class WarehouseError(HydataError):
    """The warehouse is locked by another run, damaged, or lacks what was asked for."""

    exit_code = 3


class ConservationError(HydataError):
    """A stage's output and rejects do not account for every input row."""

    exit_code = 70


class ModelError(HydataError):
    """A model call failed."""


class TransientModelError(ModelError):
    """The call may succeed later (overload, timeout, connection lost); retries are exhausted."""

    exit_code = 75


class EndpointDownError(TransientModelError):
    """An endpoint answers nobody: calls that have not begun need not be tried."""


class BudgetError(ModelError):
    """The budget of the run does not allow another request; what was under way has ended and is kept."""

    exit_code = 76


class TerminalModelError(ModelError):
    """The call can never succeed as it stands (bad request, context too long, content refused)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
