"""The stand-in model: always the same reply to a request, plausible prose, valid JSON."""

import asyncio
import itertools
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from servers import ask

from hydata.models import Sampling, StandinEndpoint, one_model, open_models
from hydata.models.standin import reply
from hydata.models.standin_text import cut, tokens

ENGLISH = (
    "Explain how Roman aqueducts carried water over long distances by gravity, "
    "and how engineers measured the slope."
)
CHINESE = (
    "请根据以下材料回答：罗马水道依靠重力把水从远处引入城市，"
    "工程师用水平仪测量坡度，并在渠道内壁抹上防水灰浆。"
)


def said(prompt: str, seed: int = 0, room: int = 512, **more: object) -> tuple[str, str]:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": prompt}],
        "seed": seed,
        "max_tokens": room,
        **more,
    }
    (choice,) = reply(body)["choices"]
    return choice["message"]["content"], choice["finish_reason"]


@pytest.mark.parametrize(("prompt", "stop"), [(ENGLISH, "."), (CHINESE, "。")])
def test_prose_is_finished_varied_and_in_the_prompts_language(prompt, stop):
    texts = [said(prompt, seed) for seed in range(60)]
    assert {finish for _, finish in texts} == {"stop"}
    assert all(text.endswith(stop) and text.count(stop) >= 3 for text, _ in texts)
    size = 5 if stop == "." else 8
    shingled = []
    for text, _ in texts:
        units = text.split() if stop == "." else list(text)
        shingled.append({tuple(units[i : i + size]) for i in range(len(units) - size + 1)})
    likeness = [len(a & b) / len(a | b) for a, b in itertools.combinations(shingled, 2)]
    assert max(likeness) < 0.5
    han = sum("一" <= c <= "鿿" for c in texts[0][0])
    assert (han > len(texts[0][0]) / 2) == (stop == "。")


def test_the_reply_depends_on_the_request_alone():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_model_standin import *;"
        "print(said(CHINESE, 3), said(ENGLISH))"
    )
    here = __file__.rpartition("/")[0]
    others = {
        subprocess.run(
            [sys.executable, "-c", code, here],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": h},
        ).stdout.strip()
        for h in "12"
    }
    assert others == {f"{said(CHINESE, 3)} {said(ENGLISH)}"}
    assert len({said(ENGLISH), said(ENGLISH, 1), said(ENGLISH, temperature=0.1), said(ENGLISH + "!")}) == 4


@pytest.mark.parametrize("prompt", [ENGLISH, CHINESE])
def test_it_keeps_within_max_tokens(prompt):
    for room in (1, 3, 10, 40, 80, 200):
        text, finish = said(prompt, room=room)
        assert tokens(text) <= room
        assert finish == ("length" if room < 30 else "stop")


def test_cut_keeps_what_fits():
    assert cut("abcd" * 3, 3) == ("abcd" * 3, True)
    assert cut("abcd" * 3, 2) == ("abcd" * 2, False)
    assert cut("水" * 9, 4) == ("水" * 4, False)


def test_asked_for_a_number_most_samples_agree():
    answers = [said("How many eggs are in 12 boxes? The answer is a number.", seed)[0] for seed in range(50)]
    endings = [text.rsplit("The answer is ", 1)[1] for text in answers]
    assert 20 < endings.count(max(set(endings), key=endings.count)) < 50
    assert (
        said("十二个盒子里一共有多少个鸡蛋，请计算并给出结果。")[0]
        .rsplit("答案是", 1)[1]
        .rstrip("。")
        .isdigit()
    )


class Aspect(BaseModel):
    name: Literal["clarity", "depth"]
    score: Annotated[float, Field(ge=0, le=1)]


class Everything(BaseModel):
    tier: Literal[1, 2, 3, 4]
    instruction: str = Field(min_length=10, max_length=300)
    tag: str = Field(max_length=12)
    count: int = Field(gt=2, lt=5)
    even: int = Field(ge=1, le=9, multiple_of=2)
    sure: bool
    note: str | None = None
    aspects: list[Aspect] = Field(min_length=2, max_length=5)
    labels: set[Literal["a", "b", "c"]] = Field(min_length=2)
    pair: tuple[int, str]
    scores: dict[str, int]
    fixed: Literal["x"]


@pytest.mark.parametrize("prompt", [ENGLISH, CHINESE])
def test_json_fits_the_schema(prompt):
    wanted = {"json_schema": {"schema": Everything.model_json_schema()}}
    made = [
        Everything.model_validate_json(said(prompt, s, 2000, response_format=wanted)[0]) for s in range(80)
    ]
    assert {m.tier for m in made} == {1, 2, 3, 4}
    assert {m.note is None for m in made} == {True, False}
    assert all(m.instruction[-1] in "?.？。" for m in made)
    assert len({m.instruction for m in made}) > 70


def test_a_schema_beyond_it_is_refused_not_faked():
    class Dated(BaseModel):
        day: str = Field(pattern=r"^\d+$")

    with pytest.raises(ValueError, match="pattern"):
        said(ENGLISH, response_format={"json_schema": {"schema": Dated.model_json_schema()}})


def test_a_faulty_slow_stand_in_changes_no_reply(tmp_path):
    async def texts(name, **faults):
        config = one_model(StandinEndpoint(engine="standin", **faults), "m")
        async with open_models(config, tmp_path / name) as models:
            model = models.route("generator", "x")
            calls = (ask(ENGLISH, sample_index=i, sampling=Sampling(seed=2)) for i in range(30))
            replies = await asyncio.gather(*(models.complete(model, call) for call in calls))
            return [r.text for r in replies], models.stats

    good, stats = asyncio.run(texts("good"))
    bad, faulty = asyncio.run(texts("bad", delay=0.005, fail_every=3))
    assert good == bad
    assert (stats.sent, stats.retries) == (30, 0)
    assert faulty.retries == faulty.sent - 30 > 5
