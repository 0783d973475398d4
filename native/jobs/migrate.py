"""Bring a database to the newest schema: the numbered files of `migrations/`, each once, each in a transaction of its own.

`python -m native.jobs.migrate` takes the address from DATABASE_URL. Several may run at once: they wait for each other.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from native.jobs import sql

FOLDER = Path(__file__).with_name("migrations")
# Another migrator may be rewriting a large table; a forgotten one must not hang a start for ever.
WAIT_SECONDS = 300


class Refused(Exception):
    """The database cannot be migrated. The text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, in order. Raises Refused when the numbers are not 1, 2, 3 …"""
    found = [
        Migration(number=int(path.name[:4]), name=path.stem, text=path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise Refused(f"The migrations in {folder.name}/ must be numbered 0001, 0002, 0003 … without gaps")
    return found


def migrate(dsn: str, folder: Path = FOLDER, wait_seconds: float = WAIT_SECONDS) -> list[str]:
    """Run what has not been run, and give its names. Raises Refused, or psycopg.OperationalError when the server cannot be reached."""
    wanted = migrations(folder)
    with psycopg.connect(dsn, autocommit=True, application_name="nve-migrate", connect_timeout=5) as conn:
        _lock(conn, wait_seconds)
        conn.execute(sql.queries["create_migrations"])
        done = {number: (name, checksum) for number, name, checksum in conn.execute(sql.queries["list_migrations"])}
        _check(wanted, done)
        ran: list[str] = []
        for migration in wanted:
            if migration.number not in done:
                with conn.transaction():
                    conn.execute(migration.text.encode())
                    conn.execute(
                        sql.queries["note_migration"],
                        {"number": migration.number, "name": migration.name, "checksum": migration.checksum},
                    )
                ran.append(migration.name)
        return ran


def _lock(conn: psycopg.Connection, wait_seconds: float) -> None:
    """The lock is the session's: it ends with the connection, however that ends."""
    deadline = time.monotonic() + wait_seconds
    while True:
        row = conn.execute(sql.queries["try_migration_lock"]).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() >= deadline:
            raise Refused(f"Another migration has been running for {wait_seconds:g} s; wait for it to end, then start this again")
        # Asking again rather than waiting inside Postgres: a statement that waits would keep a CREATE INDEX CONCURRENTLY waiting too.
        time.sleep(0.2)


def _check(wanted: list[Migration], done: dict[int, tuple[str, str]]) -> None:
    for migration in wanted:
        name, checksum = done.get(migration.number, (migration.name, migration.checksum))
        if checksum != migration.checksum:
            raise Refused(
                f"The migration {migration.name} is not the one that this database was made with ({name}); "
                "put the old file back and write the change as a new migration"
            )
    newest = max(done, default=0)
    if newest > len(wanted):
        raise Refused(
            f"This database has {newest} migrations and this version knows {len(wanted)}; start the newer version, or restore a backup"
        )


def main() -> int:
    dsn = os.environ.get("DATABASE_URL")
    path = os.environ.get("DATABASE_URL_FILE")
    if not dsn and path and Path(path).is_file():
        dsn = Path(path).read_text(encoding="utf-8").strip()
    if not dsn:
        sys.stderr.write("DATABASE_URL is not set; set it to the address of the database, e.g. postgresql://user@host:5432/nve\n")
        return 2
    try:
        ran = migrate(dsn)
    except Refused as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except psycopg.OperationalError as exc:
        sys.stderr.write(f"The database cannot be reached; check DATABASE_URL and that the server runs ({type(exc).__name__})\n")
        return 1
    sys.stdout.write(f"{', '.join(ran)}\n" if ran else "nothing to do\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
