"""Every operation is complete: a handler, equal pins, an entry in stack.yml, a row in the README."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STACK = yaml.safe_load((ROOT / "stack.yml").read_text())
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "handler.py").exists())


def test_stack_lists_every_function_and_no_other():
    """stack.yml and functions/ name the same functions."""
    assert sorted(STACK["functions"]) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_complete(name):
    """A function's folder, pins, entry and row agree."""
    entry = STACK["functions"][name]

    assert entry["handler"] == f"./functions/{name}"
    assert (ROOT / "functions" / name / "requirements.txt").read_text() == (ROOT / "native" / "requirements.txt").read_text()
    assert f"| `{name}` |" in (ROOT / "README.md").read_text()
    assert all(isinstance(value, str) for value in entry["environment"].values())


def test_native_pins_are_the_locked_ones():
    """What an image installs is what the tests ran with."""
    locked = (ROOT / "requirements.lock").read_text()
    pins = [re.sub(r"\[.*\]", "", line) for line in (ROOT / "native" / "requirements.txt").read_text().split()]

    assert pins
    assert [pin for pin in pins if f"{pin} " not in locked] == []


def test_locks_name_no_registry():
    """Lock files carry versions and hashes, and no download addresses."""
    for lock in ("requirements.lock", "requirements-test.lock"):
        assert "://" not in (ROOT / lock).read_text()
        assert "--hash=sha256:" in (ROOT / lock).read_text()


def test_the_readme_is_finished():
    """No place-holder is left in what people read first."""
    assert "@@" not in (ROOT / "README.md").read_text()
