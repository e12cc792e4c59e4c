"""The example seeds are enough, varied and sound: what a newcomer's first run starts from.

Read here with the standard library and lxml only, so that a fault in a reader cannot hide a fault in a seed.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree, html

SEEDS = Path(__file__).parent.parent / "examples" / "seeds"
PAGES = sorted((SEEDS / "web").glob("*.html"))
PYTHON = sorted((SEEDS / "code").rglob("*.py"))
C = sorted((SEEDS / "code").rglob("*.c"))
CHAPTER = re.compile(r"^(?:## Chapter \d|CHAPTER [IVX]+$|第[一二三]章)", re.MULTILINE)


def posts() -> list[dict[str, str]]:
    return [dict(row.attrib) for row in etree.parse(SEEDS / "qa/science_exchange/Posts.xml").iter("row")]


def documents() -> dict[str, list[str]]:
    """All documents by kind: pages, questions with an answer, source files, chapters of books."""
    accepted = {post["Id"]: post["Body"] for post in posts()}
    with (SEEDS / "qa/word_problems.csv").open(encoding="utf-8", newline="") as file:
        problems = [row["question"] + row["answer"] for row in csv.DictReader(file)]
    rows = (SEEDS / "qa/zh_questions.jsonl").read_text(encoding="utf-8").splitlines()
    books = [path.read_text(encoding="utf-8") for path in sorted((SEEDS / "books").iterdir())]
    return {
        "web": [path.read_text(encoding="utf-8") for path in PAGES],
        "qa": [post["Body"] + accepted[post["AcceptedAnswerId"]] for post in posts() if "Title" in post]
        + problems
        + [row["question"] + row["answer"] for row in map(json.loads, rows)],
        "code": [path.read_text(encoding="utf-8") for path in PYTHON + C],
        "book": [chapter for book in books for chapter in CHAPTER.split(book)[1:]],
    }


def is_chinese(text: str) -> bool:
    return len(re.findall(r"[\u4e00-\u9fff]", text)) > 80


def test_there_are_enough_documents_of_every_kind_in_both_languages():
    kinds = documents()
    chinese = {kind: sum(map(is_chinese, texts)) for kind, texts in kinds.items()}
    long = [text for kind in ("web", "code", "book") for text in kinds[kind]]
    assert {kind: len(texts) for kind, texts in kinds.items()} == {"web": 11, "qa": 23, "code": 6, "book": 9}
    assert chinese == {"web": 5, "qa": 10, "code": 2, "book": 3}
    assert len(long) >= 24
    assert all(len(text.split()) > 200 or (is_chinese(text) and len(text) > 400) for text in long)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_page_has_a_title_an_address_a_date_and_a_licence(page: Path):
    tree = html.fromstring(page.read_bytes())
    assert tree.findtext(".//title")
    assert tree.xpath("//link[@rel='canonical']/@href")[0].startswith("https://example.org/")
    assert tree.xpath("//link[@rel='license']/@href") == [
        "https://creativecommons.org/publicdomain/zero/1.0/"
    ]
    assert tree.xpath("//meta[@name='date' or @property='article:published_time']/@content")


def test_every_post_answers_a_question_and_every_problem_ends_in_a_number():
    questions = {post["Id"] for post in posts() if post["PostTypeId"] == "1"}
    assert {post["ParentId"] for post in posts() if post["PostTypeId"] == "2"} == questions
    with (SEEDS / "qa/word_problems.csv").open(encoding="utf-8", newline="") as file:
        assert all(re.search(r" Answer: [\d.]+$", row["answer"]) for row in csv.DictReader(file))


@pytest.mark.parametrize("module", PYTHON, ids=lambda path: path.stem)
def test_python_doctests_pass(module: Path):
    # -B: a __pycache__ left beside the seeds would be ingested with them.
    run = subprocess.run([sys.executable, "-B", "-m", "doctest", module], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ">>>" in module.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("source", C, ids=lambda path: path.stem)
def test_c_self_tests_pass(source: Path, tmp_path: Path):
    program = tmp_path / source.stem
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-DSELF_TEST"]
    subprocess.run(["cc", *flags, source, "-o", program], check=True)
    assert subprocess.run([program], capture_output=True, text=True).stdout == f"{source.stem}: ok\n"
