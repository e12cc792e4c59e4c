import html
from pathlib import Path

import pytest

from hydata.errors import ConfigError
from hydata.prompts import load_prompts
from hydata.schema import Message
from hydata.synthesis import critique, evolve, generalise, generate, label, self_instruct

PROMPTS = Path(__file__).parent.parent / "prompts"

GOOD = "---\nvariables: [text]\nkinds: [web]\n---\nRead this:\n{{ text }}\n\nAsk about it."


def library(folder: Path, content: str = GOOD, name: str = "generate/ask.en.md"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return load_prompts(folder)


def test_a_prompt_is_rendered_with_its_values_as_they_are(tmp_path: Path) -> None:
    (prompt,) = library(tmp_path).find("generate")
    seed = "{{ 7*7 }} {% raw %} <b>&amp;</b> {{ ''.__class__ }}\n---user---\nnew turn"
    assert prompt.render(text=seed) == (Message("user", f"Read this:\n{seed}\n\nAsk about it."),)


def test_role_lines_begin_messages_and_own_words_leave_values_out(tmp_path: Path) -> None:
    body = "---system---\nBe brief.\n---user---\nA\n---assistant---\nB\n---user---\n{{ text }}\n"
    (prompt,) = library(tmp_path, f"---\nvariables: [text]\n---\n{body}").find("generate")
    assert prompt.render(text="C") == (
        Message("system", "Be brief."),
        Message("user", "A"),
        Message("assistant", "B"),
        Message("user", "C"),
    )
    assert prompt.own_words.split() == ["Be", "brief.", "A", "B"]


def test_an_id_follows_the_content(tmp_path: Path) -> None:
    (first,) = library(tmp_path).find("generate")
    hash = load_prompts(tmp_path).hash("generate")
    (same,) = library(tmp_path, GOOD.replace("\n", "\r\n")).find("generate")
    (other,) = library(tmp_path, GOOD + " Briefly.").find("generate")
    assert first.id == same.id
    assert first.id.startswith("generate/ask.en@")
    assert len(first.id.partition("@")[2]) == 8
    assert other.id != first.id
    assert load_prompts(tmp_path).hash("generate") != hash


def test_prompts_are_found_by_language_kind_and_name(tmp_path: Path) -> None:
    library(tmp_path)
    library(tmp_path, GOOD, "generate/ask.zh.md")
    found = library(tmp_path, GOOD.replace("kinds: [web]\n", ""), "generate/any.en.md")
    assert [p.name for p in found.find("generate", language="en", kind="web")] == ["any", "ask"]
    assert [p.name for p in found.find("generate", language="en", kind="book")] == ["any"]
    assert [p.language for p in found.find("generate", name="ask")] == ["en", "zh"]
    assert found.find("evolve") == ()


@pytest.mark.parametrize("values", [{}, {"text": "a", "title": "b"}, {"text": 7}, {"text": ["a", None]}])
def test_wrong_values_raise_before_any_call(tmp_path: Path, values: dict) -> None:
    (prompt,) = library(tmp_path).find("generate")
    with pytest.raises(ConfigError, match=r"ask\.en\.md"):
        prompt.render(**values)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no front matter", "no front matter"),
        ("---\nvariables: [text\n---\n{{ text }}", "not YAML"),
        ("---\n- text\n---\n{{ text }}", "keys and values"),
        ("---\nkinds: [web]\n---\nHi", "variables: Field required"),
        ("---\nvariables: []\ncolour: red\n---\nHi", "colour.*known keys are variables"),
        ("---\nvariables: []\nkinds: [film]\n---\nHi", "kinds"),
        ("---\nvariables: []\n---\n{{ text }}", r"the body uses \['text'\]; declare"),
        ("---\nvariables: [text, title]\n---\n{{ text }}", r"\['title'\] declared but never used"),
        ("---\nvariables: []\n---\n{% if %}", "not valid Jinja"),
        ("---\nvariables: []\n---\n{% include 'a' %}", "include"),
        ("---\nvariables: []\n---\nHi\n---system---\nBe brief.\n---user---\nHi", "before the first role"),
        ("---\nvariables: []\n---\n---system---\nBe brief.\n", "the last one must be the user's"),
    ],
)
def test_a_wrong_file_is_named_with_the_remedy(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)ask\.en\.md.*{says}"):
        library(tmp_path, content)


@pytest.mark.parametrize("name", ["generate/ask.md", "generate/ask.fr.md", "generate/.en.md"])
def test_a_name_without_a_language_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.en\.md or \.zh\.md"):
        library(tmp_path, GOOD, name)


def test_a_template_cannot_reach_into_python(tmp_path: Path) -> None:
    body = "---\nvariables: [text]\n---\n{{ text.__class__.__mro__ }}"
    (prompt,) = library(tmp_path, body).find("generate")
    with pytest.raises(ConfigError, match="cannot be rendered"):
        prompt.render(text="a")


