"""An MP4 whose copied packets stay in the store of its sources: only its index, the frames at the cuts and short runs are written.

It is tried where runs of the asked length lie in one piece in a progressive MP4 or MOV, and never at the price of the result: whatever does
not hold gives None, and the output is made the ordinary way.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from native import errors
from native.media import boxes, cut, h264, nal, splice, verify
from native.media.codecs import base
from native.media.edit import Edit
from native.media.made import Made
from native.media.mp4 import join
from native.media.mp4.layout import Assembled, Layout
from native.media.mp4.tickets import SOUND, Tickets
from native.media.pieces import Copy, NotCopyable, Part, Undecodable
from native.media.plan import Plan
from native.media.promise import Promise
from native.media.source import Blocks, FileSource
from native.media.splice import Source
from native.media.tracks import Index, Track

CONTAINER = "mp4"
LOOKED_AT = 64  # key frames of a run whose beginnings are read
HEAD = 4096  # bytes of each
SMALL_BLOCK, SMALL_KEPT = 8 << 10, 1024  # bytes and number of the blocks in which an output is read: sound lies in crumbs between pictures
SMALL_READ = 64 << 10  # bytes; a shorter read of what stays is not widened to whole blocks

_BROKEN = (NotCopyable, h264.Unsupported, Undecodable, boxes.Unfit, struct.error, errors.Problem)


def render(
    planned: Plan, edit: Edit, sources: Sequence[Source], path: Path, report: Callable[[int, int], None], *, least: int
) -> Made | None:
    """The output, of which runs of `least` bytes and more stay where they are; None when it has to be made the ordinary way.

    Raises TOO_HEAVY.
    """
    if edit.output.container != CONTAINER or not planned.copies or not all(_suits(part, sources, least) for part in planned.parts):
        return None
    mine, book, written = replace(planned, warnings=list(planned.warnings)), Tickets(), path.with_name("tickets.mp4")
    left = [Source(replace(source.index, left=partial(book.issue, n))) for n, source in enumerate(sources)]
    try:
        promise = cut.Job(mine, edit, left, written, report).run()
        spare = [_heard([part for part in mine.parts if part.source == n], source.index) for n, source in enumerate(left)]
        layout = join.join(written, path, book, [source.index.blocks for source in left], least=least, spare=spare)
        if layout is not None and not any(_patched(layout, n, source.index.blocks) for n, source in enumerate(left)):
            return _proven(mine, left, path, promise, layout)
    except _BROKEN as exc:
        if isinstance(exc, errors.Problem) and exc.kind is errors.TOO_HEAVY:
            raise
    finally:
        written.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return None


def _proven(planned: Plan, sources: Sequence[Source], path: Path, promise: Promise, layout: Layout) -> Made:
    with FileSource(path) as file:
        whole = Assembled(layout, file, [_Sparing(source.index.blocks) for source in sources])
        result = verify.proven(Blocks(whole, SMALL_BLOCK, SMALL_KEPT), promise, CONTAINER, sparing=True)
    verify.remember(path, promise, layout)
    return Made(
        path=path,
        container=CONTAINER,
        size=layout.size,
        duration=result.media.duration,
        frames=len(promise.times),
        copied_frames=promise.copied,
        primed_frames=promise.primed,
        encoded_frames=promise.encoded,
        streams=result.media.streams,
        warnings=tuple(planned.warnings),
        layout=layout,
    )


class _Sparing:
    """A source of which a little is read here and there."""

    def __init__(self, blocks: Blocks) -> None:
        self.size, self._blocks = blocks.size, blocks

    def read(self, offset: int, length: int) -> bytes:
        return self._blocks.peek(offset, length) if length < SMALL_READ else self._blocks.read(offset, length)


def _suits(part: Part, sources: Sequence[Source], least: int) -> bool:
    """Does the part copy H.264 that lies in one piece in an MP4, beside sound that may stay, too? Its key frames bring no other sets?"""
    source, track = sources[part.source], part.track
    index = source.index
    if track is None or track.offsets is None or index.kind.demuxer != "mov" or track.stream.codec != "h264" or track.stream.tag != "avc1":
        return False
    if any(sound.offsets is None or sound.stream.codec not in SOUND for sound in index.audio):
        return False
    rows = [n for piece in part.pieces if isinstance(piece, Copy) for n in base.rows(piece)]
    spans = [*((track.offsets[n], track.offsets[n] + track.sizes[n]) for n in rows), *_heard([part], index)]
    return any(end - start >= least for start, end in join.merged(spans)) and _keeps_its_sets(index, track, rows)


def _keeps_its_sets(index: Index, track: Track, rows: Sequence[int]) -> bool:
    """Do these packets, as far as they are looked at, bring no parameter sets of their own, and add up?"""
    width, keys = splice.length_width(track), [n for n in rows if track.keys[n]]
    assert track.offsets is not None
    step = max(1, len(keys) // LOOKED_AT)
    return bool(width) and all(
        _plain(index.blocks.peek(track.offsets[n], min(HEAD, track.sizes[n])), track.sizes[n], width) for n in keys[::step]
    )


def _plain(head: bytes, size: int, width: int) -> bool:
    at = 0
    while at + width < len(head):
        length, kind = int.from_bytes(head[at : at + width], "big"), head[at + width] & 31
        if not length or at + width + length > size or kind in (nal.SPS, nal.PPS):
            return False
        if kind in (1, nal.IDR):
            return True
        at += width + length
    return at < size


def _heard(parts: Sequence[Part], index: Index) -> list[tuple[int, int]]:
    """Where the sound of these parts lies in their source. It is asked for, so it may be carried along where it is encoded anew."""
    return [span for part in parts for track in index.audio for span in _between(track, part)]


def _between(track: Track, part: Part) -> Iterator[tuple[int, int]]:
    if track.offsets is not None:
        tb = track.time_base
        for n in range(bisect_left(track.pts, part.begin / tb), bisect_left(track.pts, part.finish / tb)):
            yield track.offsets[n], track.offsets[n] + track.sizes[n]


def _patched(layout: Layout, number: int, blocks: Blocks) -> bool:
    """Is something to stay that reads otherwise here than in the store?"""
    patch = blocks.patch
    return patch is not None and any(
        piece.source == number and piece.offset < patch.end and piece.offset + piece.size > patch.start for piece in layout.pieces
    )
