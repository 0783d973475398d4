"""Open bitstream units of AV1 (AV1 bitstream specification, 5.3): taking packets apart and putting them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, METADATA, FRAME, PADDING = 1, 2, 3, 5, 6, 15


class Broken(Exception):
    """A packet's units do not add up to the packet."""


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, the whole unit with its header) of a packet or a configuration record. Raises Broken."""
    at = 0
    while at < len(data):
        start, head = at, data[at]
        at += 2 if head & 4 else 1
        if head & 0x80:
            raise Broken
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        at += size
        if at > len(data):
            raise Broken
        yield (head >> 3) & 15, data[start:at]


def payload(unit: bytes) -> bytes:
    """A unit without its header and size."""
    at = 2 if unit[0] & 4 else 1
    return unit[_leb128(unit, at)[1] :] if unit[0] & 2 else unit[at:]


def join(parts: Iterable[bytes]) -> bytes:
    """Units as one packet; each gets its size, which only a packet's last one may lack."""
    return b"".join(part if part[0] & 2 else _sized(part) for part in parts)


def _sized(unit: bytes) -> bytes:
    at = 2 if unit[0] & 4 else 1
    size, left = bytearray(), len(unit) - at
    while left >= 128:
        size.append(left & 127 | 128)
        left >>= 7
    size.append(left)
    return bytes((unit[0] | 2,)) + unit[1:at] + bytes(size) + unit[at:]


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends)."""
    value = 0
    for n in range(8):
        if at >= len(data):
            raise Broken
        byte, at = data[at], at + 1
        value |= (byte & 127) << (7 * n)
        if not byte & 128:
            break
    return value, at


def sequence_header(data: bytes) -> bytes | None:
    """The first sequence header in a packet, or behind the four bytes of an av1C record (AV1 in ISO base media, 2.3.3)."""
    try:
        return next((unit for kind, unit in units(data) if kind == SEQUENCE_HEADER), None)
    except Broken:
        return None


def shown_key_frame(data: bytes) -> bool:
    """Does a packet begin with a key frame that is shown at once? It empties every reference; one that is shown later does not yet."""
    try:
        for kind, unit in units(data):
            if kind in (FRAME, FRAME_HEADER):
                body = payload(unit)
                # 5.9.2: show_existing_frame, frame_type (0: key), show_frame
                return bool(body) and body[0] >> 4 == 1
    except Broken:
        pass
    return False
