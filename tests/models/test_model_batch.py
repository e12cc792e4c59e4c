"""Offline batches: what is written for whom, what is read of whatever comes back, a recipe in rounds."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel
from servers import ask, completion, pointing

from hydata import cli
from hydata.errors import ConfigError, TerminalModelError, TransientModelError, WarehouseError
from hydata.models import OpenAIEndpoint, Outbox, Sampling, one_model, open_models
from hydata.models import batch as batches
from hydata.models.batch import read_results
from hydata.models.journal import Journal
from hydata.models.standin import replies
from hydata.models.upkeep import stats
from hydata.recipe import load_recipe, table_schemas
from hydata.run import run_recipe
from hydata.warehouse import JOURNAL, connect, latest_head

NOBODY = "http://127.0.0.1:9/v1"
URL = "/v1/chat/completions"


def lines(*files: Path) -> list[dict]:
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def result(key: str, body: object = None, status: int = 200, error: object = None, **more: object) -> dict:
    """A line as OpenAI writes it."""
    return {
        "id": "batch_req_1",
        "custom_id": key,
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": error,
        **more,
    }


def answer(requests: Path, results: Path, change: Callable[[dict], dict] = lambda line: line) -> Path:
    """What a batch engine does, with the stand-in as the model."""
    with results.open("w", encoding="utf-8") as f:
        for request in lines(requests):
            f.write(json.dumps(change(result(request["custom_id"], replies(request["body"])))) + "\n")
    return results


def with_models(folder: Path, body: Callable, box: Outbox | None = None, **settings: object):
    """``body(models, model)`` with a journal in ``folder`` and a server that nobody could reach."""

    async def main():
        config = pointing(NOBODY, attempts=1, **settings)
        async with open_models(config, folder / "j.sqlite", outbox=box) as models:
            return await body(models, models.route("generator", "r1"))

    return asyncio.run(main())


def left(call):
    """A body that makes the call and has it left to the outbox."""

    async def body(models, model):
        with pytest.raises(TransientModelError, match="left to an offline batch"):
            await call(models, model)
        assert models.stats.sent == 0

    return body


def write(folder: Path, call, name: str = "b.jsonl", **settings: object) -> list[dict]:
    """The lines that a call leaves."""
    with Outbox(folder / name, **settings) as box:
        with_models(folder, left(call), box)
    return lines(*(file.path for file in box.files))


def read(folder: Path, *given: dict | bytes, give_up: bool = False):
    """Read these lines; bytes are written as they are."""
    file = folder / "results.jsonl"
    file.write_bytes(b"".join(g if isinstance(g, bytes) else json.dumps(g).encode() + b"\n" for g in given))
    return read_files(folder, file, give_up=give_up)


def read_files(folder: Path, *files: Path, give_up: bool = False):
    async def main():
        journal = Journal(folder / "j.sqlite")
        try:
            return await read_results(files, journal, give_up)
        finally:
            journal.close()

    return asyncio.run(main())


def problems(results) -> dict[str, tuple[int, list[str]]]:
    return {what: (problem.lines, problem.places) for what, problem in results.problems.items()}


async def samples(models, model):
    return await models.samples(model, ask(purpose="respond"), 4)


async def one(models, model):
    return await models.complete(model, ask(purpose="generate/p.en@1"))


# --- writing -------------------------------------------------------------------------------------------


def test_each_sample_is_a_line_that_asks_as_a_server_would_be_asked(tmp_path):
    written = write(tmp_path, samples)
    assert [(line["method"], line["url"]) for line in written] == [("POST", URL)] * 4
    assert len({line["custom_id"] for line in written}) == 4
    assert written[0]["body"] == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is a lake?"}],
        "temperature": 0.7,
        "top_p": 0.95,
        "max_tokens": 512,
        "seed": 0,
    }
    assert [line["body"]["seed"] for line in written] == [0, 1, 2, 3]


def test_only_what_the_journal_lacks_is_written_also_between_what_it_has(tmp_path):
    first = write(tmp_path, samples)
    read(tmp_path, *(result(line["custom_id"], completion()) for line in (first[0], first[2])))

    async def six(models, model):
        return await models.samples(model, ask(purpose="respond"), 6)

    for settings in ({}, {"n": True}):  # a server that gives several samples to one request is as good
        with Outbox(tmp_path / f"second{len(settings)}.jsonl") as box:
            with_models(tmp_path, left(six), box, **settings)
        assert [line["body"]["seed"] for line in lines(box.files[0].path)] == [1, 3, 4, 5]
        assert box.again == 2 + 2 * len(settings)


def test_equal_calls_are_one_line(tmp_path):
    async def thrice(models, model):
        outcomes = await asyncio.gather(*(one(models, model) for _ in range(3)), return_exceptions=True)
        raise outcomes[0]

    assert len(write(tmp_path, thrice)) == 1


def test_a_file_has_one_model_and_so_many_requests(tmp_path):
    async def main():
        with Outbox(tmp_path / "b.jsonl", max_requests=3) as box:
            for name in ("small", "large"):
                config = one_model(OpenAIEndpoint(engine="openai", url=NOBODY), name)
                async with open_models(config, tmp_path / "j.sqlite", outbox=box) as models:
                    model = models.route("generator", "r1")
                    with pytest.raises(TransientModelError):
                        await samples(models, model)
        return box

    box = asyncio.run(main())
    assert [(file.path.name, file.served, file.requests) for file in box.files] == [
        ("b.jsonl", "small", 3),
        ("b-2.jsonl", "small", 1),
        ("b-3.jsonl", "large", 3),
        ("b-4.jsonl", "large", 1),
    ]
    assert box.requests == 8
    for file in box.files:
        assert {line["body"]["model"] for line in lines(file.path)} == {file.served}
        assert file.size == file.path.stat().st_size


def test_a_file_ends_before_it_has_too_many_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BYTES", 700)
    write(tmp_path, samples)
    sizes = [file.stat().st_size for file in tmp_path.glob("b*.jsonl")]
    assert len(sizes) == 2
    assert max(sizes) <= 700


def test_memory_holds_a_piece_of_the_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "PIECE", 2)

    async def five(models, model):
        seen = []
        for i in range(5):
            with pytest.raises(TransientModelError):
                await models.complete(model, ask(sample_index=i))
            seen.append(box.requests)
        assert seen == [0, 2, 2, 4, 4]

    with Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, five, box)
    assert box.requests == 5


def test_files_that_are_there_are_not_overwritten(tmp_path):
    write(tmp_path, one)
    with pytest.raises(ConfigError, match=r"b\.jsonl is there already"), Outbox(tmp_path / "b.jsonl"):
        pass
    (tmp_path / "b.jsonl").rename(tmp_path / "b-2.jsonl")
    with pytest.raises(ConfigError, match=r"b-2\.jsonl is there already"), Outbox(tmp_path / "b.jsonl"):
        pass
    (tmp_path / "b-2.jsonl").rename(tmp_path / "b-mine.jsonl")
    assert len(write(tmp_path, one)) == 1


def test_nothing_is_left_of_a_failure(tmp_path):
    async def failing(models, model):
        with pytest.raises(TransientModelError):
            await one(models, model)
        raise WarehouseError("the disk is full")

    with pytest.raises(WarehouseError), Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, failing, box)
    assert not list(tmp_path.glob("b*"))


def test_what_an_interrupted_batch_asked_for_is_not_expected(tmp_path):
    async def interrupted(models, model):
        with pytest.raises(TransientModelError):
            await one(models, model)
        raise KeyboardInterrupt

    write(tmp_path, one, "earlier.jsonl")
    with pytest.raises(KeyboardInterrupt), Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, interrupted, box)
    assert stats(tmp_path / "j.sqlite").waiting == 1  # of the earlier one, whose answer may come

    async def samples_interrupted(models, model):
        with pytest.raises(TransientModelError):
            await samples(models, model)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, samples_interrupted, box)
    assert stats(tmp_path / "j.sqlite").waiting == 1
    assert len(write(tmp_path, samples, "all.jsonl", only_new=True)) == 3


def test_what_an_earlier_batch_asks_for_can_be_left_out(tmp_path):
    write(tmp_path, one)

    async def both(models, model):
        with pytest.raises(TransientModelError):
            await one(models, model)
        await samples(models, model)

    assert len(write(tmp_path, both, "again.jsonl")) == 4  # the one is the first of the samples
    with Outbox(tmp_path / "new.jsonl", only_new=True) as box:
        with_models(tmp_path, left(both), box)
    assert (box.requests, box.again, box.files) == (0, 4, [])
    assert stats(tmp_path / "j.sqlite").waiting == 4


def test_the_file_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sk-secret")
    with Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, left(one), box, api_key_env="TINY_KEY")
    for file in tmp_path.iterdir():
        assert b"sk-secret" not in file.read_bytes()


# --- reading -------------------------------------------------------------------------------------------


def test_a_reply_that_was_read_needs_no_request(tmp_path):
    written = write(tmp_path, samples)
    body = completion("Deep.", reasoning_content="Water...")
    found = read(tmp_path, *(result(line["custom_id"], body) for line in written))
    assert (found.added, found.already, found.problems) == (4, 0, {})
    counted = found.ledger.total
    assert (counted.replies, counted.prompt_tokens, counted.completion_tokens) == (4, 28, 12)

    async def answered(models, model):
        return await samples(models, model), models.stats

    got, used = with_models(tmp_path, answered)
    assert [(r.text, r.reasoning, r.finish_reason, r.completion_tokens) for r in got] == [
        ("Deep.", "Water...", "stop", 3)
    ] * 4
    assert (used.sent, used.cached) == (0, 4)
    assert [group.purpose for group in stats(tmp_path / "j.sqlite").groups] == ["respond"]


def test_results_may_come_twice_and_in_parts(tmp_path):
    written = write(tmp_path, samples)
    good = [result(line["custom_id"], completion(str(i))) for i, line in enumerate(written)]
    assert read(tmp_path, good[1], good[0], good[1]).added == 2
    found = read(tmp_path, *good)
    assert (found.added, found.already) == (2, 2)
    assert sum(group.replies for group in stats(tmp_path / "j.sqlite").groups) == 4


def test_several_pieces_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "PIECE", 3)

    async def ten(models, model):
        return await models.samples(model, ask(), 10)

    write(tmp_path, ten)
    answer(tmp_path / "b.jsonl", tmp_path / "all.jsonl")
    given = (tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    for name, part in (("x", given[:4]), ("y", given[4:])):
        (tmp_path / name).write_text("".join(part))
    assert read_files(tmp_path, tmp_path / "y", tmp_path / "x").added == 10


NO_COMPLETION = [
    None,
    [],
    "text",
    {},
    {"choices": []},
    {"choices": None},
    {"choices": [{"message": None}]},
    {"choices": [{"message": {"content": ["parts"]}}]},
    {"choices": [{"message": {"content": 7}}]},
    {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1}},
    {"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 2**62}},
    {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": float("inf")}},
    {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": float("nan")}},
    {"choices": [{"message": {"content": "x"}}], "usage": [1]},
]


@pytest.mark.parametrize("body", NO_COMPLETION, ids=repr)
def test_a_200_that_is_no_completion_stays_pending(tmp_path, body):
    (written,) = write(tmp_path, one)
    found = read(tmp_path, result(written["custom_id"], body))
    assert problems(found) == {"no chat completion": (1, ["results.jsonl:1"])}
    assert (found.added, found.failed) == (0, 1)
    assert len(write(tmp_path, one, "again.jsonl")) == 1


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"choices":' * 100_000])
def test_json_nested_without_end_is_no_traceback_from_a_server_either(converse, body):
    async def asked(models, model, script):
        with pytest.raises(TransientModelError, match="not a chat completion"):
            await models.complete(model, ask())

    converse(asked, (200, body.decode(), {}), attempts=1)


BROKEN = {
    b"no json\n": "not JSON",
    b"[" * 50_000 + b"\n": "not JSON",
    b"\xff\xfe\x00\n": "not JSON",
    b'{"a": 1}{"b": 2}\n': "not JSON",
    b"7\n": "no result of a batch",
    b"[]\n": "no result of a batch",
    b"null\n": "no result of a batch",
    b'{"custom_id": 7}\n': "no result of a batch",
    b'{"error": null}\n': "no result of a batch",
    b'{"custom_id": "\\ud800", "response": null}\n': "of no batch of this warehouse",
    b'{"custom_id": "request-1", "response": {"status_code": 200}}\n': "of no batch of this warehouse",
    json.dumps(result("F" * 32, completion())).encode() + b"\n": "of no batch of this warehouse",
    json.dumps(result("f" * 32, completion())).encode() + b"\n": "of no batch of this warehouse",
    json.dumps(result("f" * 32)).encode()[:-10]: "cut off",
}


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: f"{line[:30]!r}")
def test_a_broken_line_is_named_and_the_others_are_read(tmp_path, line):
    (written,) = write(tmp_path, one)
    good = json.dumps(result(written["custom_id"], completion())).encode()
    found = read(tmp_path, b"\n", good, b"\r\n", line)
    assert found.added == 1
    assert problems(found) == {BROKEN[line]: (1, ["results.jsonl:3"])}


def test_a_last_line_without_its_end_counts_when_it_is_whole(tmp_path):
    (written,) = write(tmp_path, one)
    good = json.dumps(result(written["custom_id"], completion())).encode()
    assert problems(read(tmp_path, good[:-1])) == {"cut off": (1, ["results.jsonl:1"])}
    assert read(tmp_path, b"\xef\xbb\xbf" + good).added == 1


def test_a_line_without_end_is_skipped_and_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "LONGEST", 1000)
    (written,) = write(tmp_path, one)
    good = result(written["custom_id"], completion())
    long = result(written["custom_id"], completion("x" * 5000))
    for size in (999, 1000, 1001, 2000, 2001):
        padded = b'{"x": "' + b"y" * (size - 9) + b'"}'
        assert len(padded) == size
        what = "no result of a batch" if size < 1000 else "longer than 0 MiB"
        assert problems(read(tmp_path, padded + b"\n")) == {what: (1, ["results.jsonl:1"])}
        assert list(problems(read(tmp_path, padded))) == [what if size != 1000 else "no result of a batch"]
    found = read(tmp_path, long, good, long)
    assert found.added == 1
    assert problems(found) == {"longer than 0 MiB": (2, ["results.jsonl:1", "results.jsonl:3"])}


def test_lone_surrogates_reach_no_table(tmp_path):
    (written,) = write(tmp_path, one)
    assert read(tmp_path, result(written["custom_id"], completion("a\ud800b", finish="\udfff"))).added == 1
    assert with_models(tmp_path, one).text == "a\ufffdb"


# A failure as OpenAI's error file has it, as vLLM 0.32 writes it, and as both say that nothing came of it.
TOO_LONG = "This model's maximum context length is 4096 tokens."
FAILED = {
    "openai": (result("", {"error": {"message": TOO_LONG, "code": None}}, 400), "HTTP 400", TOO_LONG),
    "vllm": (
        result("", None, 400, {"error": {"message": TOO_LONG, "type": "BadRequestError", "code": 400}}),
        "HTTP 400",
        TOO_LONG,
    ),
    "vllm, plain": (result("", None, 400, "URL x was used."), "HTTP 400", "URL x was used."),
    "expired": (
        result("", error={"code": "batch_expired", "message": "It ended."}) | {"response": None},
        "no response",
        "It ended. (batch_expired)",
    ),
    "no status": (result("", None, None), "no response", "null"),
    "a status of a dream": (result("", None, 10**9), "no response", "null"),
    "an error beside a 200": (result("", completion(), 200, {"message": "late"}), "HTTP 200", "late"),
}


@pytest.mark.parametrize("name", FAILED)
def test_failures_are_told_by_status_and_stay_pending(tmp_path, name):
    line, what, words = FAILED[name]
    written = write(tmp_path, samples)
    found = read(tmp_path, *(line | {"custom_id": w["custom_id"]} for w in written))
    assert (found.added, found.failed) == (0, 4)
    assert problems(found) == {what: (4, [f"results.jsonl:{i}" for i in (1, 2, 3, 4)])}
    assert found.problems[what].words == words
    assert len(write(tmp_path, samples, "again.jsonl")) == 4


def test_what_a_server_refused_for_good_can_be_given_up(tmp_path):
    written = write(tmp_path, samples)
    keys = [line["custom_id"] for line in written]
    given = (
        result(keys[0], completion("Fine.")),
        FAILED["vllm"][0] | {"custom_id": keys[1]},
        result(keys[2], None, 404, {"error": {"message": "The model `x` does not exist."}}),
        result(keys[3], None, 500),
    )
    found = read(tmp_path, *given, give_up=True)
    assert (found.added, found.given_up, found.failed) == (1, 1, 2)
    assert list(found.problems) == ["HTTP 404", "HTTP 500"]
    assert {line["custom_id"] for line in write(tmp_path, samples, "again.jsonl")} == set(keys[2:])
    read(tmp_path, *(result(key, completion("Fine.")) for key in keys))
    fine, refused, *others = with_models(tmp_path, samples)
    assert [reply.text for reply in (fine, *others)] == ["Fine."] * 3
    assert isinstance(refused, TerminalModelError)
    assert refused.reason == "context_too_long"
    assert refused.detail.startswith(TOO_LONG)


class Verdict(BaseModel):
    tier: int


def test_json_that_does_not_parse_leads_to_another_round(tmp_path):
    async def judged(models, model):
        call = ask(sampling=Sampling(temperature=0, max_tokens=50), purpose="critique/p.en@1")
        return await models.structured(model, call, Verdict)

    seen = []
    for number, (text, finish) in enumerate(
        [('{"ti', "length"), ("Tier 3.", "stop"), ('{"tier": 3}', "stop")]
    ):
        (written,) = write(tmp_path, judged, f"{number}.jsonl")
        seen.append((written["body"]["max_tokens"], written["body"]["temperature"]))
        assert written["body"]["response_format"]["json_schema"]["name"] == "Verdict"
        assert read(tmp_path, result(written["custom_id"], completion(text, finish))).added == 1
    assert seen == [(50, 0.0), (100, 0.0), (100, 0.7)]
    verdict, _ = with_models(tmp_path, judged)
    assert verdict.tier == 3


# --- a recipe, on the command line ---------------------------------------------------------------------


@pytest.fixture
def hydata(project: Path, monkeypatch, capsys) -> Callable:
    """The command line in the project's folder: exit code and what was said."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hydata", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        return done.value.code or 0, "".join(capsys.readouterr())

    return run


