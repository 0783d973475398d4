"""The line between a session and its worker: small frames on a socket pair, one byte of kind, four of length, the payload.

The parent believes nothing it hears here, because a decoder that a hostile file took over speaks with the worker's voice. Every
kind of frame has a greatest length that is checked before a byte of it is kept, and what may be said is spelled out below.
"""

from __future__ import annotations

import enum
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from native import errors

READ_BYTES = 4 << 20  # the most one read may ask for

# What a worker may call itself the victim of. Anything else it says is our own fault, or a lie.
FAULTS = frozenset(
    kind.code
    for kind in (
        errors.SOURCE_EMPTY,
        errors.SOURCE_UNSUPPORTED,
        errors.SOURCE_UNREADABLE,
        errors.SOURCE_TRUNCATED,
        errors.SOURCE_NO_VIDEO,
        errors.SOURCE_TOO_COMPLEX,
        errors.CODEC_UNSUPPORTED,
        errors.RANGE_EMPTY,
        errors.OUTPUT_REFUSED,
        errors.INVALID_RANGE,
        errors.INVALID_REQUEST,
        errors.TOO_HEAVY,
        errors.VERIFY_FAILED,
    )
)


# Python reads "1e999999999" as a fraction for as long as it takes, so what a worker calls a fraction is looked at first.
FRACTION = re.compile(r"-?\d{1,40}(/\d{1,40})?", re.ASCII)
FRACTIONS = {"time_base", "start", "duration", "frame_rate", "sample_aspect"}


class Kind(enum.IntEnum):
    CALL = 1  # parent: JSON {"call": name, …}
    BYTES = 2  # parent: the bytes asked for
    READ = 3  # worker: source, offset, length
    PROGRESS = 4  # worker: JSON
    RESULT = 5  # worker: JSON
    PROBLEM = 6  # worker: JSON {"code", "detail", "field"}
    EXPECT = 7  # worker: source, offset, length of a READ to come; no answer


TO_WORKER = {Kind.CALL: 16 << 20, Kind.BYTES: READ_BYTES}
TO_PARENT = {Kind.READ: 20, Kind.EXPECT: 20, Kind.PROGRESS: 1 << 10, Kind.RESULT: 8 << 20, Kind.PROBLEM: 4 << 10}

_HEAD = struct.Struct("!BI")
_READ = struct.Struct("!IQQ")


class Broken(Exception):
    """The other end said something that nobody honest says here."""


class Closed(Exception):
    """The other end is gone."""


class TooLong(Exception):
    """What was to be said exceeds its kind's greatest length."""


class Inbox:
    """Bytes in, whole frames out. Holds at most one frame's greatest length and one piece more."""

    def __init__(self, limits: dict[Kind, int]) -> None:
        self._limits = limits
        self._bytes = bytearray()

    def put(self, piece: bytes) -> None:
        self._bytes += piece

    def take(self) -> tuple[Kind, bytes] | None:
        """The next frame if it is complete. Raises `Broken` for a kind or a length that is not allowed here."""
        if len(self._bytes) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack_from(self._bytes)
        if kind not in self._limits or length > self._limits[Kind(kind)]:
            raise Broken(f"frame of kind {kind} and {length} bytes")
        end = _HEAD.size + length
        if len(self._bytes) < end:
            return None
        payload = bytes(memoryview(self._bytes)[_HEAD.size : end])
        del self._bytes[:end]
        return Kind(kind), payload


class Line:
    """One end of a socket pair. `hears` says which kinds the other end may send, and how long."""

    def __init__(self, end: socket.socket, hears: dict[Kind, int]) -> None:
        self.socket = end
        self._says = TO_PARENT if hears is TO_WORKER else TO_WORKER
        self._inbox = Inbox(hears)

    def say(self, kind: Kind, payload: bytes) -> None:
        """Send one frame. Raises `TooLong`; `Closed` when nobody is there; TimeoutError by the socket's own timeout."""
        if len(payload) > self._says[kind]:
            raise TooLong(f"{kind.name} of {len(payload)} bytes")
        try:
            self.socket.sendall(_HEAD.pack(kind, len(payload)) + payload)
        except (BrokenPipeError, ConnectionError) as exc:
            raise Closed from exc

    def whole(self) -> tuple[Kind, bytes] | None:
        """A frame that has come in whole, without waiting."""
        return self._inbox.take()

    def listen(self) -> None:
        """Take in one piece, waiting for it. Raises `Closed`; TimeoutError by the socket's own timeout."""
        try:
            piece = self.socket.recv(1 << 18)
        except ConnectionError as exc:
            raise Closed from exc
        if not piece:
            raise Closed
        self._inbox.put(piece)

    def hear(self) -> tuple[Kind, bytes]:
        """The next frame, waiting for it."""
        while (frame := self.whole()) is None:
            self.listen()
        return frame


