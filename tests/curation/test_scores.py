"""Scores: trained by command with an honest card, or by a heuristic; a row for each row whatever is in it."""

from __future__ import annotations

import asyncio
import json
import random
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation import education, quality, toxicity, weighted
from hydata.curation.lines import MAX_CHARACTERS, fasttext_lines
from hydata.curation.metrics import curve, log_odds, measured, steepness
from hydata.curation.scorer import Card, card_path, load_scorer, score_texts
from hydata.curation.scores import COLUMNS, SCORES, ScoreSettings
from hydata.curation.supervised import PREFIX, predict
from hydata.errors import ConfigError
from hydata.recipe import load_recipe, table_schemas
from hydata.schema import Conversation, Message, conversations_frame, judgements_frame
from hydata.warehouse import Head, NodeState, write_head, write_shard

JUDGES = {"toxicity": toxicity, "quality": quality, "education": education}
RUDE = ["You are a {} fool and a coward", "shut up you {} clown", "你这个{}傻瓜，滚开", "讨厌的{}骗子，闭嘴"]
KIND = [
    "Thank you for the {} letter",
    "what a lovely {} garden",
    "谢谢你的{}礼物，我很喜欢",
    "今天的{}天气真好",
]
THINGS = ["big", "small", "green", "old", "tall", "grey", "round", "late", "long", "new", "大", "小"]


def _rows() -> list[tuple[str, str]]:
    made = [(phrase.format(thing), "rude") for phrase in RUDE for thing in THINGS]
    return made + [(phrase.format(thing), "kind") for phrase in KIND for thing in THINGS]


def _labels(
    path: Path, rows: list[tuple[str | None, object]], text: str = "text", label: str = "said"
) -> Path:
    path.write_text("".join(json.dumps({text: t, label: y}) + "\n" for t, y in rows), "utf-8")
    return path


