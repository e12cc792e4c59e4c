"""The whole road with the stand-in model: complete, resumable after SIGKILL, incremental."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest
from projects import STANDIN, run_project

from hydata.errors import ConfigError, ConservationError, TransientModelError, WarehouseError
from hydata.recipe import load_recipe, plan
from hydata.report import funnel
from hydata.schema import (
    DOCUMENTS,
    Conversation,
    Document,
    Message,
    Output,
    Reject,
    conversations_frame,
    documents_frame,
    rejects_frame,
)
from hydata.session import Session, check_conservation
from hydata.warehouse import connect, locked, read_head


def query(session: Session, text: str) -> list[tuple[object, ...]]:
    with connect(session.root, session.head, session.schemas) as con:
        return con.execute(text).fetchall()


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Every finished shard with what would tell that it was written again. Rejects are left out: they are
    written before the shard they belong to, and again if a run is killed between the two; so are artefacts,
    which the head names after they are written, and parts of a snapshot whose manifest is not written
    yet."""
    return {
        p.relative_to(root).as_posix(): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in root.rglob("*.parquet")
        if p.relative_to(root).parts[0] not in ("rejects", "artefacts")
        and (not p.name.startswith("part-") or (p.parent / "_manifest.json").exists())
    }


def test_the_whole_road(project: Path, tmp_path: Path) -> None:
    session = run_project(project, tmp_path / "w")
    steps = dict(query(session, "SELECT step, count(*) FROM conversations GROUP BY step"))
    assert set(steps) == {"extract", "generate", "evolve", "self_instruct", "respond", "follow_up"}
    # what was extracted takes the same road, and its reference goes with it, each span where it says
    referred = """
        SELECT count(*), count(*) FILTER (r.reference.answer = e.reference.answer
            AND substring(d.text, s."start" + 1, s."end" - s."start") = r.reference.answer)
        FROM conversations AS r
        JOIN conversations AS e ON e.record_id = r.parent_ids[1] AND e.step = 'extract',
            unnest(r.reference.spans) AS t(s) JOIN documents AS d ON d.document_id = s.document_id
        WHERE r.step = 'respond'
    """
    ((answers, true),) = query(session, referred)
    assert answers == true > 0
    kinds = {kind for (kind,) in query(session, "SELECT DISTINCT kind FROM documents")}
    assert kinds == {"web", "qa", "code", "book"}
    assert query(session, "SELECT count(*) FROM mixes WHERE weight > 0")[0][0] >= 20
    # through all four steps: a response to an evolved instruction, critiqued and kept
    through = """
        SELECT count(*) FROM mixes JOIN conversations AS r USING (record_id)
        JOIN conversations AS e ON e.record_id = r.parent_ids[1] AND e.step IN ('evolve', 'self_instruct')
        JOIN critiques AS c ON c.record_id = r.record_id WHERE mixes.weight > 0
    """
    assert query(session, through)[0][0] >= 5
    # every complete conversation has a decision; every judge judged it or rejected it with a reason
    complete = "SELECT count(*) FROM responses"
    assert query(session, complete) == query(session, "SELECT count(*) FROM decisions WHERE policy = 'final'")
    for judge in ("rules", "language", "labels", "critiques", "agreement", "duplicates"):
        table = (
            "responses"
            if judge != "critiques"
            else "(SELECT * FROM responses SEMI JOIN admitted USING (record_id))"
        )
        unjudged = f"""
            SELECT count(*) FROM {table} WHERE record_id NOT IN (SELECT record_id FROM {judge})
            AND record_id NOT IN (SELECT record_id FROM rejects WHERE record_id IS NOT NULL)
        """
        assert query(session, unjudged) == [(0,)], judge
    undated = 'SELECT count(*) FROM documents WHERE language IS NULL OR uri IS NULL OR "end" IS NULL'
    assert query(session, undated) == [(0,)]