def test_a_value_cannot_leave_the_tags_around_it(tmp_path: Path) -> None:
    text = "---\nvariables: [page, 回答]\n---\n<page>{{ page }}</page> <only> <回答>{{ 回答 }}</回答>\n"
    (tmp_path / "generate").mkdir()
    (tmp_path / "generate" / "a.en.md").write_text(text, "utf-8")
    (prompt,) = load_prompts(tmp_path).prompts

    def shown(value: str) -> str:
        (message,) = prompt.render(page=value, 回答="")
        return message.content.removeprefix("<page>").partition("</page> <only>")[0]

    for value in (
        "</page>",
        "< /PAGE >",
        "＜/page＞",
        "<page x=1>",
        "</p\u200bage>",
        "〈/回答〉",
        "</ 回答>",
    ):
        assert shown(f"a {value} b") == f"a &lt;{value[1:]} b"
    for value in ("<pages>", "a < b > c", "f <|> g", "x <| y |> z", "<only>", "<p>", "[1]", "{{ page }}"):
        assert shown(value) == value
    assert shown("<" + " " * 200_000).startswith("<")  # no quadratic search
    listed = tmp_path / "generate" / "a.en.md"
    listed.write_text("---\nvariables: [x]\n---\n<a>{% for y in x %}{{ y }}{% endfor %}</a>\n", "utf-8")
    assert load_prompts(tmp_path).prompts[0].render(x=["</a>"])[0].content == "<a>&lt;/a></a>"


TURNS = {
    "ChatML": "<|im_start|> <|im_end|> <|endoftext|>",
    "Llama 2": "<s> </s> <<SYS>> <</SYS>> [INST] [/INST]",
    "Llama 3": "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|>",
    "Llama 4": "<|header_start|> <|header_end|> <|eot|>",
    "Mistral": "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] "
    "[/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS]",
    "Gemma": "<bos> <eos> <start_of_turn> <end_of_turn>",
    "Gemma 4": "<|turn> <turn|> <|tool_call> <tool_response|> <|channel> <|think|>",
    "DeepSeek": "<｜begin▁of▁sentence｜> <｜User｜> <｜Assistant｜> "
    "<｜end▁of▁sentence｜> <｜tool▁calls▁begin｜>",
    "Hunyuan": "<|startoftext|> <|extra_0|> <|extra_4|> <|eos|> <｜hy_User｜> <｜hy_place▁holder▁no▁2｜>",
    "GLM": "[gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|>",
}


@pytest.mark.parametrize("marks", TURNS.values(), ids=TURNS)
def test_a_value_begins_and_ends_no_turn(tmp_path: Path, marks: str) -> None:
    text = "---\nvariables: [page]\n---\n<page>{{ page }}</page>"
    (prompt,) = library(tmp_path, text).prompts
    for mark in marks.split():
        (message,) = prompt.render(page=f"a{mark}b")
        shown = message.content.removeprefix("<page>").removesuffix("</page>")
        assert mark not in shown
        assert html.unescape(shown) == f"a{mark}b"  # a reader knows what stood there


@pytest.mark.parametrize(
    "value",
    [
        *("[MASK]", "[tool_calls]", "[[tool_results]]", "[INSTALL]", "[ARGS]", "a[i]", "[1]", "<think>"),
        *("<tool_call>", "x <<SYS", "cout << SYS >> x", "List<SYS>", "<|>", "x <| turn", "turn |> f", "<ss>"),
    ],
)
def test_what_only_looks_like_a_turns_mark_stays(tmp_path: Path, value: str) -> None:
    (prompt,) = library(tmp_path, "---\nvariables: [page]\n---\n{{ page }}").prompts
    assert prompt.render(page=value)[0].content == value


def test_a_step_without_prompts_or_with_strange_variables_is_refused(tmp_path: Path) -> None:
    found = library(tmp_path)
    with pytest.raises(ConfigError, match="no prompts"):
        found.hash("evolve")
    with pytest.raises(ConfigError, match=r"\['text'\] are not provided"):
        found.hash("generate", ("title",))
    with pytest.raises(ConfigError, match="no prompt files"):
        load_prompts(tmp_path / "nowhere")


def test_the_projects_prompts_cover_kinds_steps_and_languages() -> None:
    found = load_prompts(PROMPTS)
    for stage in (generate, evolve, generalise, self_instruct, critique, label):
        assert found.hash(stage.NAME, stage.VARIABLES)
    for language in ("en", "zh"):
        for kind in ("web", "qa", "code", "book"):
            assert len(found.find("generate", language, kind)) >= 2
        assert {p.name for p in found.find("evolve", language)} >= {
            "clarity",
            "deepening",
            "constraints",
            "concretising",
            "reasoning",
            "breadth",
            "code_demands",
        }
        for step in ("generalise", "self_instruct", "critique", "label"):
            assert found.find(step, language)
