"""Accepting: one request is one job, however often and by however many it is sent."""

from __future__ import annotations

import statistics
import time

import pytest

from native import errors
from native.jobs.database import Database
from native.jobs.store import State, Store
from tests.services.jobs.conftest import at_once


def test_same_key_is_same_job(store: Store) -> None:
    """The same key and request give the same job, whatever the order of the request's fields, and only the first is new."""
    first, new = store.accept("ann", "trim", {"source": "s", "start": "1.5"}, idempotency_key="k", call_id="c-1")
    again, new_again = store.accept("ann", "trim", {"start": "1.5", "source": "s"}, idempotency_key="k")
    assert (new, new_again) == (True, False)
    assert again == first
    assert (first.state, first.stage, first.attempt, first.call_id) == (State.QUEUED, "accepted", 0, "c-1")
    assert first.request == {"source": "s", "start": "1.5"}


def test_same_key_other_request_is_refused(store: Store) -> None:
    """The same key with another request, or for another operation, is a conflict and makes no job."""
    store.accept("ann", "trim", {"start": "1.5"}, idempotency_key="k")
    for operation, request in (("trim", {"start": "1.50"}), ("merge", {"start": "1.5"})):
        with pytest.raises(errors.Problem) as refusal:
            store.accept("ann", operation, request, idempotency_key="k")
        assert refusal.value.kind is errors.IDEMPOTENCY_CONFLICT
    assert len(store.list("ann")[0]) == 1


def test_keys_are_an_owners_own(store: Store) -> None:
    """Two owners may use the same key; without a key every request is a job of its own."""
    jobs = [
        store.accept(owner, "trim", {}, idempotency_key=key)[0].id
        for owner, key in (("ann", "k"), ("bob", "k"), ("ann", None), ("ann", None))
    ]
    assert len(set(jobs)) == 4


def test_hundred_at_once_make_one_row(store: Store) -> None:
    """A hundred simultaneous requests with one key make one job, and exactly one of them is told that it is new."""
    answers = at_once(100, lambda _: store.accept("ann", "trim", {"n": 1}, idempotency_key="k"))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    assert len(store.list("ann", limit=100)[0]) == 1


def test_quota_is_exact_and_per_owner(store: Store) -> None:
    """Thirty simultaneous requests of an owner who may have ten waiting make ten jobs; another owner is not touched by it."""

    def accept(index: int) -> errors.Problem | None:
        try:
            store.accept("ann", "trim", {"n": index}, max_queued=10)
        except errors.Problem as problem:
            return problem
        return None

    refusals = [refusal for refusal in at_once(30, accept) if refusal]
    assert [refusal.kind for refusal in refusals] == [errors.QUOTA_EXCEEDED] * 20
    assert all(refusal.retry_after for refusal in refusals)
    assert len(store.list("ann", limit=100)[0]) == 10
    assert store.accept("bob", "trim", {}, max_queued=1)[1]


def test_full_quota_still_knows_its_jobs(store: Store) -> None:
    """A repeated request is answered with its job even when the owner's quota is full."""
    job, _ = store.accept("ann", "trim", {}, idempotency_key="k", max_queued=1)
    assert store.accept("ann", "trim", {}, idempotency_key="k", max_queued=1) == (job, False)


@pytest.mark.parametrize("poison", ["nul \x00", "half \ud800"])
def test_text_that_cannot_be_stored_is_refused(store: Store, poison: str) -> None:
    """NUL and half surrogate pairs, as text, name or key, are the request's fault, and make no job."""
    for request, key in (({"name": poison}, None), ({poison: 1}, None), ({}, poison)):
        with pytest.raises(errors.Problem) as refusal:
            store.accept("ann", "trim", request, idempotency_key=key)
        assert refusal.value.kind is errors.INVALID_REQUEST
    assert store.list("ann") == ([], None)


def test_other_owners_jobs_do_not_exist(store: Store) -> None:
    """A foreign, unknown or malformed id is NOT_FOUND for every call that takes one."""
    job, _ = store.accept("ann", "trim", {})
    strange = ["", "1", "' OR 1=1--", "..", job.id.upper(), "{" + job.id + "}", job.id.replace("-", ""), "0" * 400, "\x00", "٣" * 36]
    for owner, id_ in [("bob", job.id), ("ann", "6a1f9f9e-0d3f-4a55-9f3c-0b0b0b0b0b0b"), *(("ann", id_) for id_ in strange)]:
        for call in (store.get, store.cancel, store.retry):
            with pytest.raises(errors.Problem) as refusal:
                call(owner, id_)
            assert refusal.value.kind is errors.NOT_FOUND, (call, id_)
    assert store.claim("' OR 1=1--", 30) is None
    assert store.get("ann", job.id) == job


def test_cost_of_accept(store: Store, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """What an accept and a whole life cost is printed, not judged: the machine is shared."""

    def life(index: int) -> tuple[float, float]:
        started = time.perf_counter()
        job, _ = store.accept("ann", "trim", {"n": index}, idempotency_key=str(index), max_queued=1000)
        accepted = time.perf_counter()
        attempt = store.claim(job.id, 30)
        assert attempt
        store.beat(attempt, "encoding", {"percent": 50}, 30)
        assert store.cancelled(attempt)
        return accepted - started, time.perf_counter() - started

    accepts, lives = zip(*[life(index) for index in range(200)], strict=True)
    with capsys.disabled():
        p50, p99 = statistics.median(accepts), statistics.quantiles(accepts, n=100)[98]
        print(
            f"\n  accept p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms; accept+claim+beat+end p50 {statistics.median(lives) * 1e3:.2f} ms"
        )
    assert database.row("pulse", {}) == {
        "queued": 0,
        "running": 0,
        "oldest_queued_seconds": 0.0,
        "oldest_untold_seconds": pytest.approx(0, abs=60),
    }
