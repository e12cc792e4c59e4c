"""Documents and instructions for the tests of the steps."""

from hydata.schema import Conversation, Document, Message

LIGHTHOUSE = {
    "en": "Lighthouse number {i} stood near the harbour of Alexandria. Wood and oil burned in it at night, "
    "and a mirror of bronze threw the light far across the water, so that ships kept away from the rocks. "
    "Keepers carried the fuel up the stairs each evening.",
    "zh": "第{i}座灯塔建在港口附近，夜里燃烧木柴和油料，用铜镜把光线反射到很远的海面上，提醒船只避开暗礁。"
    "守塔人每天傍晚把燃料搬上楼梯，清晨再把灰烬清理干净。",
}


def document(i: int, kind: str = "web", language: str = "en", text: str | None = None) -> Document:
    return Document(
        kind=kind,
        uri=f"uri{i}",
        file="seeds.txt",
        position=i,
        text=LIGHTHOUSE[language].format(i=i) if text is None else text,
        language=language,
        licence="CC0-1.0",
    )


def post(question: str, answer: str | None, i: int = 0, **fields: object) -> Document:
    """A question with its answer, as the reader of Q&A makes it."""
    fields.setdefault("language", "zh" if "\u4e00" <= max(question) <= "\u9fff" else "en")
    return Document(
        kind="qa",
        uri=f"post{i}",
        file="posts.xml",
        position=i,
        text=question if answer is None else f"{question}\n\n{answer}",
        answer_start=None if answer is None else len(question) + 2,
        licence="CC-BY-SA-4.0",
        **fields,
    )


def instruction(text: str, **fields: object) -> Conversation:
    return Conversation(
        step="generate",
        messages=(Message("system", "You are a helpful assistant."), Message("user", text)),
        **fields,
    )


QUESTIONS = [
    "How does a lighthouse warn ships of rocks at night?",
    "Explain why bronze mirrors were used in ancient lighthouses.",
    "How many steps are there in a tower with 12 floors of 15 steps each?",
    "Write a Python function that reverses the words of a sentence.",
    "请说明灯塔在古代航海中的作用。",
    "小明有12个苹果，吃了3个，还剩多少个？",
    "请比较蒸汽机和内燃机的优点与缺点。",
    "为什么海水是咸的，而河水是淡的？",
]
