"""Length: how much there is of each part, for bounds per language and for counting tokens.

Gopher (Rae et al. 2021, appendix A.1.1) keeps documents of 50 to 100,000 words; instructions and answers
need bounds of their own, which is the policy's business.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import measure
from hydata.curation.words import CJK, word_count


@measure(pl.UInt32, "instruction", "response")
def characters(text: pl.Expr) -> pl.Expr:
    """Unicode code points."""
    return text.str.len_chars()


@measure(pl.UInt32, "instruction", "response")
def words(text: pl.Expr) -> pl.Expr:
    """Words, as ``hydata.curation.words`` defines them: a Chinese character is one."""
    return word_count(text)


@measure(pl.UInt32, "instruction", "response", "text")
def tokens_estimated(text: pl.Expr) -> pl.Expr:
    """Tokens without a tokenizer: 4 characters each, 1.5 where they are Chinese or Japanese.

    Rules of thumb of the vendors of byte-level BPE tokenizers; right to about a fifth on prose,
    too low on code and numbers. For budgets, never for a loss mask.
    """
    cjk = text.str.count_matches(CJK)
    return (cjk / 1.5 + (text.str.len_chars() - cjk) / 4).ceil()


@measure(pl.UInt32)
def turns(text: pl.Expr) -> pl.Expr:
    """Messages that are not the system's."""
    roles = pl.col("messages").list.eval(pl.element().struct.field("role"))
    return roles.list.len() - roles.list.count_matches("system")
