"""The stores over the session's real servers. Every test that ends well leaves tables in which all invariants hold."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from native.jobs.assets import Asset, new_id
from native.jobs.database import Database
from native.jobs.hints import Hints
from native.jobs.store import Attempt, Store
from tests.faults.invariants import check
from tests.services.jobs.proxy import Proxy

if TYPE_CHECKING:
    from tests.conftest import Servers


@pytest.fixture(scope="session")
def _shared_url(servers: Servers, _template: str) -> Iterator[str]:
    """One migrated database for all tests of this folder that leave its schema as it is: making one takes longer than most of them."""
    name = f"jobs_{os.getpid()}"
    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} OWNER nve TEMPLATE {_template}".encode())
        yield servers.home.environment()["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def url(_shared_url: str) -> str:
    """The address of empty tables. A module whose tests change the schema takes `database_url` instead."""
    with psycopg.connect(_shared_url, autocommit=True) as conn:
        conn.execute("TRUNCATE jobs, events, assets, keys, outbox RESTART IDENTITY")
    return _shared_url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A pool on the test's tables. Afterwards nothing that happened may have broken an invariant."""
    database = Database(url)
    yield database
    database.close()
    assert check(url, settled=False) == []


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def execute(url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Run a statement behind the store's back: what time or another program would do."""

    def run(statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as conn:
            cursor = conn.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def expire(execute: Callable[..., list[tuple[Any, ...]]]) -> Callable[[Attempt], None]:
    """Let an attempt's lease run out now: its worker has slept longer than that."""

    def run(attempt: Attempt) -> None:
        execute("UPDATE jobs SET lease_until = now() - interval '1 ms' WHERE id = %s", attempt.job.id)

    return run


@pytest.fixture
def hints(redis_url: str) -> Iterator[Hints]:
    hints = Hints(redis_url, probe_seconds=0.05)
    yield hints
    hints.close()


@pytest.fixture
def postgres_proxy(url: str) -> Iterator[Proxy]:
    with Proxy.before(url) as proxy:
        yield proxy


@pytest.fixture
def redis_proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy.before(redis_url) as proxy:
        yield proxy


def at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    """What `number` threads got, that all began at the same moment."""
    ready = threading.Barrier(number)

    def run(index: int) -> Any:
        ready.wait(timeout=30)
        return act(index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def result_of(attempt: Attempt) -> Asset:
    """A stored result of this attempt, as flow would record it."""
    return Asset(
        id=new_id(),
        owner=attempt.job.owner,
        name="clip.mp4",
        bucket="outputs",
        key=f"out/{attempt.job.id}/{attempt.number}/clip.mp4",
        size=1000,
        type="video/mp4",
        sha256="ab" * 32,
        media={"container": "mp4"},
    )
