"""Work done in a thread beside the one that wants its results."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TypeVar

AHEAD = 128  # results made before they are wanted

T = TypeVar("T")


def of(work: Iterator[T]) -> Iterator[T]:
    """The same results in the same order. The work begins with the first one wanted, and raises here what it raises."""
    done: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    places = threading.Semaphore(AHEAD)
    unwanted = threading.Event()

    def run() -> None:
        try:
            for result in work:
                places.acquire()
                if unwanted.is_set():
                    return
                done.put((result,))
        except BaseException as exc:
            done.put(exc)
        else:
            done.put(None)

    # a daemon: a source that hangs does not keep the process from ending
    threading.Thread(target=run, name="beside", daemon=True).start()
    try:
        while (result := done.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result[0]
            places.release()
    finally:
        unwanted.set()
        places.release()
