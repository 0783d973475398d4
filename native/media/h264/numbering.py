"""Frame numbers and the reference buffer of a stream in the making (ITU-T H.264, 7.4.3, 8.2.4.1 and 8.2.5).

Everything is spelt out: each list by modification commands for all of its entries, each removal from the buffer by an operation of its own.
So neither the default order of the lists nor the sliding window matters, and pictures of several makers can be numbered alike.
"""

from __future__ import annotations

from collections.abc import Container

from native.media.h264.bits import Unsupported
from native.media.h264.buffer import List
from native.media.h264.sets import Sps
from native.media.h264.slices import REMOVE

Commands = tuple[tuple[int, int], ...]
Operations = tuple[tuple[int, ...], ...]


class Numbering:
    """The numbers of one stream's pictures, entered in coding order."""

    def __init__(self, s: Sps) -> None:
        self._modulus = s.frame_nums
        self._size = max(1, s.references)
        self._count = 0  # references since the last IDR
        self._frames: dict[int, int] = {}  # the buffer: a picture's name -> how many references came before it

    def begin(self, *, idr: bool) -> int:
        """The frame_num of the next picture. Raises Unsupported when a picture in the buffer has the same."""
        if idr:
            self._count = 0
            self._frames.clear()
        if any(self._count - number >= self._modulus for number in self._frames.values()):
            raise Unsupported("its references reach back further than its frame numbers do")
        return self._count % self._modulus

    def changes(self, entries: List) -> Commands:
        """The modification commands that make a list, for the picture that has begun (8.2.4.3.1). Raises Unsupported."""
        commands, predicted = [], self._count
        for entry in entries:
            if entry is None:
                break  # the list has no more pictures than that
            if entry.name is None or entry.name not in self._frames:
                raise Unsupported("it refers to pictures before the cut")
            number = self._frames[entry.name]
            step = number - predicted
            # a picture twice in a row is one whole round of numbers away from itself
            commands.append((1, step - 1) if step > 0 else (0, (-step or self._modulus) - 1))
            predicted = number
        return tuple(commands)

    def finish(self, name: int, keep: Container[int]) -> Operations:
        """Takes the picture that has begun into the buffer, and out of it whatever is not to be kept; the marking that does so. Raises
        Unsupported when the buffer is too small."""
        gone = [other for other in self._frames if other not in keep]
        operations = tuple((REMOVE, self._count - self._frames.pop(other) - 1) for other in gone)
        self._frames[name] = self._count
        if len(self._frames) > self._size:
            raise Unsupported("it would need more reference frames than its buffer holds")
        self._count += 1
        return operations
