"""hydata: shards of calls through one ``Models``, journal included, by its public interface alone."""

import asyncio
from collections.abc import Iterator

from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report
from pydantic import HttpUrl
from workload import is_answer, prompt

from hydata.models import Call, Models, OpenAIEndpoint, Sampling, one_model, open_models, run
from hydata.schema import Message
from hydata.synthesis.drafts import gather

SHARD = 5_000
SHARDS_IN_FLIGHT = 4
"""As in a run: a shard's replies are let go when it is done, and its slow tail leaves room to the next."""
SAMPLING = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)


async def answered(models: Models, item: int) -> bool:
    call = Call((Message("user", prompt(item)),), SAMPLING)
    reply = await models.complete(models.route("responder", str(item)), call)
    return is_answer(item, reply.text)


async def work(models: Models, shards: Iterator[range]) -> int:
    complete = 0
    for shard in shards:  # all workers take from the one iterator
        complete += sum(await gather((answered(models, item) for item in shard), models.window))
    return complete


async def main() -> int:
    endpoint = OpenAIEndpoint(engine="openai", url=HttpUrl(URL), concurrency=IN_FLIGHT)
    async with open_models(one_model(endpoint, "stub"), SCRATCH / "journal.sqlite") as models:
        shards = (range(ITEMS)[start : start + SHARD] for start in range(0, ITEMS, SHARD))
        return sum(await asyncio.gather(*(work(models, shards) for _ in range(SHARDS_IN_FLIGHT))))


report(run(main()), "hydata", "pyreqwest", "uvloop")
