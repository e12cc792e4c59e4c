"""Imports go down only, and only flows/ knows Prefect."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent

LAYERS = (
    {"errors", "schema", "stage", "settings", "compiled"},
    {"warehouse", "prompts", "taxonomy", "policy", "yields", "privacy"},
    {"models"},
    {"seeds", "curation", "export"},
    {"synthesis", "ingest"},
    {"recipe"},
    {"session", "report", "dupes", "targets", "verdicts", "resources"},
    {"run"},
    {"forecast"},
    {"progress"},
    {"cli"},
)
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def imported(file: Path) -> set[str]:
    """Modules a file imports when it is run; what only type checkers see does not count."""
    names: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "hydata" and len(parts) > 1 else None


def test_imports_go_down_only() -> None:
    wrong = []
    for file in sorted((ROOT / "hydata").rglob("*.py")):
        own = file.relative_to(ROOT / "hydata").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in LAYER, f"hydata/{own} has no layer: add it to LAYERS"
        for module in imported(file):
            used = package(module)
            if used in LAYER and used != own and LAYER[used] > LAYER[own]:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_only_flows_import_prefect() -> None:
    for file in (ROOT / "hydata").rglob("*.py"):
        assert not any(m.split(".")[0] == "prefect" for m in imported(file)), file


def test_nothing_is_evaluated() -> None:
    for file in (ROOT / "hydata").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("eval", "exec"), f"{file}:{getattr(node, 'lineno', 0)}"
