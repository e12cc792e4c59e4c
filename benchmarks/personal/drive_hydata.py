"""hydata: the judge on a column of texts, and what masks each prompt, on one text at a time."""

import polars as pl
from driver import run

from hydata.curation.files import ROWS
from hydata.curation.privacy import AloneSettings, judge_rows
from hydata.privacy import PrivacySettings, masked


def judge(texts: list[str]) -> int:
    rows = pl.concat([pl.DataFrame(schema=ROWS), pl.DataFrame({"text": texts})], how="diagonal")
    return int(judge_rows(rows, AloneSettings())["total"].sum())


def mask(texts: list[str]) -> int:
    settings = PrivacySettings()
    return sum(masked([text], settings)[0].count("_1]") for text in texts)


if __name__ == "__main__":
    run({"judge": judge, "one by one": mask}, "hydata", "polars", "numba")
