"""Prompts are files: ``prompts/<step>/<name>.<language>.md``, YAML front matter and a Jinja body.

    ---
    variables: [text, title]
    kinds: [book]
    style: question
    ---
    ---system---
    You write exam questions.
    ---user---
    {{ text }}

A line ``---system---``, ``---user---`` or ``---assistant---`` begins a message of that role; a body
without such lines is one user message. Everything is checked when the folder is loaded, so a wrong
prompt never costs a model call. The declared variables are exactly the ones the body uses.

Values are plain text: they are put into the rendered template and never parsed themselves, so template
syntax or a role line inside a seed stays the text it is. Nor can a value leave the tags that a template
puts around it: ``defused`` escapes the template's own tags, and the marks by which models tell turns apart,
wherever they stand in a value. The record itself stays as it is.

A prompt's id carries a hash of its file, so a record tells which wording made it, and an edited prompt
is a different one to every stage that uses it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import ValidationError

from hydata.errors import ConfigError
from hydata.schema import Kind, Message, Role, hash128
from hydata.stage import Settings

Language = Literal["en", "zh"]
Style = Literal["question", "imperative", "multi-constraint", "scenario", "multi-turn"]
"""How a generated instruction is put; ``multi-turn``: as the opening of a conversation that is to go on."""

Complexity = Literal["simple", "moderate", "hard"]
Value = str | Sequence[str]

_ROLE_LINE = re.compile(r"^---(system|user|assistant)---[ \t]*\n", re.MULTILINE)
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


_TAG = re.compile(r"<(/?)\s*([^\W\d][\w-]*)[^<>]*>")
_BRACKET = r"[<\uff1c\ufe64\u2039\u3008]"
_SLASH = r"[/\uff0f]"
# bounded: a hostile value may hold a long run of them
_UNSEEN = r"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]{0,16}"
_GEMMA = r"(?:turn|channel|tool(?:_call|_response)?)"
_TURNS = (
    r"(?=<[|\uff5c][\w\u2581-]{1,40}[|\uff5c]>)<",  # ChatML, Llama 3 and 4, DeepSeek, Hunyuan, GLM
    r"(?=</?s>)<",  # Llama 2, Mistral
    r"(?=<</?SYS>>)<",  # Llama 2
    r"(?=<(?:start|end)_of_turn>|<(?:bos|eos)>)<",  # Gemma to 3
    rf"(?=<\|{_GEMMA}>|<{_GEMMA}\|>)<",  # Gemma 4
    r"(?=<[se]op>)<",  # GLM
    r"(?=\[/?INST\])\[",  # Llama 2, Mistral
    # In capitals alone, as no heading of a configuration is: Mistral; GLM.
    r"(?-i:(?=\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])\[)",
    r"(?-i:(?=\[[gs]MASK\])\[)",
)
"""What begins or ends a turn, a conversation, or its system's or tools' part by the templates of these
models; they take it so wherever it stands. What only marks a place within a turn (``<think>``, ``[IMG]``,
``<tool_call>``, ``[MASK]``) stays: it cannot end the turn, and texts are full of it."""

_ENTITY = {"[": "&#91;"}


class Header(Settings):
    """A prompt's front matter. ``kinds`` are the seed kinds it is written for (none named: any);
    ``families`` are ids of the taxonomy's dimension ``task``, ``domains`` of ``domain`` (``check_labels``);
    by these, ``style`` and ``complexity`` a step may weigh its prompts. A generator's ``style`` is one of
    ``Style``; other steps have words of their own."""

    variables: tuple[str, ...]
    kinds: tuple[Kind, ...] = ()
    families: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    style: str | None = None
    complexity: Complexity | None = None


@dataclass(frozen=True)
class Prompt:
    """One checked prompt file. ``own_words`` is the text of the template itself, without what is
    filled in: a reply that repeats it has leaked the prompt."""

    id: str
    step: str
    name: str
    language: Language
    header: Header
    file: Path
    own_words: str
    hash: str
    marks: re.Pattern[str] = field(repr=False, compare=False)
    parts: tuple[tuple[Role, Template], ...] = field(repr=False, compare=False)

    def render(self, **values: Value) -> tuple[Message, ...]:
        """The messages with ``values`` filled in. A missing or extra variable, or a value that is
        neither text nor a list of texts, raises ``ConfigError``."""
        given, declared = set(values), set(self.header.variables)
        if given != declared:
            raise ConfigError(
                f"{self.file}: rendered with variables {sorted(given)}, but it declares {sorted(declared)}"
            )
        for name, value in values.items():
            # Callers are typed; this guards against a null of a frame, which Jinja would write as "None".
            listed = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
            if not isinstance(value, str) and not listed:
                raise ConfigError(f"{self.file}: variable {name!r} must be text or a list of texts")
        try:
            safe = {name: self._defused(value) for name, value in values.items()}
            return tuple(Message(role, part.render(safe).strip()) for role, part in self.parts)
        except TemplateError as error:
            raise ConfigError(f"{self.file}: cannot be rendered: {error}") from error

    def _defused(self, value: Value) -> Value:
        if isinstance(value, str):
            return defused(value, self.marks)
        return [defused(text, self.marks) for text in value]

    def render_from(self, values: Mapping[str, Value]) -> tuple[Message, ...]:
        """``render`` with those of ``values`` that the prompt declares."""
        return self.render(**{name: values[name] for name in self.header.variables if name in values})


def defused(value: str, marks: re.Pattern[str]) -> str:
    """The value with the first bracket of each of ``marks`` as an entity of HTML, which models read as what
    it stands for and no parser takes for a tag."""
    return marks.sub(lambda found: _ENTITY.get(found[0], "&lt;"), value)


def marks_of(own_words: str) -> re.Pattern[str]:
    """What no value may hold if it is to stay inside a template with these words: the tags that the words
    both open and close, however they are spelt (in capitals, with spaces or invisible characters between,
    in full-width brackets), and the marks of turns in the chat templates of common models, which servers
    turn into control tokens wherever they stand."""
    tags = _TAG.findall(own_words)
    names = sorted({name for slash, name in tags if slash} & {name for slash, name in tags if not slash})
    spelt = (_UNSEEN.join(map(re.escape, name)) for name in names)
    own = [f"{_BRACKET}(?={_UNSEEN}{_SLASH}?{_UNSEEN}(?:{'|'.join(spelt)})(?!\\w))"] if names else []
    return re.compile("|".join((*own, *_TURNS)), re.IGNORECASE)


@dataclass(frozen=True)
class PromptLibrary:
    """All prompts of a folder, in the order of their ids, and its personas by language.

    A persona is a line that says who is asking; prompts that declare the variable ``persona`` get one, so
    that one seed is asked about in as many ways as there are people (Ge et al. 2024, arXiv 2406.20094).
    """

    folder: Path
    prompts: tuple[Prompt, ...]
    personas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find(
        self, step: str, language: str | None = None, kind: str | None = None, name: str | None = None
    ) -> tuple[Prompt, ...]:
        """The prompts of ``step``, in ``language``, fit for seeds of ``kind``, called ``name``."""
        return tuple(
            p
            for p in self.prompts
            if p.step == step
            and language in (None, p.language)
            and (kind is None or not p.header.kinds or kind in p.header.kinds)
            and name in (None, p.name)
        )

    def hash(self, step: str, provides: Collection[str] | None = None) -> str:
        """Hash of every prompt of ``step``, for the identity of the stage that uses them.

        Raises:
            ConfigError: the step has no prompt, or as ``check``.
        """
        found = self.find(step)
        if not found:
            raise ConfigError(f"{self.folder / step}: no prompts; add at least one file <name>.en.md there")
        self.check(step, provides)
        spoken = {p.language for p in found if "persona" in p.header.variables}
        personas = (line for language in sorted(spoken) for line in self.personas[language])
        return hash128(*(part for p in found for part in (p.id, p.hash)), *personas)

    def check(self, step: str, provides: Collection[str] | None = None) -> None:
        """Check the prompts of ``step``, if there are any, against the variables that its stage ``provides``.

        Raises:
            ConfigError: a prompt declares another one, or wants a persona and there are none.
        """
        for prompt in self.find(step):
            unknown = [] if provides is None else sorted(set(prompt.header.variables) - set(provides))
            if provides is not None and unknown:
                raise ConfigError(
                    f"{prompt.file}: variables {unknown} are not provided by the step {step!r}; "
                    f"it offers {sorted(provides)}"
                )
            if "persona" in prompt.header.variables and not self.personas.get(prompt.language):
                file = self.folder / f"personas.{prompt.language}.txt"
                raise ConfigError(f"{prompt.file}: variable 'persona': {file} is missing; write one a line")

    def check_labels(self, known: Mapping[str, Collection[str]]) -> None:
        """Check that ``families`` and ``domains`` of every prompt are labels of the taxonomy, whose ids
        ``known`` gives by dimension.

        Raises:
            ConfigError: names the file, the key and the labels there are.
        """
        for prompt in self.prompts:
            named = {
                "families": ("task", prompt.header.families),
                "domains": ("domain", prompt.header.domains),
            }
            for key, (dimension, labels) in named.items():
                if unknown := sorted(set(labels) - set(known.get(dimension, ()))):
                    there = ", ".join(known.get(dimension, ()))
                    raise ConfigError(
                        f"{prompt.file}: {key}: {unknown} are not in taxonomy/{dimension}.yaml; use {there}"
                    )


def load_prompts(folder: Path) -> PromptLibrary:
    """Every ``<step>/<name>.<language>.md`` under ``folder`` and the personas, one a line, of
    ``personas.<language>.txt``, checked. Raises ``ConfigError``."""
    files = sorted(folder.glob("*/*.md"))
    if not files:
        raise ConfigError(f"{folder}: no prompt files; expected <step>/<name>.<en or zh>.md below it")
    personas = {
        language: _personas(file)
        for language in get_args(Language)
        if (file := folder / f"personas.{language}.txt").exists()
    }
    return PromptLibrary(folder, tuple(sorted((_load(f) for f in files), key=lambda p: p.id)), personas)


def _personas(file: Path) -> tuple[str, ...]:
    lines = (line.strip() for line in _text(file).splitlines())
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if twice := sorted({line for line in found if found.count(line) > 1}):
        raise ConfigError(f"{file}: {twice[0]!r} stands there twice; remove one")
    return found


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 ({error}); save it as UTF-8") from error


def _load(file: Path) -> Prompt:
    name, _, language = file.name.removesuffix(".md").rpartition(".")
    if not name or language not in get_args(Language):
        raise ConfigError(f"{file}: the name must end in .en.md or .zh.md; rename the file")
    text = _text(file)
    header, body = _front_matter(file, text)
    if file.parent.name == "generate" and header.style not in (None, *get_args(Style)):
        raise ConfigError(f"{file}: style: {header.style!r} is none of {', '.join(get_args(Style))}")
    sources = _split(file, body)
    parsed = [_parse(file, source) for _, source in sources]
    used = set().union(*(meta.find_undeclared_variables(tree) for tree in parsed))
    declared = set(header.variables)
    if used - declared:
        raise ConfigError(
            f"{file}: variables: the body uses {sorted(used - declared)}; declare them or remove them"
        )
    if declared - used:
        raise ConfigError(
            f"{file}: variables: {sorted(declared - used)} declared but never used; remove them from the list"
        )
    digest = hash128(text)
    literals = (data.data for tree in parsed for data in tree.find_all(nodes.TemplateData))
    own_words = "\n".join(literals)
    return Prompt(
        id=f"{file.parent.name}/{name}.{language}@{digest[:8]}",
        step=file.parent.name,
        name=name,
        language=cast(Language, language),
        header=header,
        file=file,
        own_words=own_words,
        hash=digest,
        marks=marks_of(own_words),
        parts=tuple((role, _ENVIRONMENT.from_string(source)) for role, source in sources),
    )


def _front_matter(file: Path, text: str) -> tuple[Header, str]:
    pieces = re.split(r"^---[ \t]*\n", text, maxsplit=2, flags=re.MULTILINE)
    if len(pieces) != 3 or pieces[0].strip():
        raise ConfigError(
            f"{file}: no front matter; begin the file with a line '---', YAML keys, and a line '---'"
        )
    try:
        values = yaml.safe_load(pieces[1])
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: the front matter is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: the front matter must be keys and values, at least 'variables: [...]'")
    try:
        return Header.model_validate(values), pieces[2]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        remedy = f"known keys are {', '.join(Header.model_fields)}"
        raise ConfigError(f"{file}: {key}: {first['msg']}; {remedy}") from error


def _split(file: Path, body: str) -> list[tuple[Role, str]]:
    before, *rest = _ROLE_LINE.split(body)
    if not rest:
        parts: list[tuple[Role, str]] = [("user", before)]
    elif before.strip():
        raise ConfigError(
            f"{file}: text before the first role line; begin the body with ---system--- or ---user---"
        )
    else:
        parts = [(cast(Role, role), text) for role, text in zip(rest[::2], rest[1::2], strict=True)]
    if parts[-1][0] != "user" or not all(text.strip() for _, text in parts):
        raise ConfigError(f"{file}: every message needs text and the last one must be the user's")
    return parts


def _parse(file: Path, source: str) -> nodes.Template:
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{file}: the body is not valid Jinja: {error}") from error
    if list(meta.find_referenced_templates(tree)):
        raise ConfigError(f"{file}: include, import and extends are not allowed; write the text out")
    return tree
