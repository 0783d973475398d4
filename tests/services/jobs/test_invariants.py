"""The checker of invariants finds what it is there to find: each violation is planted behind the store's back and must be named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from native.jobs.assets import Asset, Assets, new_id
from native.jobs.database import Database
from native.jobs.store import Attempt, Job, Store
from tests.faults.invariants import Object, Process, check
from tests.services.jobs.conftest import result_of

CONTENT = b"film"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class World:
    """A good world: one job of each end, one source, and the objects that belong to them."""

    dsn: str
    succeeded: Attempt
    failed: Attempt
    cancelled: Job
    result: Asset
    source: Asset
    objects: list[Object]
    execute: Callable[..., object]

    def check(self, **given: object) -> list[tuple[str, str]]:
        """What the checker finds: invariants with the ids they are about."""
        found = check(self.dsn, **{"objects": lambda: self.objects, "sha256": lambda *_: SHA256, "collected": True} | given)  # type: ignore[arg-type]
        return [(violation.invariant, violation.subject) for violation in found]

    def plant(self, statement: str, *params: object) -> None:
        """Change a table as no store would: indexes, constraints and foreign keys that forbid it are taken away first."""
        self.execute(
            "DROP INDEX IF EXISTS events_one_accepted, events_one_end, events_one_claim, events_one_end_of_attempt, "
            "assets_one_per_job, assets_one_per_object, jobs_one_per_idempotency_key"
        )
        self.execute(
            "ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_leased_while_running, DROP CONSTRAINT IF EXISTS jobs_end_has_time, "
            "DROP CONSTRAINT IF EXISTS jobs_success_has_result, DROP CONSTRAINT IF EXISTS jobs_failure_has_error, "
            "DROP CONSTRAINT IF EXISTS jobs_running_is_claimed"
        )
        self.execute("ALTER TABLE outbox DROP CONSTRAINT IF EXISTS outbox_id_is_job_and_state")
        self.execute(statement, *params)


@pytest.fixture
def url(database_url: str) -> str:
    """These tests take the schema apart."""
    return database_url


@pytest.fixture
def world(url: str, execute: Callable[..., object]) -> Iterator[World]:
    database = Database(url)
    store, assets = Store(database), Assets(database)

    def claimed(n: int) -> Attempt:
        attempt = store.claim(store.accept("ann", "trim", {"n": n}, idempotency_key=f"k{n}")[0].id, 30)
        assert attempt
        return attempt

    id_ = new_id()
    assets.create("ann", id=id_, name="a", bucket="media", key=f"src/{id_}", size=7, type="video/mp4")
    source = assets.complete("ann", id_)
    lost = claimed(1)
    execute("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = %s", lost.job.id)
    store.reap()
    succeeded = store.claim(lost.job.id, 30)
    assert succeeded
    assert succeeded.number == 2
    result = result_of(succeeded).evolve(size=len(CONTENT), sha256=SHA256)
    assert store.succeed(succeeded, result, {"asset": result.id})
    failed = claimed(2)
    assert store.fail(failed, {"code": "x", "message": "y"}, retryable=False)
    cancelled = store.cancel("ann", store.accept("ann", "trim", {"n": 3})[0].id)
    listed = [Object(bucket=asset.bucket, key=asset.key, size=asset.size) for asset in (result, source)]
    world = World(url, succeeded, failed, cancelled, result, source, listed, execute)
    assert world.check(promised=[succeeded.job.id, failed.job.id, cancelled.id], keyed=[("ann", "k1", succeeded.job.id)] * 3) == []
    yield world
    database.close()


def test_lost_promise(world: World) -> None:
    """I1: a promised job without a row."""
    lost = new_id()
    assert world.check(promised=[lost, world.cancelled.id]) == [("I1", lost)]


def test_job_that_never_ends(world: World, store: Store) -> None:
    """I1: a job that still waits or runs when all should be over, and only then."""
    job, _ = store.accept("ann", "trim", {})
    assert world.check() == [("I1", job.id)]
    assert world.check(settled=False) == []
    store.cancel("ann", job.id)


@pytest.mark.parametrize("transition", ["succeeded", "cancelled", "abandoned"])
def test_second_end(world: World, transition: str) -> None:
    """I1, I5: a job that ended twice."""
    world.plant("INSERT INTO events (job, transition, attempt) VALUES (%s, %s, 1)", world.failed.job.id, transition)
    assert {invariant for invariant, job in world.check() if job == world.failed.job.id} >= {"I1", "I5"}


def test_end_without_event(world: World) -> None:
    """I1, I5: an end that no event tells of."""
    world.plant("DELETE FROM events WHERE job = %s AND transition = 'withdrawn'", world.cancelled.id)
    assert world.check() == [("I1", world.cancelled.id), ("I5", world.cancelled.id)]


def test_success_without_result(world: World) -> None:
    """I2: a success whose asset is not there."""
    world.plant("UPDATE assets SET job = NULL WHERE id = %s", world.result.id)
    assert world.check() == [("I2", world.succeeded.job.id)]


def test_result_of_a_failure(world: World) -> None:
    """I2, I3: a job that failed and has a result all the same."""
    world.plant("UPDATE assets SET job = %s, sha256 = %s WHERE id = %s", world.failed.job.id, "0", world.source.id)
    assert ("I2", world.failed.job.id) in world.check()


def test_result_of_another_attempt(world: World) -> None:
    """I2: a success whose object was written by an attempt that had lost the job."""
    stale = world.result.key.replace("/2/", "/1/")
    world.plant("UPDATE assets SET key = %s WHERE id = %s", stale, world.result.id)
    world.objects[0] = replace(world.objects[0], key=stale)
    assert world.check() == [("I2", world.succeeded.job.id)]


def test_object_missing_or_wrong(world: World) -> None:
    """I2: a recorded object that is missing, has another size or other bytes; a source as well as a result."""
    good = list(world.objects)
    world.objects.remove(good[0])
    assert world.check() == [("I2", world.succeeded.job.id)]
    world.objects[:] = [good[0]]
    assert world.check() == [("I2", world.source.key)]
    world.objects[:] = [replace(good[0], size=1), good[1]]
    assert world.check() == [("I2", world.succeeded.job.id)]
    world.objects[:] = good
    assert world.check(sha256=lambda *_: "00") == [("I2", world.succeeded.job.id)]


def test_deleted_result_is_no_violation(world: World, database: Database) -> None:
    """A result that its owner has deleted is missing by right; its object, if it is still there, is garbage."""
    Assets(database).delete("ann", world.result.id)
    assert world.check() == [("I4", world.result.key)]
    world.objects.pop(0)
    assert world.check() == []


def test_garbage(world: World, store: Store) -> None:
    """I4: after the sweep an object that nobody has, unless an attempt that lives has just written it."""
    attempt = store.claim(store.accept("ann", "trim", {})[0].id, 30)
    assert attempt
    fresh = Object(bucket="outputs", key=result_of(attempt).key, size=1)
    stale = replace(fresh, key=fresh.key.replace("/1/", "/9/"))
    world.objects += [fresh, stale]
    assert world.check(settled=False) == [("I4", stale.key)]
    assert world.check(settled=False, collected=False) == []
    store.cancelled(attempt)


def test_process_without_lease(world: World, store: Store) -> None:
    """I4: a process that works for an attempt that has no lease (any more)."""
    attempt = store.claim(store.accept("ann", "trim", {})[0].id, 30)
    assert attempt
    good = Process(pid=1, job=attempt.job.id, attempt=1)
    bad = [replace(good, attempt=2), Process(pid=3, job=world.failed.job.id, attempt=1)]
    found = world.check(settled=False, processes=lambda: [good, *bad])
    assert found == sorted([("I4", attempt.job.id), ("I4", world.failed.job.id)])
    store.cancelled(attempt)


def test_attempt_claimed_twice(world: World) -> None:
    """I5: one attempt number given out twice."""
    world.plant(
        "INSERT INTO events (job, transition, attempt) VALUES (%(j)s, 'accepted', 0), (%(j)s, 'claimed', 1)".replace("%(j)s", "%s"),
        world.cancelled.id,
        world.cancelled.id,
    )
    assert ("I5", world.cancelled.id) in world.check()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET attempt = attempt + 1 WHERE id = %s",
        "DELETE FROM events WHERE job = %s AND transition = 'claimed'",
        "UPDATE events SET attempt = 7 WHERE job = %s AND transition = 'failed'",
        "UPDATE events SET transition = 'released' WHERE job = %s AND transition = 'claimed'",
    ],
)
def test_history_that_cannot_be(world: World, statement: str) -> None:
    """I5: a fence that grew without a claim, an end without a beginning, an end of another attempt, a transition that is not allowed."""
    world.plant(statement, world.failed.job.id)
    assert ("I5", world.failed.job.id) in world.check()


def test_note_missing_or_double(world: World) -> None:
    """I6: an end that was not noted, or noted for two states; a note that was told and forgotten after a day is in order."""
    world.plant("DELETE FROM outbox WHERE job = %s", world.failed.job.id)
    world.plant("INSERT INTO outbox (id, job, owner, state) VALUES (%s, %s, 'ann', 'failed')", "x", world.cancelled.id)
    assert world.check() == sorted([("I6", world.failed.job.id), ("I6", world.cancelled.id)])
    world.execute("UPDATE jobs SET finished_at = now() - interval '2 days' WHERE id = %s", world.failed.job.id)
    assert world.check() == [("I6", world.cancelled.id)]


def test_waste(world: World) -> None:
    """I7: more seconds spent on lost attempts than may be."""
    world.plant(
        "UPDATE events SET at = at - interval '90 s' WHERE job = %s AND transition = 'claimed' AND attempt = 1", world.succeeded.job.id
    )
    world.plant("UPDATE events SET at = at - interval '10 s' WHERE job = %s AND transition = 'claimed'", world.failed.job.id)
    assert world.check(max_waste=0.05) == [("I7", "attempts")]
    assert world.check(max_waste=0.95) == []


def test_nobody_was_told(world: World) -> None:
    """I8: an end that the sink never heard of."""
    told = [f"{world.succeeded.job.id}:succeeded", f"{world.failed.job.id}:failed"]
    assert world.check(told=told) == [("I8", world.cancelled.id)]


def test_one_key_two_jobs(world: World) -> None:
    """I9: two rows with one key, or two answers to one key."""
    assert world.check(keyed=[("ann", "k", "1"), ("bob", "k", "2"), ("ann", "k", "3")]) == [("I9", "k")]
    world.plant("UPDATE jobs SET idempotency_key = 'same'")
    assert [invariant for invariant, _ in world.check()] == ["I9"]
