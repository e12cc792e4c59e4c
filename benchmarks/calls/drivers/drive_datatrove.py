"""datatrove: an ``InferenceRunner`` on an endpoint, with checkpoints, and so with its cache of requests too.

    python drive_datatrove.py URL ITEMS IN_FLIGHT FOLDER [bare]     # bare: without them, its default

The runner's own road to an address on this machine is one connection for every request. It ends the whole
run at the first HTTP 500, so the rollout function, which is for its user to write, asks again.
"""

import json
import sys

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.inference.types import InferenceError, ServerError
from datatrove.pipeline.writers import JsonlWriter
from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report
from workload import is_answer, prompt

ATTEMPTS = 7
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 512}


async def rollout(document, generate, attempts=ATTEMPTS):
    try:
        return await generate({"messages": [{"role": "user", "content": document.text}], **SAMPLING})
    except (InferenceError, ServerError):
        if attempts == 1:
            raise
    return await rollout(document, generate, attempts - 1)


config = InferenceConfig(
    server_type="endpoint",
    model_name_or_path="stub",
    endpoint_url=URL.removesuffix("/v1"),
    max_concurrent_generations=IN_FLIGHT,
)
out = SCRATCH / "out"
writer = JsonlWriter(str(out), output_filename="${rank}_${chunk_index}.jsonl", compression=None)
checkpoints = None if "bare" in sys.argv[5:] else str(SCRATCH / "checkpoints")
runner = InferenceRunner(rollout, config, writer, checkpoints_local_dir=checkpoints)
runner.run(Document(text=prompt(item), id=str(item)) for item in range(ITEMS))

rows = [json.loads(line) for path in out.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
complete = sum(is_answer(int(row["id"]), row["metadata"]["rollout_results"][0]["text"]) for row in rows)
report(complete, "datatrove")
