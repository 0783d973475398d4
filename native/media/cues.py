"""Subtitles as text: cues cut to a range, and turned from one format into another.

libavcodec reads every text format as lines of ASS and writes every one from them, so ASS stands between any two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Any

import av.error
from av.codec.context import CodecContext
from av.subtitles.subtitle import SubtitleSet

from native.media import packets
from native.media.index import Track
from native.media.stretches import Stretch

NOTHING = b"\0\0"  # a sample of MP4 that shows nothing (3GPP TS 26.245 §5.17: the length of its text)
UNKNOWN = 0xFFFF_FFFF  # ticks; how encoders of DVD subtitles say that they do not know how long one lasts
FOREVER = 3600  # seconds that the last packet of a track lasts when nothing says so
PLAIN = b"{\\b0\\i0\\u0}"  # ends every style; the short way to say so is not understood by the encoder of MP4's text
FIELDS = 8  # of an ASS line before its text: order, layer, style, name, three margins, effect


@dataclass(frozen=True)
class Cue:
    """What is read between two moments of the output, in seconds. `data` is a packet, or a line of ASS."""

    begin: Fraction
    end: Fraction
    data: bytes
    late: Fraction = Fraction(0)  # seconds cut off its beginning


def of(track: Track, stretch: Stretch) -> Iterator[Cue]:
    """The packets of a track that are read in a stretch, clipped to it. Raises the problems of the source."""
    tb = track.time_base
    low, high = floor(stretch.begin / tb), bisect_left(track.pts, ceil(stretch.finish / tb))
    for first, last in _runs(n for n in range(high) if _end(track, n) > low):
        for sample in packets.read(stretch.index, track, first, last):
            begin = max(sample.pts * tb, stretch.begin) - stretch.begin
            end = min(_end(track, sample.number) * tb, stretch.finish) - stretch.begin
            if sample.data != NOTHING and end > begin:
                yield Cue(stretch.at + begin, stretch.at + end, sample.data, max(Fraction(0), stretch.begin - sample.pts * tb))


def _end(track: Track, n: int) -> int:
    """Ticks. A packet that does not say how long it lasts, lasts to the next one."""
    if n < len(track.lengths) and 0 < track.lengths[n] < UNKNOWN:
        return track.pts[n] + track.lengths[n]
    if n + 1 < len(track.pts):
        return track.pts[n + 1]
    return track.pts[n] + (track.last or ceil(FOREVER / track.time_base))


def _runs(rows: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring rows as ranges."""
    first = last = -1
    for row in rows:
        if row != last:
            if last > first:
                yield first, last
            first = row
        last = row + 1
    if last > first:
        yield first, last


def joined(cues: Iterable[Cue]) -> list[Cue]:
    """The same in order of time, with the halves put together of those that a join between stretches cut through."""
    found: list[Cue] = []
    ending: dict[tuple[Fraction, bytes], int] = {}
    for cue in sorted(cues, key=lambda cue: cue.begin):
        before = ending.pop((cue.begin, cue.data), len(found))
        if before < len(found):
            found[before] = replace(found[before], end=cue.end)
        else:
            found.append(cue)
        ending[cue.end, cue.data] = before
    return found


class Unreadable(Exception):
    """Nothing here decodes such a track."""


class Reader:
    """Turns packets of one track into lines of ASS."""

    def __init__(self, track: Track) -> None:
        """Raises Unreadable, and libavcodec's errors for a head that is none."""
        if track.decoder is None:
            raise Unreadable
        self._decoder: Any = CodecContext.create(track.decoder, "r")
        if track.extradata:
            self._decoder.extradata = track.extradata
        self._decoder.open()

    @property
    def header(self) -> bytes:
        """The script's head: its styles."""
        return self._decoder.subtitle_header or b""

    def lines(self, cue: Cue) -> Iterator[Cue]:
        """The lines of a packet. One that does not decode has none."""
        try:
            shown = self._decoder.decode2(packets.owned(cue.data))
        except av.error.FFmpegError:
            return
        for rectangle in shown or ():
            if line := bytes(getattr(rectangle, "ass", b"")):
                yield replace(cue, data=line.replace(b"{\\r}", PLAIN))


def written(encoder: Any, cues: Iterable[Cue]) -> Iterator[Cue]:
    """Lines of ASS as packets of an encoder."""
    for cue in cues:
        # a line that cannot be written is left out, not the film; times are set by whoever muxes, the encoder only needs one that lasts
        with suppress(av.error.FFmpegError):
            yield replace(cue, data=bytes(encoder.encode_subtitle(SubtitleSet.create(cue.data, 0, 1000, pts=0))))


def apart(lines: Iterable[Cue]) -> list[Cue]:
    """The same for a format in which only one packet is read at a time: where lines overlap, one stands above the other."""
    known = sorted(lines, key=lambda cue: cue.begin)
    moments = sorted({m for cue in known for m in (cue.begin, cue.end)})
    found, shown, coming = [], [], 0
    for begin, end in pairwise(moments):
        shown = [cue for cue in shown if cue.end > begin]
        while coming < len(known) and known[coming].begin <= begin:
            shown.append(known[coming])
            coming += 1
        if shown:
            first, *rest = (cue.data for cue in shown)
            found.append(Cue(begin, end, (PLAIN + b"\\N").join([first, *map(_text, rest)])))
    return joined(found)


def _text(line: bytes) -> bytes:
    return line.split(b",", FIELDS)[-1]


def filled(cues: Iterable[Cue], end: Fraction) -> Iterator[Cue]:
    """The same with nothing in between, from 0 to the end: in MP4 every packet lasts to the next one."""
    at = Fraction(0)
    for cue in cues:
        if cue.begin > at:
            yield Cue(at, cue.begin, NOTHING)
        yield cue
        at = cue.end
    if at < end:
        yield Cue(at, end, NOTHING)


def counted(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Packets of ASS under numbers of their own: a player takes a second one of the same number for the first again."""
    for number, cue in enumerate(cues):
        yield replace(cue, data=b"%d,%s" % (number, cue.data.partition(b",")[2]))
