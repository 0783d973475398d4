"""Slice headers of HEVC (ITU-T H.265, 7.3.6): moved under another picture parameter set, an open start made a clean one, and its quantiser.

A picture parameter set's id is the only thing in a slice header that has to change. It is an Exp-Golomb number near the front; id 0 takes
one bit and the ids of MOVED take nine, so what follows moves by exactly one byte, and neither the header's own alignment nor the slice's
data change. The two low bits of these numbers are never both zero, which keeps the byte they end in from being zero, so that no emulation
prevention appears or goes (7.4.2).
"""

from __future__ import annotations

from native.media.h264.bits import Reader, Unsupported, unescape
from native.media.hevc import sets

BLA, CRA, IDR = 18, 21, (19, 20)
MOVED = tuple(n for n in range(15, 31) if (n + 1) & 3)


def is_slice(unit: bytes) -> bool:
    return unit[0] < 64


def moved(unit: bytes, number: int) -> bytes:
    """A slice of the picture parameter set 0 under the set `number`, one of MOVED. Raises Unsupported when it is of another set."""
    flags = 2 if 16 <= sets.kind(unit) <= 23 else 1  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    if not unit[2] >> (7 - flags) & 1:
        raise Unsupported("its slices use several picture parameter sets")
    rest = 7 - flags  # bits of the first byte after the id
    bits = (unit[2] >> (8 - flags)) << 9 | number + 1
    value = bits << rest | unit[2] & ((1 << rest) - 1)
    return unit[:2] + value.to_bytes(2, "big") + unit[3:]


def as_broken_link(unit: bytes) -> bytes:
    """A slice of a CRA as one of a BLA without leading pictures (3.12): decoding begins with it, and its order numbers begin anew. Raises
    Unsupported when it would discard pictures that are still to be shown."""
    if unit[2] & 0x40:
        raise Unsupported("its key frames discard frames that were not shown yet")
    return bytes((unit[0] & 0x81 | BLA << 1,)) + unit[1:]


def qp(unit: bytes, known: dict[int, sets.Sps], pictures: dict[int, sets.Pps]) -> int | None:
    """The quantiser that an I slice begins with; None when it is another slice or its header is not understood."""
    try:
        return _qp(unit, known, pictures)
    except (Unsupported, KeyError):
        return None


def _qp(unit: bytes, known: dict[int, sets.Sps], pictures: dict[int, sets.Pps]) -> int | None:
    r = Reader(unescape(unit[2:130]))
    if not r.flag():
        return None
    if 16 <= sets.kind(unit) <= 23:
        r.flag()
    p = pictures[r.ue(63)]
    s = known[p.sps_id]
    r.u(p.extra_bits)
    if r.ue(2) != 2:
        return None
    r.u(p.output_flag)
    r.u(2 if s.separate_planes else 0)
    if sets.kind(unit) not in IDR:
        r.u(s.poc_bits)
        count = len(s.references)
        if not r.flag():
            sets.reference_set(r, count, s.references, inside=False)
        elif count > 1:
            r.u((count - 1).bit_length())
        if s.long_term and r.ue():
            return None
        r.u(s.motion)
    if s.offset_filter:
        r.u(1 if s.chroma == 0 or s.separate_planes else 2)
    return p.qp + r.se()
