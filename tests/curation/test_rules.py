"""Rules: every measure on hand-made cases in English and Chinese, and conservation of rows."""

import asyncio
import json
import random
import re
from pathlib import Path

import polars as pl
import pytest

from hydata.curation import rules
from hydata.curation.measure import count_matches
from hydata.curation.rules import garbling
from hydata.schema import JUDGEMENT_KEY, Conversation, Message, ToolCall, conversations_frame

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled"


def frame(*conversations: tuple[str, str | None]) -> pl.DataFrame:
    """One conversation for each (instruction, response)."""
    return conversations_frame(
        Conversation(
            "dataset",
            (Message("user", asked), *(() if answer is None else (Message("assistant", answer),))),
            uri="test",
            position=position,
        )
        for position, (asked, answer) in enumerate(conversations)
    )


def of_response(measure: str, response: str) -> object:
    return rules.measures(frame(("Say something.", response)))[f"response_{measure}"].item()


def of_instruction(measure: str, instruction: str) -> object:
    return rules.measures(frame((instruction, None)))[f"instruction_{measure}"].item()


def of_text(measure: str, text: str) -> object:
    return rules.measures(frame((text, None)))[measure].item()


def of_messages(measure: str, *messages: Message, tools: str | None = None) -> object:
    return rules.measures(conversations_frame([Conversation("dataset", messages, tools=tools)]))[
        measure
    ].item()


PROSE = "The tide goes out twice a day. "


