"""models.toml: what it says, what is wrong with it, and who plays a role."""

from collections import Counter
from pathlib import Path

import pytest

from hydata.errors import ConfigError
from hydata.models import EmbeddedEndpoint, Models, Sampling, load_models, open_models
from hydata.models.router import check_labels

GOOD = """
[endpoints.big]
engine = "openai"
url = "http://gpu-1:8000/v1"
api_key_env = "BIG_KEY"
concurrency = 256
context = 32768

[endpoints.practice]
engine = "standin"

[models.qwen]
endpoint = "big"
model = "Qwen/Qwen3-8B"
revision = "b968826"

[models.calm]
endpoint = "practice"
temperature = 0.2
max_tokens = 64

[models.lively]
endpoint = "practice"

[roles.responder]
models = { qwen = 1, calm = 3 }

[roles.critic]
models = { calm = 1 }
"""


@pytest.fixture
def write(tmp_path: Path):
    def put(text: str) -> Path:
        (tmp_path / "models.toml").write_text(text)
        return tmp_path / "models.toml"

    return put


def opened(path: Path) -> Models:
    return open_models(load_models(path), path.parent / "journal")


def test_a_role_is_shared_by_weight_and_always_the_same_way(write):
    models, again = opened(write(GOOD)), opened(write(GOOD))
    chosen = [models.route("responder", f"record {i}").name for i in range(4000)]
    assert chosen == [again.route("responder", f"record {i}").name for i in range(4000)]
    assert Counter(chosen)["calm"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert [m.name for m in models.all("responder", Sampling())] == ["qwen", "calm"]
    qwen, calm = models.all("responder", Sampling())
    assert (qwen.identity, qwen.context) == ("Qwen/Qwen3-8B revision b968826", 32768)
    assert calm.sampling(Sampling(max_tokens=900, seed=4)) == Sampling(temperature=0.2, max_tokens=64, seed=4)


def test_a_roles_identity_changes_with_what_changes_rows_only(write):
    def identity(old="", new=""):
        assert old in GOOD
        return opened(write(GOOD.replace(old, new))).identity("responder")

    same = identity()
    assert identity("gpu-1", "gpu-2") == same
    assert identity("concurrency = 256", "concurrency = 8") == same
    assert identity("BIG_KEY", "OTHER_KEY") == same
    others = [
        identity("calm = 3", "calm = 4"),
        identity("b968826", "0000000"),
        identity("Qwen3-8B", "Qwen3-4B"),
        identity("temperature = 0.2", "temperature = 0.3"),
        identity("max_tokens = 64\n", ""),
    ]
    assert len({same, *others}) == 6


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('url = "http://gpu-1:8000/v1"\n', "", "missing key 'endpoints.big.openai.url'"),
        ("concurrency = 256", "concurrency = 0", "endpoints.big.openai.concurrency = 0"),
        ("concurrency = 256", "gguf = 'x'", "unknown key 'endpoints.big.openai.gguf'"),
        ('engine = "standin"', 'engine = "vlm"', "endpoints.practice.*'vlm'|'vlm'.*does not match"),
        ('"BIG_KEY"', '"sk-12345"', "endpoints.big.openai.api_key_env"),
        (
            'endpoint = "big"',
            'endpoint = "bog"',
            "models.qwen.endpoint = 'bog': no such endpoint; there are big, practice",
        ),
        ('model = "Qwen/Qwen3-8B"\n', "", "models.qwen.model is missing"),
        ("calm = 3", "colm = 3", "roles.responder.models names 'colm'.*qwen, calm, lively"),
        ("calm = 3", "calm = 0", "roles.responder.models.calm = 0"),
        ("[roles.critic]", "[roles.critique]", "roles.critique"),
        ("qwen = 1, calm = 3", "", "roles.responder.models"),
        ("[models.qwen]", "[models.qwen", "not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(write, old, new, words):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        load_models(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_two_equal_models_in_one_role_are_refused(write):
    text = GOOD.replace("temperature = 0.2\nmax_tokens = 64\n", "").replace("qwen = 1", "lively = 1")
    with pytest.raises(ConfigError, match="'lively' and 'calm' are the same model and sampling"):
        load_models(write(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # an override that says what the step says anyway, and one model behind two endpoints
        ("temperature = 0.2\nmax_tokens = 64\n", 'model = "lively"\ntemperature = 0.7\n'),
        ("temperature = 0.2\nmax_tokens = 64\n", 'model = "lively"\n[endpoints.other]\nengine = "standin"\n'),
    ],
)
def test_models_that_would_send_one_request_are_not_asked_together(write, old, new):
    text = GOOD.replace(old, new).replace("qwen = 1", "lively = 1")
    if "[endpoints.other]" in new:
        text = text.replace('[models.lively]\nendpoint = "practice"', '[models.lively]\nendpoint = "other"')
    models = opened(write(text))
    assert models.route("responder", "x").name in ("lively", "calm")
    with pytest.raises(ConfigError, match=r"'lively' and 'calm' are the same model.*with the same sampling"):
        models.all("responder", Sampling(temperature=0.7))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("http://gpu-1", "http://joe:s3cret@gpu-1", "endpoints.big.openai.url: .*user name or password"),
        ("http://gpu-1", "http://s3cret@gpu-1", "endpoints.big.openai.url: .*user name or password"),
        ("http://gpu-1", "htp://joe:s3cret@gpu-1", "endpoints.big.openai.url: "),
        ("8000/v1", "8000/v1?key=s3cret", "endpoints.big.openai.url: .*end it before"),
        ("BIG_KEY", "sk-s3cret", "endpoints.big.openai.api_key_env: .*NAME of an environment variable"),
        ("BIG_KEY", "hf_s3cret", "endpoints.big.openai.api_key_env: .*NAME of an environment variable"),
        ('"BIG_KEY"', '["s3cret"]', "endpoints.big.openai.api_key_env: "),
        # a mistake elsewhere, of which the whole file is the input
        ('"big"\nmodel = "Qwen/Qwen3-8B"', '"bog"\nmodel = "s3cret"', "models.qwen.endpoint = 'bog'"),
    ],
)
def test_errors_do_not_print_secrets(write, old, new, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load_models(write(GOOD.replace(old, new, 1)))
    assert str(caught.value).count("s3cret") == words.count("s3cret")


def test_a_role_nobody_plays_says_what_to_add(write):
    path = write(GOOD)
    with pytest.raises(
        ConfigError, match=r"models.toml: no model for the role 'evolver'; add \[roles.evolver\]"
    ):
        opened(path).route("evolver", "x")


ROUTED = """
[[roles.responder.routes]]
when = { domain = ["mathematics", "programming"], language = "en" }
models = { lively = 1 }

[[roles.responder.routes]]
when = { domain = "mathematics" }
models = { calm = 1, lively = 3 }
"""


def routed(routes: str = ROUTED) -> str:
    return GOOD.replace("models = { qwen = 1, calm = 3 }\n", "models = { qwen = 1 }\n" + routes)


def test_the_first_route_that_fits_the_labels_decides(write):
    models = opened(write(routed()))

    def chosen(**labels: str | None) -> set[str]:
        return {models.route("responder", f"record {i}", labels).name for i in range(100)}

    assert chosen(domain="mathematics", language="en") == {"lively"}
    assert chosen(domain="programming", language="en", difficulty="hard") == {"lively"}
    assert chosen(domain="mathematics", language="zh") == {"calm", "lively"}
    assert chosen(domain="mathematics", language=None) == {"calm", "lively"}
    assert chosen(domain="programming", language="zh") == {"qwen"}
    assert chosen() == {"qwen"}
    asked = models.all("responder", Sampling(), {"domain": "mathematics", "language": "zh"})
    assert [model.name for model in asked] == ["calm", "lively"]


def test_a_route_changes_the_roles_identity(write):
    plain = opened(write(GOOD.replace("qwen = 1, calm = 3", "qwen = 1"))).identity("responder")
    with_routes = opened(write(routed())).identity("responder")
    other_label = opened(write(routed().replace("programming", "history"))).identity("responder")
    assert len({plain, with_routes, other_label}) == 3


def test_routes_name_labels_and_models_that_exist(write):
    dimensions = {"language": None, "domain": ("mathematics", "programming"), "task": ("chat",)}
    check_labels(load_models(write(routed())), dimensions)
    for old, new, words in (
        (
            "domain =",
            "domian =",
            r"routes\[0\].when: no dimension 'domian'; there are language, domain, task",
        ),
        (
            '"programming"',
            '"alchemy"',
            r"when.domain: no label 'alchemy'; there are mathematics, programming",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            check_labels(load_models(write(routed().replace(old, new))), dimensions)
    with pytest.raises(ConfigError, match="names 'nobody': no such model"):
        load_models(write(routed().replace("{ lively = 1 }", "{ nobody = 1 }")))


SHARED = """
[endpoints.a]
engine = "openai"
url = "http://127.0.0.1:1/v1"

[endpoints.b]
engine = "openai"
url = "http://127.0.0.1:2/v1"
n = true
context = 4096

[endpoints.small]
engine = "standin"

[models.both]
endpoint = ["a", "b"]
model = "m"

[roles.critic]
models = { both = 1 }
"""


def test_endpoints_that_share_a_model_give_it_what_all_of_them_have(write):
    model = opened(write(SHARED)).route("critic", "x")
    assert (model.entry.endpoint, model.identity, model.several, model.context) == (
        ("a", "b"),
        "m",
        False,
        4096,
    )
    assert opened(write(SHARED.replace('["a", "b"]', '"a"'))).identity("critic") == opened(
        write(SHARED)
    ).identity("critic")
    with pytest.raises(ConfigError, match="one model is shared by several endpoints of one engine"):
        load_models(write(SHARED.replace('["a", "b"]', '["a", "small"]')))
    with pytest.raises(ConfigError, match="no such endpoint; there are a, b, small"):
        load_models(write(SHARED.replace('["a", "b"]', '["a", "c"]')))


def test_two_vllm_servers_need_two_ports(write):
    servers = '[endpoints.{}]\nengine = "vllm"\nmodel = "x"\n'
    with pytest.raises(ConfigError, match=r"endpoints.a and endpoints.b both have port 8000"):
        load_models(write(servers.format("a") + servers.format("b")))


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_models(tmp_path / "models.toml")


def test_a_gguf_is_meant_from_the_models_files_folder(write, tmp_path):
    path = write(
        '[endpoints.e]\nengine = "embedded"\ngguf = "m.gguf"\n'
        '[models.m]\nendpoint = "e"\n[roles.critic]\nmodels = {m = 1}\n'
    )
    assert load_models(path).endpoints["e"] == EmbeddedEndpoint(gguf=tmp_path / "m.gguf")
    with pytest.raises(ConfigError, match="no such file; check the path"):
        opened(path).identity("critic")
    (tmp_path / "m.gguf").write_bytes(b"GGUF one")
    one = opened(path).route("critic", "x").identity
    (tmp_path / "m.gguf").write_bytes(b"GGUF two, longer")
    assert one.startswith("m@sha256:")
    assert opened(path).route("critic", "x").identity != one
