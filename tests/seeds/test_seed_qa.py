"""Questions and answers."""

import gzip
import json

import pytest

from hydata.schema import Document, Reject, documents_frame


def row(**attributes: object) -> str:
    from xml.sax.saxutils import quoteattr

    return "<row " + " ".join(f"{k}={quoteattr(str(v))}" for k, v in attributes.items()) + "/>"


POSTS = [
    row(
        Id=1,
        PostTypeId=1,
        AcceptedAnswerId=4,
        CreationDate="2015-01-27T20:09:32",
        Score=2,
        Title="Why?",
        Body="<p>Why is it <b>so</b>?</p>",
        Tags="<storage><whole-bean>",
    ),
    row(
        Id=2, PostTypeId=1, CreationDate="2019-01-01T00:00:00", Title="How?", Body="<p>How?</p>", Tags="|a|b|"
    ),
    row(Id=3, PostTypeId=2, ParentId=1, Score=50, Body="<p>Popular.</p>"),
    row(Id=4, PostTypeId=2, ParentId=1, Score=3, Body="<p>Accepted.</p>"),
    row(Id=5, PostTypeId=2, ParentId=2, Score=1, Body="<p>Weak.</p>"),
    row(Id=6, PostTypeId=2, ParentId=2, Score=9, Body="<p>Strong.</p>"),
    row(
        Id=7,
        PostTypeId=1,
        CreationDate="2010-01-01T00:00:00",
        Title="Unanswered?",
        Body="",
        ContentLicense="CC BY-SA 4.0",
    ),
    row(Id=8, PostTypeId=5, Body="a wiki page"),
    row(Id="x", PostTypeId=1, Title="Broken"),
]
XML = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n' + "\n".join(POSTS) + "\n</posts>"


def test_stack_exchange(reading) -> None:
    items = reading("coffee.stackexchange/Posts.xml", XML)
    broken, why, how, unanswered = items
    assert (broken.reason, broken.position) == ("broken_record", 9)
    assert why.text == "Why?\n\nWhy is it so?\n\nAccepted."
    assert why.text[why.answer_start :] == "Accepted."
    assert (why.score, why.tags, why.title, why.position) == (3, ("storage", "whole-bean"), "Why?", 1)
    assert (why.uri, why.licence) == ("https://coffee.stackexchange.com/questions/1", "CC-BY-SA-3.0")
    assert how.text.endswith("Strong.")
    assert (how.licence, how.tags) == ("CC-BY-SA-4.0", ("a", "b"))
    assert (unanswered.text, unanswered.answer_start, unanswered.licence) == (
        "Unanswered?",
        None,
        "CC-BY-SA-4.0",
    )


def test_packed_dump_cut_in_the_middle_keeps_what_came_before(reading) -> None:
    items = reading("Posts.xml.gz", gzip.compress(XML[: XML.index('Id="6"')].encode()))
    assert [i.reason for i in items if isinstance(i, Reject)] == ["broken_xml"]
    assert {d.position for d in items if isinstance(d, Document)} == {1, 2}


def test_entity_bomb(reading) -> None:
    entities = (
        '<!ENTITY a "'
        + "x" * 1000
        + '">'
        + "".join(f'<!ENTITY {b} "{f"&{a};" * 100}">' for a, b in zip("abcde", "bcdef", strict=True))
    )
    body = '<row Id="1" PostTypeId="1" Title="&f;" Body=""/>'
    items = reading("Posts.xml", f"<!DOCTYPE posts [{entities}]><posts>{body}</posts>")
    assert all(isinstance(i, Reject) or len(i.text) < 100 for i in items)
    assert any(isinstance(i, Reject) for i in items)


def test_external_entities_are_not_fetched(reading, tmp_path) -> None:
    (tmp_path / "secret").write_text("secret")
    head = f'<!DOCTYPE posts [<!ENTITY s SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    items = reading("Posts.xml", f'{head}<posts><row Id="1" PostTypeId="1" Title="T" Body="B"/>&s;</posts>')
    assert "secret" not in "".join(d.text for d in items if isinstance(d, Document))


