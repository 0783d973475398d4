"""Clips as files of the room, for FFmpeg, which has no other way to them: only the packets that a clip is decoded from.

They are written with their own times into the first of a few containers that holds the codec. What no index describes well enough goes
there whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error

from native.media import demuxer, mux, packets, sandbox
from native.media.clips import Clip
from native.media.index import ORDERLESS, Index, Track
from native.media.pieces import Encode
from native.media.splice import Source

COPY_BYTES = 4 << 20
# NUT keeps times in any clock and knows nearly every codec; ProRes and the like are known to MOV alone.
HOLDERS = ("nut", "mov")


@dataclass(frozen=True)
class Input:
    """A file in the room and what reads it."""

    file: str
    demuxer: str
    stream: int = 0  # the picture's number in it
    zero: Fraction = Fraction(0)  # seconds on the source's clock where the file's own clock is 0
    steady: tuple[Fraction, Fraction] | None = None  # the n-th frame's time is a + n * b seconds, whatever the file says; None: as it says


@contextmanager
def put(clips: Sequence[Clip], sources: Sequence[Source], room: Path, *, whole: bool = False) -> Iterator[list[Input | None]]:
    """One file for each clip with a picture, in the same order, for as long as the block runs. `whole`: with everything before the clip,
    for streams whose key frames are none."""
    files = [room / f"in{clip.number}" for clip in clips]
    try:
        yield [_put(clip, sources[clip.part.source], file, whole=whole) for clip, file in zip(clips, files, strict=True)]
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _put(clip: Clip, source: Source, file: Path, *, whole: bool) -> Input | None:
    track = source.track
    if track is None:
        return None
    if not track.unreliable:
        rows = _rows(clip, source, whole=whole)
        decoded = _decoding_times(track, rows)
        # MOV's edit lists would move the times of pictures that are reordered
        for container in HOLDERS if all(track.pts[n] == time for n, time in zip(rows, decoded, strict=True)) else HOLDERS[:1]:
            if _write(source, rows, decoded, file, container):
                return Input(file.name, container, zero=decoded[0] * track.time_base)
    _copy(source.index, file)
    return Input(
        file.name, source.index.kind.demuxer, track.stream.index, steady=_steady(source) if track.unreliable == ORDERLESS else None
    )


def _steady(source: Source) -> tuple[Fraction, Fraction] | None:
    """(first frame's time, seconds from one to the next) of a source that does not say in which order its frames are shown: what comes out
    of the decoder n-th is shown n-th. None when they are not evenly apart."""
    times, tb = source.order.times, source.track.stream.time_base if source.track else Fraction(1)
    steps = {b - a for a, b in pairwise(times)}
    return (times[0] * tb, steps.pop() * tb) if len(steps) == 1 else None


def _rows(clip: Clip, source: Source, *, whole: bool) -> Sequence[int]:
    """The packets that the clip is decoded from, without those that refer to packets before the first."""
    piece = clip.part.pieces[0]
    assert isinstance(piece, Encode)
    start = None if whole else source.points.at(piece.key)
    dropped = set(start.dropped) if start else set()
    return [row for row in range(0 if whole else piece.key, piece.last) if row not in dropped]


def _write(source: Source, rows: Sequence[int], decoded: Sequence[int], file: Path, container: str) -> bool:
    """The packets in a file of their own that begins at 0; False when the container does not hold them."""
    index, track = source.index, source.track
    assert track is not None
    at = dict(zip(rows, decoded, strict=True))
    try:
        with demuxer.open_(index.blocks, index.kind) as template, av.open(str(file), "w", format=container) as out:
            stream = mux.copied(out, template.streams[track.stream.index], opaque=True)
            stream.time_base = track.time_base
            for sample in packets.read(index, track, rows[0], rows[-1] + 1):
                if sample.number not in at:
                    continue
                packet = packets.owned(sample.data)
                packet.pts, packet.dts, packet.time_base = sample.pts - decoded[0], at[sample.number] - decoded[0], track.time_base
                packet.stream, packet.is_keyframe = stream, sample.key
                out.mux_one(packet)
    except mux.Refused:
        return False
    except av.error.FFmpegError as exc:
        if exc.errno in sandbox.EXHAUSTED:
            raise
        return False
    return True


def _decoding_times(track: Track, rows: Sequence[int]) -> list[int]:
    """Ticks: steady, and never after the time of showing, whatever the source says."""
    own = [track.pts[row] for row in rows]
    shown = sorted(own)
    delay = max((early - time for early, time in zip(shown, own, strict=True)), default=0)
    return [time - delay for time in shown]


def _copy(index: Index, file: Path) -> None:
    with file.open("wb") as out:
        for offset in range(0, index.blocks.size, COPY_BYTES):
            out.write(index.blocks.source.read(offset, min(COPY_BYTES, index.blocks.size - offset)))
