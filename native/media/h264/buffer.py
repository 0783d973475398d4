"""The decoded picture buffer of a stream of frames, followed from slice headers alone: picture order counts, reference lists and marking
(ITU-T H.264, 8.2.1, 8.2.4 and 8.2.5).

Pictures go by names that the caller gives, such as their rows in an index. A stream may be followed from any picture on: what lies before
it is unknown, and whatever list entry may be one of those is called unknown, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from native.media.h264.bits import Unsupported
from native.media.h264.sets import Sets, Sps
from native.media.h264.slices import REMOVE, Slice


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture in the buffer. `name` is None when it lies before the first one followed."""

    name: int | None
    frame_num: int
    order: int  # picture order count


_UNKNOWN = Reference(None, -1, -(1 << 40))
List = tuple[Reference | None, ...]  # None: no picture, and so no block refers to it


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, as its slices and the buffer before it tell."""

    name: int
    slices: tuple[Slice, ...]
    top: int  # picture order count of its top field
    order: int  # picture order count of the frame
    lists: tuple[tuple[List, ...], ...]  # of each slice: none, list 0, or lists 0 and 1
    kept: tuple[Reference, ...]  # the buffer after it, itself included

    @property
    def idr(self) -> bool:
        return self.slices[0].idr

    @property
    def reference(self) -> bool:
        return self.slices[0].ref_idc > 0

    @property
    def used(self) -> set[Reference]:
        """What its lists name."""
        return {entry for lists in self.lists for entries in lists for entry in entries if entry is not None}


@dataclass(frozen=True, slots=True)
class State:
    """The buffer between two pictures."""

    frames: tuple[Reference, ...]  # in decoding order
    frame_num: int | None  # of the last reference; None before the first picture
    msb: int = 0  # high part of the last reference's order count, and its low part
    lsb: int = 0
    before: int = 0  # frame_num of the last picture, and what its wraps add up to
    wraps: int = 0


def start(s: Sps) -> State:
    """Before the first picture that is followed. Unknown references fill the buffer until known ones or an IDR push them out."""
    return State((_UNKNOWN,) * max(1, s.references), None)


def follow(state: State, name: int, slices: Sequence[Slice], sets: Sets) -> tuple[Picture, State]:
    """The next picture in decoding order, and the buffer after it. Raises Unsupported."""
    first = slices[0]
    _, s = sets.of(first.pps_id)
    _check(slices, s)
    if first.idr:
        state = State((), None)
    elif state.frame_num is not None and first.frame_num != (state.frame_num + 1) % s.frame_nums:
        raise Unsupported("some of its pictures are missing (a gap in the frame numbers)")
    top, order, state = _order(state, first, s)
    lists = tuple(tuple(_modified(entries, part, n, state, s) for n, entries in enumerate(_initial(state, part, order))) for part in slices)
    frames = state.frames
    if first.ref_idc:
        frames = (*_marked(frames, first, s), Reference(name, first.frame_num, order))
    number = first.frame_num if first.ref_idc else state.frame_num
    if number is None:  # followed from a picture that is no reference
        number = (first.frame_num - 1) % s.frame_nums
    after = State(frames, number, state.msb, state.lsb, state.before, state.wraps)
    return Picture(name, tuple(slices), top, order, lists, frames), after


def _check(slices: Sequence[Slice], s: Sps) -> None:
    """Raises Unsupported for what is not followed here, and for slices that are not of one picture."""
    first = slices[0]
    if any(part.field for part in slices):
        raise Unsupported("it has field pictures")
    if s.separate_planes:
        raise Unsupported("its colour planes are coded separately")
    if s.poc_type == 1:
        raise Unsupported("its pictures are ordered in cycles (picture order count type 1)")
    for part in slices:
        if part.redundant:
            raise Unsupported("it has redundant pictures")
        same = (part.idr, part.ref_idc > 0, part.frame_num, part.poc_lsb) == (first.idr, first.ref_idc > 0, first.frame_num, first.poc_lsb)
        if not same or (part is not first and part.first_mb == 0):
            raise Unsupported("some of its packets hold several pictures")
        if part.long_term or any(operation[0] != REMOVE for operation in part.marking or ()):
            raise Unsupported("it uses long-term references")
        if any(command == 2 for commands in part.changes for command, _ in commands):
            raise Unsupported("it uses long-term references")


def _order(state: State, h: Slice, s: Sps) -> tuple[int, int, State]:
    """Order counts of the top field and of the frame (8.2.1.1, 8.2.1.3)."""
    if s.poc_type == 2:
        wraps = 0 if h.idr else state.wraps + (s.frame_nums if state.before > h.frame_num else 0)
        order = 2 * (wraps + h.frame_num) - (0 if h.ref_idc else 1)
        return order, order, State(state.frames, state.frame_num, 0, 0, h.frame_num, wraps)
    cycle, msb = 1 << s.poc_bits, state.msb
    if h.poc_lsb < state.lsb and state.lsb - h.poc_lsb >= cycle // 2:
        msb += cycle
    elif h.poc_lsb > state.lsb and h.poc_lsb - state.lsb > cycle // 2:
        msb -= cycle
    top = msb + h.poc_lsb
    if h.ref_idc:
        state = State(state.frames, state.frame_num, msb, h.poc_lsb)
    return top, top + min(0, h.delta_bottom), state


def _initial(state: State, h: Slice, order: int) -> tuple[list[Reference], ...]:
    """The lists before modification (8.2.4.2.1, 8.2.4.2.3). Descending picture numbers are the reverse of the decoding order."""
    if not h.counts:
        return ()
    if h.predicted:
        return (list(reversed(state.frames)),)
    earlier = sorted((f for f in state.frames if f.order < order), key=lambda f: -f.order)
    later = sorted((f for f in state.frames if f.order > order), key=lambda f: f.order)
    forward, backward = earlier + later, later + earlier
    if len(backward) > 1 and forward == backward:
        backward[:2] = backward[1::-1]
    return forward, backward


def _modified(entries: list[Reference], h: Slice, which: int, state: State, s: Sps) -> List:
    """The final list (8.2.4.3.1)."""
    count, made, predicted = h.counts[which], list[Reference | None](), h.frame_num
    final: list[Reference | None] = [*entries, *[None] * count][:count]
    for command, value in h.changes[which]:
        predicted = (predicted + (value + 1) * (1 if command else -1)) % s.frame_nums
        found = next((f for f in state.frames if f.name is not None and f.frame_num == predicted), None)
        if found is None:
            if _UNKNOWN not in state.frames:
                raise Unsupported("it refers to pictures that it does not have")
            found = _UNKNOWN
        rest = final[len(made) :]
        made.append(found)
        # an unknown picture may have been anywhere in the list, or nowhere
        final = [*made, *(f for f in rest if f is not found or f is _UNKNOWN)][:count]
    return tuple(final)


def _marked(frames: tuple[Reference, ...], h: Slice, s: Sps) -> tuple[Reference, ...]:
    """What a reference picture leaves of the buffer before it comes in itself (8.2.5.3, 8.2.5.4)."""
    if h.marking is None:
        return frames[max(0, len(frames) + 1 - max(1, s.references)) :]
    gone = {(h.frame_num - 1 - operation[1]) % s.frame_nums for operation in h.marking}
    return tuple(f for f in frames if f.frame_num not in gone)
