"""Documents in both languages, and stages run on the stand-in model."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from hydata.models import StandinEndpoint, one_model, open_models
from hydata.policy import Policy, Section
from hydata.prompts import load_prompts
from hydata.schema import (
    Conversation,
    Document,
    Message,
    Output,
    conversations_frame,
    documents_frame,
)
from hydata.stage import Context, MapStage, Settings
from hydata.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]

LIGHTHOUSE = {
    "en": "Lighthouse number {i} stood near the harbour of Alexandria. Wood and oil burned in it at night, "
    "and a mirror of bronze threw the light far across the water, so that ships kept away from the rocks. "
    "Keepers carried the fuel up the stairs each evening.",
    "zh": "第{i}座灯塔建在港口附近，夜里燃烧木柴和油料，用铜镜把光线反射到很远的海面上，提醒船只避开暗礁。"
    "守塔人每天傍晚把燃料搬上楼梯，清晨再把灰烬清理干净。",
}


def document(i: int, kind: str = "web", language: str = "en", text: str | None = None) -> Document:
    return Document(
        kind=kind,
        uri=f"uri{i}",
        file="seeds.txt",
        position=i,
        text=LIGHTHOUSE[language].format(i=i) if text is None else text,
        language=language,
        licence="CC0-1.0",
    )


def instruction(text: str, **fields: object) -> Conversation:
    return Conversation(
        step="generate",
        messages=(Message("system", "You are a helpful assistant."), Message("user", text)),
        **fields,
    )


QUESTIONS = [
    "How does a lighthouse warn ships of rocks at night?",
    "Explain why bronze mirrors were used in ancient lighthouses.",
    "How many steps are there in a tower with 12 floors of 15 steps each?",
    "Write a Python function that reverses the words of a sentence.",
    "请说明灯塔在古代航海中的作用。",
    "小明有12个苹果，吃了3个，还剩多少个？",
    "请比较蒸汽机和内燃机的优点与缺点。",
    "为什么海水是咸的，而河水是淡的？",
]


@pytest.fixture
def documents() -> pl.DataFrame:
    """24 documents: every kind in both languages, three of each."""
    kinds = [(kind, language) for kind in ("web", "qa", "code", "book") for language in ("en", "zh")]
    return documents_frame([document(i, *kinds[i % 8]) for i in range(24)])


@pytest.fixture
def instructions() -> pl.DataFrame:
    return conversations_frame(
        instruction(text, document_ids=(f"d{i}",), licence="CC0-1.0") for i, text in enumerate(QUESTIONS)
    )


@pytest.fixture
def answered(instructions: pl.DataFrame) -> pl.DataFrame:
    """Three answers to each of the questions."""
    return conversations_frame(
        Conversation(
            step="respond",
            messages=(Message("user", text), Message("assistant", f"Well, the answer is {7 + i // 2}.")),
            parent_ids=(id,),
            sample_index=i,
            finish_reason="stop",
        )
        for id, text in zip(instructions["record_id"], QUESTIONS, strict=True)
        for i in range(3)
    )


Run = Callable[..., Output]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(stage, frame, settings)`` on the stand-in with a fresh journal; ``seed`` is the run's."""
    journals = iter(range(100))

    def on_standin(stage: MapStage, frame: pl.DataFrame, settings: Settings, seed: int = 1) -> Output:
        async def main() -> Output:
            config = one_model(StandinEndpoint(engine="standin"), "m")
            async with open_models(config, tmp_path / f"{next(journals)}.sqlite") as models:
                context = Context(
                    seed=seed,
                    prompts=load_prompts(ROOT / "prompts"),
                    taxonomy=load_taxonomy(ROOT / "taxonomy"),
                    policy=Policy(final=Section()),
                    models=models,
                    artefacts={},
                )
                assert all(stage.uses(settings, context)) or stage.name == "agreement"
                return await stage.run(frame, settings, context)

        return asyncio.run(main())

    return on_standin
