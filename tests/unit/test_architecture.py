"""The arrows between the rooms, read from the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# room -> what its modules may import of this project
ALLOWED = {
    "functions": {"native.operation", "native.clips", "native.request", "native.call", "native.errors", "native.document", "native.flow",
                  "native.doorbell", "native.assets", "native.reaping", "native.running", "native.media"},
    "native/media": {"native.media", "native.errors", "native.settings", "native.log"},
    "native/jobs": {"native.jobs", "native.errors", "native.settings", "native.log"},
    "native/objects": {"native.objects", "native.errors", "native.settings", "native.log"},
    "native": {"native"},
    "template": set(),
    "gateway": {"gateway", "native.errors", "native.log", "native.settings"},
    "deployments": {"deployments", "native.settings", "native.jobs", "native.log", "native.errors"},
    "cli": {"cli", "deployments", "native"},
}  # fmt: skip
OURS = {"native", "functions", "gateway", "cli", "deployments"}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_follow_the_arrows(room):
    """No module imports what its room may not know."""
    inner = [other for other in ALLOWED if other != room and other.startswith(f"{room}/")]
    files = [f for f in (ROOT / room).rglob("*.py") if not any(f.is_relative_to(ROOT / other) for other in inner)]
    wrong = {str(file.relative_to(ROOT)): sorted(n for n in imports(file) if not within(n, ALLOWED[room])) for file in files}

    assert {file: names for file, names in wrong.items() if names} == {}
    assert files


def test_one_door_to_processes():
    """Only one module of the native layer can start a process."""
    doors = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "native").rglob("*.py")
        if "subprocess" in {n.split(".")[0] for node in ast.walk(ast.parse(file.read_text())) for n in _names(node)}
    ]

    assert doors == ["native/media/process.py"]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
