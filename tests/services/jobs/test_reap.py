"""Reaping: what lost workers leave is taken up again, and no row that somebody holds stops the rest."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from native.jobs.database import Database
from native.jobs.store import Attempt, State, Store
from tests.services.jobs.conftest import at_once

Expire = Callable[[Attempt], None]
Execute = Callable[..., list[tuple[object, ...]]]


def claimed(store: Store, number: int = 1) -> list[Attempt]:
    attempts = [store.claim(store.accept("ann", "trim", {"n": n})[0].id, 30) for n in range(number)]
    return [attempt for attempt in attempts if attempt]


def test_living_leases_are_left(store: Store) -> None:
    """A job whose lease has not run out is not touched."""
    claimed(store, 3)
    assert store.reap().lost == ()


def test_lost_once_is_tried_at_once(store: Store, expire: Expire) -> None:
    """After the first loss the job waits for nothing: the same pass that finds it also rings for it."""
    [attempt] = claimed(store)
    store.beat(attempt, "encoding", {"percent": 40}, 30)
    expire(attempt)
    found = store.reap()
    assert [(job.id, job.state, job.lost, job.stage, job.progress) for job in found.lost] == [
        (attempt.job.id, State.QUEUED, 1, "accepted", {})
    ]
    assert [job.id for job in found.ring] == [attempt.job.id]
    assert store.reap().ring == (), "it has just been rung for"


def test_poison_ends_after_three_losses(store: Store, expire: Expire, execute: Execute) -> None:
    """The third lost worker ends the job as failed(worker_lost); releases in between do not count."""
    [attempt] = claimed(store)
    for lost in (1, 2, 3):
        assert store.release(attempt)
        attempt = store.claim(attempt.job.id, 30) or pytest.fail("a released job can be claimed")
        expire(attempt)
        [job] = store.reap().lost
        assert job.lost == lost
        if lost < 3:
            assert job.state == State.QUEUED
            execute("UPDATE jobs SET not_before = now()")
            attempt = store.claim(attempt.job.id, 30) or pytest.fail("a lost job can be claimed again")
    assert (job.state, job.attempt, (job.error or {})["code"]) == (State.FAILED, 6, "worker_lost")
    assert store.events("ann", job.id)[-1].transition == "abandoned"


def test_lost_and_cancelled_is_cancelled(store: Store, expire: Expire) -> None:
    """A job whose owner had cancelled it before its worker was lost is cancelled, not tried again."""
    [attempt] = claimed(store)
    store.cancel("ann", attempt.job.id)
    expire(attempt)
    assert [job.state for job in store.reap().lost] == [State.CANCELLED]


def test_many_reapers_share_the_work(store: Store, execute: Execute) -> None:
    """Eight reapers at once take each lost job exactly once, and ring for each exactly once."""
    claimed(store, 40)
    execute("UPDATE jobs SET lease_until = now() - interval '1 s'")
    found = at_once(8, lambda _: store.reap(limit=10))
    found += [store.reap(), store.reap()]
    lost = [job.id for reap in found for job in reap.lost]
    rung = [job.id for reap in found for job in reap.ring]
    assert (len(lost), len(set(lost))) == (40, 40)
    assert (len(rung), len(set(rung))) == (40, 40)


def test_reaper_does_not_wait_for_a_paused_transaction(store: Store, url: str, execute: Execute) -> None:
    """A worker that fell asleep inside a transaction holds its own row, and only that one: the pass for all others takes no second."""
    attempts = claimed(store, 10)
    execute("UPDATE jobs SET lease_until = now() - interval '1 s'")
    with psycopg.connect(url) as paused:
        paused.execute("UPDATE jobs SET stage = 'asleep' WHERE id = %s", [attempts[0].job.id])
        started = time.monotonic()
        found = store.reap()
        assert time.monotonic() - started < 1.0
        assert {job.id for job in found.lost} == {attempt.job.id for attempt in attempts[1:]}
        paused.rollback()
    assert [job.id for job in store.reap().lost] == [attempts[0].job.id]


def test_ring_for_what_no_worker_heard_of(store: Store, execute: Execute) -> None:
    """A waiting job is rung for when its last ring is long ago, each time later than before, and never before it is due."""

    def age(seconds: float) -> None:
        execute("UPDATE jobs SET rung_at = now() - make_interval(secs => %s)", seconds)

    job, _ = store.accept("ann", "trim", {})
    assert store.reap(ring_after_seconds=30).ring == (), "accept has just rung"
    for due in (30, 60, 120, 240, 480, 480):
        age(due - 1)
        assert store.reap(ring_after_seconds=30).ring == ()
        age(due + 1)
        assert [it.id for it in store.reap(ring_after_seconds=30).ring] == [job.id]
    age(10_000)
    execute("UPDATE jobs SET not_before = now() + interval '1 minute'")
    assert store.reap(ring_after_seconds=30).ring == ()


def test_ring_does_not_wait_either(store: Store, url: str, execute: Execute) -> None:
    """A waiting job that another transaction holds is left for the next pass; the others are rung for at once."""
    jobs = [store.accept("ann", "trim", {"n": n})[0].id for n in range(3)]
    execute("UPDATE jobs SET rung_at = NULL")
    with psycopg.connect(url) as paused:
        paused.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [jobs[0]])
        started = time.monotonic()
        assert {job.id for job in store.reap().ring} == set(jobs[1:])
        assert time.monotonic() - started < 1
    assert [job.id for job in store.reap().ring] == [jobs[0]]


def test_pulse_tells_what_waits(store: Store, database: Database, execute: Execute) -> None:
    """The pulse counts what waits and runs, and knows the age of the eldest that may be claimed."""
    claimed(store, 2)
    store.accept("bob", "merge", {})
    execute("UPDATE jobs SET not_before = now() - interval '100 s' WHERE state = 'queued'")
    pulse = store.pulse()
    assert (pulse.queued, pulse.running) == (1, 2)
    assert 100 <= pulse.oldest_queued_seconds < 130
    assert pulse.oldest_untold_seconds == 0
