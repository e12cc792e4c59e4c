"""Questions and answers: StackExchange ``Posts.xml``, and records (JSONL, JSON, CSV, TSV, Parquet).

A document's text is the question, a blank line, and the answer; ``answer_start`` is where the answer
begins, None if there is none. Of several answers the accepted one is taken, else the best scored.

Records are Q&A, not an instruction set, if their fields say so: a question with an answer, a title
with a body, turns of talk. ``instruction``, ``prompt``, ``messages``, ``conversations`` and
``std_answer`` mark instruction sets (``dataset.py``). ``columns`` settings override both.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lxml import etree

from hydata.schema import Document, Item
from hydata.seeds import dataset
from hydata.seeds.head import Head, peek
from hydata.seeds.io import clean, open_bytes
from hydata.seeds.licences import creative_commons
from hydata.seeds.markup import html_text
from hydata.seeds.records import (
    Record,
    field,
    language_of,
    licence_of,
    line_of,
    number_of,
    records,
    tags_of,
    text_of,
)
from hydata.seeds.source import BadInput, Columns, SeedSettings, Source

KIND = "qa"

QUESTIONS = ("question", "Question", "query", "ask", "riddle", "q", "Q", "问题", "问")
TITLES = ("title", "subject", "标题")
BODIES = ("body", "body_html", "question_body", "detail", "desc", "description")
ANSWERS = ("answer", "Answer", "best_answer", "accepted_answer", "reply", "a", "A", "答案", "回答", "答")
URIS = ("url", "uri", "link", "source_url")
DATES = ("date", "published", "created", "creation_date", "last_update", "time")
SCORES = ("score", "votes", "upvotes", "likes")
TAGS = ("tags", "topic", "topics", "category", "department", "labels")


def detects(head: Head, settings: SeedSettings) -> float:
    if _is_posts(head.text):
        return 1.0
    if any(_is_qa(record, settings.columns) for record in head.records):
        return 0.95 if settings.columns.question else 0.85
    return 0.0


def _is_posts(text: str) -> bool:
    return "<posts" in text[:10_000] and "PostTypeId=" in text


def _is_qa(record: Record, columns: Columns) -> bool:
    if columns.question is not None:
        return columns.question in record
    if dataset.is_instruction(record, columns):
        return False
    if isinstance(record.get("turns"), list):
        return True
    answered = columns.answer in record or any(name in record for name in (*ANSWERS, "answers"))
    return answered and any(name in record for name in (*QUESTIONS, *TITLES))


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    if _is_posts(peek(source).text):
        yield from _posts(source, settings)
        return
    for position, record in records(source, settings.limits):
        if isinstance(record, BadInput):
            yield source.reject(record.reason, record.detail, position)
            continue
        found = _document(source, position, record, settings.columns)
        yield found or source.reject("empty_record", "no question", position)


def _document(source: Source, position: int, record: Record, columns: Columns) -> Document | None:
    title = line_of(field(record, columns.title, TITLES)) or ""
    turns = record.get("turns")
    if columns.question is None and isinstance(turns, list):
        question, answer = text_of(turns[:1]), "\n\n".join(text_of(turn) for turn in turns[1:])
        score = None
    else:
        body = text_of(field(record, columns.question, (*QUESTIONS, *BODIES)))
        if "body_html" in record and body == text_of(record["body_html"]):
            body = html_text(body)
        question = body if not title or title in body else f"{title}\n\n{body}".strip()
        answer, score = _best_answer(record, columns)
    question, answer = question.strip(), answer.strip()
    if not question:
        return None
    asked = number_of(field(record, columns.score, SCORES))
    return Document(
        kind="qa",
        uri=line_of(field(record, columns.uri, URIS)) or source.file,
        file=source.file,
        position=position,
        title=title or None,
        text=f"{question}\n\n{answer}" if answer else question,
        answer_start=len(question) + 2 if answer else None,
        language=language_of(record, columns),
        licence=licence_of(record, columns),
        published=line_of(field(record, columns.published, DATES)),
        tags=tags_of(field(record, columns.tags, TAGS)),
        score=asked if score is None else score,
    )


def _best_answer(record: Record, columns: Columns) -> tuple[str, int | None]:
    """The answer's text and its own score: of a list of answers the accepted one, else the best scored."""
    answer = field(record, columns.answer, (*ANSWERS, "answers"))
    if not isinstance(answer, list):
        return text_of(answer), None
    posts = [a for a in answer if isinstance(a, dict)]
    if not posts:
        return text_of(answer[:1]), None
    accepted = record.get("accepted_answer_id")
    best = max(
        posts,
        key=lambda a: (
            bool(
                a.get("is_accepted")
                or a.get("accepted")
                or (accepted is not None and a.get("id") == accepted)
            ),
            number_of(field(a, columns.score, SCORES)) or 0,
        ),
    )
    text = text_of(field(best, None, ("text", "body", "answer", "content", "value")))
    if not text and isinstance(best.get("body_html"), str):
        text = html_text(clean(str(best["body_html"])))
    return text, number_of(field(best, columns.score, SCORES))


