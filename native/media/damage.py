"""Damage that can be told without decoding: key frames that are none, and in short sources packets that do not hold together.

What a cut decodes, the decoder judges; what it copies is looked at while it passes. What lies outside of the range nobody would see, and a
source with a damaged index or a hole is no source to cut from: a short one is looked through as a whole, since its blocks are read anyway.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from native import errors
from native.media import nal

if TYPE_CHECKING:
    from native.media.index import Track
    from native.media.source import Blocks

SHORT = 8 << 20  # bytes of a track's packets that are looked through whole: a few blocks, and milliseconds
KEYS = 2  # marked packets looked at in any source: tables that are off by one are so from the second on

_RECOVERY_POINT = 6  # SEI payload type: H.264 D.1.8, HEVC D.2.8


def check(blocks: Blocks, track: Track) -> None:
    """Raises SOURCE_UNREADABLE when a picture track whose packets lie at known places is damaged, SOURCE_TRUNCATED when one is missing."""
    width = _width(track)
    if track.offsets is None or not width:
        return
    marked = list(islice((row for row, key in enumerate(track.keys) if key), KEYS)) if not all(track.keys) else []
    for row in marked:
        if not starts(_packet(blocks, track, row), width, track.stream.codec):
            raise errors.SOURCE_UNREADABLE("The source's index is damaged: it marks frames as key frames that are none.")
    if sum(track.sizes) <= SHORT:
        for size, data in zip(track.sizes, blocks.run(zip(track.offsets, track.sizes, strict=True)), strict=True):
            if len(data) != size:
                raise errors.SOURCE_TRUNCATED()
            holds_together(track, data)


def holds_together(track: Track, data: bytes) -> None:
    """Raises SOURCE_UNREADABLE when the units of a picture's packet do not add up to it or were overwritten."""
    width = _width(track)
    if not width:
        return
    try:
        kinds = nal.kinds(data, width)
    except nal.Broken as exc:
        raise errors.SOURCE_UNREADABLE("The source is damaged: some of its pictures are broken.") from exc
    if not kinds:
        raise errors.SOURCE_UNREADABLE("The source is damaged: some of its pictures are missing.")


def starts(data: bytes, width: int, codec: str) -> bool:
    """Could a player start at this packet? An IDR (HEVC: any IRAP), a recovery point, or nothing but I slices; also what cannot be read."""
    try:
        units = nal.prefixed(data, width)
    except nal.Broken:
        return True  # named elsewhere
    if codec == "hevc":
        kinds = [(unit[0] >> 1) & 63 for unit in units]
        pictures = [kind for kind in kinds if kind < 32]
        return (
            not pictures
            or any(16 <= k <= 23 for k in pictures)
            or any(_recovers(u[2:]) for u, k in zip(units, kinds, strict=True) if k == 39)
        )
    slices = [unit for unit in units if unit[0] & 31 in (nal.SLICE, 2, nal.IDR)]
    return (
        not slices
        or any(unit[0] & 31 == nal.IDR for unit in slices)
        or any(_recovers(unit[1:]) for unit in units if unit[0] & 31 == nal.SEI)
        or all(_slice_type(unit) % 5 in (2, 4) for unit in slices)
    )


def _packet(blocks: Blocks, track: Track, row: int) -> bytes:
    assert track.offsets is not None
    data = blocks.read(track.offsets[row], track.sizes[row])
    if len(data) != track.sizes[row]:
        raise errors.SOURCE_TRUNCATED()
    return data


def _width(track: Track) -> int:
    """Bytes of the length before each unit (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1); 0 when there are none, or the codec has no units."""
    extra = track.extradata
    at = {"h264": 4, "hevc": 21}.get(track.stream.codec)
    return (extra[at] & 3) + 1 if at is not None and len(extra) > at and extra[0] == 1 else 0


def _recovers(messages: bytes) -> bool:
    """Is there a recovery point among the messages of an SEI unit?"""
    at = 0
    while at + 2 <= len(messages) and messages[at] != 0x80:
        numbers = []
        for _ in range(2):  # type and size, each a run of 255s and a rest
            total = 0
            while at < len(messages) and messages[at] == 255:
                total, at = total + 255, at + 1
            numbers.append(total + (messages[at] if at < len(messages) else 0))
            at += 1
        if numbers[0] == _RECOVERY_POINT:
            return True
        at += numbers[1]
    return False


def _slice_type(unit: bytes) -> int:
    """The second Exp-Golomb number of a slice (H.264 7.3.3)."""
    bits, at = int.from_bytes(unit[1:17].ljust(16, b"\0"), "big"), 127
    number = 0
    for _ in range(2):
        zeros = 0
        while at >= 0 and not bits >> at & 1:
            zeros, at = zeros + 1, at - 1
        at -= zeros
        if at < 0:
            return 0
        number = (bits >> at & ((1 << (zeros + 1)) - 1)) - 1
        at -= 1
    return number
