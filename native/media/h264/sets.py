"""Sequence and picture parameter sets (ITU-T H.264, 7.3.2.1, 7.3.2.2 and E.1.1), read and written again under other numbers.

What nobody here has to change is kept as the bits it was coded with, so that a set comes out exactly as it went in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from native.media.h264.bits import Reader, Unsupported, Writer, escape, packed, unescape

SPS, PPS = 7, 8  # unit types
BASELINE, MAIN, HIGH = 66, 77, 100
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128)
_SAR_IN_FULL = 255


@dataclass(frozen=True)
class Restriction:
    """The bitstream restrictions of the VUI. `reorder` is how many frames may wait for one that is decoded later and shown earlier."""

    before: str  # bits of the five fields before it
    reorder: int
    buffering: int  # frames of the decoded picture buffer


@dataclass(frozen=True)
class Vui:
    """Video usability information."""

    head: str  # bits up to the restrictions
    restriction: Restriction | None


@dataclass(frozen=True)
class Sps:
    """A sequence parameter set. Depths in bits, sizes in macroblocks."""

    id: int
    profile: int
    constraints: int  # the byte of constraint flags
    level: int
    frame_num_bits: int
    poc_type: int
    poc_bits: int  # of the order count's low part, when the type is 0
    references: int  # frames that may wait in the buffer to be referred to
    macroblocks: tuple[int, int]  # columns, and rows of a frame or of a pair of fields
    frames_only: bool
    direct_8x8: bool
    chroma: int = 1
    separate_planes: bool = False
    luma_depth: int = 8
    chroma_depth: int = 8
    bypass: bool = False  # the lowest quantiser means lossless
    scaling: str = ""  # bits of its scaling matrices; none when they are flat
    cycle: str = ""  # bits of the order counts' cycle, when their type is 1
    steady_cycle: bool = False
    gaps: bool = False
    adaptive_fields: bool = False
    crop: tuple[int, int, int, int] | None = None  # left, right, top, bottom
    vui: Vui | None = None

    @property
    def frame_nums(self) -> int:
        """MaxFrameNum."""
        return 1 << self.frame_num_bits

    @property
    def pixels(self) -> tuple[int, int, int, bool]:
        """What one pixel is made of."""
        return self.chroma, self.luma_depth, self.chroma_depth, self.separate_planes

    @property
    def chroma_planes(self) -> bool:
        """ChromaArrayType is not 0."""
        return self.chroma != 0 and not self.separate_planes

    @property
    def reorder(self) -> int | None:
        """How many frames may wait to be shown; None when the set does not say."""
        if self.poc_type == 2:
            return 0
        return self.vui.restriction.reorder if self.vui and self.vui.restriction else None


def read_sps(unit: bytes) -> Sps:
    """Raises Unsupported."""
    r = Reader(unescape(unit[1:]))
    profile, constraints, level, number = r.u(8), r.u(8), r.u(8), r.ue(31)
    chroma, planes, luma, chromatic, bypass, scaling = 1, False, 8, 8, False, ""
    if profile in HIGH_PROFILES:
        chroma = r.ue(3)
        planes = chroma == 3 and r.flag()
        luma, chromatic, bypass = 8 + r.ue(6), 8 + r.ue(6), r.flag()
        scaling = _scaling(r, 12 if chroma == 3 else 8) if r.flag() else ""
    frame_num_bits, poc_type = 4 + r.ue(12), r.ue(2)
    poc_bits = 4 + r.ue(12) if poc_type == 0 else 0
    steady, cycle = _cycle(r) if poc_type == 1 else (False, "")
    references, gaps = r.ue(16), r.flag()
    macroblocks, frames_only = (r.ue(4095) + 1, r.ue(4095) + 1), r.flag()
    adaptive = not frames_only and r.flag()
    direct_8x8 = r.flag()
    crop = (r.ue(1 << 16), r.ue(1 << 16), r.ue(1 << 16), r.ue(1 << 16)) if r.flag() else None
    vui = _vui(r) if r.flag() else None
    return Sps(
        number, profile, constraints, level, frame_num_bits, poc_type, poc_bits, references, macroblocks, frames_only, direct_8x8,
        chroma, planes, luma, chromatic, bypass, scaling, cycle, steady, gaps, adaptive, crop, vui,
    )  # fmt: skip


def _scaling(r: Reader, lists: int) -> str:
    """The bits of scaling lists, six of them for blocks of 4×4 and the others for 8×8 (7.3.2.1.1.1)."""
    start = r.at
    for n in range(lists):
        if r.flag():
            last = following = 8
            for _ in range(16 if n < 6 else 64):
                if following:
                    following = (last + r.se()) % 256
                last = following or last
    return r.since(start)


def _cycle(r: Reader) -> tuple[bool, str]:
    start = r.at
    steady = r.flag()
    r.se()
    r.se()
    for _ in range(r.ue(255)):
        r.se()
    return steady, r.since(start)


def _vui(r: Reader) -> Vui:
    start = r.at
    if r.flag() and r.u(8) == _SAR_IN_FULL:
        r.u(32)
    if r.flag():
        r.flag()
    if r.flag():
        r.u(4)
        if r.flag():
            r.u(24)
    if r.flag():
        r.ue()
        r.ue()
    if r.flag():
        r.u(65)
    timed = [r.flag() and _hrd(r) for _ in range(2)]  # of the units as they are, and of the slices alone
    if any(timed):
        r.flag()
    r.flag()
    head = r.since(start)
    if not r.flag():
        return Vui(head, None)
    start = r.at
    r.flag()
    for _ in range(4):
        r.ue()
    return Vui(head, Restriction(r.since(start), r.ue(16), r.ue(16)))


def _hrd(r: Reader) -> bool:
    count = 1 + r.ue(31)
    r.u(8)
    for _ in range(count):
        r.ue()
        r.ue()
        r.flag()
    r.u(20)
    return True


def write_sps(s: Sps) -> bytes:
    """The set as a unit."""
    w = Writer()
    for byte in (s.profile, s.constraints, s.level):
        w.u(8, byte)
    w.ue(s.id)
    if s.profile in HIGH_PROFILES:
        w.ue(s.chroma)
        if s.chroma == 3:
            w.flag(s.separate_planes)
        w.ue(s.luma_depth - 8)
        w.ue(s.chroma_depth - 8)
        w.flag(s.bypass)
        w.flag(bool(s.scaling))
        w.text(s.scaling)
    w.ue(s.frame_num_bits - 4)
    w.ue(s.poc_type)
    if s.poc_type == 0:
        w.ue(s.poc_bits - 4)
    w.text(s.cycle)
    w.ue(s.references)
    w.flag(s.gaps)
    w.ue(s.macroblocks[0] - 1)
    w.ue(s.macroblocks[1] - 1)
    w.flag(s.frames_only)
    if not s.frames_only:
        w.flag(s.adaptive_fields)
    w.flag(s.direct_8x8)
    w.flag(s.crop is not None)
    for edge in s.crop or ():
        w.ue(edge)
    w.flag(s.vui is not None)
    if s.vui is not None:
        _write_vui(w, s.vui)
    return _unit(SPS, w.bits())


def _write_vui(w: Writer, vui: Vui) -> None:
    w.text(vui.head)
    w.flag(vui.restriction is not None)
    if vui.restriction is not None:
        w.text(vui.restriction.before)
        w.ue(vui.restriction.reorder)
        w.ue(vui.restriction.buffering)


def _unit(kind: int, bits: str) -> bytes:
    return bytes((3 << 5 | kind,)) + escape(packed(bits + "1"))


@dataclass(frozen=True)
class Pps:
    """A picture parameter set."""

    id: int
    sps_id: int
    cabac: bool
    pic_order: bool  # slices say where the bottom field lies in the order
    references: tuple[int, int]  # how many each list has when a slice does not say
    weighted: bool
    weighted_bi: int
    qp: int
    deblocking: bool  # slices say how they are deblocked
    redundant: bool
    body: str = field(repr=False)  # bits of all that
    extension: str = field(repr=False)  # bits of what High profiles add: 8×8 transform, scaling matrices, the other chroma offset


def read_pps(unit: bytes) -> Pps:
    """Raises Unsupported."""
    r = Reader(unescape(unit[1:]))
    number, sps_id = r.ue(255), r.ue(31)
    start = r.at
    cabac, pic_order = r.flag(), r.flag()
    if r.ue():
        raise Unsupported("its pictures are divided into slice groups")
    references = (r.ue(31) + 1, r.ue(31) + 1)
    weighted, weighted_bi, qp = r.flag(), r.u(2), 26 + r.se()
    r.se()
    r.se()
    deblocking, _constrained, redundant = r.flag(), r.flag(), r.flag()
    body = r.since(start)
    return Pps(number, sps_id, cabac, pic_order, references, weighted, weighted_bi, qp, deblocking, redundant, body, r.rest())


def write_pps(p: Pps) -> bytes:
    """The set as a unit."""
    w = Writer()
    w.ue(p.id)
    w.ue(p.sps_id)
    w.text(p.body)
    w.text(p.extension)
    return _unit(PPS, w.bits())


def flattened(p: Pps, chroma: int) -> Pps:
    """The same set with flat scaling matrices of its own, which its sequence set's do not reach. Raises Unsupported."""
    extension = p.extension or "001"  # no 8×8 transform, no matrices, the other chroma offset 0
    if extension[1] != "0":
        raise Unsupported("an encoder's pictures have scaling matrices")
    w = Writer()
    for n in range(6 + (0 if extension[0] == "0" else 6 if chroma == 3 else 2)):
        w.flag(True)
        w.se(8)  # from 8 to 16, which is flat, and on without a change
        w.text("1" * (15 if n < 6 else 63))
    return replace(p, extension=f"{extension[0]}1{w.bits()}{extension[2:]}")


@dataclass(frozen=True)
class Sets:
    """The parameter sets that a stream's slices are read with."""

    sps: dict[int, Sps]
    pps: dict[int, Pps]

    def of(self, pps_id: int) -> tuple[Pps, Sps]:
        """Raises Unsupported when a set is missing."""
        p = self.pps.get(pps_id)
        s = self.sps.get(p.sps_id) if p else None
        if p is None or s is None:
            raise Unsupported("it names parameter sets that it does not have")
        return p, s


def read(units: Iterable[bytes]) -> Sets:
    """The sets among some units; a later one replaces an earlier one of its number. Raises Unsupported."""
    found = Sets({}, {})
    for unit in units:
        if unit[0] & 31 == SPS:
            s = read_sps(unit)
            found.sps[s.id] = s
        elif unit[0] & 31 == PPS:
            p = read_pps(unit)
            found.pps[p.id] = p
    return found