def table(root: Path, query: str) -> list[tuple]:
    with connect(root, latest_head(root, None), table_schemas()) as con:
        return con.execute(query).fetchall()


TABLES = (
    "SELECT * FROM conversations ORDER BY record_id",
    "SELECT record_id, tier, model, request_hash FROM critiques ORDER BY ALL",
    "SELECT record_id, dimension, label FROM labels ORDER BY ALL",
    "SELECT record_id, weight FROM mixes ORDER BY ALL",
)


def test_a_recipe_done_in_rounds_equals_one_that_asked_servers(hydata, project):
    seeds = ("seeds/qa", "seeds/web")
    recipe = load_recipe(Path("recipe.toml"), seeds)
    asked = asyncio.run(run_recipe(project / "asked", recipe))
    config = project / "models.toml"
    standin = config.read_text()
    stages = []
    while True:
        code, said = hydata("batch", "write", "recipe.toml", *seeds, "-o", "new/b.jsonl", "-w", "w")
        assert code == 0, said
        files = sorted(project.glob("new/b*.jsonl"))
        if not files:
            break
        stages.append(re.search(r"^(\w+): [\d,]+ requests$", said, re.MULTILINE)[1])
        results = [answer(file, project / f"results-{file.name}") for file in files]
        code, said = hydata("batch", "read", *results, "-w", "w")
        assert code == 0, said
        assert f"{len(lines(*files))} replies added" in said
        for file in files:
            file.unlink()
    answered = ["respond", "critique"]
    steps = ["generate", "label", "evolve", "self_instruct", *answered, "follow_up", *answered]
    assert stages == steps
    assert "nothing is pending, the recipe is done" in said

    config.write_text(standin.replace("delay = 0", "fail_every = 1"))  # who asks a server gets nothing
    code, said = hydata("run", "recipe.toml", *seeds, "-w", "w")
    assert code == 0, said
    for query in TABLES:
        assert table(project / "w", query) == table(asked.root, query)
    used = "SELECT sum(sent), sum(replies), sum(prompt_tokens), sum(completion_tokens) FROM usage"
    ((sent, *used_here),) = table(project / "w", used)
    assert sent == 0
    assert used_here == [
        asked.stats.replies,
        asked.stats.prompt_tokens,
        asked.stats.completion_tokens,
    ]


