"""NAL units of H.264 and HEVC: taking packets apart, putting them together, and the decoder configuration (avcC) that names their sets."""

from __future__ import annotations

import re
from dataclasses import dataclass

# H.264 unit types
SLICE, IDR, SEI, SPS, PPS, AUD = 1, 5, 6, 7, 8, 9


# What never stands inside a unit (H.264 7.4.1, HEVC 7.4.2.1). Where it does, the unit was overwritten or never arrived: zeros, mostly.
_HOLE = re.compile(rb"\0\0[\0-\2]")
# Zeros at a unit's end, and the end of sequence or stream (H.264, HEVC) that some writers glue to the last unit behind a start code.
_HARMLESS = {b"", b"\1\x0a", b"\1\x0b", b"\1\x48\1", b"\1\x4a\1"}


class Broken(Exception):
    """A packet's units do not add up to the packet, or one of them was overwritten."""


def prefixed(data: bytes, width: int) -> list[bytes]:
    """The units of a length-prefixed packet. Raises Broken when a length runs past the end."""
    units, at, end = [], 0, len(data)
    while at < end:
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        if at + size > end or (size == 0 and at >= end):
            raise Broken("a unit runs past its packet")
        if size:
            units.append(data[at : at + size])
        at += size
    return units


def kinds(data: bytes, width: int) -> set[int]:
    """The H.264 unit types in a length-prefixed packet, without copying it."""
    found, at, end = set(), 0, len(data)
    while at < end:
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        if not size or at + size > end:
            raise Broken("a unit is empty or runs past its packet")
        found.add(data[at] & 31)
        if data[at] & 0x80:
            raise Broken("a unit has the forbidden bit")
        if (hole := _HOLE.search(data, at, at + size)) and data[hole.start() : at + size].strip(b"\0") not in _HARMLESS:
            raise Broken("a unit has a hole")
        at += size
    return found


def annexb(data: bytes) -> list[bytes]:
    """The units of a packet with start codes."""
    units, at = [], data.find(b"\0\0\1")
    while at >= 0:
        after = data.find(b"\0\0\1", at + 3)
        unit = data[at + 3 : after if after >= 0 else len(data)]
        units.append(unit.rstrip(b"\0"))
        at = after
    return [unit for unit in units if unit]


def join(units: list[bytes], width: int = 4) -> bytes:
    """The units with their lengths in front."""
    return b"".join(len(unit).to_bytes(width, "big") + unit for unit in units)


@dataclass(frozen=True)
class Config:
    """The AVC decoder configuration record (ISO/IEC 14496-15, 5.3.3.1)."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    width: int = 4  # bytes of a unit's length
    extension: bytes = b""  # chroma format and bit depth, which the high profiles append

    def with_pps(self, more: tuple[bytes, ...]) -> Config:
        return Config(self.sps, (*self.pps, *(p for p in more if p not in self.pps)), self.width, self.extension)

    def record(self) -> bytes:
        head = self.sps[0]
        record = bytearray((1, head[1], head[2], head[3], 0xFC | (self.width - 1), 0xE0 | len(self.sps)))
        for unit in self.sps:
            record += len(unit).to_bytes(2, "big") + unit
        record.append(len(self.pps))
        for unit in self.pps:
            record += len(unit).to_bytes(2, "big") + unit
        return bytes(record) + self.extension


def config(extradata: bytes) -> Config | None:
    """The configuration in a stream's extradata: a record, or sets with start codes (width 0). None when there is none."""
    if extradata[:1] == b"\1" and len(extradata) >= 7:
        return _record(extradata)
    units = annexb(extradata)
    sps, pps = tuple(u for u in units if u[0] & 31 == SPS), tuple(u for u in units if u[0] & 31 == PPS)
    return Config(sps, pps, 0) if sps and pps else None


def _record(data: bytes) -> Config | None:
    at, groups = 5, []
    for mask in (31, 255):
        if at >= len(data):
            return None
        count, at, group = data[at] & mask, at + 1, []
        for _ in range(count):
            size = int.from_bytes(data[at : at + 2], "big")
            group.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        groups.append(tuple(unit for unit in group if unit))
    if at > len(data) or not groups[0] or not groups[1]:
        return None
    return Config(groups[0], groups[1], (data[4] & 3) + 1, data[at:])
