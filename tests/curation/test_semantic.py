"""Semantic duplicates: real encoders on real sentences, brute force as the oracle of pairs."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation.semantic import embeddings, neighbours
from hydata.curation.semantic.embeddings import EmbeddingsSettings, embedded, numbers
from hydata.curation.semantic.encoders import of_length_1, static, whole
from hydata.curation.semantic.judge import (
    COLUMNS,
    SemanticSettings,
    judge_embedded,
    stage,
    stored,
    with_thresholds,
)
from hydata.curation.semantic.neighbours import across, similar_pairs
from hydata.errors import ConfigError, TerminalModelError, TransientModelError
from hydata.models import StandinEndpoint, one_model, open_models
from hydata.schema import Conversation, Message, conversations_frame

SAME = ["Why is the sky blue?", "Why's the sky blue?", "写一首关于自然的短诗。", "写一首关于大自然的短诗。"]
OTHER = ["Write a function that reverses a list.", "Name three rivers in Africa.", "解释万有引力。"]


def judge(tmp_path: Path, texts: list[str | None], *options: str) -> pl.DataFrame:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    arguments = ["judge", "semantic", str(path), "-o", str(out), *options]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    found = pl.read_parquet(out)
    assert found["row"].to_list() == list(range(len(texts)))
    return found


def conversation(text: str, answer: str | None = None, index: int = 0) -> Conversation:
    messages = [Message("user", text), *([Message("assistant", answer)] if answer else [])]
    return Conversation(step="dataset", messages=tuple(messages), sample_index=index)


def nothing(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.zeros(len(one), np.bool_)


def near(rng: np.random.Generator, base: np.ndarray, noise: float) -> np.ndarray:
    return of_length_1((base + noise * rng.standard_normal(base.shape)).astype(np.float32))


# --- alone ---------------------------------------------------------------------------------------------


def test_the_same_in_other_words_is_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    found = judge(tmp_path, [*SAME, *OTHER, "", None, "why is the SKY blue?"])
    assert found["duplicate_of"].to_list() == [None, 0, 3, None, *[None] * 6]
    assert found["cluster_id"].to_list() == [0, 0, 3, 3, 4, 5, 6, 7, 8, 0]
    assert found.filter(~pl.col("keep"))["similarity"].min() > 0.95


def test_other_numbers_are_another_question(tmp_path: Path) -> None:
    texts = [
        "What is 17 times 23 in decimal?",
        "What is 17 times 29 in decimal?",
        "What's 17 times 23 in decimal?",
    ]
    assert judge(tmp_path, texts)["duplicate_of"].to_list() == [None, None, 0]


def test_translations_are_found_by_an_encoder_of_several_languages(tmp_path: Path) -> None:
    texts = [
        "Find the longest river in Africa.",
        "描述模拟和数字信号处理之间的差异。",
        "Name three natural elements.",
    ]
    texts += [
        "Describe the differences between analog and digital signal processing.",
        "寻找非洲最长的河流。",
    ]
    found = judge(tmp_path, texts, "--encoder", "bundled")
    assert found["keep"].to_list() == [True, False, True, True, False]
    assert found["duplicate_of"].to_list() == [None, 3, None, None, 0]
    assert found["cross_lingual"].to_list() == [False, True, False, False, True]


def test_an_endpoint_embeds_as_well(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    endpoint = '[endpoints.e]\nengine = "standin"\n[models.m]\nendpoint = "e"\n'
    models.write_text(f"{endpoint}[roles.embedder]\nmodels = {{ m = 1 }}\n")
    options = ("--encoder", "endpoint", "--models", str(models), "--threshold", "0.9")
    found = judge(tmp_path, ["one two three four", "four three two one", "five six", ""], *options)
    assert found["duplicate_of"].to_list() == [None, 0, None, None]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--encoder", "endpoint"), "--models"),
        (("--vectors", "nowhere", "--threshold", "0.9"), "model.safetensors"),
        (("--vectors", "nowhere"), "threshold"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n')
    arguments = ["judge", "semantic", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "o.parquet"), *options]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)


def test_other_static_vectors_are_read(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"red": 0, "blue": 1, "sky": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table = np.array([[1, 0], [0, 1], [0, 2], [0, 0]], np.float16)
    save_file({"embeddings": table}, tmp_path / "model.safetensors")
    found = static(tmp_path).encode(["red", "blue sky", "red blue", "unknown", ""])
    assert found.vectors == pytest.approx(
        np.array([[1, 0], [0, 1], [0.5**0.5] * 2, [0, 0], [0, 0]]), abs=1e-6
    )
    assert found.averaged.tolist() == [1, 2, 2, 1, 0]
    save_file({"embeddings": table[:2]}, tmp_path / "model.safetensors")
    static.cache_clear()
    with pytest.raises(ConfigError, match="belong together"):
        static(tmp_path)


def test_numbers() -> None:
    texts = pl.Series(["1,234,567 and 12", "３.5 of 3.5", "none", "1,23 4"])
    assert numbers(texts).to_list() == [["12", "1234567"], ["3.5"], [], ["1", "23", "4"]]
    texts = pl.Series(["1,234,567,890 or 1234567890", "10² and 10", "10³ and ٣"])
    assert numbers(texts).to_list() == [["1234567890"], ["10", "^2"], ["10", "^3"]]


# --- pairs ---------------------------------------------------------------------------------------------


def test_pairs_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(1)
    base = of_length_1(rng.standard_normal((400, 16)).astype(np.float32))
    vectors = np.concatenate([base, near(rng, base, 0.08)]).astype(np.float16)
    least = rng.uniform(0.85, 0.97, len(vectors)).astype(np.float32)
    found = similar_pairs(vectors, least, nothing)
    cosines = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    expected = np.argwhere(np.triu(cosines >= np.maximum(least[:, None], least), 1))
    assert sorted(zip(found.one, found.two, strict=True)) == sorted(map(tuple, expected))
    assert found.similarity == pytest.approx(cosines[found.one, found.two])


def test_few_pairs_are_missed_between_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    base = of_length_1(rng.standard_normal((3_000, 32)).astype(np.float32))
    vectors = np.concatenate([base, near(rng, base, 0.04)]).astype(np.float16)
    least = np.full(len(vectors), 0.9, np.float32)
    exact = similar_pairs(vectors, least, nothing)
    monkeypatch.setattr(neighbours, "EXACT", 500)
    found = similar_pairs(vectors, least, nothing)
    pairs, all_pairs = (set(zip(s.one.tolist(), s.two.tolist(), strict=True)) for s in (found, exact))
    assert len(all_pairs) > 2_900
    assert pairs <= all_pairs
    assert len(pairs) >= 0.97 * len(all_pairs)


def test_a_crowd_of_one_template_gives_no_square_of_pairs() -> None:
    rng = np.random.default_rng(3)
    base = of_length_1(rng.standard_normal((1, 16)).astype(np.float32))
    vectors = near(rng, np.repeat(base, 6_000, axis=0), 0.01).astype(np.float16)
    found = similar_pairs(vectors, np.full(len(vectors), 0.9, np.float32), nothing)
    assert len(found.one) <= 3 * neighbours.MOST * len(vectors)
    assert set(found.two.tolist()) == set(range(1, len(vectors)))  # everyone has someone before it


def test_the_margin_tells_translations_from_what_is_near_everything() -> None:
    rng = np.random.default_rng(4)
    english = of_length_1(rng.standard_normal((50, 128)).astype(np.float32))
    chinese = near(rng, english, 0.05)
    hub = of_length_1(english.mean(axis=0, keepdims=True))
    vectors = np.concatenate([english, chinese, hub]).astype(np.float16)
    found = across(vectors, np.arange(50), np.arange(50, 101), 0.5, 1.2)
    assert set(zip(found.one.tolist(), found.two.tolist(), strict=True)) == {(i, i + 50) for i in range(50)}
    assert not len(across(vectors, np.arange(50), np.arange(0), 0.5, 1.2).one)


# --- the judge -----------------------------------------------------------------------------------------


def frame_of(texts: list[str]) -> tuple[pl.DataFrame, np.ndarray]:
    ids = pl.Series([f"r{i:03}" for i in range(len(texts))])
    found = static().encode(texts)
    frame = embedded(ids, pl.Series(texts), "e", found).drop("vector")
    return with_thresholds(frame, [], SemanticSettings()), found.vectors.astype(np.float16)


def test_neither_order_nor_admissions_change_clusters_and_the_admitted_stay() -> None:
    rng = np.random.default_rng(5)
    verbs, things = (
        ["List", "Name", "Give"],
        ["three colors", "3 colors", "two rivers", "some birds", "a bird"],
    )
    texts = sorted({f"{verb} {thing}{end}" for verb in verbs for thing in things for end in ("", ".", "!")})
    records, vectors = frame_of(texts)
    nobody = pl.repeat(False, len(texts), eager=True)
    settings = SemanticSettings(threshold=0.9)
    records = with_thresholds(records.drop("threshold"), [], settings)
    first = judge_embedded(records, vectors, nobody, settings)
    assert 0 < first["keep"].sum() < len(texts)
    kept = set(first.filter("keep")["record_id"])
    assert set(first["duplicate_of"].drop_nulls()) <= kept
    order = rng.permutation(len(texts))
    again = judge_embedded(records[order], vectors[order], nobody, settings)
    assert again.equals(first)
    admitted = records["record_id"].is_in(["r000", "r001", "r002"])
    after = judge_embedded(records, vectors, admitted, settings)
    assert after.filter(admitted)["keep"].all()
    clusters = [f.group_by("cluster_id").agg("record_id")["record_id"].list.sort() for f in (first, after)]
    assert sorted(map(tuple, clusters[0])) == sorted(map(tuple, clusters[1]))


def test_a_label_may_ask_for_more(tmp_path: Path) -> None:
    records, vectors = frame_of(["Why is the sky blue?", "Why's the sky blue?"])
    labels = pl.DataFrame({"record_id": ["r000"], "dimension": ["domain"], "label": ["natural_science"]})
    labels.write_parquet(tmp_path / "labels.parquet")
    settings = SemanticSettings(thresholds={"domain.natural_science": 0.999})
    strict = with_thresholds(records.drop("threshold"), [tmp_path / "labels.parquet"], settings)
    assert strict["threshold"].to_list() == pytest.approx([0.999, 0.955])
    nobody = pl.repeat(False, 2, eager=True)
    assert judge_embedded(records, vectors, nobody, settings)["keep"].sum() == 1
    assert judge_embedded(strict, vectors, nobody, settings)["keep"].sum() == 2


def test_a_stage_judges_what_decisions_and_duplicates_leave_once_each(tmp_path: Path) -> None:
    texts = [*SAME[:2], *OTHER, ""]
    rows = conversations_frame(
        [
            *map(conversation, texts),
            conversation(SAME[1], "Scattering.", 1),
            conversation(SAME[1], "Rayleigh.", 2),
        ]
    )
    output = asyncio.run(embeddings.run_local(rows, EmbeddingsSettings(), SimpleNamespace()))
    assert output.rows["record_id"].to_list() == rows["record_id"].to_list()
    assert output.rows["vector"].null_count() == 1
    ids = rows["record_id"].to_list()
    tables = {
        name: [tmp_path / f"{name}.parquet"] for name in ("embeddings", "decisions", "duplicates", "admitted")
    }
    output.rows.write_parquet(tables["embeddings"][0])
    status = ["kept", "kept", "kept", "dropped", "kept", "kept", "kept", "kept"]
    pl.DataFrame({"record_id": ids, "status": status}).write_parquet(tables["decisions"][0])
    keep = [True, True, False, True, True, True, True, True]
    pl.DataFrame({"record_id": ids, "keep": keep}).write_parquet(tables["duplicates"][0])
    pl.DataFrame({"record_id": ids[1:2]}).write_parquet(tables["admitted"][0])
    made = stage("semantic_test").run(tables, SemanticSettings(), SimpleNamespace())
    found = pl.concat(list(made))
    assert found.schema == COLUMNS
    judged = {row["record_id"]: row for row in found.iter_rows(named=True)}
    assert set(judged) == {ids[i] for i in (0, 1, 4, 6, 7)}
    assert [judged[ids[i]]["keep"] for i in (0, 1, 4, 6, 7)] == [False, True, True, True, True]
    assert judged[ids[0]]["duplicate_of"] in {ids[i] for i in (1, 6, 7)}  # the text that was admitted


def test_vectors_of_two_encoders_are_not_compared(tmp_path: Path) -> None:
    paths = []
    for encoder in ("one", "two"):
        frame = embedded(
            pl.Series([encoder]), pl.Series(["text"]), encoder, whole(np.ones((1, 4), np.float32))
        )
        paths.append(tmp_path / f"{encoder}.parquet")
        frame.write_parquet(paths[-1])
    assert stored([paths[0], paths[0]], None, "one")[0].height == 1
    assert stored([], None, "one")[0].is_empty()
    with pytest.raises(ConfigError, match="--rebuild embeddings"):
        stored(paths, None, "one")


def test_a_text_that_the_endpoint_refuses_is_rejected_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text number {i}" for i in range(70)] + ["bad", " "]
    rows = conversations_frame(map(conversation, texts))

    async def embed() -> tuple:
        async with open_models(one_model(StandinEndpoint(engine="standin"), "m"), tmp_path / "j") as models:
            real = models.embed

            async def refusing(model, batch, purpose):
                found = await real(model, batch, purpose)
                error = TerminalModelError("refused", "no")
                return [error if text == "bad" else vector for text, vector in zip(batch, found, strict=True)]

            monkeypatch.setattr(models, "embed", refusing)
            context = SimpleNamespace(models=models)
            return await embeddings.run_remote(rows, EmbeddingsSettings(encoder="endpoint"), context)

    output = asyncio.run(embed())
    assert output.rejects.select("record_id", "reason").rows() == [(rows["record_id"][70], "refused")]
    assert output.rejects["prompt_id"].to_list() == ["embeddings"]
    assert output.rejects["model"].str.starts_with("m").all()
    assert output.rows.height == 71
    assert output.rows.filter(pl.col("vector").is_null())["record_id"].to_list() == [rows["record_id"][71]]


def test_what_stays_unanswered_ends_the_shard(tmp_path: Path) -> None:
    rows = conversations_frame(map(conversation, SAME))
    endpoint = StandinEndpoint(engine="standin", fail_every=1, attempts=2)

    async def embed() -> object:
        async with open_models(one_model(endpoint, "m"), tmp_path / "j") as models:
            return await embeddings.run_remote(
                rows, EmbeddingsSettings(encoder="endpoint"), SimpleNamespace(models=models)
            )

    with pytest.raises(TransientModelError):
        asyncio.run(embed())


# --- what a review found -------------------------------------------------------------------------------


def test_what_was_not_embedded_is_not_judged(tmp_path: Path) -> None:
    opening = "Please note what follows, and answer every question with care. " * 40
    texts = [f"{opening} {' '.join(f'w{i}{j}' for j in range(300))}" for i in range(4)]
    assert judge(tmp_path, texts)["keep"].all()


def test_numbers_do_not_crowd_true_duplicates_out(tmp_path: Path) -> None:
    plain = [f"Solve the equation with x equal to {i} and explain it." for i in range(300)]
    commas = [f"Solve the equation, with x equal to {i}, and explain it." for i in range(300)]
    found = judge(tmp_path, [*plain, *commas], "--threshold", "0.8")
    assert found["keep"].sum() == 300
    assert found.filter(~pl.col("keep"))["duplicate_of"].to_list() == list(range(300, 600))


def test_a_lower_threshold_keeps_no_more_of_a_crowd() -> None:
    rng = np.random.default_rng(6)
    base = of_length_1(rng.standard_normal((1, 24)).astype(np.float32))
    vectors = near(rng, np.repeat(base, 3_000, axis=0), 0.12).astype(np.float16)
    texts = [f"text {'x' * i}" for i in range(len(vectors))]
    frame = embedded(pl.Series(texts), pl.Series(texts), "e", whole(vectors.astype(np.float32))).drop(
        "vector"
    )
    kept = []
    for threshold in (0.4, 0.5, 0.6, 0.7):
        settings = SemanticSettings(threshold=threshold)
        found = judge_embedded(
            with_thresholds(frame, [], settings), vectors, pl.repeat(False, len(texts), eager=True), settings
        )
        kept.append(int(found["keep"].sum()))
        ids = found.filter("keep")["record_id"]
        places = np.flatnonzero(frame["record_id"].is_in(ids.implode()).to_numpy())
        cosines = vectors[places].astype(np.float32) @ vectors[places].astype(np.float32).T
        assert not np.triu(cosines >= threshold, 1).any()
    assert kept == sorted(kept)


def test_translations_are_found_beside_paraphrases_and_alone(tmp_path: Path) -> None:
    alone = ["Find the longest river in Africa.", "寻找非洲最长的河流。"]
    found = judge(tmp_path, alone, "--encoder", "bundled")
    assert found["keep"].to_list() == [True, False]
    several = [
        *alone,
        "Find out the longest river in Africa.",
        "请寻找非洲最长的河流。",
        "寻找非洲的最长河流。",
    ]
    assert judge(tmp_path, several, "--encoder", "bundled", "--threshold", "0.9")["keep"].sum() == 1


def test_files_without_text_may_stand_before_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "one two"}\n{"text": "two one"}\n')
    models = tmp_path / "models.toml"
    endpoint = '[endpoints.e]\nengine = "standin"\n[models.m]\nendpoint = "e"\n'
    models.write_text(f"{endpoint}[roles.embedder]\nmodels = {{ m = 1 }}\n")
    inputs = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    options = ["--encoder", "endpoint", "--models", str(models), "--threshold", "0.9"]
    result = CliRunner().invoke(
        app, ["judge", "semantic", *inputs, "-o", str(tmp_path / "o.parquet"), *options]
    )
    assert result.exit_code == 0
    assert pl.read_parquet(tmp_path / "o.parquet")["keep"].to_list() == [True, True, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jsonl",
        "b.jsonl",
        "models.toml",
        "o.parquet",
    ]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"mapping": np.array([0, 9])}, "mapping"),
        ({"weights": np.ones(3, np.float32)}, "weights"),
        ({"more": np.ones((2, 2), np.float32)}, "2 tables"),
    ],
)
def test_broken_vectors_are_refused(tmp_path: Path, beside: dict, said: str) -> None:
    Tokenizer(WordLevel({"red": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    save_file({"embeddings": np.ones((2, 4), np.float32), **beside}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=said):
        static(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "bundled", "vectors": "somewhere"},
        {"encoder": "static", "margin": 1.1},
        {"languages": ["english"]},
        {"languages": ["en", "en"]},
        {"encoder": "endpoint"},
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"vectors|margin|languages|threshold"):
        SemanticSettings.model_validate(settings)


def test_a_label_that_does_not_exist_is_refused() -> None:
    settings = SemanticSettings(thresholds={"domain.mathmatics": 0.9})
    with pytest.raises(ConfigError, match=r"domain\.mathematics"):
        settings.check_labels(Path("recipe.toml"), {"domain": ("mathematics",)})


# --- what a second review found ------------------------------------------------------------------------


def in_languages(vectors: np.ndarray, languages: list[str], **settings: float) -> pl.DataFrame:
    ids = pl.Series([f"r{i:03}" for i in range(len(vectors))])
    texts = pl.Series([f"text {'x' * (len(vectors) - i)}" for i in range(len(vectors))])
    frame = embedded(ids, texts, "e", whole(vectors.astype(np.float32))).drop("vector")
    chosen = SemanticSettings(**settings)
    records = with_thresholds(frame.with_columns(language=pl.Series(languages)), [], chosen)
    nobody = pl.repeat(False, len(vectors), eager=True)
    return judge_embedded(records, vectors.astype(np.float16), nobody, chosen)


def test_one_translation_does_not_make_way_for_the_next_nearest() -> None:
    """Of texts ever less near to one of the other language, all within ``across``, only its nearest falls."""
    angles = np.deg2rad([0, 8, 16, 24, 32])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = in_languages(vectors, ["en", "zh", "zh", "zh", "zh"], threshold=0.999, across=0.8, margin=1.02)
    assert found["keep"].to_list() == [True, False, True, True, True]
    assert found["cross_lingual"].to_list() == [False, True, False, False, False]


def test_paraphrases_follow_what_leads_them() -> None:
    angles = np.deg2rad([0, 10, 12, 80, 100, 170])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    languages = ["en", "zh", "zh", "en", "zh", "en"]
    found = in_languages(vectors, languages, threshold=0.999, across=0.9, margin=1.02)
    assert found["keep"].to_list() == [True, False, False, True, False, True]
    assert found["duplicate_of"].to_list() == [None, "r000", "r000", None, "r003", None]
    # a language that is not known is no other language
    alike = in_languages(vectors[[1, 2]], ["en", None], threshold=0.99)
    assert alike["keep"].sum() == 1
    assert not alike["cross_lingual"].any()


def test_a_pair_that_a_crowd_has_cut_off_is_found_again() -> None:
    crowd = np.linspace(14.9, 15.1, 400)
    angles = np.deg2rad([0, *crowd, 45, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = in_languages(vectors, ["en"] * len(vectors), threshold=0.955)
    kept = np.flatnonzero(found["keep"].to_numpy())
    cosines = vectors[kept] @ vectors[kept].T
    assert not np.triu(cosines >= 0.956, 1).any()


def test_text_without_content_is_not_compared(tmp_path: Path) -> None:
    texts = ["", " ", "\u200b", "\x00", "\u3000\n"]
    for encoder in ("static", "bundled"):
        assert judge(tmp_path, texts, "--encoder", encoder)["keep"].all()


def test_half_a_surrogate_pair_stops_no_other_row(tmp_path: Path) -> None:
    """``judge`` writes and counts the rows: one comes out for each."""
    found = judge(
        tmp_path, ["How does a lighthouse work?", "half \ud800 a pair", "How does a lighthouse work?"]
    )
    assert found["cluster_id"].to_list() == [0, 1, 0]


def test_a_judge_in_this_process_leaves_what_is_paid_for_alone(tmp_path: Path) -> None:
    kept = [
        tmp_path / f"{name}.parquet.{kind}.sqlite"
        for name in ("out", "x")
        for kind in ("journal", "embeddings")
    ]
    for path in kept:
        path.write_text("replies")
    judge(tmp_path, ["one two"])
    assert all(path.exists() for path in kept)
