"""Sources as files of the room, for FFmpeg, which has no other way to them: whole, or with holes where no clip looks.

Where the container's tables say where every packet lies, a clip's file has the source's size but only the bytes that the clip needs: the
tables themselves, and the packets from the key frame before the clip to a little behind its end. The disk keeps no holes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from native.media import boxes
from native.media.clips import Clip
from native.media.index import Index, Track

COPY_BYTES = 4 << 20
SEEKABLE = {"mov", "matroska"}  # demuxers whose seeks land on a key frame for certain
RUN_IN = Fraction(1)  # seconds read before a clip: sound codecs need a packet or two to settle
RUN_OUT = Fraction(1)  # seconds read behind it: pictures are decoded out of order
SPARE = Fraction(1)  # seconds kept beyond both: FFmpeg seeks by decoding times, a few frames off
OPENING = 64  # packets of each stream that FFmpeg looks at before it seeks
GAP_BYTES = 256 << 10  # a smaller hole costs more to leave out than to copy
WORTH = Fraction(7, 10)  # of the source: when its clips need more, the whole is read


@dataclass(frozen=True)
class Input:
    """A file in the room, and what of it is read, in seconds: from `seek` on, and `length` from the key frame that the seek finds."""

    file: str
    demuxer: str
    seek: Fraction | None = None
    length: Fraction | None = None


@contextmanager
def put(plan: Sequence[Clip], indexes: Mapping[int, Index], room: Path) -> Iterator[list[Input]]:
    """One file for each clip, in the same order, for as long as the block runs."""
    files = [room / f"in{clip.number}" for clip in plan]
    seeks = [_seek(clip, indexes[clip.source]) for clip in plan]
    parts = [_part(clip, indexes[clip.source], seek) if seek is not None else None for clip, seek in zip(plan, seeks, strict=True)]
    # a source that would be read in parts more than once over is read once, whole
    bytes_ = Counter[int]()
    for clip, part in zip(plan, parts, strict=True):
        bytes_[clip.source] += sum(end - start for start, end in part[0]) if part else indexes[clip.source].blocks.size
    whole: dict[int, Path] = {}
    try:
        inputs = []
        for clip, file, seek, part in zip(plan, files, seeks, parts, strict=True):
            index = indexes[clip.source]
            if part is not None and bytes_[clip.source] < WORTH * index.blocks.size:
                _copy(index, part[0], file)
            elif clip.source in whole:
                # its own name, because ffmpeg-python takes two equal inputs for one
                os.link(whole[clip.source], file)
            else:
                _copy(index, [(0, index.blocks.size)], file)
                whole[clip.source] = file
            inputs.append(Input(file.name, index.kind.demuxer, seek, part[1] if part else None))
        yield inputs
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _seek(clip: Clip, index: Index) -> Fraction | None:
    """Where to begin to read, on the file's clock; None: at its beginning."""
    seek = clip.begin - RUN_IN
    return seek if index.kind.demuxer in SEEKABLE and seek > index.start else None


def _copy(index: Index, ranges: Sequence[tuple[int, int]], file: Path) -> None:
    with file.open("xb") as out:
        for start, end in ranges:
            out.seek(start)
            for offset in range(start, end, COPY_BYTES):
                out.write(index.blocks.source.read(offset, min(COPY_BYTES, end - offset)))
        out.truncate(index.blocks.size)


def _part(clip: Clip, index: Index, seek: Fraction) -> tuple[list[tuple[int, int]], Fraction] | None:
    """The ranges of the source that a clip needs and how long to read; None when nobody knows."""
    used = [stream.index for stream in (clip.picture, clip.sound) if stream]
    tracks = [index.tracks[number] for number in used if number in index.tracks]
    if index.kind.demuxer != "mov" or len(tracks) != len(used) or any(track.offsets is None for track in tracks):
        return None
    start = min(_start(track, seek - SPARE) for track in tracks)
    length = clip.begin + clip.duration + RUN_OUT - start
    ranges = [(at, payload if kind == b"mdat" else over) for kind, at, payload, over in boxes.top_level(index.blocks)]
    for track in tracks:
        # from a little before the key frame: the sound's packet that FFmpeg begins with lies before the picture's;
        # until FFmpeg stops for certain, which is `length` after the key frame that it found
        ranges += _packets(track, start - SPARE, seek + length + SPARE)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first - joined[-1][1] < GAP_BYTES:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined, length


def _start(track: Track, moment: Fraction) -> Fraction:
    """Seconds: the last key frame of the track that is decoded and shown before the moment."""
    tick = moment / track.time_base
    return (
        max(
            (dts for dts, pts, key in zip(track.dts, track.pts, track.keys, strict=True) if key and max(dts, pts) <= tick),
            default=track.dts[0],
        )
        * track.time_base
    )


def _packets(track: Track, start: Fraction, end: Fraction) -> Iterator[tuple[int, int]]:
    assert track.offsets is not None
    first, last = start / track.time_base, end / track.time_base
    for row, (offset, size, dts) in enumerate(zip(track.offsets, track.sizes, track.dts, strict=True)):
        if row < OPENING or first <= dts <= last:
            yield offset, offset + size
