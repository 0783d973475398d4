"""Stores that go away, forget, or answer with errors, while work goes on."""

import threading
import time

import pytest
import redis

from tests.faults.conftest import FRAMES
from tests.faults.world import World
from tests.services.jobs.proxy import Proxy


def done(world, job, attempt=None):
    ended = world.ended(job)
    assert (ended.state, ended.error) == ("succeeded", None)
    assert ended.result["frames"] == FRAMES
    assert attempt is None or ended.attempt == attempt
    assert world.violations() == []


def test_a_flushed_redis_costs_nothing(world, request_body):
    """FLUSHALL in the middle of an encode: the job is done by its first attempt."""
    worker = world.worker()
    job = world.submit(worker, request_body)
    world.reached(job, "encoding", 10)
    with redis.Redis.from_url(world.environment["REDIS_URL"]) as client:
        client.flushdb()
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
        worker = world.worker()
        job = world.submit(worker, body)
        world.reached(job, "encoding", 10)
        own_servers.postgres.stop(0)
        refused = world.post(worker, body)
        own_servers.postgres.start()
        own_servers.postgres.ready()

        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert "Retry-After" in refused.headers
        done(world, job, attempt=1)
    finally:
        world.close()


def test_a_store_that_fails_is_tried_again(environment, tmp_path, slow_clip):
    """A store that is away when the result is to be stored: the attempt fails, and a later one succeeds."""
    with Proxy.before(environment["S3_ENDPOINT"]) as proxy:
        world = World({**environment, "S3_ENDPOINT": proxy.url, "S3_PUBLIC_ENDPOINT": environment["S3_ENDPOINT"]}, tmp_path)
        try:
            body = {"source": world.upload(slow_clip), "start": "1", "end": "18.5", "mode": "encode"}
            worker = world.worker()
            job = world.submit(worker, body)
            world.reached(job, "encoding", 50)
            proxy.up = False
            proxy.cut()
            world.until(lambda: world.job(job).failures, "the failure of the first attempt")
            proxy.up = True
            with world.reaper():
                done(world, job)
            assert world.job(job).attempt >= 2
        finally:
            world.close()


def test_a_slow_store_holds_up_only_its_own_job(world, request_body):
    """While one job encodes, another one's accept is not slower than a second."""
    worker = world.worker()
    job = world.submit(worker, request_body)
    world.reached(job, "encoding")
    took = []

    def accept():
        started = time.monotonic()
        other = world.submit(worker, {**request_body, "end": "2"})
        took.append(time.monotonic() - started)
        world.services.jobs.cancel("tester", other)

    threads = [threading.Thread(target=accept) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    done(world, job, attempt=1)
    assert len(took) == 3
    assert max(took) < 1.0  # an accept is one row; it does not wait for encodes