def _run(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if code:
        assert done.exit_code != 0
        assert isinstance(done.exception, ConfigError), done.exception
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


TRAIN = ("classifier", "train", "toxicity")
SAID = ("--label-column", "said", "--positive", "rude")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    labels = _labels(folder / "labels.jsonl", [*_rows(), ("no label", None), (None, "rude")])
    _run(*TRAIN, labels, *SAID, "-o", folder / "rude.zip")
    return folder / "rude.zip"


# --- training and its card ------------------------------------------------------------------------------


def test_the_card_says_everything(trained: Path) -> None:
    card = Card.model_validate_json(card_path(trained).read_bytes())
    assert card == load_scorer(trained).card
    assert (card.name, card.label_column, card.positive) == ("toxicity", "said", ("rude",))
    (source,) = card.sources
    assert (source.name, source.rows, source.skipped, source.positive) == ("labels.jsonl", 96, 2, 48)
    assert source.labels == {"kind": 48, "rude": 48}
    assert source.sha256 is not None
    assert len(source.sha256) == 64
    assert sum(n for both in card.counts.values() for n in both.values()) == 96
    assert set(card.languages) == {"en", "zh"}
    assert sum(card.split.rows) == card.metrics.rows == 96
    assert card.metrics.majority == 0.5
    assert card.metrics.accuracy > 0.9
    assert card.metrics.auc is not None
    assert card.metrics.auc > 0.95


def test_the_same_labels_make_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    labels = trained.parent / "labels.jsonl"
    _run(*TRAIN, labels, *SAID, "-o", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == trained.read_bytes()
    assert card_path(tmp_path / "again.zip").read_bytes() == card_path(trained).read_bytes()
    _run(*TRAIN, labels, *SAID, "-o", tmp_path / "other.zip", "--set", "epochs=3")
    assert (tmp_path / "other.zip").read_bytes() != trained.read_bytes()
    assert load_scorer(tmp_path / "other.zip").identity != load_scorer(trained).identity


def test_parquet_numbers_and_conversations_are_labels_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    rows = _rows()
    pl.DataFrame(
        {
            "instruction": ["Say something."] * len(rows),
            "output": [text for text, _ in rows],
            "label": [int(label == "rude") for _, label in rows],
        }
    ).write_parquet(path)
    _run(*TRAIN, path, "-o", tmp_path / "rude.zip")
    scorer = load_scorer(tmp_path / "rude.zip")
    assert scorer.card.sources[0].labels == {"0": 48, "1": 48}
    rude, kind = score_texts(
        pl.Series(["shut up you red clown", "thank you, what a lovely red garden"]), scorer
    )
    assert rude > 0.5 > kind


def test_evaluate_counts_as_plain_python_does(trained: Path, tmp_path: Path) -> None:
    rows = [("shut up you fine clown", "rude"), ("Thank you for the fine tea", "rude")]
    rows += [("what a lovely fine garden", "kind"), ("谢谢你的茶", "kind"), ("你这个傻瓜，滚开", "rude")]
    labels = _labels(tmp_path / "other.jsonl", rows)
    told = _run("classifier", "evaluate", trained, labels, "--label-column", "said")
    scores = score_texts(pl.Series([text for text, _ in rows]), load_scorer(trained)).to_list()
    said, truth = [s >= 0.5 for s in scores], [label == "rude" for _, label in rows]
    assert said == [True, False, False, False, True]
    values = next(line for line in told.splitlines() if line.startswith("all")).split()
    # rows, positive, majority, accuracy, precision, recall, f1
    assert values[1:8] == ["5", "3", "0.600", "0.800", "1.000", "0.667", "0.800"]
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, yes in zip(scores, truth, strict=True)
        for b, other in zip(scores, truth, strict=True)
        if yes and not other
    ]
    assert values[8] == f"{sum(pairs) / len(pairs):.3f}"
    assert values[9] == f"{sum((s - t) ** 2 for s, t in zip(scores, truth, strict=True)) / 5:.3f}"


def test_metrics_agree_with_their_definitions() -> None:
    rng = random.Random(5)
    for _ in range(50):
        truth = [rng.random() < 0.4 for _ in range(40)] + [True, False]
        scores = [rng.choice([0.0, 0.1, 0.5, rng.random(), 1.0]) for _ in truth]
        found = measured(np.array(truth), np.array(scores))
        pairs = [
            (a > b) + 0.5 * (a == b)
            for a, yes in zip(scores, truth, strict=True)
            for b, other in zip(scores, truth, strict=True)
            if yes and not other
        ]
        assert found.auc == pytest.approx(sum(pairs) / len(pairs))
        gap = 0.0
        for number in range(10):
            mine = [k for k, s in enumerate(scores) if min(int(s * 10), 9) == number]
            gap += abs(sum(scores[k] - truth[k] for k in mine))
        assert found.calibration_error == pytest.approx(gap / len(truth))
    assert measured(np.array([True]), np.array([0.1])).precision is None
    assert measured(np.array([True]), np.array([0.1])).auc is None


def test_the_curve_finds_what_made_the_scores() -> None:
    rng = np.random.default_rng(1)
    margins = rng.normal(0, 3, 20_000)
    slope, offset = steepness(rng.random(20_000) < curve(margins, 0.4, -0.7), margins)
    assert (slope, offset) == (pytest.approx(0.4, abs=0.03), pytest.approx(-0.7, abs=0.06))
    parted = steepness(np.array([True] * 20 + [False] * 20), np.array([9.0] * 20 + [-9.0] * 20))
    assert np.isfinite(parted).all()
    assert log_odds(curve(margins[:100], 1, 0)) == pytest.approx(margins[:100], abs=1e-3)


def test_a_warehouse_teaches_what_its_critics_say(tmp_path: Path) -> None:
    rows = _rows()
    conversations = conversations_frame(
        Conversation(
            "respond", (Message("user", "Say it."), Message("assistant", text)), uri="test", position=n
        )
        for n, (text, _) in enumerate(rows)
    )
    judged = judgements_frame(conversations["record_id"], "critic", "1")
    tiers = [1 + n % 2 if label == "kind" else 3 + n % 2 for n, (_, label) in enumerate(rows)]
    critiques = judged.with_columns(combined_tier=pl.Series(tiers))
    labels = judged.with_columns(
        dimension=pl.lit("domain"), label=pl.Series([label for _, label in rows]), confidence=pl.lit(1.0)
    )
    nodes = {}
    frames = {"conversations": conversations, "critiques": critiques, "labels": labels}
    for table, frame in frames.items():
        whole = pl.concat([pl.DataFrame(schema=table_schemas()[table]), frame], how="diagonal_relaxed")
        shard = write_shard(tmp_path, f"{table}/test/0.parquet", {table: whole})
        nodes[table] = NodeState("", {"": (shard,)})
    write_head(tmp_path, Head("main", nodes))
    _run("classifier", "train", "quality", "--from-warehouse", "-w", tmp_path, "-o", tmp_path / "q.zip")
    card = load_scorer(tmp_path / "q.zip").card
    assert card.positive == ("A", "B")
    assert (card.sources[0].name, card.sources[0].labels) == ("main: tier", dict.fromkeys("ABCD", 24))
    good, bad = score_texts(
        pl.Series(["Thank you for the red letter", "shut up you red clown"]), load_scorer(tmp_path / "q.zip")
    )
    assert good > 0.5 > bad
    told = ("--from-warehouse", "-w", tmp_path, "--dimension", "domain", "-o", tmp_path / "d.zip")
    assert "--positive" in _run("classifier", "train", "domain", *told, code=2)
    _run("classifier", "train", "domain", *told, "--positive", "rude")
    assert load_scorer(tmp_path / "d.zip").card.sources[0].labels == {"kind": 48, "rude": 48}
    missing = (*told[:-1], tmp_path / "n.zip", "--positive", "nothing")
    assert "domain is kind, rude" in _run("classifier", "train", "domain", *missing, code=2)


# --- what is wrong is named ------------------------------------------------------------------------------


def test_wrong_labels_are_named(tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    one = _labels(tmp_path / "one.jsonl", [(text, "kind") for text, _ in _rows()])
    said = _run(*TRAIN, one, *SAID, "-o", out, code=2)
    assert "one.jsonl" in said
    assert "of one class" in said
    assert "--positive" in said
    few = _labels(tmp_path / "few.jsonl", [("a b", "rude"), ("c d", "kind"), ("e f", "kind")])
    assert "label more" in _run(*TRAIN, few, *SAID, "-o", out, code=2)
    assert "no column 'verdict'" in _run(*TRAIN, one, "--label-column", "verdict", "-o", out, code=2)
    assert "no column 'words'" in _run(*TRAIN, one, *SAID, "--column", "words", "-o", out, code=2)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert "empty.jsonl" in _run(*TRAIN, empty, *SAID, "-o", out, code=2)
    assert "no such file" in _run(*TRAIN, tmp_path / "none.jsonl", *SAID, "-o", out, code=2)
    assert "ends in .zip" in _run(*TRAIN, one, *SAID, "-o", tmp_path / "out.bin", code=2)
    assert "--from-warehouse" in _run(*TRAIN, "-o", out, code=2)
    assert not out.exists()


def test_a_wrong_model_is_named(trained: Path, tmp_path: Path) -> None:
    texts = _labels(tmp_path / "in.jsonl", [("Tea.", 1)])
    whole = trained.read_bytes()
    middle = len(whole) // 2
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("card.json", "{}")
        other.writestr("model.bin", b"nothing")
    with zipfile.ZipFile(tmp_path / "garbage.zip", "w") as garbage:
        garbage.writestr("card.json", load_scorer(trained).card.pretty())
        garbage.writestr("model.bin", b"nothing")
    (tmp_path / "cut.zip").write_bytes(whole[:middle])
    (tmp_path / "bent.zip").write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("cut", "bent", "text", "other", "garbage", "missing"):
        path = tmp_path / f"{name}.zip"
        judge = ("judge", "toxicity", texts, "-o", tmp_path / "out.parquet", "--set", f"model={path}")
        for said in (_run(*judge, code=2), _run("classifier", "evaluate", path, texts, code=2)):
            assert str(path) in said, name
            assert "train" in said, name
    judge = ("judge", "quality", texts, "-o", tmp_path / "out.parquet", "--set", f"model={trained}")
    assert "a model of toxicity, not of quality" in _run(*judge, code=2)
    assert not (tmp_path / "out.parquet").exists()


# --- judging ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JUDGES)
def test_a_row_for_each_row_of_a_file(name: str, trained: Path, tmp_path: Path) -> None:
    texts = ["You stupid idiot.", None, "", "Thus the sum is 4, because 2 + 2 = 4.", "a\nb\0c"] * 20
    path = _labels(tmp_path / "in.jsonl", [(text, 1) for text in texts])
    settings = ("--set", f"model={trained}") if name == "toxicity" else ()
    for given in ((), settings):
        _run("judge", name, path, "-o", tmp_path / "out.parquet", *given)
        found = pl.read_parquet(tmp_path / "out.parquet")
        assert found.schema == pl.Schema({"row": pl.Int64(), **SCORES})
        assert found["row"].to_list() == list(range(100))
        assert [score is None for score in found["score"]] == [not text for text in texts]
        assert found["instruction_score"].null_count() == 100


@pytest.mark.parametrize("name", JUDGES)
def test_every_record_gets_one_judgement(name: str, trained: Path) -> None:
    asked, rude = Message("user", "What is a tide?"), Message("assistant", "Shut up, you stupid idiot!")
    conversations = conversations_frame(
        [
            Conversation("dataset", (asked, rude), uri="a"),
            Conversation("generate", (asked,), uri="b"),
            Conversation("generate", (Message("user", ""),), uri="c"),
        ]
    )
    stage = JUDGES[name].STAGE
    for settings in (ScoreSettings(), ScoreSettings(model=trained)):
        if settings.model is not None and name != "toxicity":
            with pytest.raises(ConfigError, match=r"recipe\.toml: .*toxicity"):
                stage.check(settings, SimpleNamespace(recipe=Path("recipe.toml")))
            continue
        stage.check(settings, SimpleNamespace(recipe=Path("recipe.toml")))
        for batch in (conversations, conversations.head(0)):
            rows = asyncio.run(stage.run(batch, settings, None)).rows
            assert rows.schema == COLUMNS
            assert rows["record_id"].to_list() == batch["record_id"].to_list()
        rows = asyncio.run(stage.run(conversations, settings, None)).rows
        (identity,) = stage.uses(settings, None)
        assert set(rows["version"]) == {identity}
        both, alone, nothing = rows.select(SCORES.names()).rows()
        assert both[0] == (max(both[1:]) if name == "toxicity" else both[2])
        assert alone == (alone[1], alone[1], None)
        assert nothing == (None, None, None)


def test_a_model_of_a_recipe_lies_beside_it_and_is_known_by_its_content(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "rude.zip").write_bytes(trained.read_bytes())
    (tmp_path / "recipe.toml").write_text('[toxicity]\nmodel = "rude.zip"\n')
    settings = load_recipe(tmp_path / "recipe.toml").toxicity
    assert settings.model == tmp_path / "rude.zip"
    assert settings.model_dump() == {}
    here, there = toxicity.STAGE.uses(settings, None), toxicity.STAGE.uses(ScoreSettings(model=trained), None)
    assert list(here) == list(there) != list(toxicity.STAGE.uses(ScoreSettings(), None))


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("You are a stupid idiot, f*ck off", "The trash can stands behind the house."),
        ("你这个傻逼，去死吧", "请说明垃圾分类的好处。"),
        ("she is a b!tch", "she is a teacher"),
        ("ｓｂ，滚出去", "请打开窗户"),
        ("How can I make a bomb to blow up a school?", "How did the bomb squad clear the school?"),
        ("教我怎么制作炸弹", "二战时的炸弹是怎样被排除的？"),
        ("What is the best way to kill myself?", "Where can people who think of suicide find help?"),
        ("怎么自杀最不痛苦？", "如何预防青少年自杀？"),
    ],
)
def test_insults_and_requests_for_harm_score_higher(high: str, low: str) -> None:
    worse, better = toxicity.score(pl.Series([high, low]))
    assert worse >= 0.5 > 0.3 > better


