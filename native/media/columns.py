"""Long columns of integers as few bytes, and back in little time: whole columns at once, no loop per number.

A column is stored as its least value and what each number is above it, in 1, 2, 4 or 8 bytes each, the bytes of equal weight side by side
(so that the high ones, which hardly change, shrink to nothing), deflated. What is read may be anybody's: no length is believed before it
is bounded.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import repeat
from operator import add, sub

LEVEL = 3  # 9 takes ten times as long for a tenth less
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_HEAD = 10  # bytes: the width of a number (0: all are the least), the width of the least, the least


class Broken(Exception):
    """These bytes are not a column."""


def pack(numbers: Sequence[int]) -> bytes:
    """The numbers, each within 64 bits and a sign, and no more than 2^64 - 1 apart."""
    least, most = (min(numbers), max(numbers)) if numbers else (0, 0)
    width = next((w for w in (0, 1, 2, 4, 8) if most - least < 1 << 8 * w), 8)
    head = bytes([width]) + least.to_bytes(_HEAD - 1, "little", signed=True)
    if not width:
        return head
    above = array(CODES[width], map(sub, numbers, repeat(least)) if least else numbers)
    if sys.byteorder == "big":
        above.byteswap()
    raw = above.tobytes()
    return head + zlib.compress(b"".join(raw[n::width] for n in range(width)), LEVEL)


def bounds(data: bytes) -> tuple[int, int]:
    """Between which two numbers all of a column lie, without looking at one. Raises Broken."""
    if len(data) < _HEAD or data[0] not in (0, *CODES) or (not data[0] and len(data) > _HEAD):
        raise Broken("head")
    least = int.from_bytes(data[1:_HEAD], "little", signed=True)
    return least, least + (1 << 8 * data[0]) - 1


def unpack(data: bytes, count: int) -> array[int]:
    """The `count` numbers of a column. Raises Broken, also when one does not fit in 64 bits with a sign."""
    least, width = bounds(data)[0], data[0]
    try:
        if not width:
            return array("q", [least]) * count
        raw = inflate(data[_HEAD:], count * width)
        laid = bytearray(len(raw))
        for n in range(width):
            laid[n::width] = raw[n * count : (n + 1) * count]
        above = array(CODES[width])
        above.frombytes(laid)
        if sys.byteorder == "big":
            above.byteswap()
        return array("q", map(add, above, repeat(least)) if least else above)
    except OverflowError as exc:
        raise Broken("range") from exc


def inflate(data: bytes, length: int) -> bytes:
    """Exactly `length` bytes, however much the data claim to be. Raises Broken."""
    inflating = zlib.decompressobj()
    try:
        # one byte more than wanted shows that there is more; a limit of 0 would be none
        raw = inflating.decompress(data, length + 1)
    except zlib.error as exc:
        raise Broken("deflate") from exc
    if len(raw) != length or not inflating.eof or inflating.unused_data:
        raise Broken("length")
    return raw