def test_a_conversation_of_several_turns_ends_in_the_mix(project: Path, tmp_path: Path) -> None:
    session = run_project(project, tmp_path / "w")
    turns = """
        SELECT r.messages, f.messages, a.messages FROM mixes JOIN conversations AS r USING (record_id)
        JOIN conversations AS f ON f.record_id = r.parent_ids[1] AND f.step = 'follow_up'
        JOIN conversations AS a ON a.record_id = f.parent_ids[1] AND a.step = 'respond'
        WHERE mixes.weight > 0
    """
    found = query(session, turns)
    assert found
    for whole, asked, before in found:
        assert [m["role"] for m in whole] == ["system", *["user", "assistant"] * 2]
        assert whole[:-1] == asked
        assert asked[:-1] == before
    # one answer of an instruction is continued, and only one that the policy has kept
    once = """
        SELECT count(*) - count(DISTINCT a.parent_ids[1]), count(*) FILTER (d.status IS NULL)
        FROM conversations AS f JOIN conversations AS a ON a.record_id = f.parent_ids[1]
        LEFT JOIN decisions AS d ON d.record_id = a.record_id AND d.policy = 'final' AND d.status = 'kept'
        WHERE f.step = 'follow_up'
    """
    assert query(session, once) == [(0, 0)]
    # what the user says next is an instruction like others: measured, labelled, and answered if it passes
    judged = """
        SELECT count(*), count(a.record_id), count(a.task) FROM conversations AS c
        LEFT JOIN admitted AS a USING (record_id) WHERE c.step = 'follow_up'
    """
    ((made, admitted, labelled),) = query(session, judged)
    assert made >= admitted == labelled > 0
    for judge in ("rules", "language", "labels", "signatures"):
        unjudged = f"FROM conversations ANTI JOIN {judge} USING (record_id) WHERE step = 'follow_up'"
        assert query(session, f"SELECT count(*) {unjudged}") == [(0,)], judge


CONTINUED = """
    FROM conversations AS longer
    JOIN conversations AS asked ON asked.record_id = longer.parent_ids[1] AND asked.step = 'follow_up'
    JOIN {table} AS after ON after.record_id = longer.record_id
    JOIN {table} AS before ON before.record_id = asked.parent_ids[1]
"""


def test_a_conversation_is_not_in_the_mix_beside_its_beginning(project: Path, tmp_path: Path) -> None:
    session = run_project(project, tmp_path / "w")
    found = CONTINUED.format(table="mixes")
    both = "count(*) FILTER (after.weight > 0 AND before.weight > 0)"
    ((continued, twice),) = query(session, f"SELECT count(DISTINCT before.record_id), {both} {found}")
    assert continued > twice == 0
    with connect(session.root, session.head, session.schemas) as con:
        (mixed,) = (row for row in funnel(con) if row.step == "in the mix")
    assert dict(mixed.dropped)["part of a longer one"] == continued
    # of several answers that are kept, the one that the policy prefers goes on
    better = """
        SELECT count(*) FILTER (mine.tier > other.tier), count(*)
        FROM admitted AS a JOIN critiques AS mine USING (record_id)
        JOIN conversations AS sibling
            ON sibling.parent_ids = a.parent_ids AND sibling.record_id <> a.record_id
        JOIN decisions AS d ON d.record_id = sibling.record_id AND d.policy = 'final' AND d.status = 'kept'
        JOIN critiques AS other ON other.record_id = sibling.record_id
        JOIN agreement AS x ON x.record_id = a.record_id
        JOIN agreement AS y ON y.record_id = sibling.record_id AND y.majority IS NOT DISTINCT FROM x.majority
        WHERE a.gate = 'final, one answer'
    """
    ((worse, siblings),) = query(session, better)
    assert siblings > worse == 0


def test_what_continues_a_dropped_answer_is_dropped(project: Path, tmp_path: Path) -> None:
    run_project(project, tmp_path / "w")
    policy = project / "policy.toml"
    short = '[final.drop]\nlong = { measure = "rules.response_characters", above = 300 }'
    policy.write_text(policy.read_text().replace("[final.drop]", short))
    session = run_project(project, tmp_path / "w")
    status = """
        SELECT before.status, list_contains(after.reasons, 'earlier_turn'), count(*)
    """ + CONTINUED.format(table="(FROM decisions WHERE policy = 'final')")
    found = {(kept, why): count for kept, why, count in query(session, f"{status} GROUP BY ALL")}
    assert set(found) == {("kept", False), ("dropped", True)}, found


@pytest.mark.parametrize(("turns", "most"), [(0, 2), (2, 6)])
def test_rounds_of_follow_ups_are_bounded(project: Path, tmp_path: Path, turns: int, most: int) -> None:
    recipe = project / "recipe.toml"
    wanted = f"[follow_up]\nturns = {turns}\nshare = 1.0"
    recipe.write_text(recipe.read_text().replace("[follow_up]\nshare = 0.5", wanted))
    session = run_project(project, tmp_path / "w", "seeds/web")
    longest = "SELECT max(len(list_filter(messages, lambda m: m.role <> 'system'))) FROM conversations"
    assert query(session, longest) == [(most,)]


