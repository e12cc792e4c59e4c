import pytest

from hydata.synthesis.text import answers, clean_instruction, find_defect, in_language, refers_to_source

UGLY = [
    ("Question: Why is the sea salty?", "Why is the sea salty?"),
    ("**Question 1:** Why is the sea salty?", "Why is the sea salty?"),
    ('"Why is the sea salty?"', "Why is the sea salty?"),
    ("“Why is the sea salty?”", "Why is the sea salty?"),
    ("1. Why is the sea salty?\n2. Why is it blue?", "Why is the sea salty?"),
    ("- Why is the sea salty?\n- Why is it blue?", "Why is the sea salty?"),
    ("```\nWhy is the sea salty?\n```", "Why is the sea salty?"),
    ("Sure! Here is a new question for you:\n\nWhy is the sea salty?", "Why is the sea salty?"),
    (
        "Here's one question: Why is the sea salty?\n\nAnswer: Because rivers carry salt.",
        "Why is the sea salty?",
    ),
    ("问题：为什么海水是咸的？", "为什么海水是咸的？"),
    ("好的，下面是一个新问题：\n“为什么海水是咸的？”", "为什么海水是咸的？"),
    ("1、为什么海水是咸的？\n2、为什么是蓝的？", "为什么海水是咸的？"),
    ("改写后的要求：请说明海水为什么是咸的。\n答案：因为有盐。", "请说明海水为什么是咸的。"),
    # What belongs to the instruction stays.
    ("Explain the saying 'a stitch in time'.", "Explain the saying 'a stitch in time'."),
    ('"Yes" and "no": when is each polite?', '"Yes" and "no": when is each polite?'),
    (
        "3.5 litres of water cost 2 euros. How much is one?",
        "3.5 litres of water cost 2 euros. How much is one?",
    ),
    ("Fix this:\n```\nx = 1\n```\nand explain.", "Fix this:\n```\nx = 1\n```\nand explain."),
    ("  \n ", ""),
]


@pytest.mark.parametrize(("reply", "wanted"), UGLY)
def test_an_instruction_is_unwrapped_and_nothing_else(reply: str, wanted: str) -> None:
    assert clean_instruction(reply) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "According to the text above, who built it?",
        "What is the main idea of this passage?",
        "In the given article, what does the mayor say?",
        "What does the code above print?",
        "根据上文，作者的观点是什么？",
        "这段代码的作用是什么？",
        "该网页主要介绍了什么？",
        "Rewrite the following sentence using a gerund.",
        "Sum up the given report. Use at most 50 words.",
        "Who is the main character in the story?",
        "Why does the author compare bread to money?",
        "Generate a funny caption for the following photo.",
        "What is the value of x in the above equation?",
        'According to the article "Coffee at Home", how hot should the water be?',
        "Using the information provided above, plan a day in Rome.",
        "请根据以下文章回答：谁修建了这座桥？",
        "下面这段对话中，两人的关系是什么？",
        "作者为什么反对这个计划？",
        "将以下句子改写得更加正式。",
        "确定给定文本的主题。",
        "书中的主人公为什么离开家乡？",
        "如图所示，求阴影部分的面积。",
        "这首诗表达了诗人怎样的感情？",
    ],
)
def test_pointing_at_a_missing_text_is_found(text: str) -> None:
    assert refers_to_source(text)


@pytest.mark.parametrize(
    "text",
    [
        "How do I write a passage about my home town?",
        "Which texts did Confucius edit?",
        "用中文写一段文字介绍长城。",
        "《论语》中的“仁”是什么意思？",
        "Summarise the following text in a sentence.\n\n"
        + "Bees dance to tell others where flowers are. " * 5,
        "What does the code above print?\n```\nprint(1)\n```",
        "Write a Python function that adds two numbers. What does this function return for 2 and 3?",
        "Which of the following are mammals? Whales, sharks, bats, penguins.",
        "Sort the following numbers: 3, 1, 2",
        'Rewrite this sentence to be polite: "Where is the shop?"',
        "I wrote an article about bees for our newsletter. How can I make the article shorter?",
        "Describe the roles of the main characters in the play Romeo and Juliet.",
        "Write a function that returns the largest number of the given list.",
        "What is the study of flags called?",
        "Which of these does not belong to the following?\nOrion\nAndromeda\nMilky Way\nSombrero",
        "解释“行胜于言”这句话的含义。",
        "请把下面的句子改成被动句：大雨冲走了小桥。",
        "请写一首关于春天的诗，并解释这首诗用了哪些修辞。",
        "为短语“学习曲线”提供一个句子。",
        "如何用Python提取Word文档中的表格？",
        "论文中的参考文献应该怎样排列？",
    ],
)
def test_an_instruction_that_stands_alone_passes(text: str) -> None:
    assert refers_to_source(text) is None


def test_languages_are_told_by_their_script() -> None:
    assert in_language("用Python写一个函数，统计list里的元素", "zh")
    assert not in_language("Write a function", "zh")
    assert in_language('What does "你好" mean in English?', "en")
    assert not in_language("Что такое море?", "en")
    assert not in_language("海はなぜ青いのですか", "zh")


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("...", "en", "empty"),
        ("Write one short question about the page, please.", "en", "leaks_prompt"),
        ("Why is it so? </page>", "en", "leaks_prompt"),
        ("Write one question. Why is the sky blue?", "en", "leaks_prompt"),
        ("为什么天空是蓝色的呢？", "en", "wrong_language"),
        ("Why not?", "en", "too_short"),
        ("What is this article about?", "en", "refers_to_source"),
        ("Why is the sky blue at noon?", "en", None),
    ],
)
def test_defects_have_their_reasons(text: str, language: str, reason: str | None) -> None:
    own_words = "<page>\n</page>\nWrite one short question about the page. Write one question."
    defect = find_defect(text, language, own_words)
    assert (defect and defect.reason) == reason


def test_answers_are_told_from_requests() -> None:
    assert answers("The Danube rises in the Black Forest.")
    assert answers("Sure, the capital is Paris. What else?")
    assert answers("What a lovely day it was by the sea.")
    assert answers("It differs from others because it has another brand and name.")
    assert answers("It passes ten countries, which made it important.")
    assert answers("答案是巴黎。")
    assert not answers("Name the capital of France.")
    assert not answers("写一首关于秋天的诗。")
