"""The parent's side of media work: one session, one worker, killed at the end whatever happened.

    with session.open(sources, room, limits, on_progress) as media:
        facts = media.probe()
        made = media.render(edit)
        media.verify(made, edit)

Sources are `Readable`s of the caller's; the worker, which has no network, reads them through the session. `kill()` may be called
from any thread. What the worker says is checked here before anybody relies on it.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from native import errors, log
from native.media import channel, process
from native.media.ahead import Ahead
from native.media.channel import Kind
from native.media.edit import Edit
from native.media.info import MediaInfo
from native.media.made import Made
from native.media.source import Held, Readable

logger = logging.getLogger("media")

MAX_INDEX = 64 << 20  # bytes of what is kept of one source
BURIAL_SECONDS = 0.2  # a worker that hung up has ended or is about to
CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL, -signal.SIGTRAP}
EXHAUSTED = {-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ}  # a SIGKILL that is not ours is the kernel's, out of memory


class Killed(Exception):
    """The session was killed by `kill()`."""


class _Late(Exception):
    """The deadline has passed."""


@dataclass(frozen=True)
class Limits:
    """What one session may use, and what a source may be."""

    memory_bytes: int = 4 << 30  # address space of the worker, and again of FFmpeg
    cpu_seconds: int | None = None  # of the worker, and again of FFmpeg; None: the deadline on every core
    deadline_seconds: float = 3600.0  # from open()
    output_bytes: int = 64 << 30  # one result
    max_pixels: int = 33_177_600  # of one frame
    max_streams: int = 16
    max_duration_seconds: int = 6 * 3600

    def check(self, info: MediaInfo) -> None:
        """Raises SOURCE_TOO_COMPLEX, naming what is too much."""
        if len(info.streams) > self.max_streams:
            raise errors.SOURCE_TOO_COMPLEX(f"The source has {len(info.streams)} streams; at most {self.max_streams} are allowed.")
        if info.duration > self.max_duration_seconds:
            raise errors.SOURCE_TOO_COMPLEX(f"The source is longer than {self.max_duration_seconds // 3600} hours.")
        for stream in info.streams:
            if (stream.width or 0) * (stream.height or 0) > self.max_pixels:
                raise errors.SOURCE_TOO_COMPLEX(f"The source's picture of {stream.width}×{stream.height} is larger than allowed.")


class _Post:
    """A worker and the line to it, before a session takes it over."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.child = process.worker(theirs.fileno())
        self.line = channel.Line(ours, channel.TO_PARENT)

    def end(self, patience_seconds: float = 0.0) -> process.Death:
        self.line.socket.close()
        return self.child.bury(patience_seconds)


_spare: _Post | None = None
_keep_spare = False
_spare_lock = threading.Lock()


def warm() -> None:
    """Keep one started worker waiting from now on, so that `open` does not wait for imports. Returns at once; costs its memory."""
    global _spare, _keep_spare
    with _spare_lock:
        _keep_spare = True
        if _spare is not None and not _spare.child.alive():
            _spare.end()
            _spare = None
        if _spare is None:
            _spare = _Post()


def cool() -> None:
    """End the spare worker and keep none."""
    global _spare, _keep_spare
    with _spare_lock:
        _keep_spare = False
        if _spare is not None:
            _spare.end()
            _spare = None


def _post() -> _Post:
    """The spare worker if there is one that lives, else a new one."""
    global _spare
    with _spare_lock:
        post, _spare = _spare, None
    if post is not None and not post.child.alive():
        post.end()
        post = None
    return post or _Post()


def open(
    sources: Sequence[Readable],
    room: Path,
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    indexes: Sequence[bytes | None] = (),
) -> Session:
    """A session on `sources`, whose results are files in `room`. `on_progress` gets frames made and frames in all.

    `indexes` are what `Session.index` gave for these very sources at another time.
    """
    return Session(sources, room, limits or Limits(), on_progress or (lambda _frames, _total: None), indexes)


