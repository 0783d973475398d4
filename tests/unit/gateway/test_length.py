"""The gateway's code is in pieces that fit on a screen."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
MOST_LINES = 60


def test_no_function_is_longer_than_a_screen():
    """Every function of the gateway and of what starts it has at most sixty lines."""
    files = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "deployments" / "local" / f"{name}.py" for name in ("gateway", "supervise"))]
    long = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= MOST_LINES
    ]

    assert len(files) > 20
    assert long == []
