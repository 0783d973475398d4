"""The H.264 of one source: its parameter sets, its packets taken apart, and its frames decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

import av
import av.error

from native.media import encode, nal, packets, splice
from native.media.h264 import buffer, sets, slices
from native.media.h264.bits import Unsupported, trimmed
from native.media.h264.buffer import Picture, State
from native.media.h264.sets import Sps
from native.media.h264.slices import Slice
from native.media.packets import Sample
from native.media.pieces import NotCopyable, Undecodable
from native.media.splice import Source

_SLICES = (slices.SLICE, slices.IDR)
_SETS = (sets.SPS, sets.PPS)
_AHEAD = 64  # packets in which sets are looked for when the container has none
_TRIES = 3  # key frames from which decoding is tried before the last sure one
_SAMPLES = 9  # pictures whose quantisers are looked at
RECOVERY = 6  # D.1.8: supplemental information about where decoding may begin


class Footage:
    """Raises NotCopyable when its sets cannot be read."""

    def __init__(self, source: Source) -> None:
        assert source.track is not None
        self.source, self.track, self.order = source, source.track, source.order
        self.width = splice.length_width(self.track)
        config = nal.config(self.track.extradata)
        self.units = tuple(map(trimmed, (*config.sps, *config.pps))) if config else self._in_band()
        try:
            self.sets = sets.read(self.units)
            used = {p.sps_id for p in self.sets.pps.values()}
            self.sps: tuple[Sps, ...] = tuple(s for number, s in self.sets.sps.items() if number in used)
        except Unsupported as exc:
            raise NotCopyable(str(exc)) from exc
        if not self.sps:
            raise NotCopyable("the source has no H.264 parameter sets")

    def _in_band(self) -> tuple[bytes, ...]:
        """The sets in the first packets that have any."""
        found: dict[bytes, None] = {}
        for sample in self.samples(0, min(_AHEAD, len(self.track.pts))):
            found.update((trimmed(u), None) for u in splice.units_of(self.track, sample.data) if u[0] & 31 in _SETS)
            if {u[0] & 31 for u in found} == set(_SETS):
                break
        return tuple(found)

    def samples(self, first: int, last: int) -> Iterator[Sample]:
        """Packets first … last-1."""
        return packets.read(self.source.index, self.track, first, last)

    def kinds(self, data: bytes) -> set[int]:
        """The unit types in a packet. Raises NotCopyable."""
        try:
            kinds = nal.kinds(data, self.width) if self.width else {u[0] & 31 for u in nal.annexb(data)}
        except nal.Broken:
            kinds = set()
        if kinds.isdisjoint(_SLICES):
            raise NotCopyable("some of its packets are damaged")
        return kinds

    def read(self, first: int, last: int) -> Iterator[tuple[Sample, list[bytes]]]:
        """Packets first … last-1 and their units. Raises NotCopyable when one is damaged or brings other sets."""
        for sample in self.samples(first, last):
            yield sample, self.units_of(sample.data)

    def units_of(self, data: bytes) -> list[bytes]:
        """The units of a packet. Raises NotCopyable."""
        units = splice.units_of(self.track, data)
        if not any(u[0] & 31 in _SLICES for u in units):
            raise NotCopyable("some of its packets are damaged")
        if any(u[0] & 31 in _SETS and trimmed(u) not in self.units for u in units):
            raise NotCopyable("its parameter sets change on the way")
        return units

    def headers(self, units: list[bytes]) -> list[Slice]:
        """The slice headers among some units. Raises Unsupported."""
        return [slices.read(u, self.sets) for u in units if u[0] & 31 in _SLICES]

    def followed(self, first: int, last: int, state: State | None = None) -> Iterator[tuple[Sample, list[bytes], Picture, State]]:
        """Packets first … last-1 with their units, as pictures, each with the buffer before it. Raises NotCopyable, Unsupported."""
        if self.interlaced:
            raise Unsupported("it is interlaced")  # lists of fields are not followed
        for sample, units in self.read(first, last):
            headers = self.headers(units)
            before = state if state is not None else buffer.start(self.sets.of(headers[0].pps_id)[1])
            picture, state = buffer.follow(before, sample.number, headers, self.sets)
            yield sample, units, picture, before

    @property
    def interlaced(self) -> bool:
        """May its pictures hold fields?"""
        return not all(s.frames_only for s in self.sps)

    def bottom_after_top(self, first: int, last: int) -> int:
        """How much later than the top field the bottom field of the frames in packets first … last-1 is shown, in order counts: 1, -1, or
        0 when their slices do not say. Raises Unsupported for pictures of one field, whose packets need not be whole frames."""
        deltas: set[int] = set()
        for _, units in self.read(first, last):
            headers = self.headers(units)
            if any(header.field for header in headers):
                raise Unsupported("it has field pictures")
            deltas.update(header.delta_bottom for header in headers)
        delta = deltas.pop() if len(deltas) == 1 else 0
        return (delta > 0) - (delta < 0)

    def qp(self, low: int, high: int) -> int | None:
        """The quantiser of the frames in ranks [low, high): the middle one of those at their beginning that others refer to."""
        rows = sorted(self.order.by_rank[low : min(high, low + _SAMPLES)])
        found: list[tuple[bool, int]] = []
        try:
            for _, units in self.read(rows[0], min(rows[-1] + 1, rows[0] + 2 * _SAMPLES)):
                header = self.headers(units)[0]
                found.append((header.ref_idc > 0, header.qp))
        except (Unsupported, NotCopyable):
            return None
        return round(median([qp for reference, qp in found if reference] or [qp for _, qp in found]))

    # frames -----------------------------------------------------------------------------------------------------------------------

    def frames(self, low: int, high: int) -> Iterator[av.VideoFrame]:
        """The frames of ranks [low, high) with all that is coded, also what is cropped away. Raises Undecodable."""
        times = self.order.times[low:high]
        last = 1 + max(self.order.by_rank[low:high])
        for entry in self._entries(low):
            coming = self._decoded(entry, last, frozenset(times))
            try:
                first = next(coming, None)
            except Undecodable:
                continue
            if first is None or first.pts != times[0]:
                continue  # the decoder knows that it has not recovered yet
            yield first
            count = 1
            for frame, time in zip(coming, times[1:], strict=False):
                if frame.pts != time:
                    raise Undecodable
                yield frame
                count += 1
            if count != len(times):
                raise Undecodable
            return
        raise Undecodable

    def _entries(self, low: int) -> Iterator[int]:
        """Rows from which decoding gives the frame of rank `low`, the likeliest first."""
        at, tried = 1 + min(self.order.by_rank[low], low), 0
        while (at := self.track.keys.rfind(1, 0, at)) > 0:
            if self.order.rank[at] > low or (kind := self._entry(at)) is None:
                continue
            tried += 1
            if kind == slices.IDR or tried <= _TRIES:
                yield at
            if kind == slices.IDR:
                return
        yield 0

    def _entry(self, row: int) -> int | None:
        """IDR or RECOVERY, when a packet says that decoding may begin with it."""
        units = splice.units_of(self.track, packets.one(self.source.index, self.track, row).data)
        if any(u[0] & 31 == slices.IDR for u in units):
            return slices.IDR
        return RECOVERY if any(u[0] & 31 == nal.SEI and u[1:2] == bytes((RECOVERY,)) for u in units) else None

    def _decoded(self, first: int, last: int, wanted: frozenset[int]) -> Iterator[av.VideoFrame]:
        """The wanted frames among those that packets first … last-1 give. Raises Undecodable."""
        # A frame that decodes with errors would be encoded as a picture that nobody has ever seen. What is cropped away is coded, too.
        decoder: Any = encode.video_decoder(self.track, err_detect="explode", apply_cropping="0")
        start = self.order.rank[first]
        try:
            for sample in self.samples(first, last):
                if sample.pts not in wanted and self._spare(sample, start):
                    continue
                yield from self._whole(decoder.decode(sample.packet(self.track)), first, wanted)
            yield from self._whole(decoder.decode(None), first, wanted)
        except av.error.FFmpegError:
            raise Undecodable from None

    def _whole(self, frames: Iterable[av.VideoFrame], first: int, wanted: frozenset[int]) -> Iterator[av.VideoFrame]:
        """The wanted ones. What the decoder concealed spoils what refers to it, so it ends the decoding, wanted or not."""
        for frame in frames:
            if frame.is_corrupt and frame.pts is not None and frame.pts >= self.track.pts[first]:
                raise Undecodable
            if frame.pts in wanted:
                yield frame

    def _spare(self, sample: Sample, start: int) -> bool:
        """A picture that nothing wanted refers to: nothing at all does, or it is shown before the first one decoded."""
        if self.order.rank[sample.number] < start:
            return True
        units = splice.units_of(self.track, sample.data)
        return next((u[0] >> 5 & 3 == 0 for u in units if u[0] & 31 in _SLICES), False)
