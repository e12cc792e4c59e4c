"""``hydata judge``: one judge alone, on files."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hydata.cli.console import err, out
from hydata.curation import files
from hydata.curation.dedup.alone import judge_pieces
from hydata.errors import ConfigError
from hydata.warehouse import write_frame

app = typer.Typer(no_args_is_help=True, help="Judge the rows of Parquet or JSONL files, without a warehouse.")


@app.callback()
def judge() -> None:
    """Judge the rows of files."""


@app.command()
def duplicates(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Parquet or JSONL files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")],
    column: Annotated[
        str | None,
        typer.Option(help="The column to compare. Default: the first of text, instruction, messages."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="The least Jaccard similarity of duplicates.")
    ] = 0.8,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: one a core, and one more.")] = None,
) -> None:
    """Find exact and fuzzy duplicates.

    One row is written for each row of the inputs, in order: `row`, `cluster_id`, `keep`, `duplicate_of`,
    `similarity`. Of messages the user's turns are compared. A row without text is kept.
    """
    if output.name in ("", "..") or (output.exists() and not output.is_file()):
        raise ConfigError(f"-o {output}: no regular file; give the name of the Parquet file to write")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise ConfigError(f"-o {output}: is an input as well; give another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ConfigError(f"-o {output}: its folder cannot be written ({error}); give another") from error
    started = time.monotonic()
    found = judge_pieces(files.pieces(inputs, column), threshold, output.parent, threads)
    write_frame(output, found)
    kept, seconds = int(found["keep"].sum()), time.monotonic() - started
    err.print(
        f"{found.height:,} rows, {found['cluster_id'].n_unique():,} clusters, {kept:,} kept, "
        f"{found.height - kept:,} duplicates, in {seconds:.1f} s"
    )
    out.print(escape(str(output)))
