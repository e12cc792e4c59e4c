"""bespoke curator: an ``LLM`` with its OpenAI backend, its files of responses kept as they are by default."""

import os
from pathlib import Path

from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report

os.environ["TELEMETRY_ENABLED"] = "false"
os.environ["CURATOR_DISABLE_RICH_DISPLAY"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices when imported

import litellm

# The tokenizer that curator estimates tokens with would come from the internet; litellm brings it along.
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator
from workload import is_answer, prompt


class Writer(curator.LLM):
    def prompt(self, input):
        return input["prompt"]

    def parse(self, input, response):
        return {"item": input["item"], "response": response}


writer = Writer(
    model_name="stub",
    backend="openai",
    backend_params={
        "base_url": URL,
        "api_key": "none",
        "max_concurrent_requests": IN_FLIGHT,
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "require_all_responses": False,
    },
    generation_params={"temperature": 0.7, "top_p": 0.95, "max_tokens": 512},
)
asked = [{"item": item, "prompt": prompt(item)} for item in range(ITEMS)]
rows = writer(asked, working_dir=str(SCRATCH / "cache")).dataset
complete = sum(is_answer(row["item"], row["response"]) for row in rows)
report(complete, "bespokelabs-curator", "aiohttp", "litellm")