def test_quoting_excuses_and_repeating_does_not_count() -> None:
    said, quoted, often = toxicity.score(
        pl.Series(["you idiot", "the term idiot is a slur", "you idiot " * 50])
    )
    assert quoted < said == pytest.approx(often)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (
            "The tide rises because the moon attracts the sea. It falls again when the earth has turned on.",
            "TIDE!!! ## @@ %% MOON??!! >>> 1234 5678",
        ),
        (
            "潮汐是指海水的涨落，由于月球的引力而产生。地球自转使它每天涨落两次，因此潮水的时间可以计算。",
            "潮汐？？！！###%%%￥￥￥1234",
        ),
    ],
)
def test_writing_and_teaching_score_higher_than_debris(good: str, bad: str) -> None:
    for judge in (quality, education):
        better, worse = judge.score(pl.Series([good, bad]))
        assert better > worse + 0.1, judge.__name__


def _strange(count: int) -> list[str | None]:
    rng = random.Random(7)
    signs = [
        *map(chr, range(0x20, 0x7F)),
        "\0",
        "\n",
        "\r",
        "\u2028",
        "\u0085",
        "\ufeff",
        "\ufffd",
        "\U0010ffff",
    ]
    signs += [
        *"我是傻逼垃圾的。，！？你妈ｓｂ",
        "é",
        "ß",
        "ا",
        "א",
        "ก",
        "한",
        "글",
        "か",
        "👍",
        "\u0301",
        "&amp;",
        "http://",
    ]

    def text() -> str | None:
        if rng.random() < 0.03:
            return None
        if rng.random() < 0.3:
            signs_ = [
                chr(c) for c in (rng.randrange(0x110000) for _ in range(20)) if not 0xD800 <= c < 0xE000
            ]
            return "".join(signs_)
        return "".join(rng.choices(signs, k=rng.randrange(60)))

    return [text() for _ in range(count)]


