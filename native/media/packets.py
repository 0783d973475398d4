"""The bytes of a source's packets, track by track, in decoding order and by their numbers in the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error

from native import errors
from native.media import demuxer
from native.media.index import Index, Track

MAX_PACKET = 256 << 20  # bytes; a larger one is a lie


@dataclass(frozen=True, slots=True)
class Sample:
    """One packet. `number` is its row in the track's index; times are ticks of the track's time base."""

    number: int
    data: bytes
    pts: int
    dts: int
    key: bool

    def packet(self, track: Track) -> av.Packet:
        """For a decoder."""
        packet = owned(self.data)
        packet.pts, packet.dts, packet.time_base = self.pts, self.dts, track.time_base
        packet.is_keyframe = self.key
        return packet


def owned(data: bytes) -> av.Packet:
    """A packet with its own copy of the data. One that borrows Python's bytes gives them back from a decoder's thread, which then waits for
    the interpreter while the interpreter, freeing the decoder, waits for the thread."""
    packet = av.Packet(len(data))
    packet.update(data)
    return packet


def read(index: Index, track: Track, first: int, last: int) -> Iterator[Sample]:
    """The packets first … last-1 of a track. Raises SOURCE_UNREADABLE, SOURCE_TRUNCATED."""
    if first >= last:
        return iter(())
    return _at_offsets(index, track, first, last) if track.offsets is not None else _by_demuxer(index, track, first, last)


def left(index: Index, track: Track, first: int, last: int) -> Iterator[Sample]:
    """The same packets, or what stands for them where they may stay where they lie."""
    if index.left is None or track.offsets is None:
        yield from read(index, track, first, last)
        return
    for n in range(first, last):
        yield Sample(n, index.left(track.offsets[n], track.sizes[n]), track.pts[n], track.dts[n], bool(track.keys[n]))


def one(index: Index, track: Track, number: int) -> Sample:
    return next(iter(read(index, track, number, number + 1)))


def _at_offsets(index: Index, track: Track, first: int, last: int) -> Iterator[Sample]:
    assert track.offsets is not None
    spans = ((track.offsets[n], min(track.sizes[n], MAX_PACKET)) for n in range(first, last))
    for n, data in enumerate(index.blocks.run(spans), first):
        if len(data) != track.sizes[n]:
            raise errors.SOURCE_TRUNCATED()
        yield Sample(n, data, track.pts[n], track.dts[n], bool(track.keys[n]))


def _by_demuxer(index: Index, track: Track, first: int, last: int) -> Iterator[Sample]:
    """Seeks to a packet at or before `first` and finds out by its times and size which one it is."""
    with demuxer.open_(index.blocks, index.kind) as container:
        stream = container.streams[track.stream.index]
        for start in _entries(track, first):
            number = None
            try:
                if start:
                    container.seek(track.dts[start], stream=stream, backward=True)
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    if number is None:
                        number = _recognise(track, packet, first) if start else 0
                        if number is None:
                            break
                    if number >= last:
                        return
                    if number >= first:
                        yield Sample(number, bytes(packet), track.pts[number], track.dts[number], bool(track.keys[number]))
                    number += 1
            except av.error.FFmpegError as exc:
                raise errors.SOURCE_UNREADABLE() from exc
            if number is not None:
                if number < last:
                    raise errors.SOURCE_UNREADABLE()
                return
            # The seek landed after the packet, or where the index knows no such packet: once more, from the beginning.
            container.seek(0)
    with demuxer.open_(index.blocks, index.kind) as container:
        count = 0
        for packet in container.demux(container.streams[track.stream.index]):
            if packet.size:
                if count >= last:
                    return
                if count >= first:
                    yield Sample(count, bytes(packet), track.pts[count], track.dts[count], bool(track.keys[count]))
                count += 1
    if count < last:
        raise errors.SOURCE_UNREADABLE()


def _entries(track: Track, first: int) -> list[int]:
    """Rows to seek to, best first: the key frame at or before `first`, then the one before that."""
    key = track.keys.rfind(1, 0, first + 1)
    before = track.keys.rfind(1, 0, key) if key > 0 else -1
    return [k for k in (key, before) if k > 0] or [0]


def _recognise(track: Track, packet: av.Packet, first: int) -> int | None:
    """The row of a packet at or before `first`, found by its times and size."""
    wanted = packet.pts if packet.pts is not None else packet.dts
    for n in range(first, max(-1, first - 5000), -1):
        if track.pts[n] == wanted and track.sizes[n] == packet.size:
            return n
    return None
