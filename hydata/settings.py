"""Reading the user's TOML files into frozen, checked settings.

One function turns a file into a ``Settings`` object, and every mistake in it into a ``ConfigError``
that names the file, the key, the value and what is allowed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from hydata.errors import ConfigError
from hydata.stage import Settings

S = TypeVar("S", bound=Settings)

SECRETIVE = ("key", "secret", "token", "password", "url")
"""A text under a key whose name holds one of these may be a secret put in the wrong place."""


def read_toml(path: Path, model: type[S]) -> S:
    """The file at ``path`` as a ``model``.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; `hydata init` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable ({error})") from error
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error


def overridden(model: type[S], assignments: Iterable[str], what: str) -> S:
    """A ``model`` with its defaults but for ``assignments``: KEY=VALUE, the key dotted, the value TOML's or
    else a text as it stands.

    Raises:
        ConfigError: names the assignment, or ``what`` and its wrong key or value.
    """
    given: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        *tables, last = key.strip().split(".")
        if not equals or not last:
            raise ConfigError(f"{what}: --set {assignment!r} is not KEY=VALUE")
        table = given
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{what}: --set {assignment!r}: {name} has a value already")
        try:
            table[last] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[last] = value.strip()
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{what}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """A pydantic error in one line: each wrong key, the value seen, what was expected."""
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "(file)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}; remove it or check its spelling")
        elif problem["type"] == "missing":
            lines.append(f"missing key {key!r}; add it")
        else:
            lines.append(
                f"{key}{_shown(key, problem.get('input'))}: {problem['msg'].removeprefix('Value error, ')}"
            )
    return "; ".join(lines)


def _shown(key: str, value: object) -> str:
    """The value for the message; not what may be a secret, nor a table, which may hold one."""
    secretive = isinstance(value, str) and any(word in key.rpartition(".")[2].lower() for word in SECRETIVE)
    return f" = {value!r}" if isinstance(value, str | int | float) and not secretive else ""
