"""Thresholds become decisions: every comparison, missing judges, best answers, checks of the file."""

import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from hydata.errors import ConfigError
from hydata.policy import Condition, Policy, check_measures, decide, load_policy
from hydata.recipe import table_schemas
from hydata.schema import CONVERSATIONS, JUDGEMENT_KEY, Conversation, Message, conversations_frame
from hydata.warehouse import create_view

SCHEMAS = {
    "conversations": CONVERSATIONS,
    "rules": pl.Schema({**JUDGEMENT_KEY, "length": pl.Int64(), "cut": pl.Boolean(), "script": pl.String()}),
    "critiques": pl.Schema({**JUDGEMENT_KEY, "tier": pl.Int8()}),
    "language": pl.Schema({**JUDGEMENT_KEY, "instruction_language": pl.String()}),
    "labels": pl.Schema(
        {**JUDGEMENT_KEY, "dimension": pl.String(), "label": pl.String(), "confidence": pl.Float32()}
    ),
    "preferences": table_schemas()["preferences"],
}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        for table, schema in SCHEMAS.items():
            create_view(con, table, schema, [])
        yield con


def fill(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, object]]) -> None:
    con.execute(f"DROP VIEW IF EXISTS {table}")
    key = {"judge": "j", "version": "1", "repeat": 0} if table != "preferences" else {}
    frame = pl.DataFrame([{**key, **row} for row in rows], schema=SCHEMAS[table])
    con.register(table, frame.to_arrow())


def conversations(con: duckdb.DuckDBPyConnection, rows: list[Conversation]) -> list[str]:
    con.execute("DROP VIEW conversations")
    con.register("conversations", conversations_frame(rows).to_arrow())
    return [row.record_id for row in rows]


def decided(con: duckdb.DuckDBPyConnection, **final: object) -> dict[str, tuple[str, list[str]]]:
    policy = Policy.model_validate({"final": final})
    frame = pl.concat(list(decide(con, policy, "final", SCHEMAS)))
    return {id: (status, reasons) for id, _, status, reasons in frame.iter_rows()}


def three(con: duckdb.DuckDBPyConnection) -> list[str]:
    return conversations(
        con, [Conversation("dataset", (Message("user", text),), uri=text) for text in ("a", "b", "c")]
    )


def test_each_comparison_is_strict_and_null_never_holds(con: duckdb.DuckDBPyConnection) -> None:
    a, b, c = three(con)
    fill(
        con,
        "rules",
        [
            {"record_id": a, "length": 10, "cut": False, "script": "Latin"},
            {"record_id": b, "length": 11, "cut": True, "script": "Han"},
            {"record_id": c, "length": None, "cut": None, "script": None},
        ],
    )
    drop = {
        "long": {"measure": "rules.length", "above": 10},
        "short": {"measure": "rules.length", "below": 10},
        "cut": {"measure": "rules.cut", "equals": True},
        "foreign": {"measure": "rules.script", "any_of": ["Han", "Thai"]},
    }
    assert decided(con, drop=drop, requires=["rules"]) == {
        a: ("kept", []),
        b: ("dropped", ["long", "cut", "foreign"]),
        c: ("kept", []),
    }


def test_a_missing_required_judge_is_undecided_unless_another_drops(con: duckdb.DuckDBPyConnection) -> None:
    a, b, c = three(con)
    fill(con, "rules", [{"record_id": i, "length": n} for i, n in ((a, 1), (b, 99))])
    fill(con, "critiques", [{"record_id": c, "tier": 1}])
    found = decided(
        con, requires=["rules", "critiques"], drop={"long": {"measure": "rules.length", "above": 50}}
    )
    assert found == {a: ("undecided", ["critiques"]), b: ("dropped", ["long"]), c: ("undecided", ["rules"])}


def test_repeats_average_numbers_and_or_flags(con: duckdb.DuckDBPyConnection) -> None:
    a, b, _ = three(con)
    fill(con, "critiques", [{"record_id": i, "tier": t, "repeat": r} for i, r, t in
                            ((a, 0, 1), (a, 1, 4), (b, 0, 3), (b, 1, 4))])  # fmt: skip
    fill(con, "rules", [{"record_id": a, "cut": False}, {"record_id": a, "cut": True, "repeat": 1}])
    found = decided(
        con,
        drop={
            "low": {"measure": "critiques.tier", "above": 3},
            "cut": {"measure": "rules.cut", "equals": True},
        },
    )
    assert found[a] == ("dropped", ["cut"])
    assert found[b] == ("dropped", ["low"])