@pytest.mark.parametrize(
    ("measure", "response", "expected"),
    [
        ("characters", "你好 world", 8),
        ("words", "你好, brave new world", 5),
        ("tokens_estimated", "你好吗", 2),
        ("tokens_estimated", "twelve chars", 3),
        ("ends_dangling", "We need bread, butter and", True),
        ("ends_dangling", "The steps are as follows:", True),
        ("ends_dangling", "我们需要面包、黄油以及", True),
        ("ends_dangling", "他说，", True),
        ("ends_dangling", "We are done.", False),
        ("ends_dangling", "我们做完了。", False),
        ("ends_dangling", "int main() { return 0; }", False),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the birds", True),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the birds.", False),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the #birds", False),
        ("ends_in_mid_sentence", PROSE + "\n- the birds that eat whatever the sea has left", False),
        ("ends_in_mid_sentence", "A Short History of the Birds of the North Sea", False),
        (
            "ends_in_mid_sentence",
            PROSE + "More about all of this stands on https://birds.example/north",
            False,
        ),
        ("ends_in_mid_sentence", "潮水每天退两次。退潮以后海滩就留给了各种各样的", True),
        ("ends_in_mid_sentence", "潮水每天退两次。退潮以后海滩就留给了各种各样的鸟。", False),
        ("ends_in_ellipsis", "and so on...", True),
        ("ends_in_ellipsis", "等等……", True),
        ("ends_in_ellipsis", "Wait... what?", False),
        ("open_fence", "```python\nprint(1)\n", True),
        ("open_fence", "```python\nprint(1)\n```", False),
        ("unclosed_brackets", "f(g(x", 2),
        ("unclosed_brackets", "the interval [0, 1) is half open", 0),
        ("unclosed_brackets", "1) one\n2) two (see above", 1),
        ("unclosed_brackets", "（未完", 1),
        ("unclosed_brackets", "if sign == '(' or sign == '[':", 0),
        ("unclosed_brackets", r"\left\{ x \right.", 0),
        ("unclosed_quotes", 'He said "no and left.', True),
        ("unclosed_quotes", 'x = ""', False),
        ("unclosed_quotes", 'He is 6\'2" tall, and the screen has 27".', False),
        ("unclosed_quotes", '这款显示器是27"的，他说"很好', True),
        ("unclosed_quotes", 'In "1984" and then "no.', True),
        ("unclosed_quotes", "他说：“不行。", True),
        ("unclosed_quotes", "Er sagte: „so“ und „nein“.", False),
        ("unclosed_quotes", '"""\n>>> binary(3)\n"0b11"\n"""', False),
        ("unclosed_quotes", "“One paragraph.\n\n“Another one.”", False),
        ("unclosed_quotes", "他说：“不行。”", False),
        ("duplicate_line_fraction", "one\ntwo\none\none", 0.5),
        ("duplicate_line_fraction", "{\n}\n{\n}\nend", 0.0),
        ("duplicate_line_fraction", "好\n坏\n好\n坏", 0.5),
        ("duplicate_paragraph_fraction", "one\n\ntwo\n\n\none\n\nfour", 0.25),
        ("top_2gram_fraction", "no repetition in here at all", 0.0),
        ("top_2gram_fraction", "ab cd ef gh ab cd", 4 * 2 / 12),
        ("top_3gram_fraction", "a b c x a b c y a b c", 9 / 11),
        ("top_4gram_fraction", "", 0.0),
        ("top_2gram_fraction", "机器学习很好机器学习很难", 8 / 12),
        ("top_2gram_fraction", "机器学习是人工智能", 0.0),
        ("symbol_fraction", "a+b=", 0.5),
        ("letter_word_fraction", "1 2 three 4th", 0.5),
        ("role_markers", "Sure.\n### Instruction:\nWrite", 1),
        ("role_markers", "<|im_start|>user hello<|im_end|>", 2),
        ("role_markers", "ok\nHuman: next\nAssistant: yes", 2),
        ("role_markers", "print(3)\n# Output: 3", 0),
        ("role_markers", "GPT-2 ends a text by `<|endoftext|>`, others by `</s>`.", 0),
        ("role_markers", "好的。\n用户：继续", 1),
        ("template_holes", "Dear {{ name }}, [INSERT DATE]", 2),
        ("template_holes", "尊敬的[您的姓名]，（在此插入日期）", 2),
        ("template_holes", "x[0] and {1, 2}", 0),
        ("refusals", "I'm sorry, but I cannot help with that.", 2),
        ("refusals", "I'm sorry to hear that. Try restarting it.", 0),
        ("refusals", "I cant help with that, and we wont provide it.", 2),
        ("refusals", "Es tut mir leid, aber I’m not able to do so.", 1),
        ("refusals", "That is against our policy; please provide more details.", 2),
        ("refusals", "I don’t have access to it.", 1),
        ("refusals", "很抱歉，这个我做不到。", 1),
        ("refusals", "Unfortunately, it is not possible to predict earthquakes.", 0),
        ("refusals", "Unfortunately, I am not able to predict earthquakes.", 1),
        ("refusals", "抱歉让你久等了，答案是四。", 0),
        ("ai_disclaimers", "As an AI language model, I like tea.", 2),
        ("ai_disclaimers", "作为一个人工智能语言模型，我喜欢茶。", 1),
        ("ai_disclaimers", "An AI language model predicts words.", 0),
        ("ai_disclaimers", "作为一个语言模型，ChatGPT可能出错。", 0),
        ("placeholders", "No output.", 1),
        ("placeholders", "无", 1),
        ("placeholders", "There is no input to the function.", 0),
        ("urls", "See https://example.com/a and www.example.org.", 2),
        ("urls", "见https://example.com/a。", 1),
        ("invented_urls", "See https://www.example.com/a and http://www.python.org/doc.", 1),
        ("invented_urls", "Go to https://shop.tea.notadomain/x or http://localhost:8000/.", 1),
        ("invented_urls", "见 https://www.yourwebsite.com/图 和 https://www.gov.cn/。", 1),
        ("missing_media", "As the image above shows, it rains.", 1),
        ("missing_media", "如下图所示，天在下雨。", 1),
        ("missing_media", "应用很广，例如图像识别。", 0),
        ("lines", "one\n\n two \n", 2),
        ("lines", "一\n二", 2),
        ("sentences", "One. Two? Three", 2),
        ("sentences", "一。二？三", 2),
        ("sentences", "3.5 is a number", 0),
        ("list_items", "1. a\n2) b\n- c\nd", 3),
        ("list_items", "1、甲\n2. 乙\n• 丙", 3),
        ("list_items", "3.5 kg\n12:30\n-x", 0),
        ("mean_word_length", "ab abcd", 3.0),
        ("mean_word_length", "他用GPT", 3.0),
        ("symbol_word_ratio", "# a b c", 1 / 3),
        ("symbol_word_ratio", "好……的...", 1.0),
        ("symbol_word_ratio", "好的", 0.0),
        ("bullet_line_fraction", "- a\nb", 0.5),
        ("bullet_line_fraction", "• 甲\n· 乙\n丙\n丁", 0.5),
        ("ellipsis_line_fraction", "a...\nb.", 0.5),
        ("ellipsis_line_fraction", "甲……\n乙。", 0.5),
        ("stop_words", "The cat and THE dog", 2),
        ("stop_words", "Cats, dogs", 0),
        ("stop_words_zh", "他的猫和我的狗", 3),
        ("stop_words_zh", "猫狗", 0),
        ("terminal_line_fraction", 'It rains.\nShe said "no"\nand so...\nthe end', 0.5),
        ("terminal_line_fraction", "下雨了。\n他说：“好”\n还有……\n完", 0.5),
        ("short_line_fraction", "short\n" + PROSE + PROSE, 0.5),
        ("short_line_fraction", "短\n这一行里的汉字一共有十六个字左右吧", 0.5),
        ("newline_word_ratio", "a\nb\nc d", 0.5),
        ("newline_word_ratio", "甲\n乙", 0.5),
        ("curly_braces", "f() { return 1; }", 2),
        ("curly_braces", "没有", 0),
        ("lorem_ipsum", "Lorem ipsum dolor sit amet", 1),
        ("lorem_ipsum", "标题 lorem ipsum", 1),
        ("lorem_ipsum", "Ipsum, lorem", 0),
        ("web_notices", "Please enable JavaScript. By using it you accept our Privacy Policy.", 2),
        ("web_notices", "版权所有 2020", 1),
        ("web_notices", "JavaScript is a language.", 0),
        ("duplicate_line_character_fraction", "ab\nabcd\nab", 2 / 8),
        ("duplicate_line_character_fraction", "好吗\n好吗", 0.5),
        ("duplicate_paragraph_character_fraction", "ab\n\nab\n\nc", 2 / 5),
        ("duplicate_5gram_fraction", "a b c d e f a b c d e", 5 / 11),
        ("duplicate_5gram_fraction", "a b c d e f g h", 0.0),
        ("duplicate_5gram_fraction", "今天天气非常好哦对吗今天天气非常好哦对吗", 0.5),
        ("duplicate_10gram_fraction", "a b c d e f g h i j a b c d e f g h i j", 0.5),
        ("distinct_word_fraction", "a A b", 2 / 3),
        ("distinct_word_fraction", "好好学", 2 / 3),
        ("loop_fraction", "It is so. " + "no more tea " * 5, 15 / 18),
        ("loop_fraction", "真的。" + "不要再说了" * 4, 20 / 22),
        ("loop_fraction", "No, no, no.", 0.0),
        ("longest_run", "hellooooo", 5),
        ("longest_run", "哈哈哈", 3),
        ("longest_run", "-----", 0),
        ("unclosed_maths", "Thus $$x = 1", True),
        ("unclosed_maths", "So $$-13r = 4r$$Adding gives r.", False),
        ("unclosed_maths", "My pa$$word is long", False),
        ("unclosed_maths", "所以 \\[x = 1", True),
        ("unclosed_maths", "\\begin{align} x \\end{align} and $$y$$ and \\(z\\) for $5", False),
        ("unclosed_json", '{"a": [1, 2', True),
        ("unclosed_json", '{"名": "茶", "价', True),
        ("unclosed_json", '{"a": "}"}', False),
        ("unclosed_json", "[Verse 1] (la la", False),
        ("unclosed_table", "| a | b |\n|---|---|\n| 1 | 2", True),
        ("unclosed_table", "| 甲 | 乙 |\n|---|---|\n| 一 |", False),
        ("unclosed_list", "1. tea\n2.", True),
        ("unclosed_list", "1. 茶\n2.", True),
        ("unclosed_list", "The answer is 42.", False),
        ("mark_fraction", "a!?.", 0.75),
        ("mark_fraction", "好，，，", 0.75),
        ("symbol_fraction", "好=＋=", 0.75),
        ("letter_word_fraction", "一 2 三 4", 0.5),
        ("script_change_fraction", "tea чай tea чай", 0.75),
        ("script_change_fraction", "我用GPT写", 2 / 4),
        ("rare_han_fraction", "浣犲ソ锛屼笘鐣", 6 / 7),
        ("rare_han_fraction", "你好，世界", 0.0),
        ("rare_han_fraction", "您好，請問臺灣在哪裡", 0.0),
        ("pinyin_fraction", "wǒ hěn hǎo", 2 / 3),
        ("pinyin_fraction", "ni3 hao3 ma", 1 / 3),
        ("pinyin_fraction", "num1, num2 和 v2 v3", 1 / 5),
        ("toneless_pinyin_fraction", "bei jing shi zhong guo de shou du, ye hen da", 1.0),
        ("toneless_pinyin_fraction", "bei jing 是中国的首都，也是一座历史悠久的城市", 0.0),
        ("toneless_pinyin_fraction", "the men can run home soon, then fan he long", 0.0),
        ("toneless_pinyin_fraction", "Wang Wei, Li Na, Zhang Min, Liu Yang, Chen Jing, Zhao Lei", 0.0),
        ("toneless_pinyin_fraction", "a = [1, 4, 9, 16, 25, 36, 49, 64]", 0.0),
        ("base64_fraction", "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24s", 1.0),
        ("base64_fraction", "supercalifragilisticexpialidociousandmorelowerletters", 0.0),
        ("base64_fraction", "字" * 64, 0.0),
        ("invalid_python", "```python\nprint(1\n```", 1),
        ("invalid_python", "代码：\n```py\nx = = 1\n```\n和\n```python\nx = 1\n```", 1),
        ("invalid_python", "```python\n>>> 1 +\n```\n```js\nlet x = ;\n```", 0),
        ("invalid_python", "```python\n" + "(" * 3_000 + "\n```", 0),
        ("invalid_python", '```python\nprint("\\d")\n```', 0),
        ("role_markers", "你好，用户：", 0),
        ("refusals", "按照要求，答案是四。", 0),
        ("ai_disclaimers", "人工智能是一门学科。", 0),
        ("placeholders", "无论如何", 0),
        ("template_holes", "他说（顺便）很好", 0),
    ],
)
def test_measure_of_a_response(measure: str, response: str, expected: object) -> None:
    assert of_response(measure, response) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("measure", "instruction", "expected"),
    [
        ("placeholders", "Write a letter.\nNo input", 1),
        ("placeholders", "写一封信。\n无输入", 1),
        ("missing_media", "Describe the attached photo.", 1),
        ("missing_media", "描述下面的图片。", 1),
        ("missing_media", "[image of a lake]", 1),
        ("missing_media", "Design a logo for a bakery.", 0),
        ("url_only_input", "Summarise this article.\nhttps://example.com/article", True),
        ("url_only_input", "Summarise https://example.com/article in one line.", False),
        ("urls", "无", 0),
    ],
)
def test_measure_of_an_instruction(measure: str, instruction: str, expected: object) -> None:
    assert of_instruction(measure, instruction) == expected


