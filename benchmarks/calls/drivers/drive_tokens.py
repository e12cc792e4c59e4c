"""hydata against a real server: the tokens it gets, and the seconds from the first call to the last reply.

python drive_tokens.py URL ITEMS IN_FLIGHT FOLDER MODEL FIRST_ITEM MAX_TOKENS
"""

import sys
import time

from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report
from pydantic import HttpUrl
from workload import prompt

from hydata.models import Call, OpenAIEndpoint, Reply, Sampling, one_model, open_models, run
from hydata.schema import Message
from hydata.synthesis.drafts import gather

MODEL, FIRST, MAX_TOKENS = sys.argv[5], int(sys.argv[6]), int(sys.argv[7])
SAMPLING = Sampling(temperature=0, top_p=1, max_tokens=MAX_TOKENS)


async def main() -> tuple[list[Reply], float]:
    endpoint = OpenAIEndpoint(engine="openai", url=HttpUrl(URL), concurrency=IN_FLIGHT)
    async with open_models(one_model(endpoint, MODEL), SCRATCH / "journal.sqlite") as models:
        start = time.perf_counter()
        model = models.route("responder", "one for all")
        calls = (Call((Message("user", prompt(item)),), SAMPLING) for item in range(FIRST, FIRST + ITEMS))
        replies = await gather(models.complete(model, call) for call in calls)
        return replies, time.perf_counter() - start


replies, seconds = run(main())
tokens = sum(reply.completion_tokens for reply in replies)
report(len(replies), "hydata", tokens=tokens, seconds=seconds)
