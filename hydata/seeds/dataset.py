"""Instruction sets and preference pairs: JSON, JSONL and Parquet, plain, gzip or zstd.

The shapes the field uses, tried in this order on each record (a file may mix them):

    chosen, rejected               a preference pair, after a prompt or a conversation (LLaMA-Factory, HH)
    prompt with replies            an OpenAssistant tree of messages
    messages                       role and content, tool_calls, tool_call_id, reasoning_content
    conversations                  ShareGPT: from and value, system, tools, function_call, observation
    instruction, instances         self-instruct and BELLE seeds: one conversation an instance
    instruction, input, output     Alpaca and Dolly, with system and history
    prompt, response               and completion; question with std_answer or response

A record without an output is an instruction: its last message is the user's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from hydata.schema import Conversation, Item, Message, Preference, Role, ToolCall, canonical_json
from hydata.seeds.head import Head
from hydata.seeds.records import Record, field, licence_of, line_of, number_of, records, text_of
from hydata.seeds.source import BadInput, Columns, SeedSettings, Source

KIND = "dataset"

Messages = tuple[Message, ...]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
INSTRUCTIONS = ("instruction", "prompt", "question", "query", "input")
INPUTS = ("input", "context")
OUTPUTS = ("output", "response", "completion", "std_answer", "answer", "target")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def is_instruction(record: Record, columns: Columns) -> bool:
    """Whether a record is of one of the shapes above, by its fields alone."""
    has = record.keys().__contains__
    if columns.instruction is not None and has(columns.instruction):
        return True
    return (
        (has("chosen") and has("rejected"))
        or any(isinstance(record.get(name), list) for name in ("messages", "conversations", "conversation"))
        or has("instruction")
        or (
            has("prompt")
            and (isinstance(record["prompt"], dict) or any(map(has, ("response", "completion", "output"))))
        )
        or (has("question") and any(map(has, ("std_answer", "response", "output"))))
        or (has("input") and any(map(has, ("output", "target"))))
    )


def detects(head: Head, settings: SeedSettings) -> float:
    return 0.9 if any(is_instruction(record, settings.columns) for record in head.records) else 0.0


def read(source: Source, settings: SeedSettings) -> Iterator[Item]:
    for position, record in records(source, settings.limits):
        if isinstance(record, BadInput):
            yield source.reject(record.reason, record.detail, position)
            continue
        try:
            yield from _items(source, position, record, settings)
        except BadInput as bad:
            yield source.reject(bad.reason, bad.detail, position)


def _items(source: Source, position: int, record: Record, settings: SeedSettings) -> Iterator[Item]:
    columns = settings.columns
    licence = licence_of(record, columns)
    tools = _tools(record.get("tools"))

    def conversation(messages: Messages) -> Conversation:
        turns = tuple(m for m in messages if m.content or m.tool_calls or m.role == "tool")
        if not any(m.role == "user" and m.content for m in turns):
            raise BadInput("empty_record", f"no user turn; fields: {', '.join(map(str, list(record)[:12]))}")
        return Conversation(
            "dataset", turns, uri=source.file, position=position, tools=tools, licence=licence
        )

    if "chosen" in record and "rejected" in record:
        chosen, rejected = (
            conversation(_preferred(record, side, columns)) for side in ("chosen", "rejected")
        )
        if chosen.messages == rejected.messages:
            raise BadInput("equal_pair", "chosen and rejected are the same")
        yield Preference(chosen, rejected, source.file, _margin(record))
        return
    if isinstance(record.get("prompt"), dict):
        for path in _paths(record["prompt"], settings.all_tree_paths):
            yield conversation(path)
        return
    if isinstance(instances := record.get("instances"), list):
        for instance in instances:
            if not isinstance(instance, dict):
                raise BadInput("broken_record", "an instance is not an object")
            yield conversation(_single(record | instance, columns))
        if instances:
            return
    yield conversation(_chat(record) or _single(record, columns))


def _chat(record: Record) -> Messages:
    """The turns of a record that has a list of them, with its system prompt before."""
    turns = next(
        (record[n] for n in ("messages", "conversations", "conversation") if isinstance(record.get(n), list)),
        None,
    )
    if not isinstance(turns, list):
        return ()
    messages = tuple(_message(turn) for turn in turns)
    system = text_of(record.get("system"))
    return (
        (Message("system", system), *messages)
        if system and messages[:1] and messages[0].role != "system"
        else messages
    )


def _message(turn: object) -> Message:
    """One turn, as role and content or as from and value."""
    if not isinstance(turn, dict):
        raise BadInput("broken_record", f"a turn is a {type(turn).__name__}, not an object")
    name = (line_of(turn.get("role", turn.get("from"))) or "").lower()
    if name not in ROLES:
        raise BadInput("unknown_role", repr(name))
    content = _content(turn.get("content", turn.get("value", turn.get("text"))))
    if name in ("function_call", "tool_call"):
        return Message("assistant", "", tool_calls=_calls_of_text(content))
    calls = turn.get("tool_calls")
    return Message(
        ROLES[name],
        content,
        reasoning=text_of(turn.get("reasoning_content") or turn.get("reasoning")) or None,
        tool_calls=tuple(_call(call) for call in calls) if isinstance(calls, list) else (),
        tool_call_id=line_of(turn.get("tool_call_id")),
    )


def _content(value: object) -> str:
    """Content as text; of a list of parts the text parts. A part that is not text (an image) makes the
    record unusable."""
    if not isinstance(value, list):
        return text_of(value)
    parts = []
    for part in value:
        if isinstance(part, dict) and part.get("type", "text") != "text":
            raise BadInput("not_text", f"a part of type {part.get('type')!r}")
        parts.append(text_of(part))
    return "\n".join(parts)


def _calls_of_text(text: str) -> tuple[ToolCall, ...]:
    """ShareGPT's function_call: JSON text of one call, or of a list of them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("broken_tool_call", f"{error}: {text[:200]}") from error
    return tuple(_call(call) for call in (value if isinstance(value, list) else [value]))


