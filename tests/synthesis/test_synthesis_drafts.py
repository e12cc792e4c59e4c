"""How the steps issue their calls: a window over a generator, in order, stopped by the first error."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace

import polars as pl
import pytest

from hydata.errors import BudgetError, ConfigError, EndpointDownError, TransientModelError, WarehouseError
from hydata.models import ModelsConfig, open_models
from hydata.schema import conversations_frame
from hydata.synthesis import label, respond
from hydata.synthesis.drafts import WINDOW, gather
from hydata.taxonomy import Taxonomy


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


def test_an_unanswered_call_does_not_stop_the_others() -> None:
    ended = []

    async def call(i: int) -> int:
        if i % 10 == 7:
            raise TransientModelError("busy")
        await asyncio.sleep(0)
        ended.append(i)
        return i

    with pytest.raises(TransientModelError, match="4 of 40 calls stayed unanswered: busy"):
        asyncio.run(gather(call(i) for i in range(40)))
    assert len(ended) == 36


@pytest.mark.parametrize("error", [EndpointDownError, ConfigError, BudgetError, WarehouseError])
def test_what_concerns_all_calls_begins_no_more_and_lets_those_under_way_end(error: type) -> None:
    made, ended = [], []

    async def call(i: int) -> int:
        if i == 7:
            raise error("no more")
        await asyncio.sleep(0.05)
        ended.append(i)
        return i

    def calls() -> Iterator:
        for i in range(3 * WINDOW):
            made.append(i)
            yield call(i)

    with pytest.raises(error, match="no more"):
        asyncio.run(gather(calls()))
    gc.collect()  # a call that nobody awaited would warn now
    assert 8 <= len(made) <= WINDOW + 1
    assert ended == [i for i in made if i != 7]


def test_a_defect_cancels_what_is_under_way_and_comes_out_as_it_is() -> None:
    async def call(i: int) -> int:
        if i == 3:
            raise KeyError("a defect")
        await asyncio.sleep(60)
        return i

    with pytest.raises(KeyError, match="a defect"):
        asyncio.run(gather(call(i) for i in range(20)))


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
            context = SimpleNamespace(models=models, seed=1, taxonomy=Taxonomy((), ""))
            return await respond.STAGE.run(instructions, settings, context)

    with pytest.raises(ConfigError, match="'east' and 'west' are the same model"):
        asyncio.run(ask(respond.RespondSettings()))
    routed = asyncio.run(ask(respond.RespondSettings(models="routed", samples=2)))
    assert routed.rows["record_id"].is_unique().all()
    assert routed.rows.schema == conversations_frame([]).schema