def test_languages_limit_a_condition(con: duckdb.DuckDBPyConnection) -> None:
    a, b, c = three(con)
    fill(con, "rules", [{"record_id": i, "length": 5} for i in (a, b, c)])
    spoken = ((a, "zh"), (b, "en"))
    fill(con, "language", [{"record_id": i, "instruction_language": s} for i, s in spoken])
    drop = {"short": {"measure": "rules.length", "below": 6, "languages": ["en"]}}
    found = decided(con, drop=drop)
    assert [found[i][0] for i in (a, b, c)] == ["kept", "dropped", "kept"]


def test_a_models_label_goes_before_the_classifiers(con: duckdb.DuckDBPyConnection) -> None:
    a, b, _ = three(con)
    fill(
        con,
        "labels",
        [
            {"record_id": a, "judge": "classifier", "dimension": "domain", "label": "law", "confidence": 0.9},
            {"record_id": a, "judge": "labeller", "dimension": "domain", "label": "code", "confidence": 0.5},
            {"record_id": b, "judge": "classifier", "dimension": "domain", "label": "law", "confidence": 0.4},
        ],
    )
    found = decided(con, drop={"law": {"measure": "labels.domain", "any_of": ["law"]}})
    assert [found[i][0] for i in (a, b)] == ["kept", "dropped"]


def test_the_worse_half_of_a_pair_can_be_dropped(con: duckdb.DuckDBPyConnection) -> None:
    a, b, c = three(con)
    fill(con, "preferences", [{"chosen_id": a, "rejected_id": b, "source": "s", "margin": None}])
    found = decided(con, drop={"worse": {"measure": "preferences.rejected", "equals": True}})
    assert [found[i][0] for i in (a, b, c)] == ["kept", "dropped", "kept"]


def test_only_the_best_answers_of_an_instruction_stay(con: duckdb.DuckDBPyConnection) -> None:
    def answer(parent: str, sample: int) -> Conversation:
        turns = (Message("user", parent), Message("assistant", str(sample)))
        return Conversation("respond", turns, parent_ids=(parent,), sample_index=sample)

    ids = conversations(con, [answer("p", 0), answer("p", 1), answer("p", 2), answer("q", 0)])
    tiers = [3, 1, 1, 4]
    fill(con, "critiques", [{"record_id": i, "tier": t} for i, t in zip(ids, tiers, strict=True)])
    fill(con, "rules", [{"record_id": i, "cut": i == ids[1]} for i in ids])
    found = decided(
        con,
        drop={"cut": {"measure": "rules.cut", "equals": True}},
        answers_per_instruction=1,
        prefer=[{"measure": "critiques.tier", "order": "ascending"}],
    )
    assert [found[i] for i in ids] == [
        ("dropped", ["not_best_answer"]),
        ("dropped", ["cut"]),
        ("kept", []),
        ("kept", []),
    ]


def test_values_are_bound_not_spliced(con: duckdb.DuckDBPyConnection) -> None:
    a, *_ = three(con)
    fill(con, "rules", [{"record_id": a, "script": "x' OR 1=1 --"}])
    found = decided(con, drop={"it's; DROP": {"measure": "rules.script", "equals": "x' OR 1=1 --"}})
    assert found[a] == ("dropped", ["it's; DROP"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[final.drop]\nx = { measure = 'rules.length' }", "exactly one of above"),
        ("[final.drop]\nx = { measure = 'rules.length', above = 1, below = 2 }", "exactly one of above"),
        ("[final.drop]\nx = { measure = 'rules.length; DROP TABLE x', above = 1 }", "final.drop.x.measure"),
        ("[final]\nrequire = []", "unknown key 'final.require'"),
        ("[final", "not TOML"),
        ("[final]", "no section [gates.evolve]"),
    ],
)
def test_a_wrong_file_is_told_with_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_policy(file, ["evolve"])
    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_a_section_takes_over_the_conditions_of_a_gate() -> None:
    gate = {
        "drop": {
            "long": {"measure": "rules.length", "above": 5},
            "cut": {"measure": "rules.cut", "equals": True},
        }
    }
    own = {"also": ["gates.a"], "drop": {"long": {"measure": "rules.length", "above": 9}}}
    policy = Policy.model_validate({"gates": {"a": gate}, "final": own})
    merged = policy.section("final").drop
    assert list(merged) == ["long", "cut"]
    assert merged["long"].above == 9
    changed = {"drop": {**gate["drop"], "new": {"measure": "rules.length", "below": 1}}}
    assert Policy.model_validate({"gates": {"a": changed}, "final": own}).hash("final") != policy.hash(
        "final"
    )
    with pytest.raises(ValueError, match=r"gates\.b"):
        Policy.model_validate({"final": {"also": ["gates.b"]}})