def _call(value: object) -> ToolCall:
    """A call as ``{name, arguments}``, or OpenAI's ``{id, function: {name, arguments}}``; arguments that
    are an object become JSON text."""
    outer = value if isinstance(value, dict) else {}
    call = outer["function"] if isinstance(outer.get("function"), dict) else outer
    name, arguments = line_of(call.get("name")), call.get("arguments", call.get("parameters", {}))
    if name is None:
        raise BadInput("broken_tool_call", f"no name in {str(value)[:200]}")
    identifier = line_of(outer.get("id"))
    return ToolCall(name, text_of(arguments) if isinstance(arguments, str) else _json(arguments), identifier)


def _json(value: object) -> str:
    try:
        return text_of(canonical_json(value))
    except RecursionError as error:
        raise BadInput("too_deep", "nested too deeply") from error


def _tools(value: object) -> str | None:
    text = text_of(value) if isinstance(value, str) else _json(value) if value else ""
    return None if text in ("", "[]", "null") else text


def _single(record: Record, columns: Columns) -> Messages:
    """One question and its answer, after what was said before (``history``)."""
    system = text_of(field(record, columns.system, ("system", "system_prompt")))
    instruction = text_of(field(record, columns.instruction, INSTRUCTIONS))
    given = text_of(field(record, columns.input, INPUTS))
    output = text_of(field(record, columns.output, OUTPUTS))
    user = (
        f"{instruction}\n{given}"
        if given and given != instruction and given not in ("<noinput>",)
        else instruction
    )
    messages = [Message("system", system)] if system else []
    history = record.get("history")
    for turn in history if isinstance(history, list) else ():
        if isinstance(turn, (list, tuple)) and len(turn) == 2:
            messages += [Message("user", text_of(turn[0])), Message("assistant", text_of(turn[1]))]
    if user:
        messages.append(Message("user", user))
        if output:
            messages.append(Message("assistant", output))
    return tuple(messages)


def _preferred(record: Record, side: str, columns: Columns) -> Messages:
    """The whole conversation that ends with the chosen or the rejected answer."""
    answer = record[side]
    if isinstance(answer, str) and "\n\nAssistant:" in answer and answer.lstrip().startswith("Human:"):
        return _hh(answer)
    if isinstance(answer, list):
        turns = tuple(_message(turn) for turn in answer)
        if any(turn.role == "user" for turn in turns):
            return turns
    elif isinstance(answer, dict):
        turns = (_message(answer),)
    else:
        turns = (Message("assistant", text_of(answer)),)
    if not any(turn.content or turn.tool_calls for turn in turns):
        raise BadInput("empty_record", f"{side} is empty")
    prompt = record.get("prompt")
    if isinstance(prompt, list):
        return (*(_message(turn) for turn in prompt), *turns)
    if isinstance(prompt, str) and "\n\nAssistant:" in prompt:
        return (*_hh(prompt), *turns)
    return (*(_chat(record) or _single(record, columns)), *turns)


def _hh(text: str) -> Messages:
    """Anthropic's HH text: turns that begin with ``Human:`` and ``Assistant:``."""
    parts = _HH_TURN.split(text.strip())[1:]
    role: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(role[name], content.strip()) for name, content in turns if content.strip())


def _margin(record: Record) -> float | None:
    """How much better the chosen answer was rated, if both have a score."""
    scores = [
        field(record, None, (f"score_{s}", f"{s}_score", f"{s}_rating")) for s in ("chosen", "rejected")
    ]
    if number_of(scores[0]) is None or number_of(scores[1]) is None:
        return None
    return float(str(scores[0])) - float(str(scores[1]))


def _paths(root: object, every: bool) -> Iterator[Messages]:
    """Paths through a tree of replies from the root: the best-ranked reply each time, or all to the
    leaves. Deleted messages are left out; a last turn of the user's that nobody answered is cut off,
    unless it is all there is."""

    def live(node: Record) -> list[Record]:
        replies = node.get("replies")
        found = (
            [r for r in replies if isinstance(r, dict) and not r.get("deleted")]
            if isinstance(replies, list)
            else []
        )
        return sorted(found, key=_rank)

    def finish(path: list[Message]) -> Messages:
        return tuple(path[:-1] if len(path) > 1 and path[-1].role == "user" else path)

    if not isinstance(root, dict):
        raise BadInput("broken_record", "the prompt is not a message")
    seen: set[Messages] = set()
    stack: list[tuple[Record, list[Message]]] = [(root, [])]
    while stack:
        node, before = stack.pop()
        path = [*before, _message(node)]
        replies = live(node)
        if replies:
            stack.extend((reply, path) for reply in reversed(replies if every else replies[:1]))
        elif (found := finish(path)) not in seen:
            seen.add(found)
            yield found


def _rank(reply: Record) -> int:
    """The rank annotators gave, 0 the best; an unranked reply comes last."""
    rank = number_of(reply.get("rank"))
    return 1 << 30 if rank is None else rank