def test_no_text_is_too_strange(trained: Path) -> None:
    texts = pl.Series("text", _strange(6_000), dtype=pl.String)
    scorer = load_scorer(trained)
    for judge in (toxicity.score, quality.score, education.score, lambda t: score_texts(t, scorer)):
        found = judge(texts)
        assert len(found) == len(texts)
        assert found.dtype == pl.Float32
        assert found.drop_nulls().is_between(0, 1).all()
        assert not found.drop_nulls().is_nan().any()
        assert found.is_null().filter(texts.is_null()).all()
        assert judge(texts[1_000:1_100]).equals(found[1_000:1_100])  # a row's score is its own
        assert len(judge(texts.head(0))) == 0


def test_lines_are_what_they_should_be() -> None:
    texts = [
        "Hello, World! @bob see https://x.y/z &amp; me\n\tOK",
        "我是Student，你好",
        "안녕 하세요!",
        "",
        None,
        " \0\n ",
    ]
    lines = ["hello , world ! see me ok", "我 是 student ， 你 好", "안녕 하세요 !", "", None, ""]
    assert fasttext_lines(pl.Series(texts)).to_list() == lines
    assert fasttext_lines(pl.Series(texts).slice(1, 3)).to_list() == lines[1:4]
    assert fasttext_lines(pl.Series(["a" * 9_999])).to_list() == ["a" * MAX_CHARACTERS]
    for line in fasttext_lines(pl.Series(_strange(2_000))).drop_nulls():
        assert "\n" not in line
        assert line == line.strip(" ")
        assert "  " not in line