def document(payload: bytes) -> dict[str, Any]:
    """The JSON object in a frame. Raises `Broken` when it is not one."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise Broken("not JSON") from exc
    if not isinstance(value, dict):
        raise Broken("not a JSON object")
    return value


def look_at_fractions(value: Any) -> None:
    """Raises ValueError where a JSON value has a fraction that would take for ever to read."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in FRACTIONS and isinstance(inner, str) and not FRACTION.fullmatch(inner):
                raise ValueError(name)
            look_at_fractions(inner)
    elif isinstance(value, list):
        for inner in value:
            look_at_fractions(inner)


def problem(payload: bytes) -> errors.Problem:
    """What a worker says went wrong, as ours. A code that is not a worker's to use becomes INTERNAL."""
    said = document(payload)
    kind = errors.BY_CODE.get(str(said.get("code"))) if str(said.get("code")) in FAULTS else None
    if kind is None:
        return errors.INTERNAL()
    detail, field = said.get("detail"), said.get("field")
    # these words reach strangers: no control characters, no essays
    clean = "".join(c for c in detail[:400] if c.isprintable()) if isinstance(detail, str) else None
    return kind(clean or None, field=field if isinstance(field, str) and field.isidentifier() and len(field) < 40 else None)


def wanted(payload: bytes, sizes: list[int]) -> tuple[int, int, int]:
    """The source, offset and length that a READ asks for or an EXPECT foretells. Raises `Broken` when they leave the sources."""
    try:
        source, offset, length = _READ.unpack(payload)
    except struct.error as exc:
        raise Broken("short read request") from exc
    if source >= len(sizes) or not 0 < length <= READ_BYTES or offset + length > sizes[source]:
        raise Broken(f"read of {length} bytes at {offset} of source {source}")
    return source, offset, length


class Worker:
    """The worker's end. Reads and progress may come from several threads."""

    def __init__(self, end: socket.socket) -> None:
        self._line = Line(end, TO_WORKER)
        self._turn = threading.Lock()  # a question and its answer are not to be parted

    def call(self) -> dict[str, Any]:
        """The next call. Raises `Closed` when the session is over."""
        kind, payload = self._line.hear()
        if kind is not Kind.CALL:
            raise Broken(kind.name)
        return document(payload)

    def read(self, source: int, offset: int, length: int) -> bytes:
        with self._turn:
            self._line.say(Kind.READ, _READ.pack(source, offset, length))
            kind, payload = self._line.hear()
        if kind is not Kind.BYTES:
            raise Broken(kind.name)
        return payload

    def expect(self, source: int, offset: int, length: int) -> None:
        """Foretell a read of these very bytes."""
        with self._turn:
            self._line.say(Kind.EXPECT, _READ.pack(source, offset, length))

    def progress(self, value: dict[str, Any]) -> None:
        with self._turn:
            self._line.say(Kind.PROGRESS, json.dumps(value).encode())

    def result(self, value: dict[str, Any]) -> None:
        """Raises `TooLong` when the answer is more than a parent listens to."""
        self._line.say(Kind.RESULT, json.dumps(value).encode())

    def problem(self, problem: errors.Problem) -> None:
        said = {"code": problem.code, "detail": problem.detail[:400], "field": problem.field}
        self._line.say(Kind.PROBLEM, json.dumps(said).encode())


class Remote:
    """A source that lives with the parent. What was read is counted there."""

    def __init__(
        self, number: int, size: int, read: Callable[[int, int, int], bytes], expect: Callable[[int, int, int], None] | None = None
    ) -> None:
        self.size = size
        self._number = number
        self._read = read
        self._expect = expect

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            part = self._read(self._number, offset, min(READ_BYTES, end - offset))
            if not part:
                break
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def expect(self, offset: int, length: int) -> None:
        """These very bytes will be read soon: the parent may fetch them now."""
        if self._expect is not None:
            self._expect(self._number, offset, min(READ_BYTES, length))
