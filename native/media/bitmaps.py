"""Subtitles as pictures: what little of their packets has to be read, and written, to cut them.

A display set of PGS and of DVB stays until the next one, and may refer to pictures of sets before it. So a cut begins with the last set
that stands for itself, moved to the beginning, and ends with a set that shows nothing. A DVD's packet says itself when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

DVD_CLOCK = Fraction(1024, 90_000)  # seconds of a tick of a DVD's control sequences
STOP = 2  # the command that ends a DVD's picture
ARGUMENTS = {0: 0, 1: 0, STOP: 0, 3: 2, 4: 2, 5: 6, 6: 4}  # bytes after each of a DVD's commands


@dataclass(frozen=True)
class Screen:
    """What one display set says of itself."""

    whole: bool  # it refers to no set before it
    shows: bool
    cleared: bytes  # a set of the same kind that shows nothing


def screen(codec: str, data: bytes) -> Screen | None:
    """The display set in a packet; None when it is only a part of one, or of a kind that has none."""
    if codec == "hdmv_pgs_subtitle":
        return _presentation(data)
    if codec == "dvb_subtitle":
        return _page(data)
    return None


def _presentation(data: bytes) -> Screen | None:
    """PGS: the presentation composition segment, as the Blu-ray Disc format and all readers of it have it."""
    for kind, body in _segments(data, 1):
        if kind == 0x16 and len(body) >= 11:
            # size, rate, then a count of the sets; state, palette flag and palette; no objects
            count = (int.from_bytes(body[5:7], "big") + 1) & 0xFFFF
            empty = body[:5] + count.to_bytes(2, "big") + bytes(4)
            return Screen(bool(body[7] & 0xC0), bool(body[10]), b"\x16\0\x0b" + empty + b"\x80\0\0")
    return None


def _page(data: bytes) -> Screen | None:
    """DVB: the page composition segment (ETSI EN 300 743 §7.2.2)."""
    # some demuxers leave the PES payload's own head in front (§6.2)
    for kind, body in _segments(data.removeprefix(b"\x20\0"), 4):
        if kind == 0x10 and len(body) >= 4:
            page, timeout, state = body[:2], body[2:3], body[3]
            version = (state & 0xF0) + 0x10 & 0xF0
            segment = b"\x0f\x10" + page + b"\0\2" + timeout + bytes([version | 3])
            return Screen(bool(state & 0x0C), len(body) > 4, segment + b"\x0f\x80" + page + b"\0\0")
    return None


def _segments(data: bytes, width: int) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of the segments of PGS (`width` 1: a kind) or DVB (4: a sync byte, a kind, a page, which stays with the body)."""
    at, sync = 0, width == 4
    while at + 2 + width <= len(data) and (not sync or data[at] == 0x0F):
        size = int.from_bytes(data[at + width : at + width + 2], "big")
        body = data[at + width + 2 : at + width + 2 + size]
        yield (data[at + 1], data[at + 2 : at + 4] + body) if sync else (data[at], body)
        at += width + 2 + size


def retimed(data: bytes, shift: Fraction, end: Fraction) -> bytes:
    """A DVD's packet that begins `shift` seconds later, and shows nothing any more `end` seconds after that."""
    packet, at = bytearray(data), int.from_bytes(data[2:4], "big")
    seen: set[int] = set()
    while at not in seen and at + 4 <= len(packet):
        seen.add(at)
        delay = int.from_bytes(packet[at : at + 2], "big") * DVD_CLOCK - shift
        if _stops(packet, at + 4):
            delay = min(delay, end)
        packet[at : at + 2] = min(0xFFFF, max(0, round(delay / DVD_CLOCK))).to_bytes(2, "big")
        at = int.from_bytes(packet[at + 2 : at + 4], "big")
    return bytes(packet)


def _stops(packet: bytearray, at: int) -> bool:
    while at < len(packet) and packet[at] in ARGUMENTS:
        if packet[at] == STOP:
            return True
        at += 1 + ARGUMENTS[packet[at]]
    return False
