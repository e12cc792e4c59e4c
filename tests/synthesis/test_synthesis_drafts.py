"""How the steps issue their calls: a window over a generator, in order, stopped by the first error."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace

import polars as pl
import pytest

from hydata.errors import ConfigError, TransientModelError
from hydata.models import ModelsConfig, open_models
from hydata.schema import conversations_frame
from hydata.synthesis import label, respond
from hydata.synthesis.drafts import WINDOW, gather


def test_results_are_in_order_and_calls_are_made_when_there_is_room() -> None:
    made = ended = most = 0

    async def call(i: int) -> int:
        nonlocal ended
        await asyncio.sleep(0.001 * (i % 3))
        ended += 1
        return i

    def calls() -> Iterator:
        nonlocal made, most
        for i in range(3 * WINDOW):
            made += 1
            most = max(most, made - ended)
            yield call(i)

    assert asyncio.run(gather(calls())) == list(range(3 * WINDOW))
    assert most == WINDOW
    assert asyncio.run(gather([])) == []


def test_the_first_error_keeps_its_type_and_stops_the_rest() -> None:
    made, cancelled = [], []

    async def call(i: int) -> int:
        if i == 7:
            raise TransientModelError("busy")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(i)
            raise
        return i

    def calls() -> Iterator:
        for i in range(3 * WINDOW):
            made.append(i)
            yield call(i)

    with pytest.raises(TransientModelError, match="busy"):
        asyncio.run(gather(calls()))
    gc.collect()  # a call that nobody awaited would warn now
    assert len(made) <= WINDOW + 1
    assert sorted([*cancelled, 7]) == made


def test_nothing_sampled_is_nothing_asked(run, instructions: pl.DataFrame) -> None:
    out = run(label.STAGE, instructions, label.LabelSettings(share=1e-9))
    assert out.rows.is_empty()
    assert set(out.rejects["reason"]) == {"not_sampled"}
    assert set(out.rejects["record_id"]) == set(instructions["record_id"])


def test_two_servers_of_one_model_are_not_asked_the_same(tmp_path, instructions: pl.DataFrame) -> None:
    served = {"engine": "standin"}
    config = ModelsConfig.model_validate(
        {
            "endpoints": {"east": served, "west": served},
            "models": {n: {"endpoint": n, "model": "one"} for n in ("east", "west")},
            "roles": {"responder": {"models": {"east": 1, "west": 1}}},
        }
    )

    async def ask(settings: respond.RespondSettings):
        async with open_models(config, tmp_path / "journal.sqlite") as models:
            context = SimpleNamespace(models=models, seed=1)
            return await respond.STAGE.run(instructions, settings, context)

    with pytest.raises(ConfigError, match="'east' and 'west' are the same model"):
        asyncio.run(ask(respond.RespondSettings()))
    routed = asyncio.run(ask(respond.RespondSettings(models="routed", samples=2)))
    assert routed.rows["record_id"].is_unique().all()
    assert routed.rows.schema == conversations_frame([]).schema
