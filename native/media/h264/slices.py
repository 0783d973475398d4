"""Slice headers (ITU-T H.264, 7.3.3), read and written again before the slice's own data.

The data of a slice do not depend on the numbers in its header, so a slice under another header shows the same: CABAC data stay the bytes
they are behind the alignment, CAVLC data move by some bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from native.media.h264.bits import Reader, Short, Unsupported, Writer, escape, packed, trimmed, unescape
from native.media.h264.sets import Pps, Sets, Sps

SLICE, IDR = 1, 5  # unit types
# 7.4.3.3: arguments of each memory management control operation
_ARGUMENTS = {1: 1, 2: 1, 3: 2, 4: 1, 5: 0, 6: 1}
REMOVE = 1  # the operation that ends the use of one picture as a reference
_WINDOWS = (48, 512, 8192)  # bytes of a unit among which its header ends: nearly always, almost always, always
_MOST = 32 * 2 + 2  # commands of a list or of the marking; more are a lie


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice header. What depends on no number that changes is kept as bits."""

    unit_type: int
    ref_idc: int
    first_mb: int
    type: int
    pps_id: int
    frame_num: int
    qp: int  # the quantiser that the slice begins with
    plane: int = 0
    field: bool = False
    bottom: bool = False
    idr_pic_id: int = 0
    poc_lsb: int = 0
    delta_bottom: int = 0
    delta_cycle: tuple[int, ...] = ()
    redundant: int = 0
    direct_spatial: bool = False
    override: bool = False
    counts: tuple[int, ...] = ()  # entries of list 0, and of list 1 in B slices
    changes: tuple[tuple[tuple[int, int], ...], ...] = ()  # modification commands of each list
    weights: str = ""  # bits of the prediction weight table
    no_output: bool = False
    long_term: bool = False
    marking: tuple[tuple[int, ...], ...] | None = None  # memory management operations; None: the sliding window
    tail: str = ""  # bits from the CABAC table on
    start: int = 0  # the bit of the payload where the slice's data begin

    @property
    def idr(self) -> bool:
        return self.unit_type == IDR

    @property
    def predicted(self) -> bool:
        return self.type % 5 == 0

    @property
    def bipredicted(self) -> bool:
        return self.type % 5 == 1


def read(unit: bytes, sets: Sets) -> Slice:
    """The header of a slice. Raises Unsupported."""
    if len(unit) < 2 or unit[0] & 31 not in (SLICE, IDR):
        raise Unsupported("its slices are of an unknown kind")
    for window in _WINDOWS:
        try:
            return _read(unit[0], Reader(unescape(unit[1 : 1 + window])), sets)
        except Short:
            if len(unit) <= 1 + window:
                raise
    raise Short


def _read(head: int, r: Reader, sets: Sets) -> Slice:
    unit_type, ref_idc = head & 31, head >> 5 & 3
    first_mb, kind, pps_id = r.ue(), r.ue(9), r.ue(255)
    p, s = sets.of(pps_id)
    if kind % 5 > 2:
        raise Unsupported("it has switching slices")
    plane = r.u(2) if s.separate_planes else 0
    frame_num = r.u(s.frame_num_bits)
    field = not s.frames_only and r.flag()
    bottom = field and r.flag()
    idr_pic_id = r.ue(65535) if unit_type == IDR else 0
    poc_lsb = delta_bottom = 0
    delta_cycle: tuple[int, ...] = ()
    if s.poc_type == 0:
        poc_lsb = r.u(s.poc_bits)
        delta_bottom = r.se() if p.pic_order and not field else 0
    elif s.poc_type == 1 and not s.steady_cycle:
        delta_cycle = (r.se(), *((r.se(),) if p.pic_order and not field else ()))
    redundant = r.ue(127) if p.redundant else 0
    direct = kind % 5 == 1 and r.flag()
    override, counts = _counts(r, p, kind)
    changes = tuple(_changes(r) for _ in counts)
    weights = _weights(r, s, counts) if (p.weighted and kind % 5 == 0) or (p.weighted_bi == 1 and kind % 5 == 1) else ""
    no_output = long_term = False
    marking = None
    if ref_idc and unit_type == IDR:
        no_output, long_term = r.flag(), r.flag()
    elif ref_idc:
        marking = _marking(r)
    at = r.at
    if p.cabac and kind % 5 != 2:
        r.ue(2)
    qp = p.qp + r.se()
    if p.deblocking and r.ue(2) != 1:
        r.se()
        r.se()
    tail = r.since(at)
    start = r.at + (-r.at % 8 if p.cabac else 0)
    return Slice(
        unit_type, ref_idc, first_mb, kind, pps_id, frame_num, qp, plane, field, bottom, idr_pic_id, poc_lsb, delta_bottom, delta_cycle,
        redundant, direct, override, counts, changes, weights, no_output, long_term, marking, tail, start,
    )  # fmt: skip