@pytest.mark.parametrize(
    ("measure", "text", "expected"),
    [
        ("replacement_characters", "a\ufffdb", 1),
        ("control_characters", "a\x1ab\x80\tc\r\n", 2),
        ("private_use_characters", "\ue000", 1),
        ("private_use_characters", "好", 0),
        ("replacement_characters", "中\ufffd文\ufffd", 2),
        ("control_characters", "中文\x07", 1),
        ("mojibake", "▁The▁quick▁brown▁fox", 1),
        ("mojibake", "<0xE4><0xBD><0xA0>我是", 1),
        ("mojibake", "the [UNK] [UNK] of [PAD]", 1),
        ("mojibake", "A bar ▁▂▃▄ and 0xE4, [CLS] begins a text.", 0),
        ("han_faults", "中é文", 1),
        ("han_faults", "⼀⺀", 2),
        ("han_faults", "亻尔女子，我可以帮忄尔。", 2),
        ("han_faults", "café 馆, é中", 0),
        ("han_faults", "常见的偏旁有：亻（单人旁）、氵、扌、艹。", 0),
        ("mojibake", "2012—∞, l’été, “5×£35”", 0),
        ("mojibake", "Ð\x9fÑ\x80Ð¸Ð²ÐµÑ\x82", 6),
        ("scripts", "plain", 1),
        ("html_remains", "第一&nbsp;段<br>第二段", 2),
        ("mixed_script_words", "中Ж文a", 0),
        ("mojibake", "voilÃ\xa0 le cafÃ©", 2),
        ("mojibake", "a â€“ b", 1),
        ("mojibake", "鐨勫 锟斤拷", 2),
        ("mojibake", "voilà le café, naïve Übergröße, São Paulo", 0),
        ("mojibake", "你好，世界。日本語もね", 0),
        ("mojibake", "Быстрая лисица", 0),
        ("mixed_script_words", "рaypal", 1),
        ("mixed_script_words", "5 μm, Δx", 0),
        ("scripts", "hello 你好 привет", 3),
        ("html_remains", "<div>a &amp; b</div>", 3),
        ("html_remains", "if a < b and c > d", 0),
    ],
)
def test_measure_of_a_whole_text(measure: str, text: str, expected: object) -> None:
    assert of_text(measure, text) == expected


