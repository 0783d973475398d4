"""What an HDR picture says of the screen that it was made on (SMPTE ST 2086) and of its light (CTA-861.3), for an encoder to say again."""

from __future__ import annotations

import struct
from typing import Any

import av.error
from av.container import InputContainer

HDR = {16, 18}  # transfers (H.273): PQ, HLG
# What libavutil 60 lays out: three primaries and the white point, x and y each, then least and most light, as pairs; two flags.
SCREEN = "22i"
CHROMA, LIGHT = 50_000, 10_000  # the units of ITU-T H.265 D.3.28 in one


def x265(source: InputContainer, stream: int) -> dict[str, str]:
    """x265's parameters for what the first frame of a stream, or the container around it, says; none where they say nothing."""
    try:
        frame: Any = next(source.decode(source.streams[stream]), None)
    except av.error.FFmpegError:
        return {}
    known = {side.type.name: bytes(side) for side in frame.side_data} if frame is not None else {}
    found = {}
    if screen := _screen(known.get("MASTERING_DISPLAY_METADATA", b"")):
        found |= {"hdr10": "1", "master-display": screen}
    if len(light := known.get("CONTENT_LIGHT_LEVEL", b"")) >= 8:
        most, mean = struct.unpack("2I", light[:8])
        if max(most, mean) <= 0xFFFF:
            found |= {"hdr10": "1", "max-cll": f"{most},{mean}"}
    return found


def _screen(data: bytes) -> str | None:
    size = struct.calcsize(SCREEN)
    if len(data) < size:
        return None
    *pairs, has_primaries, has_light = struct.unpack(SCREEN, data[:size])
    values = list(zip(pairs[0::2], pairs[1::2], strict=True))
    if not (has_primaries and has_light) or any(n < 0 or d <= 0 for n, d in values):
        return None
    red, green, blue, white = ([round(n * CHROMA / d) for n, d in values[at : at + 2]] for at in (0, 2, 4, 6))
    least, most = (round(n * LIGHT / d) for n, d in values[8:])
    if max(*red, *green, *blue, *white) > 0xFFFF or max(least, most) > 0xFFFF_FFFF:
        return None
    places = "".join(f"{name}({x},{y})" for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)))
    return f"{places}L({most},{least})"
