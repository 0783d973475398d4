"""Finding the server: NVE_URL and NVE_KEY, else the one of the data directory, which can be started for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.client import Client
from cli.failure import Unreachable, Usage
from cli.screen import Screen

if TYPE_CHECKING:
    from deployments.local.stack import Progress


@contextlib.contextmanager
def connected(screen: Screen, data: Path, *, start: bool = False) -> Iterator[Client]:
    """A client of the server; with `start`, of one that is started when none runs and stopped after the block.

    Raises Unreachable, Usage (no key) and Trouble (it cannot be started).
    """
    if url := os.environ.get("NVE_URL"):
        with Client(url, os.environ.get("NVE_KEY") or _known_key(url, data), say=screen.say) as client:
            yield client
        return
    from deployments.local import stack
    from deployments.local.home import Home

    home = Home(data)
    if start:
        with Starting(screen) as starting, stack.borrow(home, starting.hear) as running:
            starting.over(running.started)
            with Client(running.url, running.key, say=screen.say) as client:
                yield client
    elif stack.running(home):
        with Client(home.url, os.environ.get("NVE_KEY") or home.key or "", say=screen.say) as client:
            yield client
    else:
        raise Unreachable(f"No server is running in {home.path}: start it with `nve up`, or set NVE_URL to where one is.")


def _known_key(url: str, data: Path) -> str:
    """The key of the data directory, when it is its server that is meant: a key is not for strangers."""
    from deployments.local.home import Home
    from deployments.local.trouble import Trouble

    home = Home(data)
    with contextlib.suppress(Trouble):
        if home.url == url.rstrip("/") and home.key:
            return home.key
    raise Usage(f"A key for {url} is needed: set NVE_KEY to one that `nve keys create` made there.", field="NVE_KEY")


class Starting:
    """What is shown while the local server starts; nothing when it runs already."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._stack = contextlib.ExitStack()
        self._said: dict[str, str] = {}
        self._bar = None
        self.seconds = 0.0

    def __enter__(self) -> Starting:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def hear(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = self._stack.enter_context(self._screen.bars()).add("Starting the local server", None)
        self._said[progress.component] = progress.status
        self.seconds = progress.seconds
        waiting = [name for name, status in self._said.items() if status != "ready"]
        self._bar.move(0, ", ".join(waiting))

    def over(self, started: bool) -> None:
        if self._bar is not None:
            self._bar.end(f"Started the local server in {self.seconds:.1f} s" if started else "The local server is up")
        self._stack.close()