@pytest.mark.parametrize(
    "messages",
    [
        (Message("system", "<|eos|>"), Message("user", "a")),
        (Message("user", "a <|startoftext|> b"),),
        (Message("user", "a"), Message("assistant", "b", reasoning="<|extra_0|>")),
        (Message("user", "a"), Message("assistant", "", tool_calls=(ToolCall("f", '{"x": "<|extra_4|>"}'),))),
        (Message("user", "a"), Message("assistant", ""), Message("tool", "<|extra_5|>", tool_call_id="1")),
    ],
)
def test_control_tokens_are_found_in_every_part_of_a_message(messages: tuple[Message, ...]) -> None:
    assert of_messages("control_tokens", *messages) == 1


def test_control_tokens_are_found_in_tool_definitions_and_not_elsewhere() -> None:
    assert of_messages("control_tokens", Message("user", "a"), tools='["<|eos|>"]') == 1
    assert of_messages("control_tokens", Message("user", "<|extra_1|> <eos> <|im_end|>")) == 0


@pytest.mark.parametrize(
    ("roles", "broken"),
    [
        ("user", False),
        ("system user assistant", False),
        ("user assistant user", False),
        ("user assistant tool assistant", False),
        ("user assistant tool tool", False),
        ("assistant user", True),
        ("user user", True),
        ("user assistant assistant", True),
        ("user system assistant", True),
        ("system", True),
        ("user tool", True),
    ],
)
def test_role_order(roles: str, broken: bool) -> None:
    assert of_messages("role_order_broken", *(Message(role, "x") for role in roles.split())) is broken


