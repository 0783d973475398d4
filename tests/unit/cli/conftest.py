from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cli.client import Client
from cli.screen import Bar
from tests.unit.cli.api import Api, api

JOB = "0190f3a2-0000-7000-8000-000000000001"
ASSET = "0190f3a2-0000-7000-8000-0000000000aa"


@pytest.fixture
def server() -> Iterator[Api]:
    with api() as it:
        yield it


@pytest.fixture
def client(server: Api) -> Iterator[Client]:
    with Client(server.url, "nve_test") as it:
        yield it


class Seen(Bar):
    """A bar that remembers how far it came."""

    def __init__(self) -> None:
        self.moves: list[float] = []

    def move(self, done: float, note: str = "") -> None:
        self.moves.append(done)


@pytest.fixture
def bar() -> Seen:
    return Seen()


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    """A job document."""
    return {
        "id": JOB,
        "operation": "trim",
        "state": state,
        "stage": "accepted" if state == "queued" else "done",
        "progress": {"percent": 0, "frames": 0, "speed": None, "eta_seconds": None},
        "request": {},
        "result": None,
        "warnings": [],
        "error": None,
        "attempt": 1,
        "created_at": "2026-11-23T06:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "links": {},
    } | more
