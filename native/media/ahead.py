"""What a worker said it will ask for, fetched by a few threads of the parent while the worker is busy with what it has.

Believed no further than it costs little: so many pieces at a time, each no longer than one read may be; what is too much, or never asked
for, is dropped.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

from native.media.source import Readable

THREADS = 4  # reads on their way at once
PIECES = 160  # that wait to be asked for, those on their way included
BYTES = 24 << 20  # of all of them together: two runs and a little

_Piece = tuple[int, int, int]  # source, offset, length


class Ahead:
    """The pieces that are fetched ahead for one worker. Used by one thread, apart from those it starts."""

    def __init__(self, sources: Sequence[Readable]) -> None:
        self._sources = sources
        self._pieces: OrderedDict[_Piece, Future[bytes]] = OrderedDict()  # those not asked for yet, the oldest first
        self._queue: OrderedDict[_Piece, Future[bytes]] = OrderedDict()  # those not begun
        self._lock = threading.Lock()  # of the queue and the number of threads that work it off
        self._threads = 0

    def expect(self, source: int, offset: int, length: int) -> None:
        """Start to fetch a piece."""
        piece = (source, offset, length)
        if piece in self._pieces:
            return
        future = self._pieces[piece] = Future()
        while len(self._pieces) > PIECES or sum(length for *_, length in self._pieces) > BYTES:
            self._cancel(*self._pieces.popitem(last=False))
        with self._lock:
            self._queue[piece] = future
            if self._threads == THREADS:
                return
            self._threads += 1
        # a daemon: a store that hangs does not keep the process from ending
        threading.Thread(target=self._work, name="ahead", daemon=True).start()

    def take(self, source: int, offset: int, length: int) -> Future[bytes] | None:
        """The piece, if it was expected: it is there or will come."""
        return self._pieces.pop((source, offset, length), None)

    def drop(self) -> None:
        """Nothing more is wanted. What is being read is read to its end, and nobody gets it."""
        while self._pieces:
            self._cancel(*self._pieces.popitem())

    def _cancel(self, piece: _Piece, future: Future[bytes]) -> None:
        future.cancel()
        with self._lock:
            if self._queue.get(piece) is future:
                del self._queue[piece]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                (source, offset, length), future = self._queue.popitem(last=False)
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._sources[source].read(offset, length))
                except BaseException as exc:
                    future.set_exception(exc)
