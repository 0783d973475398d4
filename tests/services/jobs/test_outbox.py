"""The outbox: every end is told at least once, under one id."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from native.jobs.database import Database
from native.jobs.outbox import Note, Outbox
from native.jobs.store import Store
from tests.services.jobs.conftest import at_once, result_of

Execute = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database)


def ended(store: Store, number: int) -> list[str]:
    ids = []
    for n in range(number):
        attempt = store.claim(store.accept("ann", "trim", {"n": n})[0].id, 30)
        assert attempt
        assert store.succeed(attempt, result_of(attempt), {})
        ids.append(f"{attempt.job.id}:succeeded")
    return ids


def test_each_end_has_one_note(store: Store, outbox: Outbox) -> None:
    """Succeeded, failed, cancelled and withdrawn jobs have one note each; what still waits or runs has none."""
    done = ended(store, 1)
    jobs = [store.accept("ann", "trim", {"other": n})[0] for n in range(4)]
    attempts = [store.claim(job.id, 30) for job in jobs[1:]]
    assert all(attempts)
    store.cancel("ann", jobs[0].id)
    store.fail(attempts[0], {"code": "x", "message": "y"}, retryable=False)  # type: ignore[arg-type]
    store.cancelled(attempts[1])  # type: ignore[arg-type]
    store.accept("ann", "trim", {"waits": True})
    wanted = {*done, f"{jobs[0].id}:cancelled", f"{jobs[1].id}:failed", f"{jobs[2].id}:cancelled"}
    assert {note.id for note in outbox.take()} == wanted


def test_tellers_share_the_work(store: Store, outbox: Outbox) -> None:
    """Six tellers at once take each note once; what is taken is not given out again meanwhile."""
    ids = ended(store, 20)
    taken = [note.id for notes in at_once(6, lambda _: outbox.take(5)) for note in notes] + [note.id for note in outbox.take()]
    assert sorted(taken) == sorted(ids)
    assert outbox.take() == []


def test_tellers_do_not_wait(store: Store, outbox: Outbox, url: str) -> None:
    """A note that another teller is just taking is left to it, and nobody waits for that."""
    ids = ended(store, 3)
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM outbox WHERE id = %s FOR UPDATE", [ids[0]])
        started = time.monotonic()
        assert {note.id for note in outbox.take()} == set(ids[1:])
        assert time.monotonic() - started < 1


def test_untold_comes_again_and_told_does_not(store: Store, outbox: Outbox, execute: Execute) -> None:
    """A note that could not be told, or whose teller died, comes again and counts its tries; one that was told does not."""
    ended(store, 3)
    first, second, third = outbox.take()
    outbox.told(first)
    outbox.untold(second, "503 " + "x" * 1000)
    assert outbox.take() == []
    execute("UPDATE outbox SET not_before = now() - interval '1 s'")
    again = outbox.take()
    assert {(note.id, note.tries) for note in again} == {(second.id, 2), (third.id, 2)}
    assert isinstance(again[0], Note)


def test_backoff_grows_and_ends_at_an_hour(store: Store, outbox: Outbox, execute: Execute) -> None:
    """Each failed try makes the next one later, at most an hour and a quarter later."""
    ended(store, 1)
    waits = []
    for tries in (1, 4, 200):
        execute("UPDATE outbox SET not_before = now(), tries = %s", tries - 1)
        [note] = outbox.take()
        outbox.untold(note, "refused")
        waits.append(float(str(execute("SELECT extract(epoch FROM not_before - now()) FROM outbox")[0][0])))
    assert 5 < waits[0] < 15 < 50 < waits[1] < 110 < 2600 < waits[2] < 4600


def test_prune_forgets_the_old(store: Store, outbox: Outbox, execute: Execute) -> None:
    """What was told a day ago and what could not be told for a week is dropped; the rest stays."""
    ids = ended(store, 4)
    for at, id_ in zip(("2 days", "1 hour"), ids, strict=False):
        execute("UPDATE outbox SET told_at = now() - %s::interval WHERE id = %s", at, id_)
    execute("UPDATE outbox SET created_at = now() - interval '8 days' WHERE id = %s", ids[2])
    outbox.prune()
    assert {row[0] for row in execute("SELECT id FROM outbox")} == {ids[1], ids[3]}
    execute("UPDATE jobs SET finished_at = finished_at - interval '8 days'")