@pytest.mark.parametrize(
    "condition",
    [
        {"measure": "rules.cut", "above": 1},
        {"measure": "rules.length", "equals": True},
        {"measure": "rules.length", "equals": "x"},
        {"measure": "rules.script", "equals": 3},
        {"measure": "labels.domain", "below": 3},
    ],
)
def test_a_comparison_that_does_not_fit_the_measure_is_told(condition: dict[str, object]) -> None:
    policy = Policy.model_validate({"final": {"drop": {"strange": condition}}})
    with pytest.raises(ConfigError, match="strange"):
        check_measures(policy, Path("policy.toml"), SCHEMAS, ["domain"])


@pytest.mark.parametrize("measure", ["rulez.length", "rules.lenght", "labels.colour"])
def test_an_unknown_measure_is_told(measure: str) -> None:
    policy = Policy.model_validate({"final": {"drop": {"x": {"measure": measure, "above": 1}}}})
    with pytest.raises(ConfigError, match=measure):
        check_measures(policy, Path("policy.toml"), SCHEMAS, ["domain"])


def test_a_condition_is_the_same_in_sql_and_in_polars() -> None:
    rng = random.Random(9)
    numbers = [None, 0.0, 0.25, 0.3, 0.30000001, 0.5, 1.0, 2.0, float("nan"), float("inf"), -1.0]
    schemas = {
        "numbers": pl.Schema({**JUDGEMENT_KEY, "value": pl.Float32(), "count": pl.UInt32()}),
        "words": pl.Schema({**JUDGEMENT_KEY, "flag": pl.Boolean(), "word": pl.String()}),
        "language": pl.Schema({**JUDGEMENT_KEY, "instruction_language": pl.String()}),
    }
    rows = 300
    columns = pl.DataFrame(
        {
            "numbers.value": pl.Series([rng.choice(numbers) for _ in range(rows)], dtype=pl.Float32),
            "numbers.count": pl.Series(
                [rng.choice([None, 0, 1, 2, 7]) for _ in range(rows)], dtype=pl.UInt32
            ),
            "words.flag": [rng.choice([None, True, False]) for _ in range(rows)],
            "words.word": [rng.choice([None, "tea", "茶", ""]) for _ in range(rows)],
            "language.instruction_language": [rng.choice([None, "en", "zh"]) for _ in range(rows)],
        }
    )
    tests: list[dict[str, object]] = []
    for _ in range(120):
        measure, comparison = rng.choice(
            [
                (
                    "numbers.value",
                    {rng.choice(["above", "below", "equals"]): rng.choice([0.3, 0.5, 1.0, 0, 2])},
                ),
                ("numbers.count", {rng.choice(["above", "below", "equals"]): rng.choice([0, 1, 1.5, 7])}),
                ("words.flag", {"equals": rng.choice([True, False])}),
                ("words.word", {"equals": rng.choice(["tea", "茶", ""])}),
                ("words.word", {"any_of": rng.choice([["tea", "茶"], [""], []])}),
            ]
        )
        limits = rng.choice([{}, {"languages": ["zh"]}, {"languages": ["en", "zh"]}, {"languages": []}])
        tests.append({"measure": measure, **comparison, **limits})
    conditions = {f"reason_{n}": Condition.model_validate(test) for n, test in enumerate(tests)}
    ids = pl.Series("record_id", [f"{n:04}" for n in range(rows)])
    con = duckdb.connect()
    key = pl.DataFrame({"record_id": ids}).with_columns(
        judge=pl.lit("j"), version=pl.lit("1"), repeat=pl.lit(0, pl.Int32)
    )
    for table in schemas:
        own = columns.select(pl.col(f"^{table}\\..*$")).rename(lambda name: name.split(".")[1])
        con.register(table, pl.concat([key, own], how="horizontal").to_arrow())
    con.register(
        "conversations",
        pl.DataFrame({"record_id": ids})
        .with_columns(step=pl.lit("dataset"), parent_ids=pl.lit([]))
        .to_arrow(),
    )
    policy = Policy.model_validate({"final": {"drop": {k: c.model_dump() for k, c in conditions.items()}}})
    by_sql = pl.concat(decide(con, policy, "final", schemas))["reasons"].to_list()
    holds = columns.select(**{reason: c.expression() for reason, c in conditions.items()})
    assert holds.null_count().sum_horizontal().item() == 0
    by_polars = [[name for name in holds.columns if row[name]] for row in holds.iter_rows(named=True)]
    assert by_sql == by_polars
    assert 100 < sum(map(len, by_sql)) < rows * len(conditions)
