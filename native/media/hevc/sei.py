"""Supplemental messages that describe the picture for as long as it lasts (ITU-T H.265, 7.3.5 and D.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from native.media.h264.bits import escape, unescape
from native.media.hevc import sets

# mastering display colour volume (D.2.28), content light level (D.2.35), alternative transfer characteristics (D.2.38)
LASTING = (137, 144, 147)


def lasting(*sources: Iterable[bytes]) -> tuple[bytes, ...]:
    """One unit with the lasting messages among these units, each kind once; none when there are none."""
    found: dict[int, bytes] = {}
    for units in sources:
        for unit in units:
            if sets.kind(unit) == sets.SEI:
                for kind, body in _messages(unescape(unit[2:])):
                    if kind in LASTING:
                        found.setdefault(kind, body)
    if not found:
        return ()
    body = b"".join(bytes((kind, len(message))) + message for kind, message in found.items() if len(message) < 255)
    return (bytes((sets.SEI << 1, 1)) + escape(body + b"\x80"),)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data) and data[at] != 0x80:
        numbers = []
        for _ in range(2):  # type and size, each a run of 255s and a rest
            total = 0
            while at < len(data) and data[at] == 255:
                total, at = total + 255, at + 1
            numbers.append(total + (data[at] if at < len(data) else 0))
            at += 1
        yield numbers[0], data[at : at + numbers[1]]
        at += numbers[1]
