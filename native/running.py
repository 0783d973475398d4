"""The jobs this process is working on: each has a watch that keeps its lease and ends it when it must end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from native import errors, metrics
from native.jobs.store import Attempt
from native.service import Services

logger = logging.getLogger("running")


class Cancelled(Exception):
    """The owner cancelled the job."""


class Stale(Exception):
    """Another attempt owns the job now."""


class Stopping(Exception):
    """This process is asked to stop and hands the job back."""


# How much of a job each stage is, in percent of the whole at its beginning and its end.
SHARE = {
    "accepted": (0, 0),
    "probing": (0, 2),
    "planning": (2, 4),
    "encoding": (4, 92),
    "verifying": (92, 96),
    "storing": (96, 100),
    "done": (100, 100),
}
# Progress is for eyes: more often than this it only costs.
PUBLISH_SECONDS = 0.25


class Watch:
    """Beats for one attempt, reports its progress, and says why it must end. Use by `watch(…)`."""

    def __init__(self, services: Services, attempt: Attempt) -> None:
        self._services = services
        self._attempt = attempt
        self._reason: type[Exception] | None = None
        self._kill: Callable[[], None] | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stage = "accepted"
        self._progress: dict[str, Any] = {"percent": 0, "frames": 0}
        self._stage_started = self._published = time.monotonic()
        self.seconds: dict[str, float] = {}

    # -- for the worker

    def may_kill(self, kill: Callable[[], None]) -> None:
        """`kill` ends the attempt's media process at once; it may be called from any thread, at any time."""
        with self._lock:
            self._kill = kill
            over = self._reason is not None
        if over:
            kill()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """An act of the flow. However it ends, the reason to stop, if there is one, comes first."""
        self._stage, self._stage_started = name, time.monotonic()
        self._report(SHARE[name][0], self._progress.get("frames", 0), None)
        try:
            yield
        except Exception as exc:
            if self._reason is not None:
                raise self._reason from exc
            raise
        finally:
            self.seconds[name] = round(time.monotonic() - self._stage_started, 4)
            metrics.STAGE_SECONDS.labels(self._attempt.job.operation, name).observe(self.seconds[name])
        if self._reason is not None:
            raise self._reason

    def progress(self, frames: int, total: int) -> None:
        """Frames made so far, of all that will be."""
        if time.monotonic() - self._published >= PUBLISH_SECONDS:
            first, last = SHARE[self._stage]
            done = min(1.0, frames / total) if total else 0.0
            self._report(first + (last - first) * done, frames, total)

    def over(self) -> bool:
        return self._reason is not None

    # -- for those who end it

    def end(self, reason: type[Exception]) -> None:
        with self._lock:
            if self._reason is None:
                self._reason = reason
            kill = self._kill
        if kill is not None:
            kill()

    # -- the heart

    def _report(self, percent: float, frames: int, total: int | None) -> None:
        elapsed = time.monotonic() - self._stage_started
        speed = frames / elapsed if total and elapsed > 0 else None
        self._progress = {
            "percent": round(percent, 1),
            "frames": frames,
            "speed": round(speed, 1) if speed else None,
            "eta_seconds": round((total - frames) / speed, 1) if total and speed else None,
        }
        self._published = time.monotonic()
        self._services.progress.publish(self._attempt.job.id, self._stage, self._progress)

    def beat(self) -> None:
        """Runs until the attempt ends: looks for a cancel often, extends the lease now and then."""
        settings = self._services.settings
        beaten = time.monotonic()
        while not self._ended.wait(settings.cancel_poll_seconds):
            try:
                if time.monotonic() - beaten >= settings.beat_seconds:
                    state = self._services.jobs.beat(self._attempt, self._stage, self._progress, settings.lease_seconds)
                    beaten = time.monotonic()
                else:
                    state = self._services.jobs.cancel_requested(self._attempt)
            except errors.Problem as problem:
                # Without Postgres we go on: the finish is fenced, so the worst is work done in vain.
                logger.warning("no beat: %s", problem.code)
                continue
            if not state.alive:
                self.end(Stale)
            elif state.cancel:
                self.end(Cancelled)

    def ended(self) -> None:
        self._ended.set()


_live: set[Watch] = set()
_changed = threading.Condition()
_stopping = threading.Event()


@contextmanager
def watch(services: Services, attempt: Attempt) -> Iterator[Watch]:
    """Keep this attempt's lease for as long as the block runs."""
    it = Watch(services, attempt)
    heart = threading.Thread(target=it.beat, name=f"beat-{attempt.job.id}", daemon=True)
    with _changed:
        _live.add(it)
    if _stopping.is_set():
        it.end(Stopping)
    heart.start()
    try:
        yield it
    finally:
        it.ended()
        heart.join()
        with _changed:
            _live.discard(it)
            _changed.notify_all()


def stopping() -> bool:
    return _stopping.is_set()


def stop(grace_seconds: float) -> None:
    """Take no new job, give those that run half of the grace to end by themselves, then hand the rest back."""
    _stopping.set()
    with _changed:
        _changed.wait_for(lambda: not _live, timeout=grace_seconds / 2)
        rest = list(_live)
    for it in rest:
        it.end(Stopping)
    with _changed:
        _changed.wait_for(lambda: not _live, timeout=grace_seconds / 2)
