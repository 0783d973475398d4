"""The subtitles of an output: every track of every segment at its place, as it is where the container holds it, else as other text.
What can be neither is named in the warnings.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer

from native.media import bitmaps, cues, mux, packets, tags
from native.media.cues import Cue
from native.media.index import Index, Track
from native.media.stretches import Stretch

TEXT = frozenset({"mov_text", "subrip", "ass", "webvtt", "text"})
SCREENS = frozenset({"hdmv_pgs_subtitle", "dvb_subtitle"})  # pictures that stay until the next one
PICTURES = SCREENS | {"dvd_subtitle"}

# What a container holds as it is, and what it holds any other text as.
HOLDS: dict[str, frozenset[str]] = {
    "mp4": frozenset({"mov_text", "dvd_subtitle"}),
    "mov": frozenset({"mov_text"}),
    "mkv": frozenset({"subrip", "ass", "webvtt", "text"}) | PICTURES,
    "webm": frozenset({"webvtt"}),
    "ts": frozenset({"dvb_subtitle"}),
}
TURNS = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"}

CLOCK = Fraction(1, 90_000)  # a tick of MP4's text here: a whole number of them in a millisecond, and MPEG's own
MILLISECOND = Fraction(1, 1000)  # a tick of Matroska
BEFORE = 64  # display sets read before a cut to find one that stands for itself


@dataclass(frozen=True)
class Row:
    """One track of the output, and the track that it comes from in each stretch; None where the source has none that corresponds."""

    tracks: tuple[Track | None, ...]

    @property
    def known(self) -> list[Track]:
        return [track for track in self.tracks if track is not None]

    @property
    def first(self) -> Track:
        return self.known[0]

    @property
    def alike(self) -> bool:
        """Can the packets of all these tracks follow each other?"""
        return len({(track.stream.codec, track.extradata) for track in self.known}) == 1


def streams(
    out: OutputContainer, template: InputContainer, stretches: Sequence[Stretch], container: str, warnings: list[str]
) -> list[tuple[Any, Iterator[av.Packet]]]:
    """The output's subtitle streams and their packets. `template` is the first stretch's source."""
    found = []
    for row in _rows(stretches):
        track = row.first
        made, note = None, f"Left out: {_described(track)} subtitles, which {container.upper()} does not hold here."
        if row.alike and row.tracks[0] is not None and track.stream.codec in HOLDS[container]:
            stream: Any = mux.copied(out, template.streams[track.stream.index])
            made, note = (stream, _kept(row, stretches, stream)), None
        elif track.stream.codec in TEXT and container in TURNS and (readers := _readers(row)) is not None:
            stream = mux.encoded(out, TURNS[container])
            made, note = (stream, _turned(row, stretches, stream, readers)), None
            if any(t.stream.codec == "ass" for t in row.known):
                note = "Subtitles with styles were turned into plainer ones, because the container or the segments need it."
        if note is not None and note not in warnings:
            warnings.append(note)
        if made is not None:
            tags.name(made[0], track.stream, container, warnings)
            found.append(made)
    return found


def _readers(row: Row) -> dict[int, cues.Reader] | None:
    """What reads each track of a row, by the track's identity; None when one of them cannot be read."""
    try:
        return {id(track): cues.Reader(track) for track in row.known}
    except (av.error.FFmpegError, cues.Unreadable):
        return None


def _described(track: Track) -> str:
    words = [track.stream.language, track.stream.codec]
    return " ".join(word for word in words if word)


def _rows(stretches: Sequence[Stretch]) -> list[Row]:
    """Tracks correspond that are of one kind and language, in the order in which their sources have them."""
    found: dict[tuple[str, str | None, int], list[Track | None]] = {}
    for n, stretch in enumerate(stretches):
        seen: Counter[tuple[str, str | None]] = Counter()
        for track in _subtitles(stretch.index):
            family = "text" if track.stream.codec in TEXT else track.stream.codec
            kind = (family, track.stream.language)
            found.setdefault((*kind, seen[kind]), [None] * len(stretches))[n] = track
            seen[kind] += 1
    return [Row(tuple(tracks)) for tracks in found.values()]


def _subtitles(index: Index) -> list[Track]:
    """Those with packets. QuickTime's chapter track is text as well, and written anew by the muxer."""
    known = [t for t in index.tracks.values() if t.stream.kind == "subtitle" and len(t.pts)]
    return [t for t in known if t.stream.codec in TEXT | PICTURES]


