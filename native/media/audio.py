"""Sound: copied once over the whole range where the container holds it, else decoded to samples, laid end to end and encoded once.

Positions are counted in samples from the output's beginning and never accumulate, so nothing drifts over many joins.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext

from native import errors
from native.media import packets
from native.media.index import Index, Track
from native.media.pieces import Part
from native.media.splice import Source

# What a container holds without a change; None holds everything.
HOLDS: dict[str, frozenset[str] | None] = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset(
        {"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw"}
    ),
    "mkv": None,
    "webm": frozenset({"opus", "vorbis"}),
}
RUN_IN = 2  # packets decoded before the first one that is heard: overlap of transform codecs, bit reservoir of MP3
FEW = 3  # packets of a sound that may be damaged, and one of a hundred more
FADE_SECONDS = Fraction(3, 1000)  # at a join of foreign sounds; shorter clicks, longer is heard


def holds(container: str, codec: str) -> bool:
    kinds = HOLDS[container]
    return kinds is None or codec in kinds


@dataclass(frozen=True)
class Span:
    """Packets of one track that are copied, with their times in the output (ticks of `time_base`)."""

    index: Index
    track: Track
    first: int
    last: int
    time_base: Fraction
    times: Sequence[int]
    end: int  # the tick after which nothing is heard


def span(index: Index, track: Track, begin: Fraction, finish: Fraction, *, run_in: bool) -> Span:
    """The packets heard in [begin, finish) seconds on the file's clock. With `run_in` those before them too, at negative times that
    the edit list hides, because a decoder needs them for the first one."""
    tb, clock = _clock(track)
    first = max(0, bisect_right(clock, begin / tb) - 1)
    last = bisect_left(clock, finish / tb)
    length = _usual(clock)
    if first == len(clock) - 1 and clock[first] + length <= begin / tb:
        first = last  # the sound has ended before
    elif run_in:
        first = max(0, first - _run_in(track, length * tb))
    elif first < last - 1 and clock[first] < begin / tb:
        first += 1  # nothing hides the part before the beginning: start with the next whole packet
    shift = round(begin / tb)
    return Span(index, track, first, last, tb, [t - shift for t in clock[first:last]], round(finish / tb) - shift)


def _usual(clock: Sequence[int]) -> int:
    return (clock[-1] - clock[0]) // max(1, len(clock) - 1)


def _run_in(track: Track, length: Fraction) -> int:
    """Packets that a decoder needs before the first one that is heard."""
    if track.stream.codec == "opus":
        return max(1, math.ceil(Fraction(80, 1000) / length)) if length else 4  # RFC 7845: 80 ms
    return 2 if "HE" in (track.stream.profile or "") else 1


def _clock(track: Track) -> tuple[Fraction, Sequence[int]]:
    """Packet times in samples. A container that rounds them to milliseconds would otherwise make the sound uneven."""
    rate = track.stream.sample_rate
    if not rate or track.time_base == Fraction(1, rate) or len(track.pts) < 2:
        return track.time_base, track.pts
    tb = track.time_base
    exact = [round(t * tb * rate) for t in track.pts]
    step = round((exact[-1] - exact[0]) / (len(exact) - 1))
    slack = max(2, round(tb * rate) + 1)
    smooth, now = array("q"), exact[0]
    for given in exact:
        # A real gap is kept; what differs by a rounding only goes on from the packet before.
        now = given if abs(given - now) > slack else now
        smooth.append(now)
        now += step
    return Fraction(1, rate), smooth


def copied(run: Span) -> Iterator[av.Packet]:
    """The packets of a span for the muxer."""
    track = run.track
    for n, sample in enumerate(packets.read(run.index, track, run.first, run.last)):
        packet = packets.owned(sample.data)
        packet.pts = packet.dts = run.times[n]
        following = run.times[n + 1] if n + 1 < len(run.times) else min(run.end, run.times[n] + _length(run))
        packet.duration = max(1, following - run.times[n])
        packet.time_base = run.time_base
        packet.is_keyframe = True
        yield packet


def _length(run: Span) -> int:
    """Ticks of one packet."""
    if len(run.times) > 1:
        return run.times[-1] - run.times[-2]
    return max(1, round(run.track.last * run.track.time_base / run.time_base))


@dataclass(frozen=True)
class Form:
    """What sound is encoded to."""

    codec: str
    rate: int
    layout: str
    channels: int
    bit_rate: int


def form(tracks: Sequence[Track], container: str) -> Form:
    """The form that suits all of these tracks: the highest rate, the most channels."""
    rate = max((t.stream.sample_rate or 48000 for t in tracks), default=48000)
    widest = max(tracks, key=lambda t: t.stream.channels or 0)
    layout, channels = widest.stream.layout or "stereo", widest.stream.channels or 2
    if channels not in (1, 2, 6, 8) or "channels" in layout:
        layout, channels = ("stereo", 2) if channels != 1 else ("mono", 1)
    if channels == 6:
        layout = "5.1"
    best = max((t.stream.bit_rate or 0 for t in tracks), default=0)
    if container == "webm":
        return Form("libopus", 48000, layout, channels, 64_000 * channels)
    rates = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
    rate = min(rates, key=lambda r: abs(r - rate)) if rate not in rates else rate
    return Form("aac", rate, layout, channels, max(80_000 * channels, min(best, 160_000 * channels)))


def encoded(
    sources: Sequence[Source], parts: Sequence[Part], tracks: Sequence[Track | None], *, lengths: Sequence[Fraction], out: Any, made: Form
) -> Iterator[av.Packet]:
    """The sound of all parts, one after the other, through the encoder of an output stream. `lengths` are seconds."""
    at = Fraction(0)
    for n, (part, track, length) in enumerate(zip(parts, tracks, lengths, strict=True)):
        start, stop = round(at * made.rate), round((at + length) * made.rate)
        fade_in = n > 0 and not _continues(parts[n - 1], part)
        fade_out = n + 1 < len(parts) and not _continues(part, parts[n + 1])
        pieces = _exactly(_samples(sources[part.source].index, track, part.begin, part.begin + length, made), stop - start, made.channels)
        for position, planes in pieces:
            _fade(planes, position, stop - start, made.rate, fade_in=fade_in, fade_out=fade_out)
            frame = _frame(planes, made)
            frame.pts, frame.time_base = start + position, Fraction(1, made.rate)
            yield from out.encode(frame)
        at += length
    yield from out.encode(None)


def _continues(a: Part, b: Part) -> bool:
    return a.source == b.source and a.finish == b.begin


def _samples(index: Index, track: Track | None, begin: Fraction, finish: Fraction, made: Form) -> Iterator[tuple[int, list[array[float]]]]:
    """(position, one array per channel): decoded sound, its position in samples after `begin`. Raises CODEC_UNSUPPORTED."""
    if track is None:
        return
    tb = track.time_base
    first = max(0, bisect_right(track.pts, begin / tb) - 1 - RUN_IN)
    last = min(len(track.pts), bisect_left(track.pts, finish / tb) + 1)
    using = decoder(track)
    mixer = AudioResampler(format="fltp", layout=made.layout, rate=made.rate)
    expected: int | None = None
    for frame in _frames(index, track, using, first, last):
        here = round((frame.pts * tb - begin) * made.rate) if frame.pts is not None else expected
        # decoders of some codecs jitter by a sample or two; a real hole is longer
        if expected is None or here is None or abs(here - expected) > made.rate // 50:
            expected = here if here is not None else round((track.pts[first] * tb - begin) * made.rate)
        frame.pts = None
        for mixed in mixer.resample(frame):
            yield expected, _planes(mixed, made.channels)
            expected += mixed.samples
    if expected is not None:
        for mixed in mixer.resample(None):
            yield expected, _planes(mixed, made.channels)
            expected += mixed.samples


def decoder(track: Track) -> Any:
    """A decoder for a sound track. Raises CODEC_UNSUPPORTED."""
    if track.decoder is None:
        raise errors.CODEC_UNSUPPORTED(f"Sound of the kind {track.stream.codec} is not supported.")
    decoder: Any = CodecContext.create(track.decoder, "r")
    if track.extradata:
        decoder.extradata = track.extradata
    if track.stream.sample_rate:
        decoder.sample_rate = track.stream.sample_rate
    if track.stream.layout and "channels" not in track.stream.layout:
        decoder.layout = track.stream.layout
    return decoder


def _frames(index: Index, track: Track, decoder: Any, first: int, last: int) -> Iterator[av.AudioFrame]:
    damaged = 0
    for sample in packets.read(index, track, first, last):
        try:
            yield from decoder.decode(sample.packet(track))
        except av.error.FFmpegError:
            # a damaged packet is a moment of silence, not the end of the sound; many of them are no sound at all
            damaged += 1
            if damaged > FEW + (last - first) // 100:
                raise errors.SOURCE_UNREADABLE("The source is damaged: its sound cannot be decoded.") from None
    try:
        yield from decoder.decode(None)
    except av.error.FFmpegError:
        return


def _planes(frame: av.AudioFrame, channels: int) -> list[array[float]]:
    planes = []
    for plane in list(frame.planes)[:channels]:
        samples = array("f")
        samples.frombytes(bytes(plane)[: 4 * frame.samples])
        planes.append(samples)
    return planes


def _exactly(found: Iterator[tuple[int, list[array[float]]]], count: int, channels: int) -> Iterator[tuple[int, list[array[float]]]]:
    """The same sound cut and filled with silence to exactly `count` samples without a gap."""
    at = 0
    for start, planes in found:
        position, length = start, len(planes[0])
        if position > at:
            yield from _silence(at, min(position, count), channels)
            at = min(position, count)
        skip, keep = max(0, at - position), min(length, count - position)
        if keep > skip:
            yield at, [p[skip:keep] for p in planes]
            at += keep - skip
        if at >= count:
            return
    yield from _silence(at, count, channels)


def _silence(start: int, stop: int, channels: int) -> Iterator[tuple[int, list[array[float]]]]:
    for at in range(start, stop, 48000):
        size = min(48000, stop - at)
        yield at, [array("f", bytes(4 * size)) for _ in range(channels)]


def _fade(planes: list[array[float]], position: int, total: int, rate: int, *, fade_in: bool, fade_out: bool) -> None:
    length = int(FADE_SECONDS * rate)
    size = len(planes[0])
    if fade_in and position < length:
        for n in range(min(size, length - position)):
            for plane in planes:
                plane[n] *= (position + n) / length
    if fade_out and position + size > total - length:
        for n in range(max(0, total - length - position), size):
            for plane in planes:
                plane[n] *= (total - position - n) / length


def _frame(planes: list[array[float]], made: Form) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout=made.layout, samples=len(planes[0]))
    frame.sample_rate = made.rate
    for plane, samples in zip(frame.planes, planes, strict=True):
        data = samples.tobytes()
        plane.update(data + bytes(plane.buffer_size - len(data)))
    return frame