_TABLES = """
CREATE TABLE questions (id INTEGER PRIMARY KEY, accepted INTEGER, title, body, tags, date, licence);
CREATE TABLE answers (id INTEGER PRIMARY KEY, parent INTEGER, score INTEGER, body, licence);
"""
_BEST = """
SELECT q.id, q.title, q.body, q.tags, q.date, q.licence, a.body, a.score
FROM questions q LEFT JOIN answers a ON a.id = COALESCE(
    (SELECT id FROM answers WHERE id = q.accepted),
    (SELECT id FROM answers WHERE parent = q.id ORDER BY score DESC, id LIMIT 1))
ORDER BY q.id
"""


def _posts(source: Source, settings: SeedSettings) -> Iterator[Item]:
    """StackExchange's dump. An answer may stand gigabytes behind its question, so both go through a
    temporary SQLite file; the position is the question's Id. Entities are not expanded."""
    with (
        tempfile.TemporaryDirectory(prefix="hydata-posts-") as folder,
        closing(sqlite3.connect(Path(folder) / "p")) as db,
    ):
        db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES)
        try:
            yield from _load_posts(source, settings, db)
        except (etree.LxmlError, OSError, EOFError) as error:
            yield source.reject("broken_xml", f"{error}; read up to there")
        db.execute("CREATE INDEX by_parent ON answers (parent)")
        for number, title, body, tags, date, licence, answer, score in db.execute(_BEST):
            question = "\n\n".join(filter(None, (title, html_text(body or ""))))
            answer = html_text(answer) if answer else ""
            if not question:
                yield source.reject("empty_record", "no question", number)
                continue
            yield Document(
                kind="qa",
                uri=_address(source, number),
                file=source.file,
                position=number,
                title=title,
                text=f"{question}\n\n{answer}" if answer else question,
                answer_start=len(question) + 2 if answer else None,
                licence=_licence(licence, date),
                published=date,
                tags=tags_of(tags),
                score=score,
            )


def _load_posts(source: Source, settings: SeedSettings, db: sqlite3.Connection) -> Iterator[Item]:
    index = 0
    with open_bytes(source, settings.limits) as stream:
        rows = etree.iterparse(
            stream,
            events=("end",),
            tag="row",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        for _, row in rows:
            get, index = row.get, index + 1
            try:
                number, kind = int(get("Id")), get("PostTypeId")
                if kind == "1":
                    values = (
                        number,
                        number_of(get("AcceptedAnswerId")),
                        *map(_clean, map(get, ("Title", "Body", "Tags"))),
                    )
                    db.execute(
                        "INSERT OR IGNORE INTO questions VALUES (?,?,?,?,?,?,?)",
                        (*values, get("CreationDate"), get("ContentLicense")),
                    )
                elif kind == "2":
                    db.execute(
                        "INSERT OR IGNORE INTO answers VALUES (?,?,?,?,?)",
                        (
                            number,
                            int(get("ParentId")),
                            number_of(get("Score")) or 0,
                            _clean(get("Body")),
                            get("ContentLicense"),
                        ),
                    )
            except (TypeError, ValueError, OverflowError) as error:
                yield source.reject("broken_record", f"row {index}: {error}", index)
            # What has been read is freed: the row and the empty siblings before it.
            row.clear()
            while row.getprevious() is not None:
                del row.getparent()[0]


def _clean(value: str | None) -> str | None:
    return None if value is None else clean(value)


def _address(source: Source, number: int) -> str:
    """The question's address, if the folder is named after its site, as the dumps' folders are."""
    site = source.path.resolve().parent.name.lower()
    if site.endswith(".stackexchange"):
        site += ".com"
    if site.endswith((".stackexchange.com", "stackoverflow.com")) or site in (
        "superuser.com",
        "serverfault.com",
        "askubuntu.com",
    ):
        return f"https://{site}/questions/{number}"
    return source.file


def _licence(stated: str | None, date: str | None) -> str:
    """StackExchange's content licence: stated in newer dumps, else by the date of the post."""
    if stated:
        return creative_commons(stated) or stated
    day = (date or "9999")[:10]
    return f"CC-BY-SA-{'2.5' if day < '2011-04-08' else '3.0' if day < '2018-05-02' else '4.0'}"
