"""Format: the conversation's own structure, and what leaked into it from prompts, pages and trainers."""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_phrases, measure

_CONTROL_TOKENS = r"<\|(?:startoftext|extra_0|extra_4|extra_5|eos)\|>"

_ROLE_LETTERS = {"system": "s", "user": "u", "assistant": "a", "tool": "t"}
_ROLE_ORDER = r"^s?(?:ua(?:t+a)*)*(?:ua(?:t+a)*|u(?:at+)*)$"


@measure(pl.UInt32)
def control_tokens(text: pl.Expr) -> pl.Expr:
    """Control tokens of the Hunyuan-Large trainer, anywhere in a record: its contents, reasoning, tool
    calls and tool definitions, of any role.

    The trainer finds what to compute the loss on by these tokens, so one inside a text moves the mask.
    """
    turn = pl.element()
    calls = turn.struct.field("tool_calls").list.eval(
        pl.concat_str(
            *(pl.element().struct.field(part) for part in ("id", "name", "arguments")),
            separator="\n",
            ignore_nulls=True,
        )
    )
    parts = pl.concat_str(
        *(turn.struct.field(part) for part in ("role", "content", "reasoning", "tool_call_id")),
        calls.list.join("\n", ignore_nulls=True),
        separator="\n",
        ignore_nulls=True,
    )
    turns = pl.col("messages").list.eval(parts).list.join("\n")
    return pl.concat_str(turns, "tools", separator="\n", ignore_nulls=True).str.count_matches(_CONTROL_TOKENS)


@measure(pl.UInt32)
def empty_turns(text: pl.Expr) -> pl.Expr:
    """User and assistant messages without text and without a tool call."""
    turn = pl.element()
    empty = (
        turn.struct.field("role").is_in(["user", "assistant"])
        & (turn.struct.field("content").fill_null("").str.strip_chars() == "")
        & (turn.struct.field("tool_calls").list.len().fill_null(0) == 0)
    )
    return pl.col("messages").list.eval(empty).list.sum()


@measure(pl.Boolean)
def role_order_broken(text: pl.Expr) -> pl.Expr:
    """Not: at most one system message, then user and assistant in turn, tool results after the
    assistant's call."""
    letters = (
        pl.element().struct.field("role").replace_strict(_ROLE_LETTERS, default="?", return_dtype=pl.String)
    )
    return ~pl.col("messages").list.eval(letters).list.join("").str.contains(_ROLE_ORDER)


@measure(pl.UInt32, "instruction", "response")
def role_markers(text: pl.Expr) -> pl.Expr:
    """Markers of other chat and prompt formats: "### Instruction:", "<|im_start|>", "Human:"."""
    return count_phrases(text, "role_markers")


@measure(pl.UInt32, "instruction", "response")
def template_holes(text: pl.Expr) -> pl.Expr:
    """Holes of a template that nobody filled: "{{ name }}", "[INSERT ...]", （在此插入...）."""
    return count_phrases(text, "template_holes")


@measure(pl.UInt32)
def html_remains(text: pl.Expr) -> pl.Expr:
    """Tags of layout and character entities. Code that is about HTML has them rightly."""
    return count_phrases(text, "html")