def without_orphans(session: Session) -> bool:
    """Whether what is judged and mixed is there."""
    told = "SELECT record_id FROM {} ANTI JOIN conversations USING (record_id)"
    tables = ("decisions", "critiques", "admitted", "mixes", "rules", "duplicates", "agreement")
    return not any(query(session, told.format(table)) for table in tables)


def test_rounds_that_left_the_plan_are_not_current(project: Path, tmp_path: Path) -> None:
    recipe, root, seeds = project / "recipe.toml", tmp_path / "w", "seeds/web"
    text = recipe.read_text()

    def turns(n: int) -> None:
        recipe.write_text(text.replace("[follow_up]\nshare = 0.5", f"[follow_up]\nturns = {n}\nshare = 1.0"))

    turns(2)
    more = run_project(project, root, seeds)
    turns(1)
    assert (
        run_project(project, root, seeds, until="generate").head == more.head
    )  # what comes later stays as it was
    fewer = run_project(project, root, seeds)
    gone = set(more.head.nodes) - set(fewer.head.nodes)
    assert gone > {"admit/continued/2", "follow_up/2", "respond/2", "critique/2", "decide/final/2"}
    assert all("/2" in node for node in gone)
    assert read_head(root, "demo") == fewer.head
    conversations = "SELECT record_id, step FROM conversations ORDER BY ALL"
    assert query(fewer, conversations) == query(
        run_project(project, tmp_path / "never", seeds), conversations
    )
    assert without_orphans(fewer)
    turns(2)
    again = run_project(project, root, seeds)
    assert query(again, conversations) == query(more, conversations) != query(fewer, conversations)
    assert again.head.nodes["respond/2"].shards == more.head.nodes["respond/2"].shards  # as found on disk


def test_semantic_duplicates_that_were_switched_off_are_not_current(project: Path, tmp_path: Path) -> None:
    root, seeds = tmp_path / "w", "seeds/web"
    on = run_project(project, root, seeds)
    assert query(on, "SELECT record_id FROM embeddings")
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text() + "\n[semantic]\nenabled = false\n")
    off = run_project(project, root, seeds)
    assert set(off.head.nodes) == {node.id for node in plan(off.recipe)} < set(on.head.nodes)
    assert not query(off, "SELECT record_id FROM embeddings")
    assert without_orphans(off)


def test_ids_are_unique_and_parents_exist(project: Path, tmp_path: Path) -> None:
    session = run_project(project, tmp_path / "w")
    for table, column in (("documents", "document_id"), ("conversations", "record_id")):
        assert query(session, f"SELECT count(*) - count(DISTINCT {column}) FROM {table}") == [(0,)]
    orphans = """
        SELECT count(*) FROM (SELECT unnest(parent_ids) AS id FROM conversations)
        WHERE id NOT IN (SELECT record_id FROM conversations)
    """
    assert query(session, orphans) == [(0,)]


def test_a_second_run_does_nothing(project: Path, tmp_path: Path) -> None:
    first = run_project(project, tmp_path / "w")
    before = files(first.root)
    second = run_project(project, tmp_path / "w")
    assert files(first.root) == before
    assert second.head == first.head
    assert second.stats.calls == 0


def test_more_seeds_add_work_and_redo_none(project: Path, tmp_path: Path) -> None:
    few = "seeds/web"
    first = run_project(project, tmp_path / "w", few)
    before = files(first.root)
    admitted = query(first, "SELECT record_id FROM admitted ORDER BY ALL")
    second = run_project(project, tmp_path / "w", few, "seeds/qa")
    after = files(first.root)
    assert {name: after[name] for name in before} == before
    assert set(admitted) < set(query(second, "SELECT record_id FROM admitted"))
    documents = query(second, "SELECT kind, count(*) FROM documents GROUP BY kind ORDER BY kind")
    assert [kind for kind, _ in documents] == ["qa", "web"]


def test_a_file_that_grew_adds_its_new_rows_only(project: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} times {n}?", "answer": f"It is {n * n}."} for n in range(2, 6)]
    file = tmp_path / "grows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    run_project(project, tmp_path / "w", str(file))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    session = run_project(project, tmp_path / "w", str(file))
    assert query(session, "SELECT count(*), count(DISTINCT document_id) FROM documents") == [(4, 4)]
    said = query(session, "SELECT detail FROM rejects WHERE reason = 'already_ingested'")
    assert len(said) == 1
    assert str(said[0][0]).startswith("3 rows")


