"""Attempts: one at a time may finish a job, and only the newest."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from native import errors
from native.jobs import assets
from native.jobs import store as jobs
from native.jobs.assets import Assets
from native.jobs.database import Database
from native.jobs.store import Attempt, State, Store
from tests.services.jobs.conftest import at_once, result_of

Expire = Callable[[Attempt], None]
Execute = Callable[..., list[tuple[object, ...]]]
ERROR = {"code": "storage_unavailable", "message": "The object store does not answer"}


def claimed(store: Store, lease: float = 30) -> Attempt:
    attempt = store.claim(store.accept("ann", "trim", {"start": "1"})[0].id, lease)
    assert attempt is not None
    return attempt


def transitions(store: Store, attempt: Attempt) -> list[str]:
    return [event.transition for event in store.events("ann", attempt.job.id)]


def test_race_of_twenty_has_one_winner(store: Store) -> None:
    """Twenty simultaneous claims of one job give one attempt, and nineteen times nothing."""
    job, _ = store.accept("ann", "trim", {})
    winners = [attempt for attempt in at_once(20, lambda _: store.claim(job.id, 30)) if attempt]
    assert [attempt.number for attempt in winners] == [1]
    assert store.get("ann", job.id).attempt == 1


def test_claim_does_not_wait(store: Store, url: str) -> None:
    """A job that another transaction holds is somebody's already: a claim leaves at once."""
    job, _ = store.accept("ann", "trim", {})
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM jobs FOR UPDATE")
        started = time.monotonic()
        assert store.claim(job.id, 30) is None
        assert time.monotonic() - started < 1
    assert store.claim(job.id, 30)


def test_claim_only_what_may_be_claimed(store: Store, execute: Execute) -> None:
    """A job of another operation, one that is not due yet, and one that is over cannot be claimed."""
    job, _ = store.accept("ann", "trim", {})
    assert store.claim(job.id, 30, operation="merge") is None
    execute("UPDATE jobs SET not_before = now() + interval '1 minute'")
    assert store.claim(job.id, 30, operation="trim") is None
    store.cancel("ann", job.id)
    execute("UPDATE jobs SET not_before = now()")
    assert store.claim(job.id, 30, operation="trim") is None


def test_success_is_one_thing(store: Store, database: Database) -> None:
    """A success sets the job, its result asset, its event and its note at once; said again it is still true and changes nothing."""
    attempt = claimed(store)
    asset = result_of(attempt)
    assert [store.succeed(attempt, asset, {"asset": asset.id, "frames": 3}, ["slow"]) for _ in range(3)] == [True, True, True]
    job = store.get("ann", attempt.job.id)
    assert (job.state, job.stage, job.attempt, job.warnings) == (State.SUCCEEDED, "done", 1, ["slow"])
    assert job.result == {"asset": asset.id, "frames": 3}
    assert job.started_at
    assert job.finished_at
    assert job.created_at <= job.started_at <= job.finished_at
    recorded = Assets(database).get("ann", asset.id)
    assert recorded.evolve(created_at=None) == asset.evolve(state=assets.State.READY, job=job.id)
    assert transitions(store, attempt) == ["accepted", "claimed", "succeeded"]
    assert len(database.rows("due_notes", {"limit": 10, "hold_seconds": 0})) == 1


@pytest.mark.parametrize("successor", [True, False])
def test_stale_attempt_changes_nothing(store: Store, expire: Expire, successor: bool) -> None:
    """An attempt that slept past its lease can neither beat nor end the job, whether or not another one has it by now."""
    stale = claimed(store)
    expire(stale)
    assert [job.state for job in store.reap().lost] == [State.QUEUED]
    newer = store.claim(stale.job.id, 30) if successor else None
    before = store.get("ann", stale.job.id)
    assert store.beat(stale, "encoding", {"percent": 99}, 30) == jobs.Beat(alive=False, cancel=False)
    assert store.cancel_requested(stale) == jobs.Beat(alive=False, cancel=False)
    asset = result_of(stale)
    assert store.succeed(stale, asset, {"asset": asset.id}) is False
    assert store.fail(stale, ERROR, retryable=False) is False
    assert store.fail(stale, ERROR, retryable=True) is False
    assert store.cancelled(stale) is False
    assert store.release(stale) is False
    assert store.get("ann", stale.job.id) == before
    if newer:
        assert newer.number == 2
        asset = result_of(newer)
        assert store.succeed(newer, asset, {"asset": asset.id}) is True
        assert store.succeed(stale, result_of(stale), {}) is False
        assert store.get("ann", stale.job.id).result == {"asset": asset.id}


def test_late_but_not_reaped_attempt_lives(store: Store, expire: Expire) -> None:
    """A lease that ran out is renewed by a beat, as long as nobody has taken the job: an outage costs no work."""
    attempt = claimed(store)
    expire(attempt)
    assert store.beat(attempt, "encoding", {"percent": 5}, 30).alive
    assert store.reap().lost == ()
    job = store.get("ann", attempt.job.id)
    assert (job.stage, job.progress) == ("encoding", {"percent": 5})


def test_failure_of_the_media_is_final(store: Store) -> None:
    """A failure that trying again cannot mend ends the job, with its error, once."""
    attempt = claimed(store)
    assert [store.fail(attempt, ERROR, retryable=False) for _ in range(2)] == [True, True]
    job = store.get("ann", attempt.job.id)
    assert (job.state, job.error, job.failures) == (State.FAILED, ERROR, 1)
    assert store.succeed(attempt, result_of(attempt), {}) is False
    assert transitions(store, attempt) == ["accepted", "claimed", "failed"]


