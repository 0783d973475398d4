"""The sound of an output: copied once over the whole range where the container holds it, else decoded, laid end to end and encoded once.

Positions are counted in samples from the output's beginning and never accumulate, so nothing drifts over many joins.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from native.media import beside, containers, forms, mux, packets, samples, tags
from native.media.forms import Form
from native.media.index import Index, Track
from native.media.samples import Fades
from native.media.stretches import Stretch

AAC_DELAY = 1024  # samples that the encoder of libavcodec says it is late by: one packet


@dataclass(frozen=True)
class Sound:
    """One sound track of the output, and what it comes from in each stretch; None where the source has no such track."""

    number: int
    stretches: Sequence[Stretch]
    tracks: Sequence[Track | None]

    @property
    def known(self) -> list[tuple[Track, Fraction]]:
        """The tracks, and how many seconds of each are heard."""
        return [(track, stretch.length) for track, stretch in zip(self.tracks, self.stretches, strict=True) if track is not None]


def streams(
    out: OutputContainer, template: InputContainer, stretches: Sequence[Stretch], container: str, warnings: list[str], *, anew: bool
) -> list[tuple[Any, Iterator[av.Packet]]]:
    """The output's sound streams and their packets. `template` is the first stretch's source; `anew`: nothing is copied."""
    found = []
    for number in range(max(len(stretch.index.audio) for stretch in stretches)):
        tracks = [sounds[number] if number < len(sounds := stretch.index.audio) else None for stretch in stretches]
        sound = Sound(number, stretches, [t if t is not None and t.stream.codec != "unknown" else None for t in tracks])
        if not sound.known:
            warnings.append(f"Sound track {number + 1} is of an unknown kind and was left out.")
            continue
        only = _uncut(sound) if not anew else None
        if only is not None and forms.holds(container, (track := sound.known[0][0]).stream.codec):
            made = _copied(out, template, track, only, container)
            if made is None:
                warnings.append(f"Sound track {number + 1} is silent in the range and was left out.")
                continue
        else:
            made = _encoded(out, sound, container)
            if only is not None:
                warnings.append(f"{container.upper()} does not hold {sound.known[0][0].stream.codec} sound; it was encoded anew.")
        tags.name(made[0], sound.known[0][0].stream, container, warnings)
        found.append(made)
    return found


def _uncut(sound: Sound) -> Stretch | None:
    """All the stretches as one, when the source itself goes on from each of them to the next."""
    first, last = sound.stretches[0], sound.stretches[-1]
    if None in sound.tracks or not all(a.leads_to(b) for a, b in pairwise(sound.stretches)):
        return None
    return replace(first, length=last.at + last.length)


# copied -----------------------------------------------------------------------------------------------------------------------------


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


def _copied(
    out: OutputContainer, template: InputContainer, track: Track, stretch: Stretch, container: str
) -> tuple[Any, Iterator[av.Packet]] | None:
    delay = _delay(stretch.index, track) if containers.OF[container].demuxer == "matroska" else 0
    tb, clock = samples.clock(track)
    # only when there is a packet before the first one that is heard
    ours = container == "mkv" and not delay and clock[0] < stretch.begin / tb and _can_delay(track)
    if ours:
        delay = AAC_DELAY
    run = span(stretch.index, track, stretch.begin, stretch.finish, run_in=containers.OF[container].edited, left_out=delay)
    if run.first >= run.last:
        return None
    stream: Any = _delayed(out, track) if ours else mux.copied(out, template.streams[track.stream.index])
    stream.time_base = run.time_base
    return stream, _packets(run)


def span(index: Index, track: Track, begin: Fraction, finish: Fraction, *, run_in: bool, left_out: int = 0) -> Span:
    """The packets heard in [begin, finish) seconds on the file's clock. With `run_in` those before them too, at negative times that
    the edit list hides, because a decoder needs them for the first one. `left_out`: samples that players leave out of the first one."""
    tb, clock = samples.clock(track)
    first = max(0, bisect_right(clock, begin / tb) - 1)
    last = bisect_left(clock, finish / tb)
    length = _usual(clock)
    if first == len(clock) - 1 and clock[first] + length <= begin / tb:
        first = last  # the sound has ended before
    elif run_in:
        first = max(0, first - _run_in(track, length * tb))
    else:
        # nothing hides the part before the beginning: start with the next whole packet, but for what players leave out of the first one
        whole = bisect_left(clock, begin / tb - left_out)
        first = whole if whole < last else first
    shift = round(begin / tb)
    return Span(index, track, first, last, tb, [t - shift for t in clock[first:last]], round(finish / tb) - shift)


def _delay(index: Index, track: Track) -> int:
    """Matroska's codec delay in samples, by which a track's first packet is early: it goes along with the track."""
    return max(0, -samples.clock(track)[1][0]) if index.kind.demuxer == "matroska" else 0


def _can_delay(track: Track) -> bool:
    """Is it plain AAC, of which libavformat can be told that players shall leave out the first packet?"""
    facts = track.stream
    usual = facts.sample_rate in forms.RATES["aac"] and facts.layout in ("mono", "stereo", "5.1", "7.1")
    return facts.codec == "aac" and facts.profile == "LC" and bool(track.extradata) and usual


def _delayed(out: OutputContainer, track: Track) -> Any:
    """A stream for copied packets that claims to come from libavcodec's encoder, because only then Matroska's codec delay is written."""
    stream: Any = mux.encoded(out, "aac", rate=track.stream.sample_rate, layout=track.stream.layout)
    stream.codec_context.open()
    stream.codec_context.extradata = track.extradata
    return stream


def _usual(clock: Sequence[int]) -> int:
    return (clock[-1] - clock[0]) // max(1, len(clock) - 1)


def _run_in(track: Track, length: Fraction) -> int:
    """Packets that a decoder needs before the first one that is heard."""
    if track.stream.codec == "opus":
        return max(1, math.ceil(samples.OPUS_RUN_IN / length)) if length else 4
    return 2 if "HE" in (track.stream.profile or "") else 1


def _packets(run: Span) -> Iterator[av.Packet]:
    """The packets of a span for the muxer."""
    track = run.track
    for n, sample in enumerate(packets.left(run.index, track, run.first, run.last)):
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


# encoded ----------------------------------------------------------------------------------------------------------------------------


def _encoded(out: OutputContainer, sound: Sound, container: str) -> tuple[Any, Iterator[av.Packet]]:
    made = forms.form(sound.known, container)
    stream: Any = mux.encoded(out, made.encoder, rate=made.shape.rate, layout=made.shape.layout, format=made.shape.format)
    if made.bit_rate:
        stream.codec_context.bit_rate = made.bit_rate
    stream.codec_context.options = made.options
    stream.time_base = Fraction(1, made.shape.rate)
    # an AAC encoder keeps one core busy for longer than copied pictures do
    laid = _laid(stream, sound, made)
    return stream, beside.of(_whole(laid) if container == "ts" else laid)


def _laid(stream: Any, sound: Sound, made: Form) -> Iterator[av.Packet]:
    """The sound of all stretches, one after the other, through the encoder of an output stream."""
    rate, last = made.shape.rate, len(sound.stretches) - 1
    for n, (stretch, track) in enumerate(zip(sound.stretches, sound.tracks, strict=True)):
        start, stop = round(stretch.at * rate), round((stretch.at + stretch.length) * rate)
        before = n > 0 and not sound.stretches[n - 1].leads_to(stretch)
        after = n < last and not stretch.leads_to(sound.stretches[n + 1])
        for frame in samples.exactly(stretch, track, stop - start, made.shape, Fades(before, after)):
            assert frame.pts is not None  # exactly() gives it
            frame.pts += start
            yield from stream.encode(frame)
    yield from stream.encode(None)


def _whole(made: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """For a container that cannot hide an encoder's run-in: from the first packet that lies in the output."""
    return (packet for packet in made if packet.pts is not None and packet.pts >= 0)