def test_a_changed_prompt_adds_work_only_when_asked_to_rebuild(project: Path, tmp_path: Path) -> None:
    first = run_project(project, tmp_path / "w")
    recipe = project / "recipe.toml"
    recipe.write_text(
        recipe.read_text().replace("max_tokens = 160\n\n[critique]", "max_tokens = 150\n\n[critique]")
    )
    assert not +first.older
    unchanged = run_project(project, tmp_path / "w")
    nodes = ("respond", "respond/1")
    assert +unchanged.older == {"respond": sum(len(first.head.nodes[node].shards) for node in nodes)}
    assert unchanged.head.nodes["respond"].shards == first.head.nodes["respond"].shards
    rebuilt = run_project(project, tmp_path / "w", rebuild=("respond",))
    before = {shard.path for shard in first.head.nodes["respond"].shards}
    assert not before & {shard.path for shard in rebuilt.head.nodes["respond"].shards}
    assert query(rebuilt, "SELECT count(*) - count(DISTINCT record_id) FROM responses") == [(0,)]


def dead(project: Path) -> None:
    faults = "fail_every = 1\nattempts = 1\n[models.first]"
    (project / "models.toml").write_text(STANDIN.format(delay=0).replace("[models.first]", faults))


def test_a_rebuild_that_fails_leaves_what_was_there_current(project: Path, tmp_path: Path) -> None:
    first = run_project(project, tmp_path / "w")
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 1", "seed = 2"))
    dead(project)
    with pytest.raises(TransientModelError):
        run_project(project, tmp_path / "w", rebuild=("respond",))
    left = read_head(tmp_path / "w", "demo")
    assert left.nodes["respond"].shards == first.head.nodes["respond"].shards


def test_a_rebuild_above_a_gate_leaves_no_orphans(project: Path, tmp_path: Path) -> None:
    first = run_project(project, tmp_path / "w")
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("max_tokens = 80", "max_tokens = 70"))
    second = run_project(project, tmp_path / "w", rebuild=("generate",))
    generated = "SELECT record_id FROM conversations WHERE step = 'generate' ORDER BY ALL"
    assert query(first, generated) != query(second, generated)
    orphans = """
        SELECT count(*) FROM (SELECT unnest(parent_ids) AS id FROM conversations)
        WHERE id NOT IN (SELECT record_id FROM conversations)
    """
    assert query(second, orphans) == [(0,)]
    assert query(second, "SELECT count(*) FROM admitted ANTI JOIN conversations USING (record_id)") == [(0,)]
    assert query(second, "SELECT count(*) FROM mixes WHERE weight > 0")[0][0] > 0


def test_a_shard_that_is_gone_is_made_again(project: Path, tmp_path: Path) -> None:
    first = run_project(project, tmp_path / "w")
    before = query(first, "SELECT * FROM conversations ORDER BY record_id")
    for step in ("respond", "ingest"):
        for file in (tmp_path / "w" / "conversations").glob(f"{step}-*/**/*.parquet"):
            file.unlink()
    for file in (tmp_path / "w" / "rejects").glob("generate-*/*.parquet"):
        file.unlink()
    second = run_project(project, tmp_path / "w")
    assert query(second, "SELECT * FROM conversations ORDER BY record_id") == before
    assert second.stats.sent == 0