def test_turns_and_empty_turns() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("f", "{}"),))
    assert of_messages("empty_turns", Message("user", " \n"), call) == 1
    assert of_messages("turns", Message("system", "s"), Message("user", "u"), call) == 2


def test_finish_reason_length() -> None:
    cut = Conversation("respond", (Message("user", "a"), Message("assistant", "b")), finish_reason="length")
    done = Conversation("respond", (Message("user", "a"), Message("assistant", "c")), finish_reason="stop")
    unknown = Conversation("dataset", (Message("user", "a"),))
    found = rules.measures(conversations_frame([cut, done, unknown]))["finish_length"]
    assert found.to_list() == [True, False, False]


def test_an_answer_that_copies_its_question() -> None:
    question = "Name the seven colours that the rainbow shows from outside to inside"
    found = rules.measures(
        frame(
            (question, question.upper()), (question, "Red, then six more."), ("问题是什么呢", "问题是什么呢")
        )
    )
    assert found["response_copied_fraction"].to_list() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("measure", "instruction", "response", "expected"),
    [
        ("invalid_json", "Return the result in JSON format.", "The result is 4.", True),
        ("invalid_json", "Return the result in JSON format.", 'Here:\n```json\n{"a": 4}\n```', False),
        ("invalid_json", "请以JSON格式输出。", '{"名": "茶",}', True),
        ("invalid_json", "请以JSON格式输出。", '[{"名": "茶"}]', False),
        ("invalid_json", "Convert this JSON to YAML.", "a: 4", None),
        ("invalid_json", "如何用Python解析JSON？", "调用 json.loads 即可。", None),
        ("invalid_json", "用JSON格式输出。", "名字是茶。", True),
        ("invalid_json", "Return JSON only.", "[" * 10_000, True),
        ("invalid_json", "Return JSON only.", "2 names: Ann and Bob.", True),
        ("invalid_json", "Return JSON only.", 'Here it is: {"name": "Ann"}. Enjoy.', False),
        ("invalid_json", "Write a script to convert CSV to JSON.", "```python\nimport csv\n```", None),
        ("other_language", "Answer in French: what is tea?", "Tea is a drink made of leaves.", True),
        (
            "other_language",
            "Answer in French: what is tea?",
            "Le thé est une boisson faite de feuilles.",
            False,
        ),
        ("other_language", "用英文回答：茶是什么？", "茶是一种用叶子做的饮料。", True),
        ("other_language", "用英文回答：茶是什么？", "Tea is a drink made of leaves.", False),
        ("other_language", "What is French tea?", "Tea is a drink made of leaves.", None),
        ("items_off", "List five ways to make tea.", "1. a\n2. b\n3. c", -2),
        ("items_off", "List five ways to make tea.", "Boil it.", None),
        ("items_off", "列出三个优点。", "1. 甲\n2. 乙\n3. 丙", 0),
        ("items_off", "列出喝茶的五个好处。", "1. 甲\n2. 乙\n3. 丙", -2),
        ("items_off", "给我四个旅行目的地推荐。", "- 北京\n- 西安", -2),
        ("items_off", "列出十年来的三个变化。", "1. 甲\n2. 乙\n3. 丙", None),
        ("items_off", "列出一些优点。", "1. 甲\n2. 乙\n3. 丙", None),
        ("items_off", "List two ways to make tea.", "1. Boil:\n   - water\n   - milk\n2. Steep.", 0),
        ("items_off", "List two ways to make tea.", "1. Boil:\n- water\n- milk\n2. Steep.\n3. Drink.", 1),
        ("items_off", "List two ways to make tea.", "1. a\n1. b\n1. c", 1),
        ("items_off", "List two ways to make tea.", "1. a\n2. b\n\nAlso:\n1. c\n2. d", None),
        ("items_off", "List three names and two places.", "- a\n- b\n- c\n- d\n- e", None),
        ("items_off", "推荐3本书，各两条理由。", "1. 甲\n2. 乙\n3. 丙\n4. 丁", None),
        ("template_holes", "Write a template for a letter.", "Dear [Your Name],", 0),
        ("template_holes", "Write a letter.", "Dear [Your Name],", 1),
        ("missing_media", "What is the area?", "[asy]draw((0,0)--(1,1));[/asy] See the figure above.", 0),
        ("missing_media", "Count them.", "See the figure above.", 2),
        ("missing_media", "List the files.", "print([file for file in files])", 0),
        (
            "mirrored_fraction",
            "def f(a, b):\n    # adds a and b to c",
            "def f(a, b):\n    # adds a and b to c",
            0,
        ),
        ("same_words", "Say: good tea!", "say good tea", True),
        ("same_words", "说：好茶！", "说好茶", True),
        ("same_words", "Say tea.", "Tea.", False),
        ("echoed_fraction", "What is the best tea in the world", "The best tea in the world is green.", 0.5),
        ("echoed_fraction", "世界上最好的茶", "世界上最好的茶是绿茶", 1.0),
        ("echoed_fraction", "世界上最好的茶", "绿茶", 0.0),
        (
            "mirrored_fraction",
            "Correct this: we was at the old mill by the tea room.",
            "We was at the old mill.",
            0.25,
        ),
        ("mirrored_fraction", "世界上最好的茶", "世界上最好的茶是绿茶", 0.5),
    ],
)
def test_measure_of_an_answer_to_a_question(
    measure: str, instruction: str, response: str, expected: object
) -> None:
    assert rules.measures(frame((instruction, response)))[f"response_{measure}"].item() == expected


