"""Which segments of an edit can follow each other in one output stream, and which of these groups is worth being kept: the one with the
most pixels. What is not in it is conformed to it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from native.media import clips, codecs
from native.media.edit import Edit, Output
from native.media.index import Track
from native.media.info import Stream
from native.media.pieces import Part
from native.media.plan import VIDEO_IN
from native.media.splice import Source

NEAR = Fraction(1, 1000)  # of a frame rate: 30 and 30000/1001 may follow each other, times are kept


@dataclass
class Group:
    """Segments whose pictures are alike."""

    track: Track  # of the first of them
    pace: Pace
    numbers: list[int] = field(default_factory=list)

    @property
    def picture(self) -> Stream:
        return self.track.stream


@dataclass(frozen=True)
class Pace:
    """How frames follow each other."""

    frame: Fraction | None  # seconds; None: it varies
    doubt: Fraction = Fraction(0)  # seconds by which rounded times may mislead

    def agrees(self, other: Pace) -> bool:
        if self.frame is None or other.frame is None:
            return self.frame is other.frame
        return abs(self.frame - other.frame) <= min(self.frame, other.frame) * NEAR + self.doubt + other.doubt

    def is_at(self, rate: Fraction) -> bool:
        """Is this the rate that is asked for? Here 30 is not 30000/1001."""
        return self.frame is not None and abs(self.frame * rate - 1) <= NEAR / 4 + self.doubt * rate


def pace(track: Track) -> Pace:
    """Of a track's frames as they are shown."""
    shown, tb = track.shown_times(), track.time_base
    if len(shown) < 3:
        rate = track.stream.frame_rate
        return Pace(1 / rate if rate else None, tb)
    usual = Fraction(shown[-1] - shown[0], len(shown) - 1)
    # clocks round to a tick, and cameras tremble
    slack = max(1, usual / 20)
    if any(abs(b - a - usual) > slack for a, b in pairwise(shown)):
        return Pace(None)
    return Pace(usual * tb, tb / (len(shown) - 1))


def groups(edit: Edit, sources: Sequence[Source]) -> list[Group]:
    """The segments that have a picture, by what can follow each other, in the order of their first ones."""
    found: list[Group] = []
    paces: dict[int, Pace] = {}
    for number, segment in enumerate(edit.segments):
        track = sources[segment.source].track
        if track is None:
            continue
        if segment.source not in paces:
            paces[segment.source] = pace(track)
        own = paces[segment.source]
        group = next((g for g in found if _look(g.picture) == _look(track.stream) and g.pace.agrees(own)), None)
        if group is None:
            found.append(group := Group(track, own))
        group.numbers.append(number)
    return found


def _look(picture: Stream) -> tuple[object, ...]:
    """What has to be the same all through one stream."""
    return (
        picture.codec, picture.width, picture.height, picture.pixel_format, picture.sample_aspect or 1, picture.matrix, picture.interlaced,
        clips.colours(picture),
    )  # fmt: skip


def choose(found: Sequence[Group], parts: Sequence[Part], output: Output) -> tuple[Group, bool]:
    """The group that the others are conformed to, the first of equals, and whether it is what the request asks for."""

    def pixels(group: Group) -> int:
        size = (group.picture.width or 0) * (group.picture.height or 0)
        return sum(len(parts[number].times) for number in group.numbers) * size

    fitting = [group for group in found if fits(group, output)]
    return max(fitting or found, key=pixels), bool(fitting)


def fits(group: Group, output: Output) -> bool:
    """Whether a group is what the request asks for, or the request does not say."""
    picture = group.picture
    width, height = clips.shape(picture)
    return (
        output.width in (None, round(width))
        and output.height in (None, round(height))
        and output.codec in (None, picture.codec)
        and (output.frame_rate is None or group.pace.is_at(output.frame_rate))
    )


def kept(group: Group, found: Sequence[Group], edit: Edit, sources: Sequence[Source]) -> set[int]:
    """The segments whose packets can be copied into one stream: those of the group, and, where its frame rate varies, those of others that
    differ in nothing else. None of them when the container does not hold them or the codec's way refuses."""
    picture, container = group.picture, edit.output.container
    numbers = set(group.numbers)
    if group.pace.frame is None:
        for other in found:
            numbers |= set(other.numbers) if _look(other.picture) == _look(picture) else set()
    numbers = {n for n in numbers if not _track(edit, sources, n).unreliable}
    holds = VIDEO_IN[container]
    if not numbers or (holds is not None and picture.codec not in holds):
        return set()
    return _unrefused(numbers, edit, sources)


def _unrefused(numbers: Collection[int], edit: Edit, sources: Sequence[Source]) -> set[int]:
    """As many of the segments as the codec's way takes together."""
    container = edit.output.container
    way = codecs.of(_track(edit, sources, min(numbers)).stream.codec)
    used = sorted({edit.segments[n].source for n in numbers})
    if way.refusal([sources[s] for s in used], container) is None:
        return set(numbers)

    def together(first: int) -> list[int]:
        """The sources that go with this one, if they all go with each other."""
        found = [s for s in used if way.refusal([sources[first], sources[s]], container) is None]
        if way.refusal([sources[s] for s in found], container) is None:
            return found
        return [first] if way.refusal([sources[first]], container) is None else []

    taken = max((together(s) for s in used), key=lambda found: sum(edit.segments[n].source in found for n in numbers))
    return {n for n in numbers if edit.segments[n].source in taken}


def _track(edit: Edit, sources: Sequence[Source], number: int) -> Track:
    track = sources[edit.segments[number].source].track
    assert track is not None
    return track