def test_a_run_on_existing_sets_only(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    rows = [
        {
            "instruction": f"Name {n} kinds of birds that live near the coast.",
            "output": f"There are {n} of them.",
        }
        for n in range(2, 12)
    ]
    rows += [{"instruction": "Why do gulls follow fishing boats out to sea?"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    session = run_project(project, tmp_path / "w", str(file))
    answered = "SELECT count(*) FROM responses WHERE step = 'respond'"
    assert query(session, answered)[0][0] > 0  # the instruction without an answer, and what came of it
    open_ends = """
        SELECT count(*) FROM conversations WHERE record_id NOT IN (SELECT record_id FROM decisions)
        AND record_id NOT IN (SELECT unnest(parent_ids) FROM conversations)
    """
    assert query(session, open_ends) == [(0,)]
    assert query(session, "SELECT count(*) FROM mixes")[0][0] > 0


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"Bonjour, le port est calme ce matin."])
def test_seeds_that_yield_nothing_end_in_an_empty_mix(project: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "seed.txt"
    file.write_bytes(content)
    session = run_project(project, tmp_path / "w", str(file))
    assert query(session, "SELECT count(*) FROM mixes") == [(0,)]
    assert query(session, "SELECT count(*) FROM rejects")[0][0] > 0


def test_a_dropped_record_takes_no_good_one_with_it(project: Path, tmp_path: Path) -> None:
    """Of a near-duplicate pair the longer one leads, unless the policy drops it for its own sake."""
    chosen = (
        "Gulls follow fishing boats because the crews throw small fish and scraps back into the sea, which "
        "makes an easy meal for any bird that keeps close behind. They also learn quickly: a flock that once "
        "found food near a boat comes back on later days, and younger birds copy what the older ones do."
    )
    pair = {"prompt": "Why do gulls follow boats?", "chosen": chosen, "rejected": f"{chosen} I think so."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    session = run_project(project, tmp_path / "w", str(tmp_path / "pairs.jsonl"))
    fates = """
        SELECT messages[-1].content, status FROM responses JOIN decisions USING (record_id)
        WHERE policy = 'gates.critique'
    """
    found = dict(query(session, fates))
    assert found == {pair["chosen"]: "kept", pair["rejected"]: "dropped"}


RUN = "import sys; from hydata.cli import main; sys.argv[0] = 'hydata'; main()"


def command(root: Path) -> list[str]:
    """What ``run_project`` does, from within the project."""
    return [sys.executable, "-c", RUN, "run", "recipe.toml", "seeds", "--warehouse", str(root)]


def contents(root: Path) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(root / "hydata.duckdb"), read_only=True) as con:
        tables = ("documents", "conversations", "rejects", "labels", "critiques", "decisions", "mixes")
        return {t: con.execute(f"SELECT * FROM {t} ORDER BY ALL").fetchall() for t in tables}


def test_killed_at_five_moments_and_resumed_the_result_is_the_same(project: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    (project / "models.toml").write_text(STANDIN.format(delay=0.02))
    subprocess.run(command(whole), cwd=project, check=True, capture_output=True)
    kills = 0
    for wanted in (2, 10, 20, 32, 42):  # finished shards at the moment of the kill
        process = subprocess.Popen(
            command(killed),
            cwd=project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and len(files(killed)) < wanted:
            time.sleep(0.01)
        before = files(killed)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 5
    before = files(killed)
    subprocess.run(command(killed), cwd=project, check=True, capture_output=True)
    after = files(killed)
    assert {name: after[name] for name in before} == before
    assert contents(killed) == contents(whole)


def test_a_killed_run_leaves_no_process_behind(project: Path, tmp_path: Path) -> None:
    (project / "models.toml").write_text(STANDIN.format(delay=5))
    process = subprocess.Popen(command(tmp_path / "w"), cwd=project, stderr=subprocess.DEVNULL)
    while len(files(tmp_path / "w")) < 2:  # ingest is done, its worker processes wait for more
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until, f"still there: {children}"
        time.sleep(0.1)


def test_a_dead_model_leaves_shards_unfinished_and_says_so(project: Path, tmp_path: Path) -> None:
    (project / "models.toml").write_text(
        STANDIN.format(delay=0).replace("[models.first]", "fail_every = 1\nattempts = 2\n[models.first]")
    )
    done = subprocess.run(command(tmp_path / "w"), cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr
    (project / "models.toml").write_text(STANDIN.format(delay=0))
    subprocess.run(command(tmp_path / "w"), cwd=project, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('nam = "x"', "unknown key 'nam'"),
        ("[generate]\nshare = 3", "generate.share"),
        ('models = "none.toml"', "none.toml: no such file"),
        ('name = "a/b"', "name = 'a/b'"),
    ],
)
def test_a_wrong_recipe_is_told_before_any_work(project: Path, tmp_path: Path, text: str, said: str) -> None:
    (project / "recipe.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        run_project(project, tmp_path / "w")
    assert not list((tmp_path / "w").rglob("*.parquet"))


def test_every_node_reads_earlier_nodes_only(project: Path) -> None:
    seen: set[str] = set()
    for node in plan(load_recipe(project / "recipe.toml")):
        for sources in node.reads.values():
            assert set(sources) <= seen, node.id
        seen.add(node.id)


def test_a_lost_row_is_an_error() -> None:
    documents = documents_frame([Document("web", "u", "f", n, f"text {n}") for n in range(3)])
    a, b, c = documents["document_id"]
    made = conversations_frame([Conversation("generate", (Message("user", "q"),), document_ids=(a,))])
    output = Output(made, rejects_frame([Reject("generate", "empty", record_id=b)]))
    check_conservation("generate", "shard", documents.filter(pl.col("document_id") != c), output)
    with pytest.raises(ConservationError, match=c):
        check_conservation("generate", "shard", documents, output)
    check_conservation("generate", "shard", pl.DataFrame(schema=DOCUMENTS), output)


def test_two_runs_at_once_are_refused(project: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "w"), pytest.raises(WarehouseError, match="locked by process"):
        run_project(project, tmp_path / "w")
