"""What a killed supervisor left behind. To be called only by who holds the lock of the data directory: then nothing else is its own."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from typing import IO

from . import child
from .gateway import Gateway
from .home import Home
from .postgres import Postgres
from .seaweed import Seaweed
from .valkey import Valkey


@contextlib.contextmanager
def lock(home: Home, seconds: float = 0.0) -> Iterator[bool]:
    """Whether the data directory is ours alone, for as long as the block lasts. A killed holder may have it for some moments more."""
    deadline = time.monotonic() + seconds
    with (home.path / "run/supervisor.lock").open("a") as file:
        while not (taken := _taken(file)) and time.monotonic() < deadline:
            time.sleep(0.02)  # the kernel gives it up when the last thread of the killed one has ended; nothing tells
        yield taken


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end(home: Home) -> None:
    """End it: by the records first, each in its own way, then whatever carries the mark of this data directory."""
    servers = (Gateway(home), Seaweed(home), Valkey(home), Postgres(home))
    for server in servers:
        server.end_leftover()
    child.end_all(child.marked(home.path))
    # One that was killed before it was recorded has left its files, too.
    for server in servers:
        server.swept()
