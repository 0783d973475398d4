"""The one door to Postgres: a small pool, session settings, repetition through an outage, and one name for "it does not answer"."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from psycopg.rows import DictRow, dict_row

from native import errors
from native.jobs import sql

logger = logging.getLogger("jobs")
# The pool reports every refused connection; one line per outage is enough, and `_note` writes it.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

T = TypeVar("T")

# How long an operation waits for a Postgres that is away. Long enough for a restart, short enough for a caller.
PATIENCE_SECONDS = 5.0
# Functions are many and small; eight at once per process is more than their threads use.
MAX_CONNECTIONS = 8
# Between two tries while it is away, so that they do not spin. The first few are tried without: after a restart of the server
# every pooled connection is dead, and asking each one first whether it lives would cost every statement of every day.
PAUSE_SECONDS = 0.1
TRIES_WITHOUT_PAUSE = MAX_CONNECTIONS + 1

# Nobody waits long for a row, a statement, or a worker that fell asleep inside a transaction. Times are the database's.
SESSION = (
    "-c lock_timeout=2s -c statement_timeout=5s -c idle_in_transaction_session_timeout=10s "
    "-c timezone=UTC -c default_transaction_isolation=read\\ committed"
)

# The connection or the server went away, or two statements met unluckily: the same statement may be sent again, because
# each finds its own traces (queries.sql). A lock or statement time-out is not among them: it has already waited.
_AGAIN = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.TooManyConnections,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class Database:
    """A pool that opens when first used and lives through restarts of the server. Thread-safe."""

    def __init__(self, dsn: str, *, name: str = "nve", patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._opened = False
        self._away = False
        self._pool: psycopg_pool.ConnectionPool[psycopg.Connection[DictRow]] = psycopg_pool.ConnectionPool(
            dsn,
            connection_class=psycopg.Connection[DictRow],
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": name,
                "options": SESSION,
                "connect_timeout": 3,
                # a server that vanished without a word is noticed in seconds, not in the kernel's quarter of an hour
                "tcp_user_timeout": 10_000,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 2,
            },
            min_size=1,
            max_size=MAX_CONNECTIONS,
            max_idle=60,
            # the pool's own back-off would outlast a restart by seconds; `_patiently` asks again instead
            reconnect_timeout=0.1,
            num_workers=2,
            open=False,
            name=name,
        )

    def row(self, query: str, params: Mapping[str, Any]) -> DictRow | None:
        """The first row of a statement of queries.sql. Raises DATABASE_UNAVAILABLE, and INVALID_REQUEST for text it cannot hold."""
        rows = self.rows(query, params)
        return rows[0] if rows else None

    def rows(self, query: str, params: Mapping[str, Any]) -> list[DictRow]:
        """All rows of a statement of queries.sql. Raises as `row` does."""
        return self._patiently(lambda conn: _execute(conn, query, params))

    def first(self, *queries: str, holding: str, params: Mapping[str, Any]) -> DictRow | None:
        """In one transaction, under the lock that `holding` takes: the first row that any of the statements gives, in their order.

        Raises as `row` does.
        """

        def run(conn: psycopg.Connection[DictRow]) -> DictRow | None:
            with conn.transaction():
                _execute(conn, holding, params)
                return next((rows[0] for query in queries if (rows := _execute(conn, query, params))), None)

        return self._patiently(run)

    def close(self) -> None:
        self._pool.close(timeout=2)

    def _patiently(self, work: Callable[[psycopg.Connection[DictRow]], T]) -> T:
        deadline = time.monotonic() + self._patience
        self._open()
        tries = 0
        while True:
            tries += 1
            try:
                # A short wait each time, because every new wait makes the pool try to connect at once, not after its back-off.
                with _faces(), self._pool.connection(timeout=min(0.5, self._patience)) as conn:
                    done = work(conn)
            except psycopg.OperationalError as exc:
                if not _may_repeat(exc) or time.monotonic() + PAUSE_SECONDS >= deadline:
                    self._note(exc)
                    raise errors.DATABASE_UNAVAILABLE() from exc
            else:
                self._note(None)
                return done
            if tries > TRIES_WITHOUT_PAUSE:
                time.sleep(PAUSE_SECONDS)

    def _open(self) -> None:
        with self._lock:
            if not self._opened:
                self._pool.open()
                self._opened = True

    def _note(self, exc: Exception | None) -> None:
        """One line when it goes away, one when it is back."""
        if exc is not None and not self._away:
            logger.warning("the database does not answer: %s: %s", type(exc).__name__, str(exc).strip())
        elif exc is None and self._away:
            logger.info("the database answers again")
        self._away = exc is not None


def _execute(conn: psycopg.Connection[DictRow], query: str, params: Mapping[str, Any]) -> list[DictRow]:
    cursor = conn.execute(sql.queries[query], params)
    return cursor.fetchall() if cursor.description else []


def _may_repeat(exc: Exception) -> bool:
    """Whether the statement may be sent again: its connection is gone (no SQLSTATE), or the server asks for it."""
    return isinstance(exc, _AGAIN) or (isinstance(exc, psycopg.OperationalError) and exc.sqlstate is None)


@contextmanager
def _faces() -> Iterator[None]:
    """Text that Postgres cannot hold (NUL, half a surrogate pair, numbers beyond reason) is the request's fault, not ours."""
    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as exc:
        raise errors.INVALID_REQUEST("The request has text or numbers that cannot be stored") from exc


def uuid_of(text: Any) -> uuid.UUID:
    """An id as we write ids. Raises NOT_FOUND for anything else: what cannot exist does not exist."""
    try:
        value = uuid.UUID(text)
    except (ValueError, TypeError, AttributeError):
        raise errors.NOT_FOUND() from None
    if str(value) != text:
        raise errors.NOT_FOUND()
    return value
