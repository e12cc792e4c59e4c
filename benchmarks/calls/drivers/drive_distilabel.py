"""distilabel: a ``Pipeline`` of one ``TextGeneration`` with ``OpenAILLM``, its cache on as it is by default.

What is in flight together is one input batch: at most 1,000, which is the openai client's own limit of
connections; with 2,000 waiting for them its pool was busy with itself for minutes and sent nothing.
"""

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report
from workload import is_answer, prompt

BATCH = min(IN_FLIGHT, 1_000)

if __name__ == "__main__":
    with Pipeline("calls", cache_dir=SCRATCH / "cache") as pipeline:
        rows = LoadDataFromDicts(
            data=[{"item": item, "instruction": prompt(item)} for item in range(ITEMS)], batch_size=BATCH
        )
        llm = OpenAILLM(
            model="stub",
            base_url=URL,
            api_key="none",
            generation_kwargs={"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 512},
        )
        rows >> TextGeneration(llm=llm, input_batch_size=BATCH)
    made = pipeline.run()["default"]["train"]
    complete = sum(is_answer(item, text) for item, text in zip(made["item"], made["generation"], strict=True))
    report(complete, "distilabel", "openai", "httpx")
