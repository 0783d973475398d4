"""Stores that go away, forget, or answer with errors, while work goes on."""

import contextlib
import socket
import threading
import time

import pytest
import redis

from tests.faults.conftest import FRAMES
from tests.faults.world import PATIENCE_SECONDS, World
from tests.services.jobs.proxy import Proxy
from tests.services.objects.toxic import Cut, Lose, Refuse


def done(world, job, attempt=None):
    ended = world.ended(job)
    assert (ended.state, ended.error) == ("succeeded", None)
    assert ended.result["frames"] == FRAMES
    assert attempt is None or ended.attempt == attempt
    assert world.violations() == []


def test_a_flushed_redis_costs_nothing(world, request_body):
    """FLUSHALL in the middle of an encode: the job is done by its first attempt."""
    worker, gate = world.worker(), world.gate("encoding")
    job = world.submit(worker, request_body)
    gate.reached()
    with redis.Redis.from_url(world.environment["REDIS_URL"]) as client:
        client.flushdb()
    gate.open()
    done(world, job, attempt=1)


@pytest.fixture
def proxied(environment, tmp_path):
    """A world whose Redis is reached through a proxy that can fail."""
    with Proxy.before(environment["REDIS_URL"]) as proxy:
        world = World({**environment, "REDIS_URL": proxy.url}, tmp_path)
        yield world, proxy
        world.close()


@pytest.mark.parametrize("fault", ["stopped", "slow"])
def test_a_redis_that_is_away_or_slow_costs_no_job(fault, proxied, slow_clip):
    """Without Redis, or with one that takes two seconds for each answer, jobs are accepted, done and cancelled as ever."""
    world, proxy = proxied
    body = {"source": world.upload(slow_clip), "start": "1", "end": "18.5", "mode": "encode"}
    worker = world.worker()
    if fault == "stopped":
        proxy.up = False
        proxy.cut()
    else:
        proxy.delay = 2.0
    started = time.monotonic()
    first, second = world.submit(worker, body), world.submit(worker, {**body, "end": "17"})
    accepted = time.monotonic() - started
    world.until(lambda: world.job(second).state == "running", "the second job's start")
    world.services.jobs.cancel("tester", second)

    assert world.ended(second).state == "cancelled"
    done(world, first, attempt=1)
    assert accepted < 5  # two accepts: a time-out or two, not one for each question


def test_a_postgres_that_is_restarted_loses_nothing(own_servers, tmp_path, slow_clip):
    """kill -9 of Postgres in the middle of an encode, and a restart: the encode goes on, and its first attempt finishes the job."""
    import subprocess
    import sys

    home = own_servers.home
    environment = {**home.environment(), "WORKSPACE_DIR": str(tmp_path / "work")}
    subprocess.run([sys.executable, "-m", "native.jobs.migrate"], env={"PATH": "/usr/bin:/bin", **environment}, check=True, timeout=60)
    from deployments.local import buckets

    buckets.set_up(environment)
    # A lease that outlasts the outage, as the default one outlasts a restart.
    world = World(environment, tmp_path)
    world.environment["LEASE_SECONDS"] = "30"
    try:
        body = {"source": world.upload(slow_clip), "start": "1", "end": "18.5", "mode": "encode"}
        worker, gate = world.worker(), world.gate("encoding")
        job = world.submit(worker, body)
        gate.reached()
        own_servers.postgres.stop(0)
        gate.open()
        refused = world.post(worker, body)
        own_servers.postgres.start()
        own_servers.postgres.ready()

        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert "Retry-After" in refused.headers
        done(world, job, attempt=1)
    finally:
        world.close()


def test_a_store_that_is_away_is_tried_again(environment, tmp_path, slow_clip):
    """A store that is away when the result is to be stored: the attempt fails, and a later one succeeds."""
    with Proxy.before(environment["S3_ENDPOINT"]) as proxy:
        world = World({**environment, "S3_ENDPOINT": proxy.url, "S3_PUBLIC_ENDPOINT": environment["S3_ENDPOINT"]}, tmp_path)
        try:
            body = {"source": world.upload(slow_clip), "start": "1", "end": "18.5", "mode": "encode"}
            worker, gate = world.worker(), world.gate("encoding the end")
            job = world.submit(worker, body)
            gate.reached()
            proxy.up = False
            proxy.cut()
            gate.open()
            world.until(lambda: world.job(job).failures, "the failure of the first attempt")
            proxy.up = True
            with world.reaper():
                done(world, job)
            assert world.job(job).attempt >= 2
        finally:
            world.close()


