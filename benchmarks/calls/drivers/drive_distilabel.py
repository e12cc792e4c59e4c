"""distilabel: a ``Pipeline`` of one ``TextGeneration`` with ``OpenAILLM``, its cache on as it is by default.

What is in flight together is one input batch.
"""

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from driver import IN_FLIGHT, ITEMS, SCRATCH, URL, report
from workload import is_answer, prompt

if __name__ == "__main__":
    with Pipeline("calls", cache_dir=SCRATCH / "cache") as pipeline:
        rows = LoadDataFromDicts(
            data=[{"item": item, "instruction": prompt(item)} for item in range(ITEMS)], batch_size=IN_FLIGHT
        )
        llm = OpenAILLM(
            model="stub",
            base_url=URL,
            api_key="none",
            generation_kwargs={"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 512},
        )
        rows >> TextGeneration(llm=llm, input_batch_size=IN_FLIGHT)
    made = pipeline.run()["default"]["train"]
    complete = sum(is_answer(item, text) for item, text in zip(made["item"], made["generation"], strict=True))
    report(complete, "distilabel", "openai", "httpx")
