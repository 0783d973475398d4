"""One output stream of H.264 under one sequence parameter set.

A second set in a stream makes some decoders drop the frames before the switch. So pictures of other makers, and of other places, are given
headers for the one set: new numbers, lists and marking spelt out, and picture parameter sets under free ids.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from native.media.h264 import sets, slices
from native.media.h264.bits import Unsupported, escape, trimmed, unescape
from native.media.h264.buffer import Picture
from native.media.h264.numbering import Numbering
from native.media.h264.sets import Pps, Sets, Sps

SEI = 6
# D.1: what these messages say depends on the sequence set, or repeats the marking
_TIMING = {0, 1}
_MARKING = {7}
_KEPT = {SEI, slices.SLICE, slices.IDR}
# what only makes sense with the data it stands beside: a second layer or view, transparency, partitions
_STRANGE = {2, 3, 4, 13, 14, 15, 19, 20, 21}


class Stream:
    """Writes pictures under the target set. `own` are picture sets that keep their ids, for slices that nobody touches."""

    def __init__(self, target: Sps, own: Iterable[Pps] = ()) -> None:
        self.target = target
        self._numbers = Numbering(target)
        self._own = {p.id: p for p in own}
        self._adopted: dict[tuple[str, str], Pps] = {(p.body, p.extension): p for p in self._own.values()}

    @property
    def pps(self) -> list[Pps]:
        """All picture sets that slices of this stream use."""
        own = list(self._own.values())
        return own + [p for p in self._adopted.values() if p.id not in self._own]

    def adopt(self, p: Pps, s: Sps) -> Pps:
        """A picture set of the sequence set `s` for the target, under a free id. Raises Unsupported."""
        if s.scaling != self.target.scaling:
            if s.scaling:
                raise Unsupported("the sources have different scaling matrices")
            p = sets.flattened(p, s.chroma)
        found = self._adopted.get((p.body, p.extension))
        if found is None:
            taken = {known.id for known in self.pps}
            free = next((n for n in range(256) if n not in taken), None)
            if free is None:
                raise Unsupported("it has too many picture parameter sets")
            found = self._adopted[p.body, p.extension] = replace(p, id=free, sps_id=self.target.id)
        return found

    def write(
        self,
        units: Sequence[bytes],
        picture: Picture,
        known: Sets,
        *,
        top: int,
        keep: Container[int],
        reference: bool,
        bottom: int | None = None,
    ) -> list[bytes]:
        """The units of a picture, written anew. `top` is its order count, `bottom` how much later its bottom field is shown (None: as its
        slices say), `keep` names what stays in the buffer after it.
        Raises Unsupported."""
        frame_num = self._numbers.begin(idr=picture.idr)
        changes = [tuple(self._numbers.changes(entries) for entries in lists) for lists in picture.lists]
        marking = self._numbers.finish(picture.name, keep) if reference else ()
        written, coming = [], iter(zip(picture.slices, changes, strict=True))
        for unit in units:
            kind = unit[0] & 31
            if kind in _STRANGE:
                raise Unsupported("it has more layers than a picture needs")
            if kind == SEI:
                own = known.of(picture.slices[0].pps_id)[1]
                if message := _without(unit, _MARKING if own.vui == self.target.vui else _MARKING | _TIMING):
                    written.append(message)
            elif kind in _KEPT:
                header, commands = next(coming)
                p, s = known.of(header.pps_id)
                changed = replace(
                    header,
                    ref_idc=(header.ref_idc or 1) if reference else 0,
                    frame_num=frame_num,
                    poc_lsb=top % (1 << self.target.poc_bits),
                    delta_bottom=header.delta_bottom if bottom is None else bottom,
                    changes=commands,
                    no_output=False,
                    marking=None if picture.idr else marking,
                )
                written.append(slices.write(changed, self.adopt(p, s), self.target, unit))
        return written


def _without(unit: bytes, kinds: set[int]) -> bytes | None:
    """A unit of supplemental information without the messages of some kinds (7.3.2.3); None when nothing is left."""
    data, at, kept = unescape(trimmed(unit)[1:]), 0, b""
    while at < len(data) - 1:
        start, numbers = at, []
        for _ in range(2):
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            number += data[at] if at < len(data) else 0
            at += 1
            numbers.append(number)
        at += numbers[1]
        if at > len(data):
            return None  # it says to be longer than it is
        if numbers[0] not in kinds:
            kept += data[start:at]
    return unit[:1] + escape(kept + b"\x80") if kept else None