def test_a_stage_behind_one_that_is_not_finished(hydata, project):
    code, said = hydata("batch", "write", "recipe.toml", "seeds", "-o", "b.jsonl", "--stage", "respond")
    assert code == 2
    calls = int(re.search(r"generate comes before it and has (\d+) calls pending", said)[1])
    assert "--stage generate" in said
    assert not list(project.glob("b*.jsonl"))
    assert stats(project / "warehouse" / JOURNAL).waiting == 0

    write_generate = ("batch", "write", "recipe.toml", "seeds", "-o", "b.jsonl", "--stage", "generate")
    assert hydata(*write_generate)[0] == 0
    assert len(lines(project / "b.jsonl")) == calls > 0
    answer(project / "b.jsonl", project / "r.jsonl")
    assert hydata("batch", "read", "r.jsonl")[0] == 0
    (project / "b.jsonl").unlink()
    code, said = hydata(*write_generate)
    assert (code, "nothing of generate is pending" in said) == (0, True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--stage", "rules"), "give one that asks models: extract, generate, label, evolve"),
        (("--stage", "answer"), "give one that asks models"),
        (("-o", "b.json"), "ends in .jsonl"),
        (("--rebuild", "answer"), "give one of"),
    ],
)
def test_wrong_options_name_the_remedy(hydata, project, wrong, words):
    code, said = hydata("batch", "write", "recipe.toml", "seeds", "-o", "b.jsonl", *wrong)
    assert code == 2, said
    assert words in " ".join(said.split())
    assert not list(project.glob("b*"))


