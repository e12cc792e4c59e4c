"""The weekly export: a mix as messages-JSONL, in a file of its own date, so that no training run's input
is written over."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from hydata.export.messages import Manifest, export_messages
from hydata.export.provenance import read_provenance
from hydata.recipe import table_schemas
from hydata.warehouse import connect, latest_head


@flow(name="weekly-export", persist_result=False)
def weekly_export(warehouse: Path = Path("warehouse"), recipe: str | None = None, mix: str = "main") -> None:
    """Write a mix and its manifest to ``exports/<recipe>-<mix>-<date>.jsonl`` in the warehouse.

    Args:
        warehouse: The data root.
        recipe: The name of the recipe whose data is meant; without it the last run's.
        mix: The mix to export.

    Raises:
        WarehouseError: the recipe never ran here, or there is no such mix.
    """
    head = latest_head(warehouse, recipe)
    date = flow_run.scheduled_start_time.date()
    path = warehouse / "exports" / f"{head.recipe}-{mix}-{date}.jsonl"
    with connect(warehouse, head, table_schemas()) as con:
        manifest = export_messages(con, mix, path, read_provenance(warehouse, head.recipe))
    create_markdown_artifact(summary(path, manifest), key="export")


def summary(path: Path, manifest: Manifest) -> str:
    """What was written, as Markdown."""
    dropped = ", ".join(f"{reason} {n:,}" for reason, n in manifest.dropped.items())
    return (
        f"`{path}`: {manifest.rows:,} rows, {manifest.bytes:,} bytes, {manifest.tokens:,} tokens "
        f"({manifest.tokenizer}), sha256 `{manifest.sha256}`; dropped: {dropped or 'none'}"
    )