def test_failure_of_the_system_is_tried_again(database: Database, execute: Execute) -> None:
    """A failure of the system queues the job again behind a back-off that doubles, and ends it after the most that may be."""
    store = Store(database, max_failures=3)
    attempt = claimed(store)
    waits = []
    for number in (1, 2, 3):
        assert attempt.number == number
        assert [store.fail(attempt, ERROR, retryable=True) for _ in range(2)] == [True, True]
        job = store.get("ann", attempt.job.id)
        if number < 3:
            assert (job.state, job.stage, job.error) == (State.QUEUED, "accepted", None)
            assert store.claim(job.id, 30) is None, "it is not due yet"
            waits.append(execute("SELECT extract(epoch FROM not_before - now()) FROM jobs")[0][0])
            execute("UPDATE jobs SET not_before = now()")
            again = store.claim(job.id, 30)
            assert again
            attempt = again
    assert (job.state, job.error, job.failures, job.lost) == (State.FAILED, ERROR, 3, 0)
    # 2 s and 4 s, give or take a quarter, less the moment that has passed since
    assert 1.0 < float(waits[0]) <= 2.5 < float(waits[1]) <= 5.0
    assert transitions(store, attempt) == ["accepted", "claimed", "retried", "claimed", "retried", "claimed", "failed"]


def test_release_is_nobodys_fault(store: Store) -> None:
    """A released job may be claimed at once, is rung for at once, and counts neither as lost nor as failed, however often."""
    attempt = claimed(store)
    for number in range(1, 6):
        assert [store.release(attempt) for _ in range(2)] == [True, True]
        assert [job.id for job in store.reap().ring] == [attempt.job.id]
        job = store.get("ann", attempt.job.id)
        assert (job.state, job.lost, job.failures) == (State.QUEUED, 0, 0)
        again = store.claim(job.id, 30)
        assert again is not None
        assert again.number == number + 1
        attempt = again


def test_cancel_of_a_waiting_job_is_at_once(store: Store) -> None:
    """A waiting job is cancelled at once; asked again the answer is the same; no worker gets it any more."""
    job, _ = store.accept("ann", "trim", {})
    assert [store.cancel("ann", job.id).state for _ in range(2)] == [State.CANCELLED] * 2
    assert store.claim(job.id, 30) is None
    assert [event.transition for event in store.events("ann", job.id)] == ["accepted", "withdrawn"]


def test_cancel_of_a_running_job_is_heard(store: Store) -> None:
    """A running job's worker hears of the cancel by beat and by look, and ends it; until then it runs."""
    attempt = claimed(store)
    assert [store.cancel("ann", attempt.job.id).state for _ in range(2)] == [State.RUNNING] * 2
    assert store.cancel_requested(attempt) == jobs.Beat(alive=True, cancel=True)
    assert store.beat(attempt, "encoding", {}, 30) == jobs.Beat(alive=True, cancel=True)
    assert [store.cancelled(attempt) for _ in range(2)] == [True, True]
    assert store.cancel("ann", attempt.job.id).state == State.CANCELLED
    assert transitions(store, attempt) == ["accepted", "claimed", "cancel_requested", "cancelled"]


@pytest.mark.parametrize(
    "end",
    [
        lambda store, attempt: store.succeed(attempt, result_of(attempt), {"frames": 1}) is False,
        lambda store, attempt: store.release(attempt) in (True, False),
        lambda store, attempt: store.fail(attempt, ERROR, retryable=True) in (True, False),
        lambda store, attempt: store.cancelled(attempt) is True,
    ],
    ids=["succeed", "release", "fail", "cancelled"],
)
def test_what_was_cancelled_never_succeeds(store: Store, database: Database, end: Callable[[Store, Attempt], bool]) -> None:
    """Once a cancel was promised, the job ends cancelled without a result, whatever its worker says next."""
    attempt = claimed(store)
    store.cancel("ann", attempt.job.id)
    assert end(store, attempt)
    job = store.get("ann", attempt.job.id)
    assert (job.state, job.result, job.error) == (State.CANCELLED, None, None)
    assert Assets(database).list("ann") == ([], None)


def test_cancel_and_retry_know_their_states(store: Store) -> None:
    """What has succeeded or failed cannot be cancelled; what waits, runs or has succeeded cannot be retried."""
    attempt = claimed(store)

    def refused(call: Callable[[str, str], object]) -> bool:
        with pytest.raises(errors.Problem) as refusal:
            call("ann", attempt.job.id)
        return refusal.value.kind is errors.CONFLICT

    assert refused(store.retry)
    store.succeed(attempt, result_of(attempt), {})
    assert refused(store.retry)
    assert refused(store.cancel)
    attempt = claimed(store)
    store.fail(attempt, ERROR, retryable=False)
    assert refused(store.cancel)


def test_retry_is_a_new_job(store: Store) -> None:
    """A retry has the same request and a life of its own; twenty at once make one; after its end another may follow."""
    attempt = claimed(store)
    store.fail(attempt, ERROR, retryable=False)
    answers = at_once(20, lambda _: store.retry("ann", attempt.job.id))
    assert len({job.id for job in answers}) == 1
    again = answers[0]
    assert (again.request, again.operation, again.state, again.attempt) == (attempt.job.request, "trim", State.QUEUED, 0)
    assert (again.retry_of, again.idempotency_key) == (attempt.job.id, None)
    assert store.get("ann", attempt.job.id).state == State.FAILED
    store.cancel("ann", again.id)
    assert store.retry("ann", attempt.job.id).id not in (again.id, attempt.job.id)
    with pytest.raises(errors.Problem) as refusal:
        store.retry("ann", again.id, max_queued=1)
    assert refusal.value.kind is errors.QUOTA_EXCEEDED