def _kept(row: Row, stretches: Sequence[Stretch], stream: Any) -> Iterator[av.Packet]:
    """The sources' own packets."""
    codec, end = row.first.stream.codec, stretches[-1].at + stretches[-1].length
    stream.time_base = CLOCK if codec == "mov_text" else row.first.time_base
    if codec in SCREENS:
        return _screens(row, stretches, stream.time_base)
    read = _read(row, stretches)
    if codec == "dvd_subtitle":
        read = (Cue(c.begin, c.end, bitmaps.retimed(c.data, c.late, c.end - c.begin)) for c in read)
        return _packets(read, stream.time_base)
    if codec == "mov_text":
        return _packets(cues.filled(cues.joined(read), end), CLOCK)
    return _packets(cues.counted(cues.joined(read)) if codec == "ass" else cues.joined(read), stream.time_base)


def _read(row: Row, stretches: Sequence[Stretch]) -> Iterator[Cue]:
    for track, stretch in zip(row.tracks, stretches, strict=True):
        if track is not None:
            yield from cues.of(track, stretch)


def _turned(row: Row, stretches: Sequence[Stretch], stream: Any, readers: dict[int, cues.Reader]) -> Iterator[av.Packet]:
    """Text of any format as that of the stream's encoder."""
    encoder, codec = stream.codec_context, stream.codec_context.codec.canonical_name
    encoder.subtitle_header = readers[id(row.first)].header
    encoder.time_base = stream.time_base = CLOCK if codec == "mov_text" else MILLISECOND
    lines = cues.joined(
        line
        for track, stretch in zip(row.tracks, stretches, strict=True)
        if track is not None
        for cue in cues.of(track, stretch)
        for line in readers[id(track)].lines(cue)
    )
    if codec != "mov_text":
        return _packets(cues.written(encoder, lines), MILLISECOND)
    end = stretches[-1].at + stretches[-1].length
    return _packets(cues.filled(cues.written(encoder, cues.apart(lines)), end), CLOCK)


def _packets(shown: Iterable[Cue], time_base: Fraction) -> Iterator[av.Packet]:
    for cue in shown:
        begin, end = round(cue.begin / time_base), round(cue.end / time_base)
        yield _packet(cue.data, begin, max(1, end - begin), time_base)


def _packet(data: bytes, time: int, length: int, time_base: Fraction) -> av.Packet:
    packet = packets.owned(data)
    packet.pts = packet.dts = time
    packet.duration, packet.time_base, packet.is_keyframe = length, time_base, True
    return packet


def _screens(row: Row, stretches: Sequence[Stretch], time_base: Fraction) -> Iterator[av.Packet]:
    """Display sets. One that is seen when a stretch begins is moved to its beginning, and nothing is seen after its end."""
    for n, (track, stretch) in enumerate(zip(row.tracks, stretches, strict=True)):
        if track is None:
            continue
        goes_on = n > 0 and stretches[n - 1].leads_to(stretch)
        cleared = None
        for time, data in _sets(track, stretch, lead=not goes_on):
            yield _packet(data, round((stretch.at + time) / time_base), 0, time_base)
            seen = bitmaps.screen(track.stream.codec, data)
            if seen is not None:
                cleared = seen.cleared if seen.shows else None
        if cleared is not None and not (n + 1 < len(stretches) and stretch.leads_to(stretches[n + 1])):
            yield _packet(cleared, round((stretch.at + stretch.length) / time_base), 0, time_base)


def _sets(track: Track, stretch: Stretch, *, lead: bool) -> Iterator[tuple[Fraction, bytes]]:
    """(seconds after the stretch's beginning, packet)."""
    tb = track.time_base
    first, last = bisect_left(track.pts, ceil(stretch.begin / tb)), bisect_left(track.pts, ceil(stretch.finish / tb))
    waiting: list[bytes] = []
    for sample in packets.read(stretch.index, track, max(0, first - BEFORE) if lead else first, last):
        if sample.number >= first:
            yield from ((Fraction(0), data) for data in waiting)
            waiting = []
            yield sample.pts * tb - stretch.begin, sample.data
            continue
        seen = bitmaps.screen(track.stream.codec, sample.data)
        if seen is not None and seen.whole:
            waiting = []
        waiting.append(sample.data)
    yield from ((Fraction(0), data) for data in waiting)