def lines(*rows: object) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


@pytest.mark.parametrize(
    ("record", "text", "start"),
    [
        ({"question": "Why?", "answer": "So."}, "Why?\n\nSo.", 6),
        ({"question": "Why?", "answer": None, "extra": 1}, "Why?", None),
        ({"title": "头痛", "ask": "头痛怎么办？", "answer": "休息。"}, "头痛怎么办？\n\n休息。", 8),
        ({"title": "头痛", "ask": "怎么办？", "answer": "休息。"}, "头痛\n\n怎么办？\n\n休息。", 10),
        ({"turns": ["Hi", "Hello", "Bye"]}, "Hi\n\nHello\n\nBye", 4),
        ({"riddle": "一物", "answer": "山"}, "一物\n\n山", 4),
        ({"question": "Q", "answers": ["A", "B"]}, "Q\n\nA", 3),
        (
            {
                "title": "T",
                "body_html": "<p>B</p>",
                "accepted_answer_id": 2,
                "answers": [
                    {"id": 1, "score": 9, "body_html": "<p>X</p>"},
                    {"id": 2, "score": 1, "body_html": "<p>Y</p>"},
                ],
            },
            "T\n\nB\n\nY",
            6,
        ),
        (
            {"question": "Q", "answers": [{"text": "low", "score": 1}, {"text": "high", "score": 2}]},
            "Q\n\nhigh",
            3,
        ),
    ],
)
def test_records(reading, record: dict[str, object], text: str, start: int | None) -> None:
    # A row without an answer is only told to be Q&A by its neighbours.
    items = reading("qa.jsonl", lines(record, {"question": "Q", "answer": "A"}))
    assert (items[0].text, items[0].answer_start) == (text, start)
    assert items[0].position == 1


def test_metadata_of_records(reading) -> None:
    record = {
        "question": "Wie?",
        "answer": "So.",
        "link": "https://example.org",
        "lang": "de",
        "topic": ["a"],
        "score": "7",
        "license": "MIT",
        "last_update": "2020/03/17",
    }
    (item,) = reading("qa.jsonl", lines(record))
    assert (item.uri, item.language, item.tags, item.score) == ("https://example.org", "de", ("a",), 7)
    assert (item.licence, item.published) == ("MIT", "2020/03/17")


def test_a_score_of_no_size_a_column_can_hold(reading) -> None:
    items = reading("qa.jsonl", lines({"question": "Q", "answer": "A", "score": 1e30, "tags": {"a": 1}}))
    assert documents_frame(items)["score"].to_list() == [None]


def test_csv_with_quoted_newlines_and_a_ragged_row(reading) -> None:
    items = reading("qa.csv", 'question,answer\n"Why,\nnow?",So.\nonly one\n\n"a","b"\n')
    assert [i.text if isinstance(i, Document) else i.reason for i in items] == [
        "Why,\nnow?\n\nSo.",
        "broken_csv",
        "a\n\nb",
    ]


def test_tsv_in_gb18030(reading) -> None:
    data = "问题\t答案\n" + "这是一个什么样的问题？\t这是我们在这里说的一个答案。\n" * 3
    items = reading("qa.tsv", data.encode("gb18030"))
    assert items[2].text == "这是一个什么样的问题？\n\n这是我们在这里说的一个答案。"


def test_broken_rows_are_rejects_with_their_line(reading) -> None:
    text = (
        lines({"question": "Q", "answer": "A"})
        + '{"question": "Q", \n[]\n{"question": " ", "answer": "A"}\n'
        + "[" * 100_000
    )
    items = reading("qa.jsonl", text)
    assert [(i.reason, i.position) for i in items if isinstance(i, Reject)] == [
        ("broken_json", 2),
        ("not_an_object", 3),
        ("empty_record", 4),
        ("too_deep", 5),
    ]
