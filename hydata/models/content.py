"""What decides a model's replies besides the request: its files, and arguments its server is started with.

A folder's small files are hashed whole, and large ones, the weights, by size and pieces: reading a
hundred gigabytes before every run would be no help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from hydata.errors import ConfigError

HARMLESS = {
    "--api-server-count",
    "--block-size",
    "--cpu-offload-gb",
    "--disable-log-stats",
    "--distributed-executor-backend",
    "--download-dir",
    "--enable-chunked-prefill",
    "--enforce-eager",
    "--gpu-memory-utilization",
    "--max-num-batched-tokens",
    "--max-num-seqs",
    "--no-enable-chunked-prefill",
    "--no-enforce-eager",
    "--shutdown-timeout",
    "--uvicorn-log-level",
}
"""vLLM's arguments that decide how fast an answer comes, not which."""
KINDS = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".safetensors", ".bin", ".pt", ".gguf"}
"""Files in a model's folder that decide its replies: weights, configuration, tokenizer, templates."""
WHOLE = 64 * 2**20
SLICE = 2**20
SLICES = 16


def arguments(args: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """Command line arguments as flags with their values."""
    pairs: list[tuple[str, tuple[str, ...]]] = []
    for word in args:
        if word.startswith("-") and not word[1:2].isdigit():
            flag, _, value = word.partition("=")
            pairs.append(
                (flag.replace("_", "-") if flag.startswith("--") else flag, (value,) if value else ())
            )
        elif pairs:
            pairs[-1] = pairs[-1][0], (*pairs[-1][1], word)
        else:
            pairs.append(("", (word,)))
    return pairs


def deciding(args: tuple[str, ...]) -> list[str]:
    """The arguments that may change a reply, in an order of their own; files by what is in them."""
    return sorted(
        " ".join([flag, *(content(value, None) if Path(value).is_file() else value for value in values)])
        for flag, values in arguments(args)
        if flag not in HARMLESS
    )


def content(model: str, revision: str | None) -> str:
    """What stands for a file, a folder, or a name on the hub."""
    path = Path(model)
    if path.is_absolute() and not path.exists():
        raise ConfigError(f"model = {model!r}: no such file or folder; check the path in the models file")
    if not path.exists():
        return f"{model} revision {revision or 'main'}"
    files = [path] if path.is_file() else sorted(_files(path))
    if not files:
        raise ConfigError(
            f"model = {model!r}: the folder has no model; name one with config.json and weights"
        )
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        name = "" if file == path else file.relative_to(path).as_posix()
        digest.update(f"{name}\0{_hash(file, stat.st_size, stat.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in KINDS and not hidden and path.is_file():
            yield path


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, modified_ns: int) -> str:
    """Of a whole file, or of a large one's size and SLICES pieces, from its first MiB to its last."""
    with path.open("rb") as file:
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for i in range(SLICES):
            file.seek((size - SLICE) * i // (SLICES - 1))
            digest.update(file.read(SLICE))
        return digest.hexdigest()