def _counts(r: Reader, p: Pps, kind: int) -> tuple[bool, tuple[int, ...]]:
    """Whether the slice says how many entries its lists have, and how many they have."""
    lists = (1, 2, 0)[kind % 5]
    if not lists:
        return False, ()
    override = r.flag()
    return override, tuple(r.ue(31) + 1 for _ in range(lists)) if override else p.references[:lists]


def _changes(r: Reader) -> tuple[tuple[int, int], ...]:
    """The modification commands of one list (7.3.3.1)."""
    commands: list[tuple[int, int]] = []
    if r.flag():
        while (command := r.ue(3)) != 3:
            commands.append((command, r.ue()))
            if len(commands) > _MOST:
                raise Unsupported("its reference lists are changed without end")
    return tuple(commands)


def _weights(r: Reader, s: Sps, counts: tuple[int, ...]) -> str:
    """The bits of the prediction weight table (7.3.3.2)."""
    start = r.at
    r.ue(7)
    if s.chroma_planes:
        r.ue(7)
    for count in counts:
        for _ in range(count):
            numbers = 2 if r.flag() else 0
            for _ in range(numbers):
                r.se()
            numbers = 4 if s.chroma_planes and r.flag() else 0
            for _ in range(numbers):
                r.se()
    return r.since(start)


def _marking(r: Reader) -> tuple[tuple[int, ...], ...] | None:
    """The reference marking of a picture that is no IDR (7.3.3.3)."""
    if not r.flag():
        return None
    operations: list[tuple[int, ...]] = []
    while operation := r.ue(6):
        operations.append((operation, *(r.ue() for _ in range(_ARGUMENTS[operation]))))
        if len(operations) > _MOST:
            raise Unsupported("its references are marked without end")
    return tuple(operations)


def write(header: Slice, p: Pps, s: Sps, unit: bytes) -> bytes:
    """The data of the slice that was read from `unit` under `header`, as a unit of the given sets."""
    bits = _header(header, p, s)
    head, payload = bytes((header.ref_idc << 5 | header.unit_type,)), unescape(trimmed(unit)[1:])
    if p.cabac:
        return head + escape(packed(bits, "1") + payload[header.start // 8 :])
    # a first bit 1 keeps the zeros in front of the number
    data = int.from_bytes(payload[header.start // 8 :], "big")
    width = 8 * (len(payload) - header.start // 8) - header.start % 8
    stop = (data & -data).bit_length() - 1
    data = (int("1" + bits, 2) << width | data & (1 << width) - 1) >> stop
    width += len(bits) - stop
    spare = -width % 8
    return head + escape(((data & (1 << width) - 1) << spare).to_bytes((width + spare) // 8, "big"))


def _header(h: Slice, p: Pps, s: Sps) -> str:
    w = Writer()
    w.ue(h.first_mb)
    w.ue(h.type)
    w.ue(p.id)
    if s.separate_planes:
        w.u(2, h.plane)
    w.u(s.frame_num_bits, h.frame_num)
    if not s.frames_only:
        w.flag(h.field)
        if h.field:
            w.flag(h.bottom)
    if h.idr:
        w.ue(h.idr_pic_id)
    if s.poc_type == 0:
        w.u(s.poc_bits, h.poc_lsb)
        if p.pic_order and not h.field:
            w.se(h.delta_bottom)
    for delta in h.delta_cycle:
        w.se(delta)
    if p.redundant:
        w.ue(h.redundant)
    if h.bipredicted:
        w.flag(h.direct_spatial)
    if h.counts:
        w.flag(h.override)
        for count in h.counts if h.override else ():
            w.ue(count - 1)
    for commands in h.changes:
        w.flag(bool(commands))
        for command, value in commands:
            w.ue(command)
            w.ue(value)
        if commands:
            w.ue(3)
    w.text(h.weights)
    _write_marking(w, h)
    w.text(h.tail)
    return w.bits()


def _write_marking(w: Writer, h: Slice) -> None:
    if not h.ref_idc:
        return
    if h.idr:
        w.flag(h.no_output)
        w.flag(h.long_term)
        return
    w.flag(h.marking is not None)
    if h.marking is not None:
        for operation in h.marking:
            for number in operation:
                w.ue(number)
        w.ue(0)
