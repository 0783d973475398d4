"""The style is checked where everything else is."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def ruff(*arguments):
    return subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_linter_has_nothing_to_say():
    """`ruff check` finds nothing."""
    done = ruff("check", "--no-cache", ".")

    assert done.returncode == 0, done.stdout


def test_the_formatter_would_change_nothing():
    """`ruff format` has been run."""
    done = ruff("format", "--no-cache", "--check", ".")

    assert done.returncode == 0, done.stdout