class Session:
    """One worker at work on some sources. One call at a time; `kill` at any time."""

    def __init__(
        self,
        sources: Sequence[Readable],
        room: Path,
        limits: Limits,
        on_progress: Callable[[int, int], None],
        indexes: Sequence[bytes | None],
    ) -> None:
        self._sources = list(sources)
        kept = [Held(one or b"") for one, _ in zip_longest(indexes, sources)]
        self._readable: list[Readable] = [*self._sources, *kept]  # by the numbers that a worker reads them by
        self._sizes = [source.size for source in self._readable]
        self._room = room.resolve()
        self._limits = limits
        self._on_progress = on_progress
        self._deadline = time.monotonic() + limits.deadline_seconds
        self._busy = threading.Lock()
        self._killed = False
        self._post: _Post | None = None
        self._state = threading.Lock()
        self._ahead = Ahead(self._readable)

    def __enter__(self) -> Session:
        post = _post()
        with self._state:
            self._post = post
        try:
            cpu = self._limits.cpu_seconds or int(self._limits.deadline_seconds * (os.cpu_count() or 1)) + 1
            limits = {"memory_bytes": self._limits.memory_bytes, "cpu_seconds": cpu, "output_bytes": self._limits.output_bytes}
            sizes = {"sizes": self._sizes[: len(self._sources)], "indexes": self._sizes[len(self._sources) :]}
            confined = self._ask({"call": "open", "limits": limits, "room": str(self._room), **sizes})
            _say_once(confined.get("missing"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the calls

    def probe(self) -> list[MediaInfo]:
        """What each source is. Raises the source's problems, and SOURCE_TOO_COMPLEX for what exceeds the limits."""
        media = self._ask({"call": "probe"}).get("media")
        if not isinstance(media, list) or len(media) != len(self._sources):
            raise self._broken("media")
        infos = [self._believe(MediaInfo, one) for one in media]
        for info in infos:
            self._limits.check(info)
        return infos

    def keyframes(self, source: int) -> list[Fraction]:
        """The times, in seconds, at which a picture of the source can be decoded without those before it."""
        times = self._ask({"call": "keyframes", "source": source}).get("keyframes")
        if not isinstance(times, list) or not all(isinstance(time, str) and channel.FRACTION.fullmatch(time) for time in times):
            raise self._broken("keyframes")
        return [Fraction(time) for time in times]

    def render(self, edit: Edit, least: int | None = None) -> Made:
        """Make the edit, as a file in the room. With `least`, copied runs of so many bytes may stay in the sources: see `Made.layout`.

        Raises the sources' problems, INVALID_RANGE, OUTPUT_REFUSED, TOO_HEAVY."""
        call = {"call": "render", "edit": edit.model_dump(mode="json"), "least": least}
        made = self._believe(Made, self._ask(call).get("made"))
        if made.layout is not None and least is None:
            raise self._broken("a layout that nobody asked for")
        return self._ours(made)

    def verify(self, made: Made, edit: Edit) -> None:
        """Check the file against what the edit promises. Raises VERIFY_FAILED."""
        self._ask({"call": "verify", "made": made.model_dump(mode="json"), "edit": edit.model_dump(mode="json")})
        self._ours(made)

    def index(self, source: int) -> bytes | None:
        """The index of a source as bytes to offer the next time; None when what was offered did, or none was made yet. They are the
        worker's, so nobody else's sources may depend on them."""
        path = self._room / f"index-{source}"
        size = self._ask({"call": "index", "source": source, "file": path.name}).get("size")
        if not isinstance(size, int) or not 0 <= size <= MAX_INDEX:
            raise self._broken("index")
        if not size:
            return None
        try:
            found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(found, "rb") as file:
                seen = os.fstat(found)
                data = file.read(size + 1) if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 else b""
            path.unlink()
        except OSError as exc:
            raise self._broken("an index that is not there") from exc
        if len(data) != size:
            raise self._broken("an index of another size")
        return data

    def kill(self) -> None:
        """End the worker and what it started, at once. The call that runs, and every later one, raises `Killed`."""
        with self._state:
            self._killed = True
            if self._post is not None:
                self._post.child.kill()

    def close(self) -> None:
        """End the session. Harmless when it has ended."""
        with self._state:
            post, self._post = self._post, None
        if post is not None:
            post.end()
            if _keep_spare:
                warm()

    # -- the line

    def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """One call to its answer, serving what the worker needs meanwhile."""
        with self._busy:
            with self._state:
                post, killed = self._post, self._killed
            if killed or post is None:
                raise Killed
            try:
                with selectors.DefaultSelector() as selector:
                    selector.register(post.line.socket, selectors.EVENT_READ)
                    selector.register(post.child.stderr.descriptor, selectors.EVENT_READ)
                    self._say(post, Kind.CALL, json.dumps(call).encode())
                    answer = self._serve(post, selector)
            except _Late:
                self._end()
                raise errors.TOO_HEAVY(f"The job needs more than the {self._limits.deadline_seconds:g} seconds it may use.") from None
            except channel.Closed:
                raise self._death(self._end(BURIAL_SECONDS)) from None
            except channel.Broken as exc:
                raise self._broken(str(exc)) from exc
            except BaseException:
                self._end()  # the caller's source or its progress failed; the worker waits for an answer it will not get
                raise
            finally:
                self._ahead.drop()
        if isinstance(answer, errors.Problem):
            raise answer
        return answer

    def _say(self, post: _Post, kind: Kind, payload: bytes) -> None:
        try:
            post.line.socket.settimeout(self._left())
            post.line.say(kind, payload)
        except TimeoutError as exc:
            raise _Late from exc

    def _serve(self, post: _Post, selector: selectors.BaseSelector) -> dict[str, Any] | errors.Problem:
        """Answer the worker's reads and pass on its progress until it has a result or a problem."""
        while True:
            while (frame := post.line.whole()) is None:
                ready = selector.select(self._left())
                if not ready:
                    raise _Late
                for key, _ in ready:
                    if key.fileobj is post.line.socket:
                        post.line.listen()
                    elif not post.child.stderr.drain():
                        selector.unregister(key.fileobj)
            kind, payload = frame
            if kind is Kind.READ:
                self._say(post, Kind.BYTES, self._read(*channel.wanted(payload, self._sizes)))
            elif kind is Kind.EXPECT:
                self._ahead.expect(*channel.wanted(payload, self._sizes))
            elif kind is Kind.PROGRESS:
                self._tell(channel.document(payload))
            elif kind is Kind.RESULT:
                return channel.document(payload)
            else:
                problem = channel.problem(payload)
                post.child.stderr.drain()
                log.event(logger, logging.INFO, "worker's problem", code=problem.code, detail=problem.detail, said=post.child.stderr.text())
                return problem

    def _read(self, source: int, offset: int, length: int) -> bytes:
        """The bytes asked for, which may be on their way already."""
        coming = self._ahead.take(source, offset, length)
        if coming is None:
            return self._readable[source].read(offset, length)
        if not wait([coming], self._left()).done:
            raise _Late
        return coming.result()

    def _left(self) -> float:
        """Seconds to the deadline. Never 0, which a socket takes for "do not wait"."""
        return max(0.0, self._deadline - time.monotonic()) or 1e-6

    def _tell(self, moment: dict[str, Any]) -> None:
        frames, total = moment.get("frames"), moment.get("total")
        if not isinstance(frames, int) or not isinstance(total, int):
            raise channel.Broken("progress")
        self._on_progress(max(0, frames), max(0, total))

    # -- what went wrong

    def _end(self, patience_seconds: float = 0.0) -> process.Death | None:
        """Bury the worker after the line broke. None when somebody else has."""
        with self._state:
            post, self._post = self._post, None
        return post.end(patience_seconds) if post is not None else None

    def _death(self, death: process.Death | None) -> Exception:
        """What the death of the worker means for the caller."""
        if self._killed or death is None:
            return Killed()
        log.event(
            logger,
            logging.WARNING,
            "worker died",
            status=death.status,
            memory_bytes=death.memory_bytes,
            cpu_seconds=death.cpu_seconds,
            said=death.stderr,
        )
        # An allocation that fails often ends in a crash; one that came near its limit is the job's weight, not the source's damage.
        heavy = death.memory_bytes > 0.8 * self._limits.memory_bytes or "MemoryError" in death.stderr
        if death.status in EXHAUSTED or (death.status != 0 and heavy):
            return errors.TOO_HEAVY()
        return errors.SOURCE_UNREADABLE() if death.status in CRASHES else errors.INTERNAL()

    def _broken(self, what: str) -> Exception:
        """A worker that says what it must not is treated as taken over by its source."""
        self._end()
        if self._killed:
            return Killed()
        log.event(logger, logging.WARNING, "worker broke the protocol", what=what)
        return errors.SOURCE_UNREADABLE()

    def _believe(self, model: Any, value: Any) -> Any:
        """A worker's answer as a value of ours, if it can be one."""
        try:
            channel.look_at_fractions(value)
            return model.model_validate(value)
        except (ValidationError, ValueError, ZeroDivisionError, RecursionError) as exc:
            raise self._broken(f"{model.__name__}: {type(exc).__name__}") from exc

    def _ours(self, made: Made) -> Made:
        """A result is a plain file of the room: a worker cannot make us store another file by naming it."""
        try:
            seen = os.lstat(made.path)
        except OSError as exc:
            raise self._broken("a result that is not there") from exc
        if made.path.parent != self._room or not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
            raise self._broken("a result that is not in the room")
        size = seen.st_size
        if made.layout is not None:
            try:
                made.layout.check(seen.st_size, self._sizes[: len(self._sources)])
            except ValueError as exc:
                raise self._broken(str(exc)) from exc
            size = made.layout.size
        if size != made.size or size > self._limits.output_bytes:
            raise self._broken("a result of another size")
        return made


_said: set[str] = set()


def _say_once(missing: Any) -> None:
    """Name each fence that this machine's kernel refuses, once per process."""
    for reason in missing if isinstance(missing, list) else []:
        if isinstance(reason, str) and reason not in _said and len(_said) < 10:
            _said.add(reason)
            log.event(logger, logging.WARNING, "the worker runs without one of its fences", reason=reason[:200])
