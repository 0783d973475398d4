"""Pieces fetched ahead: by whom they are asked for, no more than so many, and nothing of what is dropped."""

from __future__ import annotations

import threading
import time

import pytest

from native.media import ahead, source


class Slow:
    """A source that is read when it is let go, and says how many read it at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        with self.lock:
            self.asked.append((offset, length))
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(10)
        with self.lock:
            self.now -= 1
        return bytes(length)


def test_a_piece_is_there_when_it_is_asked_for() -> None:
    """What was expected is read once, by these very bounds; anything else is not there."""
    slow = Slow(100)
    slow.go.set()
    pieces = ahead.Ahead([slow])
    pieces.expect(0, 10, 20)
    pieces.expect(0, 10, 20)
    assert pieces.take(0, 10, 21) is None
    taken = pieces.take(0, 10, 20)
    assert taken is not None
    assert taken.result(10) == bytes(20)
    assert pieces.take(0, 10, 20) is None
    assert slow.asked == [(10, 20)]


def test_a_worker_that_expects_too_much_is_not_believed() -> None:
    """A thousand pieces make a few reads at once; the oldest are forgotten, and so are large ones."""
    slow = Slow(1 << 40)
    pieces = ahead.Ahead([slow])
    for n in range(1000):
        pieces.expect(0, n, 1)
    assert len(pieces._pieces) <= ahead.PIECES
    assert len(pieces._queue) <= ahead.PIECES
    for n in range(20):
        pieces.expect(0, n << 20, 4 << 20)
    assert sum(length for *_, length in pieces._pieces) <= ahead.BYTES
    last = pieces.take(0, 19 << 20, 4 << 20)
    slow.go.set()
    assert last is not None
    assert last.result(10) == bytes(4 << 20)
    assert slow.most <= ahead.THREADS
    assert len(slow.asked) <= ahead.THREADS + ahead.BYTES // (4 << 20)


def test_what_is_dropped_is_not_read() -> None:
    """After `drop`, reads that have not begun never begin."""
    slow = Slow(1 << 20)
    pieces = ahead.Ahead([slow])
    for n in range(ahead.PIECES):
        pieces.expect(0, n, 1)
    deadline = time.monotonic() + 10
    while slow.now < ahead.THREADS and time.monotonic() < deadline:
        time.sleep(0.001)
    pieces.drop()
    slow.go.set()
    while pieces._threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(slow.asked) == ahead.THREADS


def test_what_reading_raises_is_raised() -> None:
    """A store's problem reaches whoever asks for the piece."""

    class Failing:
        size = 10

        def read(self, offset: int, length: int) -> bytes:
            raise OSError("away")

    pieces = ahead.Ahead([Failing()])
    pieces.expect(0, 0, 1)
    taken = pieces.take(0, 0, 1)
    assert taken is not None
    with pytest.raises(OSError, match="away"):
        taken.result(10)


def test_expected_pieces_are_as_long_as_a_read_may_be() -> None:
    """A worker that says the truth stays within the bounds."""
    assert 2 * (source.AHEAD + 1) * source.PIECE <= ahead.BYTES
    assert 2 * (source.AHEAD + 1) * source.PIECE <= ahead.PIECES * source.BLOCK