def test_new_seeds_beside_a_batch_that_is_under_way(hydata, project):
    few = ("batch", "write", "recipe.toml", "seeds/web")
    assert hydata(*few, "-o", "a.jsonl")[0] == 0
    under_way = {line["custom_id"] for line in lines(project / "a.jsonl")}
    code, said = hydata(*few, "-o", "b.jsonl", "--new")
    assert (code, f"nothing new: {len(under_way)} were written before" in said) == (0, True)
    assert not (project / "b.jsonl").exists()
    code, said = hydata(*few, "seeds/qa", "-o", "b.jsonl", "--new")
    assert code == 0
    assert f"{len(under_way)} were written before and have no reply yet: left out" in said
    new = {line["custom_id"] for line in lines(project / "b.jsonl")}
    assert new
    assert not new & under_way


def test_results_that_are_none_end_with_an_error(hydata, project):
    assert hydata("batch", "read", "none.jsonl")[0] == 3  # no journal yet
    assert hydata("batch", "write", "recipe.toml", "seeds", "-o", "b.jsonl")[0] == 0
    for missing in ("none.jsonl", "seeds"):
        code, said = hydata("batch", "read", missing)
        assert (code, f"{missing}: no such file" in said) == (2, True)

    count = len(lines(project / "b.jsonl"))
    wrong = answer(project / "b.jsonl", project / "r.jsonl", lambda line: line | {"custom_id": "0" * 32})
    code, said = hydata("batch", "read", wrong)
    assert code == 2
    assert f"{count} of no batch of this warehouse (r.jsonl:1, r.jsonl:2" in said
    assert "no reply to a request of warehouse in these results" in said

    evil = "\x1b[2Jno\nsuch model"
    failed = answer(
        project / "b.jsonl",
        project / "r.jsonl",
        lambda line: result(line["custom_id"], None, 404, {"error": {"message": evil}}),
    )
    code, said = hydata("batch", "read", failed, "--give-up")
    assert code == 2
    assert f"{count} HTTP 404" in said
    assert "\x1b" not in said
    (project / "empty").touch()
    assert hydata("batch", "read", "empty")[0] == 2