def test_lines_are_without_noise() -> None:
    noise = r"https?://[^\s]+|&#?[0-9A-Za-z]+;|@[0-9A-Za-z_]+"
    signs = [*"&#aZ9;@_h:/s x.\n\u3000\u00a0\u0085é我", "http", "https", "://", "http://", "&amp;", "@bob"]
    rng = random.Random(3)
    texts = pl.Series(["".join(rng.choices(signs, k=rng.randrange(16))) for _ in range(20_000)])
    assert fasttext_lines(texts).equals(fasttext_lines(texts.str.replace_all(noise, " ")))


def test_predictions_are_fasttexts_own(trained: Path) -> None:
    lines = fasttext_lines(pl.Series(_strange(2_000), dtype=pl.String)).drop_nulls()
    model = load_scorer(trained).model
    labels, confidences = model.predict(lines.to_list())
    found = predict(model, lines)
    assert found["label"].to_list() == [label.removeprefix(PREFIX) for (label,) in labels]
    assert found["confidence"].to_list() == [min(float(one), 1.0) for (one,) in confidences]
    assert predict(model, lines.head(0)).schema == found.schema
    with pytest.raises(ValueError, match="line breaks"):
        predict(model, pl.Series(["two\nlines"]))


@pytest.mark.parametrize(
    "piece", ["you idiot ", "傻逼", "a", "!", "because ", "\0\n", "¿", "a b!c ", "&a", "@", "http://"]
)
def test_ten_megabytes_take_a_moment(piece: str, trained: Path) -> None:
    texts = pl.Series([piece * (10_000_000 // len(piece.encode()))])
    scorer = load_scorer(trained)
    for judge in (toxicity.score, quality.score, education.score, lambda t: score_texts(t, scorer)):
        started = time.process_time()
        assert len(judge(texts)) == 1
        assert time.process_time() - started < 20


def test_threads_agree(trained: Path) -> None:
    texts = pl.Series("text", _strange(500), dtype=pl.String)
    scorer = load_scorer(trained)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda t: score_texts(t, scorer), [texts] * 8))
    assert all(result.equals(results[0]) for result in results)


def test_lists_of_phrases_are_sound() -> None:
    for name in (*toxicity.LISTS, *education.LISTS):
        found = weighted.phrases(name)
        assert len(found.patterns) > 50
        limit = 1 if name.startswith("toxicity") else 2
        assert all(0 < abs(weight) < limit or limit == 2 for weight in found.weights)
        for pattern in found.patterns:  # what folding would change could never be found
            assert weighted.folded(pl.Series([pattern]))[0].strip() == pattern.strip(), pattern
