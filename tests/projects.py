"""Where the repository is, and a models file whose only model is the deterministic stand-in."""

from pathlib import Path

ROOT = Path(__file__).parent.parent

STANDIN = """
[endpoints.standin]
engine = "standin"
delay = {delay}

[models.first]
endpoint = "standin"

[models.second]
endpoint = "standin"
temperature = 0.3

[roles.generator]
models = {{ first = 1 }}
[roles.evolver]
models = {{ first = 1, second = 1 }}
[roles.responder]
models = {{ first = 1, second = 1 }}
[roles.critic]
models = {{ first = 1 }}
[roles.labeller]
models = {{ second = 1 }}
"""
