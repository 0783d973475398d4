"""Postgres away, killed, or silent after it has acted: nothing is lost, nothing is done twice, and nobody waits long."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

from native import errors
from native.jobs import migrate
from native.jobs.assets import Assets, new_id
from native.jobs.database import Database
from native.jobs.keys import Keys
from native.jobs.store import Attempt, State, Store
from tests.faults.invariants import check
from tests.services.jobs.conftest import result_of
from tests.services.jobs.proxy import Proxy

if TYPE_CHECKING:
    from tests.conftest import Servers

ERROR = {"code": "storage_unavailable", "message": "The object store does not answer"}


@contextlib.contextmanager
def through(proxy: Proxy, dsn: str, patience: float = 5.0) -> Iterator[Database]:
    database = Database(proxy.url, patience_seconds=patience)
    yield database
    database.close()
    assert check(dsn, settled=False) == []


def claimed(store: Store) -> Attempt:
    attempt = store.claim(store.accept("ann", "trim", {})[0].id, 30)
    assert attempt
    return attempt


def succeeded(store: Store, attempt: Attempt) -> bool:
    return store.succeed(attempt, result_of(attempt), {})


# Every call whose statement changes something, and whether its repetition said what the lost answer would have said.
CALLS: dict[str, Callable[[Store], bool]] = {
    "accept": lambda store: store.accept("ann", "trim", {"n": 1}, idempotency_key="k")[1],
    "accept without key": lambda store: store.accept("ann", "trim", {"n": 2})[1],
    "cancel": lambda store: store.cancel("ann", store.accept("ann", "trim", {})[0].id).state == State.CANCELLED,
    "claim": lambda store: claimed(store).number == 1,
    "beat": lambda store: store.beat(claimed(store), "encoding", {}, 30).alive,
    "succeed": lambda store: succeeded(store, claimed(store)),
    "fail": lambda store: store.fail(claimed(store), ERROR, retryable=False),
    "fail for now": lambda store: store.fail(claimed(store), ERROR, retryable=True),
    "cancelled": lambda store: store.cancelled(claimed(store)),
    "release": lambda store: store.release(claimed(store)),
}
# What the client has sent when the line is cut: the whole statement, or the end of its transaction.
CUTS = {"accept": b"COMMIT", "accept without key": b"COMMIT", "cancel": b"asked AS", "claim": b"waiting AS", "beat": b"lease_until = now()"}


@pytest.mark.parametrize("call", CALLS)
def test_commit_unknown(postgres_proxy: Proxy, url: str, call: str) -> None:
    """When the statement was done and its answer lost, the call answers as if nothing had happened, and it is done once."""
    with through(postgres_proxy, url) as database:
        store = Store(database)
        store.pulse()
        postgres_proxy.cut_after = CUTS.get(call, b"ended AS")
        assert CALLS[call](store) is True
        assert postgres_proxy.cuts == 1
        assert len(store.list("ann")[0]) == 1
        attempts = store.list("ann")[0][0].attempt
        assert attempts == (0 if call.startswith(("accept", "cancel")) and call != "cancelled" else 1)


def test_commit_unknown_elsewhere(postgres_proxy: Proxy, url: str) -> None:
    """The same for assets, keys and retries."""
    with through(postgres_proxy, url) as database:
        store, assets, keys = Store(database), Assets(database), Keys(database)
        id_ = new_id()
        postgres_proxy.cut_after = b"INSERT INTO assets"
        assert assets.create("ann", id=id_, name="a", bucket="media", key="src/a", size=1, type="video/mp4").state == "uploading"
        postgres_proxy.cut_after = b"UPDATE assets"
        assert assets.complete("ann", id_, media={"duration": "1"}).media == {"duration": "1"}
        postgres_proxy.cut_after = b"'deleted', deleted_at"
        assert assets.delete("ann", id_).key == "src/a"
        postgres_proxy.cut_after = b"INSERT INTO keys"
        assert keys.owner_of(keys.create("ann", "laptop")) == "ann"
        assert len(keys.list()) == 1
        job, _ = store.accept("ann", "trim", {})
        store.cancel("ann", job.id)
        postgres_proxy.cut_after = b"COMMIT"
        assert store.retry("ann", job.id).retry_of == job.id
        assert len(store.list("ann")[0]) == 2
        assert postgres_proxy.cuts == 5


def test_every_line_cut_is_not_noticed(postgres_proxy: Proxy, url: str) -> None:
    """When all pooled connections are dead, the next call makes a new one and no caller hears of it."""
    with through(postgres_proxy, url) as database:
        store = Store(database)
        job, _ = store.accept("ann", "trim", {})
        for _ in range(3):
            postgres_proxy.cut()
            assert store.get("ann", job.id) == job


def test_away_is_said_soon_and_over_at_once(postgres_proxy: Proxy, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """While Postgres is away calls end with DATABASE_UNAVAILABLE after their patience; the first call after works. One line each."""
    caplog.set_level("INFO", logger="jobs")
    with through(postgres_proxy, url, patience=1.0) as database:
        store = Store(database)
        attempt = claimed(store)
        postgres_proxy.up = False
        postgres_proxy.cut()
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(errors.Problem) as away:
                store.beat(attempt, "encoding", {}, 30)
            assert away.value.kind is errors.DATABASE_UNAVAILABLE
            assert away.value.retry_after
            # the patience, and one more try that had begun within it
            assert 0.4 < time.monotonic() - started < 2.5
        postgres_proxy.up = True
        started = time.monotonic()
        assert store.beat(attempt, "encoding", {"percent": 50}, 30).alive, "an outage shorter than the lease costs nothing"
        assert time.monotonic() - started < 1.0
    assert [record.message.split(":")[0] for record in caplog.records if record.name == "jobs"] == [
        "the database does not answer",
        "the database answers again",
    ]


def test_never_there(caplog: pytest.LogCaptureFixture) -> None:
    """An address where nothing listens is DATABASE_UNAVAILABLE, without the password in the log."""
    database = Database("postgresql://nve:hidden@127.0.0.1:1/nve", patience_seconds=0.5)
    with pytest.raises(errors.Problem) as away:
        Store(database).pulse()
    database.close()
    assert away.value.kind is errors.DATABASE_UNAVAILABLE
    assert "hidden" not in caplog.text + away.value.detail


def test_lock_is_not_waited_for_long(store: Store, url: str) -> None:
    """A row that a sleeping transaction holds makes a call fail after the lock time-out of two seconds, not hang."""
    attempt = claimed(store)
    with psycopg.connect(url) as paused:
        paused.execute("UPDATE jobs SET stage = 'asleep'")
        started = time.monotonic()
        with pytest.raises(errors.Problem) as away:
            store.beat(attempt, "encoding", {}, 30)
        assert away.value.kind is errors.DATABASE_UNAVAILABLE
        assert 1.5 < time.monotonic() - started < 4
        assert store.claim(attempt.job.id, 30) is None, "a claim does not even wait"
        paused.rollback()
    assert store.beat(attempt, "encoding", {}, 30).alive


def test_session_settings(database: Database) -> None:
    """Our sessions have the time-outs that bound every wait, count time in UTC and say who they are."""
    wanted = {
        "lock_timeout": "2s",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "timezone": "UTC",
        "application_name": "nve",
    }
    Store(database).pulse()
    with database._pool.connection() as conn:
        shown = {name: (conn.execute(f"SHOW {name}".encode()).fetchone() or {}).popitem()[1] for name in wanted}
    assert shown == wanted


def test_killed_in_the_middle(own_servers: Servers) -> None:
    """kill -9 of Postgres while eight workers accept, claim and finish: no call fails, no job is lost, each ends once."""
    own_servers.postgres.stop()
    own_servers.postgres.durable = True
    own_servers.postgres.start()
    own_servers.postgres.ready()
    dsn = own_servers.home.environment()["DATABASE_URL"]
    migrate.migrate(dsn)
    database = Database(dsn)
    store = Store(database)
    promised: list[str] = []
    refused: list[errors.Problem] = []
    done = threading.Event()

    def work(name: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            try:
                job, _ = store.accept("ann", "trim", {"n": number}, idempotency_key=f"{name}:{number}", max_queued=10_000)
                promised.append(job.id)
                attempt = store.claim(job.id, 30)
                if attempt:
                    succeeded(store, attempt)
            except errors.Problem as problem:
                refused.append(problem)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            wait_for(lambda before=len(promised): len(promised) > before + 100)
            process = own_servers.postgres.process
            assert process
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
            time.sleep(0.3)  # the outage itself: shorter than the patience, so that no call may fail
            restart(own_servers)
        wait_for(lambda before=len(promised): len(promised) > before + 100)
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    # what a killed statement left running has lost its worker: the reaper takes it up
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'")
    for job in store.reap().lost:
        attempt = store.claim(job.id, 30)
        assert attempt
        assert succeeded(store, attempt)
    for job in store.list("ann", state="queued", limit=100)[0]:
        attempt = store.claim(job.id, 30)
        assert attempt
        assert succeeded(store, attempt)
    assert check(dsn, promised=promised) == []
    assert refused == []
    database.close()


def restart(servers: Servers) -> None:
    """Start Postgres again over what the killed one left. Its orphans hold the old one's memory for a moment."""
    deadline = time.monotonic() + 30
    while True:
        servers.postgres.start()
        try:
            servers.postgres.ready(10)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