# A request of this kind meets the fault so often; the store is asked five times before an attempt is given up.
ANSWERS = {
    "reads, 503 three times": ("GET", "/src/", Refuse(503), 3, 1),
    "reads, 503 eight times": ("GET", "/src/", Refuse(503), 8, 2),
    "reads, cut off three times": ("GET", "/src/", Cut(100_000), 3, 1),
    "the result, 503 three times": ("PUT", "/out/", Refuse(503, b"<Error><Code>SlowDown</Code></Error>"), 3, 1),
    "the result, 500 eight times": ("PUT", "/out/", Refuse(500), 8, 2),
    "the result, stored and the answer lost": ("PUT", "/out/", Lose(), 1, 1),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_bad_answers_of_the_store_cost_at_most_an_attempt(what, world, request_body):
    """A store that fails while a job works: a few failures are outlived by the attempt, many cost this attempt and no other."""
    method, part, fault, times, attempt = ANSWERS[what]
    worker = world.worker()
    met = []

    def plan(asked, path, before):
        bad = asked == method and part in path and len(met) < times
        return met.append(path) or fault if bad else None

    world.network.plan = plan
    job = world.submit(worker, request_body)
    with world.reaper():
        done(world, job, attempt)

    assert len(met) == times
    assert world.job(job).failures == attempt - 1
    assert [key.split("/")[2] for key in world.results()] == [str(attempt)]


def test_a_store_that_is_slow_with_one_source_holds_up_only_its_job(world, request_body, slow_clip):
    """While the store lets one job wait for its source, the same worker accepts another one and does it."""
    worker, gate = world.worker(), world.gate("encoding")
    held = world.submit(worker, request_body)
    gate.reached()
    world.network.plan = lambda method, path, before: None
    other = world.submit(worker, {**request_body, "end": "2"})

    assert world.ended(other).state == "succeeded"
    assert world.job(held).state == "running"
    gate.open()
    done(world, held, attempt=1)


class Guard(Proxy):
    """Stands before Postgres and lets no word pass any more when a worker has sent `statement`.

    It strikes after the server has acted (`committed`), or before the server hears of it. `up = True` ends the outage.
    """

    statement = b"THEN 'succeeded'::job_state"
    committed = False

    def watch(self, committed):
        self.committed = committed
        self.struck = threading.Event()

    def _requests(self, client, server, doomed):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.statement in data and not self.struck.is_set():
                    if not self.committed:
                        self._strike()
                        break
                    doomed.set()
                server.sendall(data)
        self._end(client, server)

    def _answers(self, server, client, doomed):
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if doomed.is_set():
                    self._strike()
                    break
                client.sendall(data)
        self._end(client, server)

    def _strike(self):
        self.up = False
        self.cut()
        self.struck.set()

    def _end(self, *lines):
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def guard(environment):
    """Before the Postgres of this test."""
    with Guard.before(environment["DATABASE_URL"]) as it:
        yield it


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
def test_a_worker_killed_between_storing_and_finishing_loses_nothing(committed, guard, world, request_body):
    """kill -9 when the result is stored and nobody has heard of the finish: the job is done once, by whoever it was that finished it."""
    guard.watch(committed)
    worker = world.worker(DATABASE_URL=guard.url)
    job = world.submit(worker, request_body)
    assert guard.struck.wait(PATIENCE_SECONDS)
    stored = [key.split("/")[2] for key in world.results()]
    state = world.job(job).state
    worker.kill()
    world.worker()
    with world.reaper():
        done(world, job, attempt=1 if committed else 2)

    assert stored == ["1"]
    assert state == ("succeeded" if committed else "running")
    assert [key.split("/")[2] for key in world.results()] == ["1" if committed else "2"]


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
def test_a_finish_without_an_answer_is_said_again(committed, guard, world, request_body):
    """A database line that breaks over the finish and comes back: the worker says it again, and it counts once."""
    guard.watch(committed)
    worker = world.worker(DATABASE_URL=guard.url)
    job = world.submit(worker, request_body)
    assert guard.struck.wait(PATIENCE_SECONDS)
    guard.up = True
    done(world, job, attempt=1)

    world.until(lambda: '"event": "succeeded"' in worker.log(), "the worker's own word for it")
    assert [key.split("/")[2] for key in world.results()] == ["1"]
