"""The statements' file: what its grammar says, and that nothing in it is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from native.jobs import sql

JOBS = Path(sql.__file__).parent


def test_grammar() -> None:
    """A name, a sentence, a statement; a name twice, or a name without a statement, is refused."""
    assert sql.parse("-- about --\n\n-- a --\n-- Says a. --\nSELECT 1\n\n-- b --\n-- Says b. --\nSELECT 2\n") == {
        "a": b"SELECT 1",
        "b": b"SELECT 2",
    }
    for wrong in (
        "-- a --\n-- A. --\nSELECT 1\n-- a --\n-- A. --\nSELECT 1\n",
        "-- a --\n-- A. --\n\n",
        "SELECT 0\n-- a --\n-- A. --\nSELECT 1\n",
    ):
        with pytest.raises(ValueError, match="queries"):
            sql.parse(wrong)


def test_every_statement_is_used() -> None:
    """Each statement's name stands in a module, and every module speaks SQL only by such names."""
    code = "".join(path.read_text() for path in sorted(JOBS.glob("*.py")))
    assert [name for name in sql.queries if f'"{name}"' not in code] == []
    assert not any(word in code for word in ("SELECT ", "INSERT ", "DELETE FROM", "UPDATE jobs"))
