"""The contestants: what pip installs for each, and what is to be known of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """``driver``: its script; ``records``: how many it is timed on, both languages together; ``sets``: what
    its driver can be told to do; ``packages``: what pip installs (none: it runs in the environment of this
    benchmark); ``bare``: what pip installs without what it asks for; ``note``: how it is used."""

    name: str
    driver: str
    records: int
    sets: tuple[str, ...]
    packages: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    note: str = ""


ARROW = ("pyarrow", "numpy")

HYDATA = Contestant(
    "hydata", "drive_hydata.py", 200_000, ("whole", "whole, two threads", "compiled pass alone")
)
PEERS = (
    Contestant(
        "datatrove",
        "drive_datatrove.py",
        2_000,
        ("whole", "as documented", "words at white space"),
        ("datatrove[io,processing]==0.10.1", "spacy", "jieba", *ARROW),
        note="GopherQualityFilter, GopherRepetitionFilter, C4QualityFilter and FineWebQualityFilter, called "
        "one after the other on each document, which splits it into words once. English words are spaCy's "
        "tokens, Chinese ones jieba's, as its table of languages has it; both need no download. As "
        "documented a filter stops at its first limit that is passed; for the whole set the limits are such "
        "that nothing stops it, so that all measures are computed, as hydata does. Words at white space: the "
        "same with its splitter for languages without one, which makes one word of a Chinese line.",
    ),
    Contestant(
        "data-juicer",
        "drive_data_juicer.py",
        50_000,
        ("whole", "common", "its data set"),
        ("py-data-juicer==1.6.1", "aiohttp", "ray", *ARROW),
        note='Its data set: its method process with the operators of "common", as its documentation and its '
        "command use them, on the records in memory, one process, limits that drop nothing. The other two: "
        "compute_stats_batched of its operators, with the context in which they share words and lines; "
        "no data sets, no files, no keeping. Words are split at white space: its tokenizer for Chinese is a "
        "download, so a Chinese text has hardly more words than lines, and costs less than it should. Its "
        "list of stop words is a download too; it is given a short one. flagged_words has no list, "
        "language_id and perplexity have no model.",
    ),
    Contestant(
        "nemo-curator",
        "drive_nemo_curator.py",
        2_000,
        ("whole", "common"),
        (
            "ray[data,default]==2.60.0",
            "loguru",
            "pandas",
            "regex",
            "jieba==0.42.1",
            "mecab-python3",
            "comment_parser",
            "attrs",
            *ARROW,
        ),
        ("nemo-curator==1.4.0", "cosmos-xenna==0.2.0"),
        note="The stage Score over its heuristic filters, called on batches of 1,000 without Ray and its "
        "executor. It is installed without what it asks for (torch, transformers, models), and what its text "
        "filters import beside it. Every filter splits the text into words anew.",
    ),
)
BARE = {"language judge": "lid.176 bare", "scorer": "scorer bare"}
"""What is built on fastText, and the model under it alone."""
TWO = ", two threads"
FASTTEXT = Contestant(
    "fasttext",
    "drive_fasttext.py",
    100_000,
    tuple(f"{what}{threads}" for pair in BARE.items() for what in pair for threads in ("", TWO)),
)
"""No rules: hydata's judges that are built on fastText."""
