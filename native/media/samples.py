"""Sound as samples: a track decoded, brought to one shape, and cut to exactly as many samples as are asked for."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext

from native import errors
from native.media import packets
from native.media.index import Index, Track
from native.media.stretches import Stretch

RUN_IN = 2  # packets decoded before the first one that is heard: transforms overlap
RESERVOIR = 10  # the same of MP3, whose packets lend their bits to later ones
FEW = 3  # packets of a sound that may be damaged, and one of a hundred more
OPUS_RUN_IN = Fraction(80, 1000)  # seconds; RFC 7845 §4.6
FADE_SECONDS = Fraction(3, 1000)  # at a join of foreign sounds; shorter clicks, longer is heard
HOLE = 200  # of a second: what is missing longer than this part is silence, and less is a clock that was rounded
SILENT = 48_000  # samples of silence made at once
CODES = {"flt": "f", "dbl": "d", "s16": "h", "s32": "i"}  # of sample formats whose samples can be faded
CLOCKS = 64  # tracks whose times in samples are remembered
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}  # of sources that only count their channels

_clocks: OrderedDict[int, tuple[Track, array[int]]] = OrderedDict()


@dataclass(frozen=True)
class Shape:
    """What samples look like. `format` is libavutil's name of a sample format."""

    rate: int  # Hz
    layout: str
    format: str


@dataclass(frozen=True)
class Fades:
    """Where sound swells at its beginning and dies away at its end, because a foreign one meets it there."""

    first: bool
    last: bool


def exactly(stretch: Stretch, track: Track | None, count: int, shape: Shape, fades: Fades) -> Iterator[av.AudioFrame]:
    """`count` samples of a track from the stretch's beginning on, without a gap; silence where it has none. Times are samples from 0.
    Raises CODEC_UNSUPPORTED and the problems of the source."""
    found = _placed(stretch.index, track, stretch.begin, count, shape) if track is not None else iter(())
    for frame in _filled(found, count, shape):
        assert frame.pts is not None  # just set
        frame.time_base = Fraction(1, shape.rate)
        yield _faded(frame, frame.pts, count, fades) if fades.first or fades.last else frame


def _filled(found: Iterator[tuple[int, av.AudioFrame]], count: int, shape: Shape) -> Iterator[av.AudioFrame]:
    """Frames at their places as one run of exactly `count` samples."""
    at = 0
    for place, frame in found:
        if place > at:
            yield from _silence(at, min(place, count), shape)
            at = min(place, count)
        skip, keep = max(0, at - place), min(frame.samples, count - place)
        if keep > skip:
            cut = _cut(frame, skip, keep)
            cut.pts = at
            yield cut
            at += keep - skip
        if at >= count:
            return
    yield from _silence(at, count, shape)


def _silence(start: int, stop: int, shape: Shape) -> Iterator[av.AudioFrame]:
    for at in range(start, stop, SILENT):
        frame = av.AudioFrame(format=shape.format, layout=shape.layout, samples=min(SILENT, stop - at))
        frame.sample_rate, frame.pts = shape.rate, at
        # unsigned samples are silent in their middle
        nothing = b"\x80" if shape.format.startswith("u8") else b"\0"
        for plane in frame.planes:
            plane.update(nothing * plane.buffer_size)
        yield frame


def _cut(frame: av.AudioFrame, first: int, last: int) -> av.AudioFrame:
    """Samples [first, last) of a frame."""
    if first == 0 and last == frame.samples:
        return frame
    wide = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    made = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=last - first)
    made.sample_rate = frame.sample_rate
    for plane, source in zip(made.planes, frame.planes, strict=True):
        data = bytes(memoryview(source)[first * wide : last * wide])
        plane.update(data + bytes(plane.buffer_size - len(data)))
    return made