@pytest.mark.parametrize(
    ("measure", "responses", "innocent"),
    [
        (
            "role_markers",
            (
                *(
                    "Tea is hot.<|im_end|>",
                    "Tea.<|eot_id|>",
                    "茶很烫。<|end|>",
                    "<|channel|>final<|message|>Tea.",
                ),
                *(
                    "Tea.<|END_OF_TURN_TOKEN|>",
                    "茶。<｜end▁of▁sentence｜>",
                    "Tea.<｜User｜>And you?",
                    "Tea is hot.</s>",
                ),
                *(
                    "<s>Tea is hot.",
                    "茶很烫。<eos>",
                    "Tea.<extra_id_0>",
                    "茶。<reserved_106>",
                    "[gMASK]茶",
                    "[TOOL_CALLS][]",
                ),
                *(
                    "[|Human|] ok [|AI|] Good.",
                    "茶。\n<用户>还有呢？<助手>没有。",
                    "<end_of_turn>",
                    "<human>: Tea?",
                ),
                "Below is an instruction that describes a task. Write tea.",
            ),
            (
                *(
                    "A strike is <s>old</s> HTML.",
                    "Use <b>tea</b> | <i>milk</i>.",
                    "f <|> g is a choice.",
                    "a <- b || c",
                ),
                *(
                    "列出<s>旧的</s>价格。",
                    "The user has a bot; the human speaks: tea.",
                    "[user] is a field, [ai] another.",
                ),
            ),
        ),
        (
            "template_holes",
            (
                *("Dear {name}, it's ready.", "Hello ${user}, welcome!", "Dear <first name>, tea is ready."),
                *(
                    "关于{主题}，这里有几点。",
                    "尊敬的【客户姓名】先生：",
                    "亲爱的{{姓名}}，茶好了。",
                    "Best,\n[Your Name]",
                ),
            ),
            (
                *(
                    "print(f'{name} has tea')",
                    "Write `{{ name }}` in Jinja.",
                    "<p>{{ user.name }}</p>",
                    "Press [Enter].",
                ),
                *(
                    "在Vue里写 `{{ message }}`。",
                    "集合写作{1, 2}。",
                    "\\frac{{a}}{{b}}",
                    "row[date] = data[company]",
                ),
            ),
        ),
        (
            "refusals",
            (
                *(
                    "I'd rather not discuss that topic.",
                    "I won't be able to help with that.",
                    "恕我无法提供。",
                ),
                *("It is not appropriate for me to answer this.", "I am not comfortable writing that."),
                *("You forgot to include the text.", "No text was provided.", "您没有提供文章内容，请补充。"),
                *("请提供您想要总结的文本。", "请把需要翻译的内容发给我。", "您的问题涉及隐私，我无法作答。"),
                *("这个问题超出了我的能力范围。", "不好意思，这个问题我没办法回答。", "I can't help."),
            ),
            (
                *(
                    "Tom said, \"I'm sorry, I can't come.\"",
                    "小明说：“对不起，我不能去。”",
                    "I can't help but smile.",
                ),
                *(
                    "很抱歉给您带来不便，茶已寄出。",
                    "If the pot is empty, it cannot boil.",
                    "没电时汽车无法启动。",
                ),
                *("The article did not give a date.", "企鹅不会飞，也不能游得很远。"),
            ),
        ),
        (
            "missing_media",
            (
                *("The attached file has all of it.", "从上图可以看出，茶涨价了。", "[image of a pot]"),
                *("Click the link below to read more.", "详情请点击下方链接。", "Follow this link for tea."),
            ),
            (
                "dfs(graph, start)",
                "list(map(f, x))",
                "A chart has axes.",
                "图表有两条轴。",
                "点击链接时要小心。",
            ),
        ),
        ("ai_disclaimers", ("身为一个AI，我不喝茶。", "作为一名AI助手，我不喝茶。"), ("AI助手可以写作。",)),
    ],
)
def test_phrases(measure: str, responses: tuple[str, ...], innocent: tuple[str, ...]) -> None:
    """Each finds what it is for, by its anchors too, and not what looks like it."""
    found = rules.measures_of_texts(pl.Series([*responses, *innocent]))[f"response_{measure}"].to_list()
    assert [text for text, n in zip(responses, found, strict=False) if not n] == []
    assert [text for text, n in zip(innocent, found[len(responses) :], strict=True) if n] == []


