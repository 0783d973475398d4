"""What a killed supervisor left behind. To be called only by who holds the lock of the data directory: then nothing else is its own."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import IO

from . import child
from .gateway import Gateway
from .home import Home
from .postgres import Postgres
from .seaweed import Seaweed
from .valkey import Valkey


@contextlib.contextmanager
def lock(home: Home) -> Iterator[bool]:
    """Whether the data directory is ours alone, for as long as the block lasts."""
    with (home.path / "run/supervisor.lock").open("a") as file:
        yield _taken(file)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end(home: Home) -> None:
    """End it: by the records first, each in its own way, then whatever carries the mark of this data directory."""
    for server in (Gateway(home), Seaweed(home), Valkey(home), Postgres(home)):
        server.end_leftover()
    child.end_all(child.marked(home.path))
