"""Real servers for every test that asks: one Postgres, one Valkey and one SeaweedFS per session, and in them a world per test.

`home`, `servers`      the session's data directory and its three servers (no gateway)
`database_url`         a database of the test's own, migrated
`redis_url`            a logical database of the test's own, empty
`s3`                   S3_* variables with two buckets of the test's own
`environment`          all of these as environment variables, for processes the test starts
`settings`             the same as a frozen `native.settings.Settings`
`own_servers`          three fresh servers for a test that breaks them
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from deployments.local.home import Home
    from deployments.local.postgres import Postgres
    from deployments.local.seaweed import Seaweed
    from deployments.local.valkey import Valkey
    from native.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "nve_template"

_numbers = itertools.count(1)

# The same examples in every run, so that a failure is seen again; and no clock: a busy machine is no mistake of the code's.
hypothesis.settings.register_profile("nve", deadline=None, derandomize=True)
hypothesis.settings.load_profile("nve")


@dataclass(frozen=True)
class Servers:
    """Three running servers over one data directory."""

    home: Home
    postgres: Postgres
    valkey: Valkey
    seaweed: Seaweed


@contextlib.contextmanager
def _running(path: Path) -> Iterator[Servers]:
    """The three servers in a new data directory, removed with it at the end. They die with this process, however it ends."""
    from deployments.local import ports
    from deployments.local.home import Home
    from deployments.local.postgres import Postgres
    from deployments.local.seaweed import Seaweed
    from deployments.local.valkey import Valkey
    from tests.minio import Minio

    store = Minio if os.environ.get("NVE_TEST_STORE") == "minio" else Seaweed
    home = Home(path)
    home.prepare(well_known=False)
    # Only the power could lose what is not synced, and with it the test.
    servers = Servers(home, Postgres(home, durable=False, connections=200), Valkey(home), store(home))
    # The store takes longest: first. They are started here, in the thread that they die with.
    every = (servers.seaweed, servers.valkey, servers.postgres)
    try:
        for server in every:
            server.start()
        with ThreadPoolExecutor(len(every)) as pool:
            for answer in [pool.submit(server.ready) for server in every]:
                answer.result()
        servers.postgres.create_database()
        yield servers
    finally:
        with ThreadPoolExecutor(len(every)) as pool:
            for server in every:
                pool.submit(server.stop, 0.2)  # what they did not write yet nobody will read
        ports.release(home.path, home.ports)
        shutil.rmtree(home.path, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The session's servers. A test that stops one of them takes `own_servers` instead."""
    with _running(tmp_path_factory.mktemp("session") / "home") as running:
        yield running


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    """Servers that a test may kill, stop and restart. A second and a half: not for every test."""
    with _running(tmp_path / "own home") as running:
        yield running


@pytest.fixture(scope="session")
def home(servers: Servers) -> Home:
    """The data directory of the session's servers."""
    return servers.home


@pytest.fixture(scope="session")
def _template(servers: Servers) -> str:
    """A migrated database that every test's own is a copy of."""
    import psycopg

    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER nve")
    url = servers.home.environment()["DATABASE_URL"].rpartition("/")[0] + f"/{TEMPLATE}"
    migration = subprocess.run(
        [sys.executable, "-m", "native.jobs.migrate"],
        cwd=ROOT,
        env={**os.environ, **servers.home.environment(), "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert migration.returncode == 0, f"the migrations failed: {migration.stderr[-2000:]}"
    return TEMPLATE


@pytest.fixture
def database_url(servers: Servers, _template: str) -> Iterator[str]:
    """A migrated database of this test's own, as the role of the functions."""
    import psycopg

    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER nve TEMPLATE {_template}")
        yield servers.home.environment()["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty logical database of this test's own. Channels are not part of it: they are the same in all of them."""
    import redis

    # There are 64, and no test lives as long as 62 others. Number 0 is the default: left to whoever looks there by mistake.
    url = servers.home.environment()["REDIS_URL"].rpartition("/")[0] + f"/{1 + next(_numbers) % 63}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def s3(servers: Servers) -> Iterator[dict[str, str]]:
    """The S3_* variables of this test: its own two buckets, which are there and empty."""
    from deployments.local import buckets

    number = f"{os.getpid()}-{next(_numbers)}"
    settings = {name: value for name, value in servers.home.environment().items() if name.startswith("S3_")}
    settings |= {"S3_MEDIA_BUCKET": f"media-{number}", "S3_OUTPUTS_BUCKET": f"outputs-{number}"}
    buckets.set_up(settings)
    yield settings
    store = buckets.client(settings)
    for bucket in (settings["S3_MEDIA_BUCKET"], settings["S3_OUTPUTS_BUCKET"]):
        with contextlib.suppress(Exception):  # a test that stopped the store has nothing to clear away
            store.remove_bucket(bucket_name=bucket)


@pytest.fixture
def environment(home: Home, database_url: str, redis_url: str, s3: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What a process of the stack finds in its environment, for this test alone. Add os.environ for PATH."""
    work = tmp_path / "work"
    work.mkdir()
    return {**home.environment(), "DATABASE_URL": database_url, "REDIS_URL": redis_url, **s3, "WORKSPACE_DIR": str(work)}


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """This test's world as the functions' settings."""
    from native.settings import Settings

    return Settings.model_validate({name.lower(): value for name, value in environment.items()})
