"""Documents in both languages, and stages run on the stand-in model."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from seedlings import QUESTIONS, document, instruction, post

from hydata.models import StandinEndpoint, one_model, open_models
from hydata.policy import load_policy
from hydata.prompts import load_prompts
from hydata.schema import (
    Conversation,
    Message,
    Output,
    conversations_frame,
    documents_frame,
)
from hydata.stage import Context, MapStage, Settings
from hydata.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]
POLICY = load_policy(ROOT / "examples" / "demo" / "policy.toml", ())


@pytest.fixture
def documents() -> pl.DataFrame:
    """24 documents: every kind in both languages, three of each."""
    kinds = [(kind, language) for kind in ("web", "qa", "code", "book") for language in ("en", "zh")]
    return documents_frame([document(i, *kinds[i % 8]) for i in range(24)])


@pytest.fixture
def posts(documents: pl.DataFrame) -> pl.DataFrame:
    """Those documents and eight posts, each of the questions with an answer."""
    asked = [post(text, f"Answer number {i}, 第{i}个回答。", i) for i, text in enumerate(QUESTIONS)]
    return pl.concat([documents, documents_frame(asked)])


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
                    policy=POLICY,
                    models=models,
                    artefacts={},
                )
                stage.check(settings, context)
                assert all(stage.uses(settings, context)) or stage.name == "agreement"
                return await stage.run(frame, settings, context)

        return asyncio.run(main())

    return on_standin
