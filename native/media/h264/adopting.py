"""H.264 headers (ITU-T H.264, 7.3.2 and 7.3.3), as far as an encoder's slices need them to move under a source's own parameter sets.

A stream with two sequence parameter sets makes some decoders drop the frames before the switch. So the few frames that are encoded
anew are not given the encoder's set: their slice headers are written again for the source's, and only a picture parameter set is added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import count

HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128)
_ESCAPE = re.compile(rb"\0\0(?=[\0-\3])")


class Unsupported(Exception):
    """The stream uses something that the rewriting does not know. The text is the reason, in plain words."""


def unescape(data: bytes) -> bytes:
    """Without emulation prevention bytes."""
    return data.replace(b"\0\0\3", b"\0\0")


def escape(data: bytes) -> bytes:
    return _ESCAPE.sub(b"\0\0\3", data)


class Reader:
    """Bits of an RBSP, from the front."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.length = len(data) * 8
        self.at = 0

    def u(self, width: int) -> int:
        self.at += width
        if self.at > self.length:
            raise Unsupported("a header is longer than its unit")
        return (self._value >> (self.length - self.at)) & ((1 << width) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise Unsupported("a number in a header is too large")
        return (1 << zeros) - 1 + (self.u(zeros) if zeros else 0)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def rest(self) -> tuple[int, int]:
        """(width, value) of what is left, the stop bit included and the zeros after it left out."""
        left = self.length - self.at
        value = self._value & ((1 << left) - 1)
        zeros = (value & -value).bit_length() - 1 if value else 0
        return left - zeros, value >> zeros


class Writer:
    """Bits of an RBSP."""

    def __init__(self) -> None:
        self._value = 0
        self.length = 0

    def u(self, width: int, value: int) -> None:
        self._value = (self._value << width) | value
        self.length += width

    def ue(self, value: int) -> None:
        width = (value + 1).bit_length()
        self.u(2 * width - 1, value + 1)

    def se(self, value: int) -> None:
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def bytes(self, fill: int = 0) -> bytes:
        """The bits, filled up to a whole byte with `fill` bits."""
        spare = -self.length % 8
        value = (self._value << spare) | (((1 << spare) - 1) if fill else 0)
        return value.to_bytes((self.length + spare) // 8, "big")


@dataclass(frozen=True)
class Sps:
    id: int
    profile: int
    constraints: int
    level: int
    chroma: int
    separate_planes: bool
    depth: int
    scaling: bool
    frame_num_bits: int
    poc_type: int
    poc_bits: int
    references: int
    macroblocks: tuple[int, int]
    frames_only: bool
    crop_left: int
    crop_top: int


def sps(unit: bytes) -> Sps:
    """Reads a sequence parameter set up to its cropping. Raises Unsupported."""
    r = Reader(unescape(unit[1:]))
    profile, constraints, level, number = r.u(8), r.u(8), r.u(8), r.ue()
    chroma, planes, depth, scaling = 1, False, 8, False
    if profile in HIGH_PROFILES:
        chroma = r.ue()
        planes = chroma == 3 and bool(r.u(1))
        depth = 8 + r.ue()
        r.ue()
        r.u(1)
        scaling = bool(r.u(1))
        for n in range((12 if chroma == 3 else 8) if scaling else 0):
            if r.u(1):
                _skip_scaling(r, 16 if n < 6 else 64)
    frame_num_bits, poc_type, poc_bits = 4 + r.ue(), r.ue(), 0
    if poc_type == 0:
        poc_bits = 4 + r.ue()
    elif poc_type == 1:
        raise Unsupported("its pictures are ordered in cycles (picture order count type 1)")
    references = r.ue()
    r.u(1)
    macroblocks = (r.ue() + 1, r.ue() + 1)
    frames_only = bool(r.u(1))
    if not frames_only:
        r.u(1)
    r.u(1)
    left = top = 0
    if r.u(1):
        left, _, top, _ = r.ue(), r.ue(), r.ue(), r.ue()
    return Sps(
        number, profile, constraints, level, chroma, planes, depth, scaling, frame_num_bits, poc_type, poc_bits, references, macroblocks,
        frames_only, left, top,
    )  # fmt: skip


def _skip_scaling(r: Reader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + r.se()) % 256
        last = following or last


@dataclass(frozen=True)
class Pps:
    id: int
    sps_id: int
    cabac: bool
    pic_order: bool
    references: tuple[int, int]
    weighted: bool
    weighted_bi: int
    qp: int
    deblocking: bool
    redundant: bool
    body: tuple[int, int]  # (width, value) of all bits after the ids


def pps(unit: bytes) -> Pps:
    """Reads a picture parameter set. Raises Unsupported."""
    r = Reader(unescape(unit[1:]))
    number, sps_id = r.ue(), r.ue()
    body = r.rest()
    cabac, pic_order = bool(r.u(1)), bool(r.u(1))
    if r.ue():
        raise Unsupported("its pictures are divided into slice groups")
    references = (r.ue() + 1, r.ue() + 1)
    weighted, weighted_bi = bool(r.u(1)), r.u(2)
    qp = 26 + r.se()
    r.se()
    r.se()
    deblocking = bool(r.u(1))
    r.u(1)
    return Pps(number, sps_id, cabac, pic_order, references, weighted, weighted_bi, qp, deblocking, bool(r.u(1)), body)


def pps_with_ids(unit: bytes, number: int, sps_id: int) -> bytes:
    """The same picture parameter set under other ids."""
    w = Writer()
    w.ue(number)
    w.ue(sps_id)
    w.u(*pps(unit).body)
    return unit[:1] + escape(w.bytes())


@dataclass(frozen=True)
class Slice:
    """A slice header of the kinds that the boundary encoder writes: I and P slices of frames, one reference, no weights."""

    kind: int  # nal_unit_type
    reference: int  # nal_ref_idc
    first_mb: int
    type: int
    frame_num: int
    idr_id: int
    poc: int
    override: tuple[int, ...]
    reordering: tuple[tuple[int, int], ...]
    no_output: int
    long_term: int
    cabac_init: int | None
    qp_delta: int
    deblocking: tuple[int, ...]
    payload: bytes | tuple[int, int]  # CABAC: bytes; CAVLC: (width, value)

    @property
    def predicted(self) -> bool:
        return self.type % 5 == 0


def read_slice(unit: bytes, s: Sps, p: Pps) -> Slice:
    """Takes an encoder's slice apart. Raises Unsupported."""
    data = unescape(unit[1:])
    r = Reader(data if not p.cabac else data[:64])
    kind, reference = unit[0] & 31, (unit[0] >> 5) & 3
    first_mb, kind_of_slice, _ = r.ue(), r.ue(), r.ue()
    if kind_of_slice % 5 not in (0, 2):
        raise Unsupported("an encoded slice is neither I nor P")
    frame_num = r.u(s.frame_num_bits)
    idr_id = r.ue() if kind == 5 else 0
    poc = 0
    if s.poc_type == 0:
        poc = r.u(s.poc_bits)
        if p.pic_order:
            r.se()
    override: tuple[int, ...] = ()
    reordering: list[tuple[int, int]] = []
    predicted = kind_of_slice % 5 == 0
    if predicted:
        # the count is always written out, for the default belongs to the set the slice comes from
        override = (r.ue() + 1,) if r.u(1) else (p.references[0],)
        if r.u(1):
            while (op := r.ue()) != 3:
                reordering.append((op, r.ue()))
        if p.weighted:
            raise Unsupported("an encoded slice is weighted")
    no_output = long_term = 0
    if reference:
        if kind == 5:
            no_output, long_term = r.u(1), r.u(1)
        elif r.u(1):
            raise Unsupported("an encoded slice marks references")
    cabac_init = r.ue() if p.cabac and predicted else None
    qp_delta = r.se()
    deblocking: tuple[int, ...] = ()
    if p.deblocking:
        off = r.ue()
        deblocking = (off,) if off == 1 else (off, r.se(), r.se())
    payload = data[(r.at + 7) // 8 :] if p.cabac else r.rest()
    return Slice(
        kind, reference, first_mb, kind_of_slice, frame_num, idr_id, poc, override, tuple(reordering), no_output, long_term, cabac_init,
        qp_delta, deblocking, payload,
    )  # fmt: skip


def write_slice(h: Slice, s: Sps, p: Pps) -> bytes:
    """The slice as a unit under these parameter sets."""
    w = Writer()
    w.ue(h.first_mb)
    w.ue(h.type)
    w.ue(p.id)
    w.u(s.frame_num_bits, h.frame_num)
    if h.kind == 5:
        w.ue(h.idr_id)
    if s.poc_type == 0:
        w.u(s.poc_bits, h.poc)
        if p.pic_order:
            w.se(0)
    if h.predicted:
        w.u(1, 1)
        w.ue(h.override[0] - 1)
        w.u(1, 1 if h.reordering else 0)
        for op, value in h.reordering:
            w.ue(op)
            w.ue(value)
        if h.reordering:
            w.ue(3)
    if h.reference:
        if h.kind == 5:
            w.u(1, h.no_output)
            w.u(1, h.long_term)
        else:
            w.u(1, 0)
    if h.cabac_init is not None:
        w.ue(h.cabac_init)
    w.se(h.qp_delta)
    for n, value in enumerate(h.deblocking):
        w.se(value) if n else w.ue(value)
    head = bytes(((h.reference << 5) | h.kind,))
    if isinstance(h.payload, bytes):
        return head + escape(w.bytes(fill=1) + h.payload)
    w.u(*h.payload)
    return head + escape(w.bytes())


class Adopter:
    """Moves an encoder's stream (IDR, then P frames, every one a reference to the one before) under a source's own parameter sets."""

    def __init__(self, source_sps: bytes, source_pps: tuple[bytes, ...]) -> None:
        self.sps = sps(source_sps)
        if reason := refusal(self.sps):
            raise Unsupported(reason)
        self._taken = {pps(unit).id for unit in source_pps}
        self.added: dict[bytes, bytes] = {}  # the encoder's set -> the same under a free id
        self._sections = count()

    def section(self) -> Section:
        """A new IDR period. Neighbouring ones get different idr_pic_ids, as they must."""
        return Section(self, next(self._sections) % 2)

    def adopt(self, unit: bytes) -> bytes:
        """The encoder's picture parameter set under a free id, pointing at the source's sequence set."""
        if unit not in self.added:
            free = next(n for n in range(256) if n not in self._taken)
            self._taken.add(free)
            self.added[unit] = pps_with_ids(unit, free, self.sps.id)
        return self.added[unit]


def refusal(s: Sps) -> str | None:
    """Why frames cannot be encoded under this set; None when they can."""
    if not s.frames_only:
        return "it is interlaced"
    if s.separate_planes:
        return "its colour planes are coded separately"
    if s.scaling:
        return "it uses its own scaling matrices"
    if s.crop_left or s.crop_top:
        return "its picture is cropped at the left or the top"
    if s.references < 1:
        return "it has no reference frames"
    return None


class Section:
    """One IDR and the P frames after it."""

    def __init__(self, adopter: Adopter, idr_id: int) -> None:
        self._adopter = adopter
        self._idr_id = 2 + idr_id  # the source's own IDRs mostly alternate between 0 and 1
        self._pictures = 0
        self._sps: Sps | None = None
        self._pps: bytes | None = None

    def picture(self, units: list[bytes]) -> list[bytes]:
        """The units of one encoded picture, moved. Raises Unsupported when the encoder made what cannot be moved."""
        moved, target = [], self._adopter.sps
        for unit in units:
            kind = unit[0] & 31
            if kind == 7:
                self._sps = sps(unit)
                if (self._sps.macroblocks, self._sps.chroma, self._sps.depth) != (target.macroblocks, target.chroma, target.depth):
                    raise Unsupported("the encoder's pictures have another shape")
            elif kind == 8:
                self._pps = unit
            elif kind in (1, 5):
                if self._sps is None or self._pps is None:
                    raise Unsupported("the encoder wrote no parameter sets")
                moved.append(self._move(unit, self._sps, pps(self._pps), target))
        self._pictures += 1
        return moved

    def _move(self, unit: bytes, own_sps: Sps, own_pps: Pps, target: Sps) -> bytes:
        assert self._pps is not None
        header = read_slice(unit, own_sps, own_pps)
        changed = replace(
            header,
            frame_num=self._pictures % (1 << target.frame_num_bits),
            poc=2 * self._pictures % (1 << target.poc_bits) if target.poc_type == 0 else 0,
            idr_id=self._idr_id if header.kind == 5 else 0,
        )
        return write_slice(changed, target, pps(self._adopter.adopt(self._pps)))


def slice_qp(unit: bytes, s: Sps, sets: dict[int, Pps]) -> int | None:
    """The quantiser that a picture's first slice starts from; None where reading it needs more than this module knows."""
    try:
        r = Reader(unescape(unit[1:97]))
        first, kind = r.ue(), r.ue() % 5
        p = sets[r.ue()]
        if first or kind != 2 or s.poc_type != 0 or not s.frames_only or s.separate_planes:
            return None
        r.u(s.frame_num_bits)
        if unit[0] & 31 == 5:
            r.ue()
        r.u(s.poc_bits)
        if p.pic_order:
            r.se()
        if p.redundant:
            r.ue()
        if (unit[0] >> 5) & 3:
            if unit[0] & 31 == 5:
                r.u(2)
            elif r.u(1):
                return None
        return p.qp + r.se()
    except (Unsupported, KeyError, IndexError):
        return None
