"""How far a render is. The engine says `report("encoding", percent=…, frames=…)`; the clock is the worker's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

EVERY_SECONDS = 0.2  # progress more often than this helps nobody

STAGES = ("probing", "planning", "encoding", "verifying")


@dataclass(frozen=True)
class Progress:
    """A moment of a stage."""

    percent: float  # 0 to 100
    frames: int = 0
    speed: float | None = None  # seconds of result made per second
    eta_seconds: float | None = None


class Report(Protocol):
    """What the engine is given to tell how far it is. Cheap enough to call for every frame."""

    def __call__(self, stage: str, /, percent: float = 0.0, frames: int = 0, seconds: float = 0.0) -> None:
        """`percent` of this stage, `frames` and `seconds` of the result that are done."""


def silent(_stage: str, /, percent: float = 0.0, frames: int = 0, seconds: float = 0.0) -> None:
    """A report that tells nobody."""


class Meter:
    """A report that adds speed and the time left, and passes on no more than is of use."""

    def __init__(self, tell: Callable[[str, Progress], None], now: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._now = now
        self._stage = ""
        self._since = self._told = now()

    def __call__(self, stage: str, /, percent: float = 0.0, frames: int = 0, seconds: float = 0.0) -> None:
        now = self._now()
        if stage != self._stage:
            self._stage, self._since = stage, now
        elif percent < 100 and now - self._told < EVERY_SECONDS:
            return
        self._told = now
        spent = now - self._since
        speed = round(seconds / spent, 2) if spent > 0 and seconds else None
        eta = round(spent * (100 - percent) / percent, 1) if spent > 0 and percent > 0 else None
        self._tell(stage, Progress(round(min(100.0, max(0.0, percent)), 2), frames, speed, eta))
