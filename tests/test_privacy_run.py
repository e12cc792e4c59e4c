"""No personal value gets past the mask: a whole run over seeds that are full of them, with a server that
keeps every request as it came, and all that is exported of it."""

import asyncio
import json
import re
from contextlib import chdir, suppress
from pathlib import Path

import polars as pl
import pytest
from aiohttp import web
from projects import ROOT

from hydata.errors import TransientModelError
from hydata.export.generaliser import export_generaliser
from hydata.export.messages import export_messages
from hydata.export.preferences import export_preferences
from hydata.export.provenance import read_provenance
from hydata.models.batch import Outbox
from hydata.models.standin import Standin
from hydata.privacy import PrivacySettings
from hydata.prompts import load_prompts
from hydata.recipe import load_recipe
from hydata.run import run_recipe
from hydata.session import Session
from hydata.synthesis.critic.training import export_training
from hydata.taxonomy import load_taxonomy
from hydata.warehouse import connect

VALUES = {
    "email": ("olga.petrova@postbox.example.org", "zhangwei88@163.com"),
    "phone": ("+44 20 7946 0958", "13812345678"),
    "id_card": ("536-22-8726", "11010519491231002X"),
    "bank_card": ("4012 8888 8888 1881", "6222021234567890128"),
    "iban": ("DE89370400440532013000", "GB82WEST12345698765432"),
    "passport": ("X1234567", "E12345678"),
    "ip": ("84.17.46.53", "2001:db8:85a3::8a2e:370:7334"),
    "plate": ("AB12 CDE", "京A12345"),
    "address": ("1207 Maple Street", "北京市海淀区中关村大街27号"),
    "key": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "Zt9x7Qw2LmP4"),
}
EN = (
    "{topic} She wrote from {email} and can be called at {phone}; her SSN is {id_card}, her credit card "
    "{bank_card}, "
    "her IBAN {iban}, her passport number {passport}. The server at {ip} belongs to her, the license "
    "plate is "
    "{plate}, she lives at {address}, and her token is {key}. Write to {email} again."
)
ZH = (
    "{topic}她的邮箱是{email}，手机号码{phone}，身份证号{id_card}，银行卡号{bank_card}，账户{iban}，护照号{passport}，"
    "服务器地址{ip}，车牌号{plate}，住在{address}，密码：{key}。请再写信到{email}。"
)
TOPICS = (
    "lake",
    "mountain",
    "bakery",
    "library",
    "harbour",
    "garden",
    "railway",
    "museum",
    "forest",
    "kitchen",
)
THEMES = ("湖泊", "山脉", "面包", "图书", "港口", "花园", "铁路", "博物", "森林", "厨房")
MODELS = """
[endpoints.recorder]
engine = "openai"
url = "{url}"
[models.first]
endpoint = "recorder"
model = "first"
[models.second]
endpoint = "recorder"
model = "second"
temperature = 0.3
"""
ROLES = ("extractor", "generator", "evolver", "responder", "critic", "labeller", "generaliser")


