import json
from pathlib import Path
from random import Random

import polars as pl
import pytest
from typer.testing import CliRunner

from hydata.cli import app
from hydata.errors import ConfigError
from hydata.synthesis.agreement_alone import JUDGED, judge_rows, read_rows


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(question: str, texts: list[str], **more: object) -> dict[str, object]:
    samples = [{"text": text, "model": f"m{i}"} for i, text in enumerate(texts)]
    return {"question": question, "samples": samples, **more}


ROWS = [
    row("How many is 3 + 4?", ["The answer is 7.", "\\boxed{7.0}", "So 8.", "No idea."]),
    row("小明有3个苹果，又买了4个，一共多少个？", ["答案是7个。", "一共8个。"]),
    row("Who painted it?", ["The answer is Monet.", "The answer is monet", "The answer is: Manet"]),
    row("Simplify $2x+x$.", ["$\\boxed{3x}$", "The answer is $x \\cdot 3$.", "\\boxed{2x}"]),
    row("What is it?", []),
    row("How many is 3 + 4?", ["The answer is 8."], reference="7"),
    row("How many is 3 + 4?", ["The answer is 8.", "It is 7."], reference="The sum is 3 + 4 = 7. #### 7"),
]


def test_one_row_for_each_in_order(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.parquet"
    done = CliRunner().invoke(app, ["judge", "agreement", str(source), "-o", str(target)])
    assert done.exit_code == 0, done.output
    found = pl.read_parquet(target)
    assert found.schema == JUDGED
    assert found["row"].to_list() == list(range(len(ROWS)))
    assert found["answer"].to_list() == ["7", "7", "monet", "3x", None, "7", "7"]
    assert found["classes"].to_list() == [[2, 1], [1, 1], [2, 1], [2, 1], [], [1, 1], [2, 1]]
    assert found["abstained"].to_list() == [False, True, False, False, True, True, False]
    assert found["answers"][0].to_list() == ["7", "7", "8", None]
    assert found["share"].to_list()[:2] == [2 / 3, 0.5]
    assert judge_rows(source, min_share=0.7)["abstained"].all()


def test_order_of_samples_changes_nothing(tmp_path: Path) -> None:
    first = judge_rows(write(tmp_path / "a.jsonl", ROWS)).drop("answers")
    weighted = judge_rows(tmp_path / "a.jsonl", weighted=True).drop("answers")
    random = Random(1)
    for _ in range(5):
        shuffled = [{**r, "samples": random.sample(r["samples"], len(r["samples"]))} for r in ROWS]
        again = write(tmp_path / "b.jsonl", shuffled)
        assert judge_rows(again).drop("answers").equals(first)
        assert judge_rows(again, weighted=True).drop("answers").equals(weighted)


def test_a_reliable_model_outweighs_the_rest(tmp_path: Path) -> None:
    random, rows = Random(2), []
    for _ in range(200):
        truth = random.randint(10, 99)
        said = [truth if random.random() < p else random.randint(10, 99) for p in (0.95, 0.4, 0.4, 0.4)]
        samples = [{"text": f"The answer is {n}.", "model": f"m{i}"} for i, n in enumerate(said)]
        rows.append({"question": "How many are 2 of them?", "samples": samples, "gold": truth})
    source = write(tmp_path / "in.jsonl", rows)
    gold = [str(r["gold"]) for r in rows]
    plain, weighted = judge_rows(source), judge_rows(source, weighted=True)
    right = [sum(a == g for a, g in zip(f["answer"], gold, strict=True)) for f in (plain, weighted)]
    assert right[1] > right[0] + 10
    assert weighted["classes"].equals(plain["classes"])
    assert weighted["share"].is_between(0, 1).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question": "?", "samples": []}\nnot json\n', "line 2"),
        ('{"question": "?"}\n', "samples"),
        ("[1, 2]\n", "line 1"),
        ("[" * 100_000 + "\n", "line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=message):
        judge_rows(tmp_path / "in.jsonl")


def test_bytes_that_are_no_text_harm_nobody(tmp_path: Path) -> None:
    line = (
        b'{"question": "How many is 3 + 4?", "samples": [{"text": "\xff\xfe \\ud800 the answer is \\udfff"}, '
    )
    line += b'{"text": null}, {"text": "7 \xe4\xbd"}, {"text": "\\u0000 7"}]}\n'
    (tmp_path / "in.jsonl").write_bytes(line)
    (row,) = read_rows(tmp_path / "in.jsonl")
    assert row.samples[0].text == "\ufffd\ufffd \ufffd the answer is \ufffd"
    assert judge_rows(tmp_path / "in.jsonl")["answers"].to_list() == [[None, None, "7", "7"]]


def test_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n")
    assert judge_rows(tmp_path / "in.jsonl", weighted=True).schema == JUDGED
