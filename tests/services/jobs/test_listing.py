"""Listings: every row once, newest first, whatever happens between two pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from native import errors
from native.jobs.assets import Assets, new_id
from native.jobs.database import Database
from native.jobs.store import Store


def test_pages_are_stable(store: Store) -> None:
    """Pages of three give each of ten jobs once, newest first, while new ones are accepted and others change state between the pages."""
    jobs = [store.accept("ann", "trim", {"n": n})[0].id for n in range(10)]
    store.accept("bob", "trim", {})
    seen: list[str] = []
    cursor, pages = None, 0
    while True:
        page, cursor = store.list("ann", cursor, limit=3)
        seen += [job.id for job in page]
        pages += 1
        store.accept("ann", "trim", {"later": pages})
        store.cancel("ann", jobs[0])
        if cursor is None:
            break
    assert seen == jobs[::-1]
    assert pages == 4


def test_rows_of_one_moment_are_not_lost(store: Store, execute: Callable[..., object]) -> None:
    """Jobs with the very same time of creation are told apart by their ids, and none is skipped at a page's end."""
    jobs = {store.accept("ann", "trim", {"n": n})[0].id for n in range(7)}
    execute("UPDATE jobs SET created_at = (SELECT min(created_at) FROM jobs)")
    first, cursor = store.list("ann", None, 3)
    second, cursor = store.list("ann", cursor, 3)
    third, cursor = store.list("ann", cursor, 3)
    assert cursor is None
    assert [len(first), len(second), len(third)] == [3, 3, 1]
    assert {job.id for job in first + second + third} == jobs


def test_state_filters(store: Store) -> None:
    """A listing by state has that state only, and an unknown state is refused by name."""
    jobs = [store.accept("ann", "trim", {"n": n})[0].id for n in range(4)]
    store.cancel("ann", jobs[1])
    assert [job.id for job in store.list("ann", state="cancelled")[0]] == [jobs[1]]
    assert len(store.list("ann", state="queued")[0]) == 3
    with pytest.raises(errors.Problem) as refusal:
        store.list("ann", state="done")
    assert (refusal.value.kind, refusal.value.field) == (errors.INVALID_REQUEST, "state")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "W10=",
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(json.dumps(["infinity", new_id()]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps(["2026-01-01", "'; DROP TABLE jobs"]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps([1, 2]).encode()).decode(),
        base64.urlsafe_b64encode(json.dumps({"a": 1, "b": 2}).encode()).decode(),
    ],
)
def test_foreign_cursor_is_refused(store: Store, cursor: str) -> None:
    """A cursor that we did not make is refused, never an error of ours."""
    with pytest.raises(errors.Problem) as refusal:
        store.list("ann", cursor)
    assert (refusal.value.kind, refusal.value.field) == (errors.INVALID_REQUEST, "cursor")


@pytest.mark.parametrize(("limit", "shown"), [(0, 1), (-5, 1), (1, 1), (10**9, 2)])
def test_limit_is_bounded(store: Store, limit: int, shown: int) -> None:
    """A limit below one is one, and one beyond a hundred a hundred."""
    for n in range(2):
        store.accept("ann", "trim", {"n": n})
    assert len(store.list("ann", limit=limit)[0]) == shown


def test_assets_page_too(database: Database) -> None:
    """Assets are listed the same way, without what was deleted."""
    assets = Assets(database)
    ids = [assets.create("ann", id=new_id(), name="a", bucket="media", key=f"src/{n}", size=1, type="video/mp4").id for n in range(5)]
    assets.delete("ann", ids[2])
    first, cursor = assets.list("ann", limit=3)
    second, end = assets.list("ann", cursor, limit=3)
    assert [asset.id for asset in first + second] == [ids[4], ids[3], ids[1], ids[0]]
    assert end is None