def test_markup_is_no_remains_where_it_was_asked_for() -> None:
    page = "<html><body><p>Tea</p></body></html>"
    asked = ("Write a HTML page about tea.", "写一个HTML网页。", "写一个关于茶的网页。", "Make my website.")
    found = rules.measures(frame(*((one, page) for one in asked), ("Describe tea.", page)))["html_remains"]
    assert found.to_list() == [0, 0, 0, 0, 6]


def test_every_measure_is_documented_typed_and_null_without_a_response() -> None:
    judged = rules.measures(frame(("Only an instruction.", None)))
    assert len(judged.columns) - 1 == len(rules.COLUMNS) - len(JUDGEMENT_KEY) > 25
    for name, dtype in judged.schema.items():
        assert dtype == rules.COLUMNS[name], name
        if name != "record_id":
            assert (judged[name].item() is None) == name.startswith("response_"), name
    alone = rules.measures_of_texts(pl.Series(["A text.", None]))
    for name in alone.columns:
        needs_turns = ("turns", "empty_turns", "role_order_broken", "control_tokens", "finish_length")
        needs_question = ("response_invalid_json", "response_other_language", "response_items_off")
        null = name.startswith("instruction_") or name in (*needs_turns, *needs_question)
        assert (alone[name][0] is None) == null, name
        assert alone[name][1] is None, name
    for family in rules.MEASURES.values():
        assert family
        assert all(rule.doc for rule in family)


def test_conservation_and_schema() -> None:
    conversations = frame(*[(f"instruction {i}", f"answer {i}" if i % 2 else None) for i in range(20)])
    for batch in (conversations, conversations.head(0)):
        output = asyncio.run(rules.STAGE.run(batch, rules.RulesSettings(), None))
        assert output.rows.schema == rules.STAGE.columns
        assert output.rows["record_id"].to_list() == batch["record_id"].to_list()
        assert output.rows["judge"].unique().to_list() in (["rules"], [])
        assert output.rejects.is_empty()


def test_a_row_is_measured_alike_alone_and_in_a_batch() -> None:
    conversations = random_conversations(200)
    together = rules.measures(conversations)
    alone = pl.concat([rules.measures(conversations.slice(i, 1)) for i in range(0, 200, 10)])
    assert together.gather_every(10).equals(alone)


def random_conversations(count: int) -> pl.DataFrame:
    """Random text of all planes, controls, pieces of markup and CJK; surrogates cannot be in a frame."""
    rng = random.Random(7)
    pieces = [
        "```",
        '"',
        "“",
        "(",
        "\n",
        "\n\n",
        " ",
        "的",
        "。",
        "{{",
        "<|eos|>",
        "https://",
        "Ã©",
        "\x00",
        "…",
    ]

    def text() -> str:
        letters = [
            rng.choice(pieces)
            if rng.random() < 0.3
            else chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
            for _ in range(rng.choice([0, 1, 5, 50, 300]))
        ]
        return "".join(letters)

    return frame(*[(text(), rng.choice([None, text()])) for _ in range(count)])


def test_random_unicode_is_measured_without_a_crash() -> None:
    judged = rules.measures(random_conversations(2_000))
    assert judged.height == 2_000
    fractions = [name for name in judged.columns if name.endswith("_fraction")]
    for name in fractions:
        assert judged[name].drop_nulls().is_between(0, 1).all(), name


