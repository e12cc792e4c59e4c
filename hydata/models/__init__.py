"""Model calls: journalled, limited, retried, over OpenAI-compatible HTTP.

config     models.toml: endpoints, models, roles          router     which model plays a role for a record
protocol   what is said on the wire, the key of a call    journal    every reply, on disk before use
transport  one endpoint: pool, limit, retries             client     ``Models``: all of it together
embedded   llama.cpp's server in this process             standin    a deterministic model for tests
"""

from hydata.models.client import Models, open_models
from hydata.models.config import (
    EmbeddedEndpoint,
    ModelsConfig,
    OpenAIEndpoint,
    Sampling,
    StandinEndpoint,
    load_models,
    one_model,
)
from hydata.models.protocol import Call, Model, Reply
from hydata.models.standin import Standin
from hydata.models.transport import Stats

__all__ = [
    "Call",
    "EmbeddedEndpoint",
    "Model",
    "Models",
    "ModelsConfig",
    "OpenAIEndpoint",
    "Reply",
    "Sampling",
    "Standin",
    "StandinEndpoint",
    "Stats",
    "load_models",
    "one_model",
    "open_models",
]