class Recorder(Standin):
    """A stand-in that keeps the bodies of all requests, and says of what it was shown which placeholders."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    async def _answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return await super()._answer(request)


def text(language: str, topic: str) -> str:
    which = 0 if language == "en" else 1
    form, opening = (
        (EN, f"Tell me about the {topic} and how the woman who looks after that {topic} keeps it in order.")
        if which == 0
        else (ZH, f"请介绍一下这个{topic}以及管理{topic}的人平时怎样工作。")
    )
    return form.format(topic=opening, **{kind: values[which] for kind, values in VALUES.items()})


def seeds(folder: Path) -> Path:
    folder.mkdir()
    sets = [("en", t) for t in TOPICS] + [("zh", t) for t in THEMES]
    asked = [{"instruction": text(*one)} for one in sets]
    answered = [
        {"instruction": f"{one[1]}: " + text(*one), "output": f"{text(*one)} {one[1]}"} for one in sets
    ]
    pairs = [
        {
            "prompt": f"({i}) {text(*one)}",
            "chosen": text(*one) + f" {i} good",
            "rejected": text(*one) + f" {i} bad",
        }
        for i, one in enumerate(sets)
    ]
    for name, rows in (("asked", asked), ("answered", answered), ("pairs", pairs)):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for language, topics in (("en", TOPICS), ("zh", THEMES)):
        body = "\n\n".join(text(language, topic) for topic in topics)
        (folder / f"book.{language}.txt").write_text(body, encoding="utf-8")
    return folder


def prepare(folder: Path, url: str) -> Path:
    """Everything goes on to the next step, so that all there is comes to every prompt and export."""
    recipe = (ROOT / "examples" / "demo" / "recipe.toml").read_text().replace("../../", f"{ROOT}/")
    recipe = recipe.replace("[extract]\n", "[extract]\nshare = 1.0\n").replace("share = 0.4", "share = 1.0")
    recipe = recipe.replace("share = 0.3", "share = 1.0").replace("share = 0.6", "share = 1.0")
    recipe += '\n[generalise]\ntargets = [ { language = "en", count = 4 } ]\n'
    (folder / "recipe.toml").write_text(recipe.replace("characters = 400", "characters = 700"))
    requires = '{}requires = ["rules"]\n[{}.drop]\nnone = {{ measure = "rules.control_tokens", above = 0 }}\n'
    sections = [f"[{name}]\n" + requires.format("", name) for name in ("gates.evolve", "gates.respond")]
    sections += [f"[{name}]\n" + requires.format("", name) for name in ("gates.critique", "final")]
    (folder / "policy.toml").write_text("\n".join(sections))
    roles = "".join(f"[roles.{role}]\nmodels = {{ first = 1, second = 1 }}\n" for role in ROLES)
    (folder / "models.toml").write_text(MODELS.format(url=url) + roles)
    return folder


def raw(data: bytes) -> list[str]:
    """Values in these bytes, as they are or as JSON escapes them."""
    every = [value for values in VALUES.values() for value in values]
    return [v for v in every if v.encode() in data or json.dumps(v).strip('"').encode() in data]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session, list[bytes]]:
    folder = tmp_path_factory.mktemp("privacy")
    seeds(folder / "seeds")

    async def main() -> tuple[Session, list[bytes]]:
        async with Recorder() as server:
            recipe = load_recipe(prepare(folder, server.url) / "recipe.toml", ("seeds",))
            return await run_recipe(folder / "w", recipe), server.bodies

    with chdir(folder):  # ids hold the seeds' paths: the same in every checkout, and so is what is drawn
        session, bodies = asyncio.run(main())
    return folder, session, bodies


def test_no_request_holds_a_value(ran: tuple[Path, Session, list[bytes]]) -> None:
    _, session, bodies = ran
    with connect(session.root, session.head, session.schemas) as con:
        held = con.execute("SELECT messages FROM conversations").fetchall()
    assert len(raw(json.dumps(held, ensure_ascii=False).encode())) == 20  # they are there to be found
    assert len(bodies) > 100
    assert [found for body in bodies if (found := raw(body))] == []
    shown = b"".join(bodies)
    assert all(f"[{kind.upper()}_1]".encode() in shown for kind in VALUES)


def test_the_journal_holds_no_value(ran: tuple[Path, Session, list[bytes]]) -> None:
    _, session, _ = ran
    files = [file for file in (session.root / "journal").rglob("*") if file.is_file()]
    assert files
    assert [raw(file.read_bytes()) for file in files] == [[] for _ in files]


def test_no_export_holds_a_value(ran: tuple[Path, Session, list[bytes]]) -> None:
    folder, session, _ = ran
    provenance = read_provenance(session.root, "demo")
    prompts, taxonomy = load_prompts(ROOT / "prompts"), load_taxonomy(ROOT / "taxonomy")
    out = folder / "exports"
    with connect(session.root, session.head, session.schemas) as con:
        mix = export_messages(con, "main", out / "mix.jsonl", provenance)
        pairs = export_preferences(con, out / "pairs.jsonl", provenance)
        general = export_generaliser(con, out / "general.jsonl", prompts, taxonomy, provenance)
        critic = export_training(con, prompts, 700, out / "critic.jsonl", PrivacySettings())
    assert min(mix.rows, pairs.rows, general.rows, critic.rows) > 0
    assert set(mix.anonymised) == set(VALUES)
    for file in out.iterdir():
        data = file.read_bytes()
        assert raw(data) == [], file.name
        if file.suffix == ".jsonl" and file.name != "general.jsonl":  # a stand-in keeps no words of a parent
            assert b"[EMAIL_1]" in data, file.name


def test_placeholders_are_the_same_throughout_a_record(ran: tuple[Path, Session, list[bytes]]) -> None:
    folder, session, _ = ran
    with connect(session.root, session.head, session.schemas) as con:
        export_messages(con, "main", folder / "one.jsonl", read_provenance(session.root, "demo"))
    seen = 0
    for line in (folder / "one.jsonl").read_text(encoding="utf-8").splitlines():
        contents = [m["content"] for m in json.loads(line)["messages"]]
        if "EMAIL" in contents[1] and "EMAIL" in contents[2]:
            seen += 1
            assert set(re.findall(r"\[EMAIL_\d\]", " ".join(contents))) == {"[EMAIL_1]"}
    assert seen


def test_every_row_is_measured_and_no_value_is_stored(ran: tuple[Path, Session, list[bytes]]) -> None:
    _, session, _ = ran
    with connect(session.root, session.head, session.schemas) as con:
        judged = pl.DataFrame(pl.from_arrow(con.sql("SELECT * FROM privacy").to_arrow_table()))
        count = con.execute("SELECT count(*) FROM conversations").fetchone()
    assert count is not None
    assert judged["record_id"].n_unique() == judged.height == count[0]
    assert judged.select(pl.col(*VALUES) > 0).sum().row(0) > (0,) * len(VALUES)
    assert raw(judged.write_json().encode()) == []


def test_an_offline_batch_holds_no_value(tmp_path: Path) -> None:
    given = seeds(tmp_path / "seeds")
    project = prepare(tmp_path, "http://127.0.0.1:9/v1")
    recipe = load_recipe(project / "recipe.toml", (str(given),))

    async def main() -> None:
        path = tmp_path / "batch.jsonl"
        with (
            Outbox(path, "extract", only_new=False, max_requests=10_000) as outbox,
            suppress(TransientModelError),
        ):
            await run_recipe(tmp_path / "w", recipe, until="extract", outbox=outbox)

    asyncio.run(main())
    data = b"".join(file.read_bytes() for file in tmp_path.glob("batch*.jsonl"))
    assert b"[EMAIL_1]" in data
    assert raw(data) == []