@pytest.mark.parametrize(
    "unit", ["word ", "字", "[", '{"a":', "```python\n(\n", "\n", "<", "Ã©", "https://a.example/", "I can't "]
)
def test_ten_megabytes_are_measured(unit: str) -> None:
    text = unit * (10_000_000 // len(unit.encode()))
    judged = rules.measures(frame((text, text), ("Return JSON. Answer in French.", text)))
    assert judged["response_characters"].to_list() == [len(text)] * 2


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_mojibake_of_ftfy_is_found_and_its_negatives_left_alone() -> None:
    cases = [
        case
        for name in ("in-the-wild", "synthetic", "negative")
        for case in json.loads((LABELLED / "garbled" / f"ftfy_{name}.json").read_text("utf-8"))
    ]
    garbled = [
        case["original"] != case.get("fixed-encoding", case["fixed"]) or "hopeless" in case["label"]
        for case in cases
    ]
    found = rules.measures(frame(*[(case["original"], None) for case in cases]))
    flagged = (
        found["mojibake"] + found["replacement_characters"] + found["control_characters"] > 0
    ).to_list()
    assert [
        case["original"] for case, bad, flag in zip(cases, garbled, flagged, strict=True) if bad and not flag
    ] == []
    # A real control character; as mojibake it is not counted.
    wrong = [
        case["original"] for case, bad, flag in zip(cases, garbled, flagged, strict=True) if flag and not bad
    ]
    assert wrong == ["Here's a control character: \x1a"]


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
@pytest.mark.parametrize(
    ("flag", "measure", "precision"),
    [
        ("noinput_placeholder", "instruction_placeholders", 0.85),
        ("url_only_input", "instruction_url_only_input", 1.0),
        ("attachment_input", "instruction_missing_media", 0.35),
        ("na_output", "response_placeholders", 0.5),
        ("merged_instruction", "response_role_markers", 0.5),
    ],
)
def test_defects_of_alpaca_are_found(flag: str, measure: str, precision: float) -> None:
    lines = (LABELLED / "instructions_defects" / "alpaca_raw_rows_3252-9407_labelled.jsonl").read_text(
        "utf-8"
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    found = rules.measures(
        frame(*[(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in rows])
    )
    flagged = (found[measure].cast(pl.Int64) > 0).to_list()
    labelled = [flag in row["rule_flags"] for row in rows]
    hits = sum(a and b for a, b in zip(flagged, labelled, strict=True))
    assert hits == sum(labelled)
    assert hits / sum(flagged) >= precision


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_no_phrase_is_missed_for_want_of_an_anchor() -> None:
    texts = [
        text
        for path in sorted(LABELLED.rglob("*.jsonl"))
        if path.stat().st_size < 2_000_000
        for line in path.read_text("utf-8").split("\n")
        if line
        for text in json.loads(line).values()
        if isinstance(text, str)
    ]
    found = rules.measures_of_texts(pl.Series(texts))
    column = pl.DataFrame({"text": texts})
    drawn = column.select(count_matches(pl.col("text"), "drawn_media")).to_series() > 0
    assert drawn.any()
    for name, measure in (
        ("refusals", None),
        ("ai_disclaimers", "ai_disclaimers"),
        ("placeholders", "placeholders"),
        ("missing_media", "missing_media"),
        ("role_markers", "role_markers"),
        ("template_holes", "template_holes"),
        ("web_notices", "web_notices"),
        ("lorem_ipsum", "lorem_ipsum"),
        ("urls", "urls"),
        ("html", None),
    ):
        text = pl.col("text").str.slice(0, 300) if name == "refusals" else pl.col("text")
        searched = column.select(count_matches(text, name)).to_series()
        if name == "missing_media":  # a text that brings its figures along misses none
            searched = searched.zip_with(~drawn, pl.zeros(len(drawn), searched.dtype, eager=True))
        by_anchor = found["html_remains" if name == "html" else f"response_{measure or name}"]
        missed = (searched != by_anchor).arg_true()
        assert not len(missed), (name, texts[missed[0]])
        assert searched.sum() > 0, name


def test_leaving_out_plain_ascii_changes_no_sign_of_mojibake(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(28)
    pieces = (
        "Ã©",
        "â€™",
        "plain words, more than eight",
        "tea",
        " ",
        "\n",
        "é",
        "中文",
        "\x1a",
        "ï¿½",
        "Â ",
        "£",
    )
    texts = ["".join(draw.choices(pieces, k=draw.randrange(1, 25))) for _ in range(3_000)]
    short = [garbling._signs(text, 0) for text in texts]
    monkeypatch.setattr(garbling, "_ASCII", re.compile(r"(?!)()()"))
    assert [garbling._signs(text, 0) for text in texts] == short
    assert sum(map(bool, short)) > 500
