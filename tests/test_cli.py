"""The command line as a user meets it: in a process of its own."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest
from projects import ROOT, STANDIN
from typer.main import get_command

from hydata import cli
from hydata.cli import app

RUN = "import sys; from hydata.cli import main; sys.argv[0] = 'hydata'; main()"


def hydata(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project made by ``hydata init`` and run with the stand-in model."""
    folder = tmp_path_factory.mktemp("project")
    assert hydata("init", cwd=folder).returncode == 0
    (folder / "models.toml").write_text(STANDIN.format(delay=0))
    done = hydata("run", "recipe.toml", ROOT / "examples" / "seeds", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("name = 'mine'\n")
    done = hydata("init", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "recipe.toml").read_text() == "name = 'mine'\n"
    for name in ("models.toml", "policy.toml", "prompts/generate", "taxonomy/domain.yaml"):
        assert (tmp_path / name).exists()


def test_status_prints_the_funnel(finished: Path) -> None:
    done = hydata("status", cwd=finished)
    assert done.returncode == 0, done.stderr
    for step in (
        "documents",
        "instructions generated",
        "instructions evolved",
        "responses",
        "kept",
        "in the mix",
    ):
        assert step in done.stdout


def test_export_writes_what_the_trainer_reads(finished: Path) -> None:
    done = hydata("export", "--output", "mix.jsonl", "--show", 1, cwd=finished)
    assert done.returncode == 0, done.stderr
    lines = (finished / "mix.jsonl").read_bytes().splitlines()
    manifest = json.loads((finished / "mix.manifest.json").read_text())
    assert len(lines) == manifest["rows"] > 0
    assert manifest["tokenizer"] == "estimated"
    for line in lines:
        messages = json.loads(line)["messages"]
        assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * (len(messages) // 2)]
        assert messages[0]["content"] == "You are a helpful assistant."
        assert set(messages[0]) == {"role", "content"}
    assert b"\\u" not in b"".join(lines)


def test_sql_in_three_formats(finished: Path) -> None:
    query = "SELECT kind, count(*) AS n FROM documents GROUP BY kind ORDER BY kind"
    assert "book" in hydata("sql", query, cwd=finished).stdout
    assert hydata("sql", query, "-f", "csv", cwd=finished).stdout.startswith("kind,n\nbook,")
    rows = hydata("sql", query, "-f", "jsonl", cwd=finished).stdout.splitlines()
    assert json.loads(rows[0])["kind"] == "book"


def test_why_tells_the_story_from_seed_to_mix(finished: Path) -> None:
    query = """
        SELECT r.record_id FROM mixes JOIN responses AS r USING (record_id)
        JOIN conversations AS e ON e.record_id = r.parent_ids[1] AND e.step = 'evolve'
        JOIN conversations AS g ON g.record_id = e.parent_ids[1] AND g.step = 'generate'
        WHERE weight > 0 LIMIT 1
    """
    record = hydata("sql", query, "-f", "csv", cwd=finished).stdout.split()[1]
    done = hydata("why", record[:10], cwd=finished)
    assert done.returncode == 0, done.stderr
    for word in (
        "respond",
        "evolve",
        "generate",
        "document",
        "prompt",
        "rules",
        "critic",
        "final",
        "mix main",
    ):
        assert word in done.stdout, word
    document = hydata("sql", "SELECT document_id FROM documents LIMIT 1", "-f", "csv", cwd=finished)
    assert "document" in hydata("why", document.stdout.split()[1], cwd=finished).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "missing.toml"), 2, "missing.toml: no such file"),
        (("run", "recipe.toml", "no-such-seed"), 2, "no-such-seed"),
        (("ingest", "no-such-seed"), 2, "no-such-seed"),
        (("ingest", ".", "--kind", "wbe"), 2, "wbe"),
        (("sql", "SELECT nothing FROM nowhere"), 2, "nowhere"),
        (("sql", "SELECT 1", "-f", "xml"), 2, "xml"),
        (("sql", "SELECT [1] AS several", "-f", "csv"), 2, "several"),
        (("why", "zzzz"), 3, "zzzz"),
        (("export", "--mix", "other"), 3, "other"),
        (("export", "--output", "mix.txt"), 2, "mix.txt"),
        (("status", "-w", "empty"), 3, "empty"),
        (("export", "--output", "recipe.toml/mix.jsonl"), 1, "recipe.toml"),
        (("run", "recipe.toml", "-w", "models.toml"), 1, "models.toml"),
        (("run", "recipe.toml", "--rebuild", "respnd"), 2, "respnd"),
        (("run", "recipe.toml", "--until", "respnd"), 2, "respnd"),
        (("run", "recipe.toml", "--until", "follow_up/9"), 2, "generate, signatures/generated/instruction, "),
    ],
)
def test_errors_name_the_value_without_a_traceback(
    finished: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = hydata(*arguments, cwd=finished)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", [Path.unlink, lambda shard: shard.write_bytes(b"PAR1 cut off")])
def test_a_missing_or_damaged_shard_is_named(finished: Path, tmp_path: Path, damage: Callable) -> None:
    shutil.copytree(finished / "warehouse", tmp_path / "warehouse")
    shard = next((tmp_path / "warehouse" / "documents").rglob("*.parquet"))
    damage(shard)
    done = hydata("status", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert shard.name in done.stderr
    assert "hydata run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_said_and_a_defect_keeps_its_traceback(monkeypatch, capsys) -> None:
    def fail_with(error: Exception) -> Callable[[], None]:
        def app() -> None:
            raise error

        return app

    for error in (
        OSError(errno.ENOSPC, "No space left on device", "part-00000.parquet"),
        pl.exceptions.ComputeError("parquet: No space left on device (os error 28)"),
    ):
        monkeypatch.setattr(cli, "app", fail_with(error))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        assert "No space left on device" in capsys.readouterr().err
    for defect in (duckdb.BinderException("no such column"), KeyError("x")):
        monkeypatch.setattr(cli, "app", fail_with(defect))
        with pytest.raises(type(defect)):
            cli.main()


def test_a_critics_training_set_needs_more_than_one_judgement(finished: Path) -> None:
    done = hydata("critic", "export", "-o", "critic.jsonl", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "0 rows (none confirmed)" in done.stdout
    assert "judged_once" in done.stdout
    assert (finished / "critic.jsonl").read_text() == ""


def test_every_command_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = list(get_command(app).commands.items())  # type: ignore[attr-defined]  # a click group
    while found:
        name, sub = found.pop()
        found += [(f"{name} {inner}", command) for inner, command in getattr(sub, "commands", {}).items()]
        assert sub.help, f"hydata {name} has no help text"
        assert f"hydata {name}" in readme, f"README.md does not mention `hydata {name}`"
        for parameter in sub.params:
            if parameter.name != "help":
                assert getattr(parameter, "help", None), f"hydata {name}: {parameter.name} has no help"
