"""How Matroska says that players should turn its pictures (RFC 9559 §5.1.4.1.28.40), which libavformat tells nobody but decoders."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from native.media.source import Blocks

SEGMENT, TRACKS, ENTRY, KIND, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
PROJECTION, YAW, ROLL = 0x7670, 0x7673, 0x7675
CLUSTER = 0x1F43B675
PICTURES = 1  # the kind of a track
LIMIT = 1 << 18  # bytes of the file's head in which the tracks are looked for

Matrix = tuple[int, ...]
_Element = tuple[int, int, int]  # id, first byte, end


def matrices(blocks: Blocks) -> list[Matrix | None]:
    """The display matrix of every video track in the file's order; None where the picture is shown as it is."""
    data = blocks.read(0, min(blocks.size, LIMIT))
    segment = next((e for e in _elements(data, 0, len(data)) if e[0] == SEGMENT), None)
    if segment is None:
        return []
    found = []
    for _, first, last in _children(data, segment, TRACKS):
        for _, start, end in _elements(data, first, last):
            inside = {kind: (at, stop) for kind, at, stop in _elements(data, start, end)}
            if KIND in inside and int.from_bytes(data[slice(*inside[KIND])], "big") == PICTURES:
                found.append(_pose(data, inside.get(VIDEO, (0, 0))))
    return found


def _pose(data: bytes, video: tuple[int, int]) -> Matrix | None:
    for _, start, end in (e for e in _elements(data, *video) if e[0] == PROJECTION):
        angles = {kind: _float(data[at:stop]) for kind, at, stop in _elements(data, start, end)}
        roll, mirrored = angles.get(ROLL, 0.0), abs(angles.get(YAW, 0.0)) == 180
        if roll or mirrored:
            return _matrix(-roll if mirrored else roll, mirrored=mirrored)
    return None


def _matrix(degrees: float, *, mirrored: bool) -> Matrix:
    """Counter-clockwise by so many degrees, then mirrored left to right: nine numbers as in MP4's `tkhd`."""
    cosine, sine = (round(f(math.radians(degrees)) * 0x10000) for f in (math.cos, math.sin))
    turn = (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
    return tuple(-v if mirrored and n % 3 == 0 else v for n, v in enumerate(turn))


def _float(data: bytes) -> float:
    value = struct.unpack({4: ">f", 8: ">d"}[len(data)], data)[0] if len(data) in (4, 8) else 0.0
    return value if math.isfinite(value) else 0.0


def _children(data: bytes, parent: _Element, wanted: int) -> Iterator[_Element]:
    for element in _elements(data, parent[1], parent[2]):
        if element[0] == CLUSTER:
            return  # the tracks come before the media
        if element[0] == wanted:
            yield element


def _elements(data: bytes, at: int, end: int) -> Iterator[_Element]:
    while at < end:
        kind, at = _number(data, at, keep=True)
        size, at = _number(data, at, keep=False)
        if not kind or at > end:
            return
        yield kind, at, min(end, at + size)
        at += size


def _number(data: bytes, at: int, *, keep: bool) -> tuple[int, int]:
    """A number whose leading zeros say how wide it is (RFC 8794 §4), and where it ends. An id keeps its marker."""
    width = 9 - data[at].bit_length() if at < len(data) else 9
    if width > 8 or at + width > len(data):
        return 0, len(data) + 1
    value = int.from_bytes(data[at : at + width], "big")
    return (value if keep else value & ((1 << 7 * width) - 1)), at + width
