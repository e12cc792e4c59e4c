"""``hydata models``: keep the vLLM servers of a models file up, and ask every endpoint whether it works."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from hydata.cli.console import err, out, printable, wide
from hydata.errors import ConfigError, EndpointDownError, HydataError, TerminalModelError
from hydata.models import Call, Model, Models, ModelsConfig, Sampling, load_models, open_models, vllm
from hydata.models.config import Endpoint, ModelEntry, VllmEndpoint
from hydata.schema import Message

app = typer.Typer(no_args_is_help=True, help="Start the vLLM servers of models.toml; check every endpoint.")

ModelsFile = Annotated[Path, typer.Option("--models", "-m", help="The models file.")]
Logs = Annotated[Path, typer.Option(help="The folder for the servers' logs, NAME.log each.")]
MODELS = Path("models.toml")
LOGS = Path("logs")


@app.command()
def up(models: ModelsFile = MODELS, logs: Logs = LOGS) -> None:
    """Start every vLLM server of the models file, keep them up, and stop them all at Ctrl-C or SIGTERM.

    `hydata run` uses servers that are up and starts those that are not, for the length of the run.
    """
    raise typer.Exit(asyncio.run(_until_told(load_models(models), logs)))


@app.command()
def check(models: ModelsFile = MODELS, logs: Logs = LOGS) -> None:
    """Send real requests to every endpoint and report what it serves, what it can do and how fast.

    vLLM servers that are not up are started for it. The exit code is that of the worst failure, 0 if
    everybody answered.
    """
    checked = asyncio.run(_check_all(load_models(models), logs))
    table = Table(box=None, pad_edge=False)
    for name in ("endpoint", "engine", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("context", "JSON schema", "n", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in checked:
        table.add_row(*(Text(printable(cell)) for cell in row.cells()))
    wide().print(table)
    for row in checked:
        if row.note:
            out.print(Text(printable(f"{row.endpoint}: {row.note}")))
    if failed := [row.failure.exit_code for row in checked if row.failure]:
        raise typer.Exit(max(failed))


async def _until_told(config: ModelsConfig, logs: Path) -> int:
    """Keep the servers up until a signal comes; the exit code."""
    if not any(isinstance(endpoint, VllmEndpoint) for endpoint in config.endpoints.values()):
        raise ConfigError(f'{config.file}: no endpoint has engine = "vllm": there is nothing to start')
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    caught: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        caught.append(number)
        _say("stopping")
        if me is not None:
            me.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        async with _servers(config, logs) as servers:
            for server in servers:
                whose = f"pid {server.pid}  log {server.log}" if server.pid else "was up already"
                out.print(Text(f"{server.name}  {server.url}  {whose}"))
            raise EndpointDownError(await _first_lost(servers))
    except asyncio.CancelledError:
        if not caught:
            raise
        return 130 if signal.SIGINT in caught else 0


@asynccontextmanager
async def _servers(config: ModelsConfig, logs: Path) -> AsyncIterator[list[vllm.Server]]:
    """All vLLM servers of the file, started side by side; when one cannot be started, none is."""
    async with AsyncExitStack() as stack:
        starting = [
            asyncio.create_task(
                stack.enter_async_context(vllm.serve(name, endpoint, logs / f"{name}.log", _say))
            )
            for name, endpoint in config.endpoints.items()
            if isinstance(endpoint, VllmEndpoint)
        ]
        try:
            yield await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)


async def _first_lost(servers: list[vllm.Server]) -> str:
    lost = [asyncio.create_task(server.lost()) for server in servers]
    try:
        done, _ = await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in lost:
            task.cancel()


def _say(line: str) -> None:
    err.print(Text(printable(line)))


# --- check -------------------------------------------------------------------------------------------------


class Colour(BaseModel):
    """What only a constrained reply to a request for a poem can be."""

    colour: Literal["red", "green", "blue"]


ASKED = "Write three sentences about rivers."
ROOM = 1024
"""Tokens of the request that is timed: a model that thinks first is to come to an answer."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one model of an endpoint. ``context``: tokens a request may have; ``schema``: whether a
    reply was held to a JSON schema; ``several``: whether one request gave two samples; ``speed``: tokens a
    second of one request by itself; None is not known."""

    endpoint: str
    engine: str
    model: str
    context: int
    schema: bool | None = None
    several: bool | None = None
    speed: float | None = None
    advice: str = ""
    failure: HydataError | None = None

    @property
    def note(self) -> str:
        """The failure or advice, in one line."""
        if self.failure is None:
            return self.advice
        return str(self.failure).splitlines()[0].removeprefix(f"{self.endpoint}: ").rstrip(":")

    def cells(self) -> list[str]:
        def word(can: bool | None) -> str:
            return "" if can is None else "yes" if can else "no"

        file = Path(self.model)
        return [
            *(self.endpoint, self.engine, file.name if file.is_file() else self.model, f"{self.context:,}"),
            *(word(self.schema), word(self.several)),
            "" if self.speed is None else f"{self.speed:,.1f}",
        ]


async def _check_all(config: ModelsConfig, logs: Path) -> list[Checked]:
    """A line for each model of each endpoint, in file order. Servers are started side by side, and then asked
    one after the other: those of one machine would slow each other down."""
    # what it can do is asked of each, whatever the file says
    able = {"n": True, "json_schema": True, "attempts": 2}
    endpoints = {name: endpoint.model_copy(update=able) for name, endpoint in config.endpoints.items()}
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        failures = await asyncio.gather(*(_start(stack, config, name, logs) for name in endpoints))
        models = await stack.enter_async_context(
            open_models(config.model_copy(update={"endpoints": endpoints}), scratch / "journal.sqlite")
        )
        lines = [
            await _check_endpoint(models, config, name, failure)
            for name, failure in zip(endpoints, failures, strict=True)
        ]
    return [line for several in lines for line in several]


async def _start(stack: AsyncExitStack, config: ModelsConfig, name: str, logs: Path) -> HydataError | None:
    """Start a vLLM server; why that did not work."""
    endpoint = config.endpoints[name]
    if isinstance(endpoint, VllmEndpoint):
        try:
            await stack.enter_async_context(vllm.serve(name, endpoint, logs / f"{name}.log", _say))
        except HydataError as error:
            _say(str(error))
            return error
    return None


async def _check_endpoint(
    models: Models, config: ModelsConfig, name: str, failure: HydataError | None
) -> list[Checked]:
    endpoint, names = config.endpoints[name], _names(config, name)
    try:
        if failure:
            raise failure
        transport = await models.transport(name)
        served = dict(await vllm.served_models(transport.url, transport.api_key, transport.local))
        return [
            await _check_model(models, name, model, served.get(model) or endpoint.context, endpoint)
            for model in names or list(served)[:1] or [name]
        ]
    except HydataError as error:
        return [Checked(name, endpoint.engine, ", ".join(names), endpoint.context, failure=error)]


def _names(config: ModelsConfig, name: str) -> list[str]:
    """What the models of the file call the model of this endpoint."""
    endpoint = config.endpoints[name]
    if isinstance(endpoint, VllmEndpoint):
        return [endpoint.served_name]
    entries = [entry for entry in config.models.values() if name in entry.endpoint]
    return list(dict.fromkeys(entry.model for entry in entries if entry.model))


async def _check_model(models: Models, name: str, served: str, context: int, endpoint: Endpoint) -> Checked:
    """A request for text, which is timed, one for JSON, and one for two samples."""
    model = Model(
        name=name,
        identity=f"{name} {served}",
        entry=ModelEntry(endpoint=(name,), model=served),
        served=served,
        context=context,
        several=True,
        json_schema=True,
        price=endpoint.price,
    )
    line = Checked(name, endpoint.engine, served, context)
    try:
        if _embeds(models.config, name, served):
            (vector,) = await models.embed(model, [ASKED], "check")
            if isinstance(vector, TerminalModelError):
                raise vector
            return replace(line, advice=f"embeddings of {len(vector):,} numbers")
        reply = await models.complete(model, _call(ASKED, ROOM))
        schema, why = await _holds_to_schema(models, model)
        before = models.stats.sent
        await models.samples(model, _call("Name a fruit.", 16), 2)
        several = models.stats.sent == before + 1
    except HydataError as error:
        return replace(line, failure=error)
    speed = reply.completion_tokens / reply.seconds if reply.completion_tokens else None
    notes = [
        f"set {setting} = false" if told else f"{setting} = true would work"
        for setting, told, can in (("n", endpoint.n, several), ("json_schema", endpoint.json_schema, schema))
        if told != can
    ]
    return replace(line, schema=schema, several=several, speed=speed, advice="; ".join([*notes, *why]))


def _embeds(config: ModelsConfig, name: str, served: str) -> bool:
    """Whether the model that plays the embedder is this one."""
    role = config.roles.get("embedder")
    entry = config.models[role.alone] if role is not None and role.alone else None
    return entry is not None and name in entry.endpoint and entry.model in (None, served)


async def _holds_to_schema(models: Models, model: Model) -> tuple[bool, list[str]]:
    try:
        await models.structured(model, _call("Write a poem about the sea.", 64), Colour)
    except TerminalModelError as error:
        return False, [" ".join(str(error).split())[:200]]
    return True, []


def _call(text: str, max_tokens: int) -> Call:
    return Call((Message("user", text),), Sampling(max_tokens=max_tokens))