def _faded(frame: av.AudioFrame, place: int, count: int, fades: Fades) -> av.AudioFrame:
    length = min(int(FADE_SECONDS * frame.sample_rate), count // 2)
    starts, ends = fades.first and place < length, fades.last and place + frame.samples > count - length
    code = CODES.get(frame.format.name.removesuffix("p"))
    if not length or code is None or not (starts or ends):
        return frame
    step = 1 if frame.format.is_planar else frame.layout.nb_channels
    for plane in frame.planes:
        samples = array(code, bytes(plane))
        swelling = range(min(frame.samples, length - place)) if starts else range(0)
        dying = range(max(0, count - length - place), frame.samples) if ends else range(0)
        for n, far in (*((n, place + n) for n in swelling), *((n, count - place - n) for n in dying)):
            for at in range(n * step, (n + 1) * step):
                samples[at] = samples[at] * far / length if code in "fd" else samples[at] * far // length
        plane.update(samples.tobytes())
    return frame


def _placed(index: Index, track: Track, begin: Fraction, count: int, shape: Shape) -> Iterator[tuple[int, av.AudioFrame]]:
    """(place in samples after `begin`, frame) of the decoded sound."""
    tb, ticks = clock(track)
    first, last = _rows(track, begin, begin + Fraction(count, shape.rate))
    mixer, due = _mixer(shape), None
    for frame in _frames(index, track, first, last):
        here = round((frame.pts * tb - begin) * shape.rate) if frame.pts is not None else due
        if due is None or (here is not None and abs(here - due) > shape.rate // HOLE):
            if due is not None:
                yield from _mixed(mixer, None, due)
                mixer = _mixer(shape)
            due = here if here is not None else round((ticks[first] * tb - begin) * shape.rate)
        frame.pts = None
        try:
            found = list(_mixed(mixer, frame, due))
        except ValueError:
            # the sound changes its own shape on the way
            yield from _mixed(mixer, None, due)
            mixer = _mixer(shape)
            found = list(_mixed(mixer, frame, due))
        for place, mixed in found:
            yield place, mixed
            due = place + mixed.samples
    if due is not None:
        yield from _mixed(mixer, None, due)


def _mixer(shape: Shape) -> AudioResampler:
    return AudioResampler(format=shape.format, layout=shape.layout, rate=shape.rate)


def _mixed(mixer: AudioResampler, frame: av.AudioFrame | None, place: int) -> Iterator[tuple[int, av.AudioFrame]]:
    for mixed in mixer.resample(frame):
        if mixed is not None:
            yield place, mixed
            place += mixed.samples


def _rows(track: Track, begin: Fraction, finish: Fraction) -> tuple[int, int]:
    """The packets to decode for what is heard in [begin, finish)."""
    tb = track.time_base
    at = bisect_right(track.pts, begin / tb) - 1
    first = at - (RESERVOIR if track.stream.codec in ("mp3", "mp2") else RUN_IN)
    if track.stream.codec == "opus":
        first = min(first, bisect_right(track.pts, (begin - OPUS_RUN_IN) / tb) - 1)
    return max(0, first), min(len(track.pts), bisect_left(track.pts, finish / tb) + 1)


def clock(track: Track) -> tuple[Fraction, Sequence[int]]:
    """Packet times in samples. A container that rounds them to milliseconds would otherwise make the sound uneven."""
    rate = track.stream.sample_rate
    if not rate or track.time_base == Fraction(1, rate) or len(track.pts) < 2:
        return track.time_base, track.pts
    known = _clocks.pop(id(track), None)
    if known is None or known[0] is not track:
        known = track, _smooth(array("q", (round(t * track.time_base * rate) for t in track.pts)), round(track.time_base * rate) + 1)
    _clocks[id(track)] = known
    if len(_clocks) > CLOCKS:
        _clocks.popitem(last=False)
    return Fraction(1, rate), known[1]


def _smooth(given: array[int], slack: int) -> array[int]:
    """Steady times within `slack` of the given ones, in the middle of their roundings. A real gap is kept."""
    steps = sorted(b - a for a, b in pairwise(given))
    usual = [step for step in steps if abs(step - steps[len(steps) // 2]) <= slack]
    step = round(sum(usual) / len(usual))
    smooth, first = array("q"), 0
    while first < len(given):
        low = high = 0
        last = first + 1
        while last < len(given):
            off = given[last] - given[first] - (last - first) * step
            if max(high, off) - min(low, off) > slack:
                break
            low, high, last = min(low, off), max(high, off), last + 1
        start = given[first] + (low + high) // 2
        smooth.extend(range(start, start + (last - first) * step, step) if step else given[first:last])
        first = last
    return smooth


def decoder(track: Track) -> Any:
    """A decoder for a track. Raises CODEC_UNSUPPORTED."""
    facts = track.stream
    if track.decoder is None:
        raise errors.CODEC_UNSUPPORTED(f"Sound of the kind {facts.codec} is not supported.")
    made: Any = CodecContext.create(track.decoder, "r")
    if track.extradata:
        made.extradata = track.extradata
    if facts.sample_rate:
        made.sample_rate = facts.sample_rate
    if facts.layout and "channels" not in facts.layout:
        made.layout = facts.layout
    elif facts.channels in LAYOUTS:
        made.layout = LAYOUTS[facts.channels]
    return made


def _frames(index: Index, track: Track, first: int, last: int) -> Iterator[av.AudioFrame]:
    decodes, damaged = decoder(track), 0
    tb, ticks = clock(track)
    for sample in packets.read(index, track, first, last):
        packet = packets.owned(sample.data)
        packet.pts = packet.dts = ticks[sample.number]
        packet.time_base = tb
        try:
            yield from decodes.decode(packet)
        except av.error.FFmpegError:
            # a damaged packet is a moment of silence, not the end of the sound; many of them are no sound at all
            damaged += 1
            if damaged > FEW + (last - first) // 100:
                raise errors.SOURCE_UNREADABLE("The source is damaged: its sound cannot be decoded.") from None
    try:
        yield from decodes.decode(None)
    except av.error.FFmpegError:
        return