def test_a_request_given_up_becomes_a_reject(hydata, project):
    assert hydata("batch", "write", "recipe.toml", "seeds", "-o", "b.jsonl")[0] == 0
    first, *others = [line["custom_id"] for line in lines(project / "b.jsonl")]

    def too_long(line: dict) -> dict:
        return FAILED["vllm"][0] | {"custom_id": first} if line["custom_id"] == first else line

    answer(project / "b.jsonl", project / "r.jsonl", too_long)
    code, said = hydata("batch", "read", "r.jsonl")
    assert code == 0
    assert f"{len(others)} replies added" in said
    assert "1 requests failed and stay pending" in said
    code, said = hydata("batch", "read", "r.jsonl", "--give-up")
    assert (code, "1 requests given up" in said) == (0, True)
    assert hydata("run", "recipe.toml", "seeds", "--until", "generate")[0] == 0
    reasons = table(project / "warehouse", "SELECT reason, detail FROM rejects WHERE stage = 'generate'")
    ((detail,),) = [(d,) for reason, d in reasons if reason == "context_too_long"]
    assert TOO_LONG in detail


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / f"b.jsonl.tmp-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), Outbox(tmp_path / "b.jsonl") as box:
        with_models(tmp_path, left(one), box)
    assert not list(tmp_path.glob("b*"))
