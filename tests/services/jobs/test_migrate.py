"""Migrations: each once, in order, by one migrator at a time, and never a changed one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from native.jobs import migrate

ONE = "CREATE TABLE one (n integer); INSERT INTO one VALUES (1); SELECT pg_sleep(0.3)"
TWO = "INSERT INTO one VALUES (2)"


@pytest.fixture
def empty(database_url: str) -> str:
    """The address of a database without any table."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text(ONE)
    (tmp_path / "0002_two.sql").write_text(TWO)
    return tmp_path


def numbers(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [row[0] for row in conn.execute("SELECT n FROM one ORDER BY n")]


def test_real_ones_run_once(empty: str) -> None:
    """Our own migrations make an empty database usable, and running them again does nothing."""
    assert migrate.migrate(empty) == [migration.name for migration in migrate.migrations()]
    assert migrate.migrate(empty) == []
    with psycopg.connect(empty) as conn:
        assert conn.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_eight_at_once_run_each_once(empty: str, folder: Path) -> None:
    """Eight simultaneous migrators run every migration once; the others wait and find nothing to do."""
    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(migrate.migrate(empty, folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(answers) == [[]] * 7 + [["0001_one", "0002_two"]]
    assert numbers(empty) == [1, 2]


def test_waiting_has_an_end(empty: str, folder: Path, execute: Callable[..., object]) -> None:
    """A migrator that waits too long for another one says so and leaves; when the other dies its lock goes with it."""
    with psycopg.connect(empty, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(1853252202, 1)")
        with pytest.raises(migrate.Refused, match="Another migration has been running"):
            migrate.migrate(empty, folder, wait_seconds=0.3)
    assert migrate.migrate(empty, folder) == ["0001_one", "0002_two"]


def test_changed_migration_is_refused(empty: str, folder: Path) -> None:
    """A file that is not the one that was run is refused by name, before anything else runs."""
    (folder / "0002_two.sql").unlink()
    migrate.migrate(empty, folder)
    (folder / "0001_one.sql").write_text(ONE + " -- changed")
    (folder / "0002_two.sql").write_text(TWO)
    with pytest.raises(migrate.Refused, match="0001_one is not the one"):
        migrate.migrate(empty, folder)
    assert numbers(empty) == [1]


def test_newer_database_is_refused(empty: str, folder: Path) -> None:
    """An old version does not touch a database that a newer one has made."""
    migrate.migrate(empty, folder)
    (folder / "0002_two.sql").unlink()
    with pytest.raises(migrate.Refused, match="start the newer version"):
        migrate.migrate(empty, folder)


def test_failing_migration_leaves_nothing_of_itself(empty: str, folder: Path) -> None:
    """A migration that fails half way is undone as a whole; what ran before it stays, and a mended one goes on from there."""
    (folder / "0002_two.sql").write_text(TWO + "; SELECT 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.migrate(empty, folder)
    assert numbers(empty) == [1]
    (folder / "0002_two.sql").write_text(TWO)
    assert migrate.migrate(empty, folder) == ["0002_two"]
    assert numbers(empty) == [1, 2]


def test_gap_is_refused(folder: Path) -> None:
    """Numbers with a gap are refused before anything runs."""
    (folder / "0004_four.sql").write_text("SELECT 1")
    with pytest.raises(migrate.Refused, match="without gaps"):
        migrate.migrations(folder)


def test_command_line(empty: str) -> None:
    """The command says what it ran, and in one sentence what is missing or wrong, without the address or its password."""

    def run(**env: str) -> tuple[int, str]:
        base = {name: value for name, value in os.environ.items() if not name.startswith("DATABASE_URL")}
        done = subprocess.run(
            [sys.executable, "-m", "native.jobs.migrate"], env=base | env, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    assert run(DATABASE_URL=empty) == (0, ", ".join(migration.name for migration in migrate.migrations()) + "\n")
    assert run(DATABASE_URL=empty) == (0, "nothing to do\n")
    code, said = run()
    assert code == 2
    assert said.startswith("DATABASE_URL is not set")
    code, said = run(DATABASE_URL="postgresql://nve:secret@127.0.0.1:1/nve")
    assert code == 1
    assert said.startswith("The database cannot be reached")
    assert "secret" not in said
    assert said.count("\n") == 1
