"""Parameter sets of HEVC (ITU-T H.265, 7.3.2): what encoders and slice headers need to know of them, and the same set under other ids."""

from __future__ import annotations

from dataclasses import dataclass

from native.media.h264.bits import Reader, Unsupported, Writer, escape, packed, unescape

VPS, SPS, PPS, AUD, EOS, SEI, RPU, ENHANCEMENT = 32, 33, 34, 35, 36, 39, 62, 63
_EXTENDED_SAR = 255


def kind(unit: bytes) -> int:
    """nal_unit_type."""
    return (unit[0] >> 1) & 63


def layer(unit: bytes) -> int:
    """nuh_layer_id."""
    return (unit[0] & 1) << 5 | unit[1] >> 3


@dataclass(frozen=True)
class Vui:
    """Of the video usability information (E.2.1), what neither the container nor libavcodec passes on."""

    chroma_location: int | None = None
    fields: bool = False  # every picture is a field


@dataclass(frozen=True)
class Sps:
    id: int
    vps_id: int
    profile: bytes  # general profile, compatibility and constraints: 11 bytes
    level: int
    sub_layers: int
    nested: bool
    chroma: int
    separate_planes: bool
    depths: tuple[int, int]
    poc_bits: int
    offset_filter: bool
    references: tuple[tuple[int, ...], ...]  # differences of picture order of each short-term reference set
    long_term: bool
    motion: bool  # motion vectors may be borrowed from other pictures
    vui: Vui

    @property
    def interlaced(self) -> bool:
        """Fields, or frames that the profile says are interlaced and not progressive (A.3)."""
        return self.vui.fields or self.profile[5] >> 6 == 1


def sps(unit: bytes) -> Sps:
    """Reads a sequence parameter set. Raises Unsupported."""
    r = Reader(unescape(unit[2:]))
    vps_id, layers, nested = r.u(4), r.u(3), r.flag()
    profile, level = _profile(r, layers)
    number, chroma = r.ue(15), r.ue(3)
    planes = chroma == 3 and r.flag()
    r.ue(), r.ue()
    if r.flag():
        for _ in range(4):
            r.ue()
    depths = (8 + r.ue(8), 8 + r.ue(8))
    poc_bits = 4 + r.ue(12)
    for _ in range(layers + 1 if r.flag() else 1):
        r.ue(), r.ue(), r.ue()
    for _ in range(6):
        r.ue()
    if r.flag() and r.flag():
        _skip_scaling(r)
    r.flag()
    offset_filter = r.flag()
    if r.flag():
        r.u(8)
        r.ue(), r.ue()
        r.flag()
    references: list[tuple[int, ...]] = []
    for n in range(r.ue(64)):
        references.append(reference_set(r, n, references, inside=True))
    long_term = r.flag()
    if long_term and r.ue(32):
        raise Unsupported("its sequence parameter set names long-term references")
    motion = r.flag()
    r.flag()
    vui = _vui(r) if r.flag() else Vui()
    return Sps(
        number, vps_id, profile, level, layers + 1, nested, chroma, planes, depths, poc_bits, offset_filter, tuple(references), long_term,
        motion, vui,
    )  # fmt: skip


def _profile(r: Reader, layers: int) -> tuple[bytes, int]:
    """profile_tier_level() (7.3.3): the general part, the sub-layers' skipped."""
    profile = bytes(r.u(8) for _ in range(11))
    level = r.u(8)
    present = [(r.flag(), r.flag()) for _ in range(layers)]
    if layers:
        r.u(2 * (8 - layers))
    for has_profile, has_level in present:
        r.u(88 if has_profile else 0)
        r.u(8 if has_level else 0)
    return profile, level


def _skip_scaling(r: Reader) -> None:
    """scaling_list_data() (7.3.4)."""
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not r.flag():
                r.ue()
                continue
            if size > 1:
                r.se()
            for _ in range(min(64, 1 << (4 + 2 * size))):
                r.se()


def reference_set(r: Reader, number: int, known: list[tuple[int, ...]] | tuple[tuple[int, ...], ...], *, inside: bool) -> tuple[int, ...]:
    """st_ref_pic_set() (7.3.7, 7.4.8) in a parameter set (`inside`) or in a slice header: its differences of picture order."""
    if number and r.flag():
        back = 1 if inside else r.ue(number - 1) + 1
        below = r.flag()
        change = r.ue(1 << 15) + 1
        if back > number:
            raise Unsupported("a reference set refers to none")
        base, change = known[number - back], -change if below else change
        found = []
        for delta in (*base, 0):
            used = r.flag()
            if used or r.flag():
                found.append(delta + change)
        return tuple(delta for delta in found if delta)
    before, after = r.ue(16), r.ue(16)
    deltas: list[int] = []
    for count, sign in ((before, -1), (after, 1)):
        delta = 0
        for _ in range(count):
            delta += sign * (r.ue(1 << 15) + 1)
            r.flag()
            deltas.append(delta)
    return tuple(deltas)


def _vui(r: Reader) -> Vui:
    """vui_parameters() (E.2.1) up to the field flag."""
    if r.flag() and r.u(8) == _EXTENDED_SAR:
        r.u(32)
    if r.flag():
        r.flag()
    if r.flag():
        r.u(4)
        if r.flag():
            r.u(24)
    location = None
    if r.flag():
        location = r.ue(5)
        r.ue(5)
    r.flag()
    return Vui(location, r.flag())


@dataclass(frozen=True)
class Pps:
    id: int
    sps_id: int
    output_flag: bool
    extra_bits: int
    qp: int


def pps(unit: bytes) -> Pps:
    """Reads a picture parameter set up to its quantiser. Raises Unsupported."""
    r = Reader(unescape(unit[2:]))
    number, sps_id = r.ue(63), r.ue(15)
    r.flag()
    output, extra = r.flag(), r.u(3)
    r.flag(), r.flag()
    r.ue(), r.ue()
    return Pps(number, sps_id, output, extra, 26 + r.se())


def vps_as(unit: bytes, number: int) -> bytes:
    """A video parameter set under another id."""
    r = Reader(unescape(unit[2:]))
    r.u(4)
    return _again(unit, f"{number:04b}" + r.rest())


def sps_as(unit: bytes, number: int, vps_id: int) -> bytes:
    """A sequence parameter set under another id, pointing at another video parameter set."""
    r = Reader(unescape(unit[2:]))
    r.u(4)
    start = r.at
    layers = r.u(3)
    r.flag()
    _profile(r, layers)
    between = r.since(start)
    r.ue(15)
    w = Writer()
    w.u(4, vps_id)
    w.text(between)
    w.ue(number)
    return _again(unit, w.bits() + r.rest())


def pps_as(unit: bytes, number: int, sps_id: int) -> bytes:
    """A picture parameter set under another id, pointing at another sequence parameter set."""
    r = Reader(unescape(unit[2:]))
    r.ue(63), r.ue(15)
    w = Writer()
    w.ue(number)
    w.ue(sps_id)
    return _again(unit, w.bits() + r.rest())


def _again(unit: bytes, bits: str) -> bytes:
    return unit[:2] + escape(packed(bits + "1"))
