"""Model calls: journalled, limited, retried, over OpenAI-compatible HTTP.

config     models.toml: endpoints, models, roles          router     which model plays a role for a record
protocol   what is said on the wire, the key of a call    journal    every reply, on disk before use
transport  one server: pool, attempts, retries            limiter    how many requests a server gets at once
usage      what calls took, and the budget                client     ``Models``: all of it together
embedded   llama.cpp's server in this process             vllm       vLLM servers that hydata keeps running
standin    a deterministic model for tests           loop       the event loop they run in
batch      requests left to files, results read from them  upkeep     a journal counted, exported, pruned
"""

from hydata.models.batch import Outbox
from hydata.models.client import Models, open_models
from hydata.models.config import (
    EmbeddedEndpoint,
    ModelsConfig,
    OpenAIEndpoint,
    Price,
    Sampling,
    StandinEndpoint,
    VllmEndpoint,
    load_models,
    one_model,
)
from hydata.models.loop import run
from hydata.models.protocol import Call, Model, Reply
from hydata.models.standin import Standin
from hydata.models.usage import Budget, Ledger, Stats

__all__ = [
    "Budget",
    "Call",
    "EmbeddedEndpoint",
    "Ledger",
    "Model",
    "Models",
    "ModelsConfig",
    "OpenAIEndpoint",
    "Outbox",
    "Price",
    "Reply",
    "Sampling",
    "Standin",
    "StandinEndpoint",
    "Stats",
    "VllmEndpoint",
    "load_models",
    "one_model",
    "open_models",
    "run",
]
