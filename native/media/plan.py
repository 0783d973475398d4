"""The plan of an edit: for every segment, which packets are copied and which frames are encoded. Pure: it reads facts and makes nothing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from native import errors
from native.media import codecs
from native.media.codecs import base
from native.media.edit import Edit, Segment
from native.media.index import Index, Track
from native.media.pieces import Copy, NotCopyable, Part, Piece
from native.media.splice import Order, Source
from native.media.timecode import Frames, Time

# What a container can hold without being encoded anew.
VIDEO_IN: dict[str, frozenset[str] | None] = {
    "mp4": frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"}),
    "mov": frozenset(
        {"h264", "hevc", "mpeg4", "mpeg2video", "mjpeg", "prores", "dvvideo", "dnxhd", "rawvideo", "v210", "png", "cfhd", "hap"}
    ),
    "mkv": frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores", "ffv1", "theora"}),
    "webm": frozenset({"vp8", "vp9", "av1"}),
    "ts": frozenset({"h264", "hevc", "mpeg2video", "mpeg1video"}),
}


# Sound that ends this little after the picture is its codec's last packet; a longer one is heard to its end.
SOUND_TAIL = Fraction(1, 4)  # seconds


@dataclass
class Plan:
    """What will be made, and what is promised."""

    parts: list[Part]
    copies: bool  # False: every frame is encoded
    warnings: list[str] = field(default_factory=list)
    hidden_after: bool = False  # the edit list must hide what follows the last frame
    run_out: Fraction = Fraction(0)  # seconds of sound after the last frame

    @property
    def frames(self) -> int:
        return sum(len(part.times) for part in self.parts)


def make(edit: Edit, sources: Sequence[Source], force_encode: str | None = None) -> Plan:
    """The plan. `force_encode` is the reason when copying was tried and failed. Raises RANGE_EMPTY, INVALID_RANGE."""
    container, mode = edit.output.container, edit.mode
    used = [sources[s.source] for s in edit.segments]
    if any(source.track is None for source in used):
        return _sound_only(edit, sources)
    for source in used:
        _check_decodable(source)
    reason = force_encode if force_encode is not None else not_copyable(container, used)
    if mode != "encode" and reason is None:
        warnings: list[str] = []
        if mode == "instant" and (len(edit.segments) > 1 or container not in ("mp4", "mov")):
            warnings.append("Instant mode makes one segment into MP4 or MOV; this was cut exactly instead.")
            mode = "exact"
        try:
            plan = Plan([part(edit, n, sources, mode) for n in range(len(edit.segments))], True, warnings)
        except NotCopyable as exc:
            reason = str(exc)
        else:
            _finish(plan, edit, sources, mode)
            return plan
    plan = Plan([part(edit, n, sources, "encode") for n in range(len(edit.segments))], False)
    if mode != "encode" and reason is not None:
        plan.warnings.append(f"Every frame was encoded anew: {reason}.")
    _finish(plan, edit, sources, "encode")
    return plan


def joined(edit: Edit, sources: Sequence[Source], parts: list[Part], warnings: list[str]) -> Plan:
    """The plan of parts that were made one by one, all of which are copied."""
    plan = Plan(parts, True, warnings)
    _finish(plan, edit, sources, edit.mode)
    plan.hidden_after = False
    return plan


def part(edit: Edit, number: int, sources: Sequence[Source], mode: str) -> Part:
    """One segment of an edit. Raises NotCopyable, RANGE_EMPTY, INVALID_RANGE, and CODEC_UNSUPPORTED for what cannot be decoded."""
    segment = edit.segments[number]
    source = sources[segment.source]
    try:
        if source.track is None:
            return _sound_part(segment, source)
        _check_decodable(source)
        found = _part(segment, source, mode)
        return _outlasted(found, segment, source) if number + 1 < len(edit.segments) else found
    except errors.Problem as exc:
        if exc.kind is errors.RANGE_EMPTY and len(edit.segments) > 1:
            raise errors.RANGE_EMPTY(f"No {'frame' if source.track else 'sound'} of clip {number + 1} lies in its range.") from exc
        raise


def taken(number: int, source: Source, low: int, high: int) -> Part:
    """Frames [low, high) of a source that was made for it. Raises NotCopyable."""
    track, times = source.track, source.order.times
    assert track is not None
    end = times[high] if high < len(times) else times[-1] + _last_duration(track, source.order)
    pieces = codecs.of(track.stream.codec).pieces(source, low, high)
    return Part(number, track, times[low:high], times[low], end, pieces, times[low] * track.time_base, end * track.time_base)


def _check_decodable(source: Source) -> None:
    """What cannot be decoded cannot be proven either, so it is not even copied."""
    if source.track is not None and (source.track.decoder is None or not source.track.stream.width):
        raise errors.CODEC_UNSUPPORTED(f"Video of the kind {source.track.stream.codec} is not supported.")


def not_copyable(container: str, used: Sequence[Source]) -> str | None:
    """Why no packet of these sources can be copied into the container."""
    first = used[0].track
    assert first is not None
    for source in used:
        track = source.track
        assert track is not None
        codec = track.stream.codec
        if track.unreliable:
            return track.unreliable
        holds = VIDEO_IN[container]
        if holds is not None and codec not in holds:
            return f"{container.upper()} does not hold {codec} video"
        if codec != first.stream.codec or track.stream.matrix != first.stream.matrix:
            return "the sources are coded in different ways"
    return codecs.of(first.stream.codec).refusal(used, container)


def _part(segment: Segment, source: Source, mode: str) -> Part:
    index, track = source.index, source.track
    assert track is not None
    tb = track.time_base
    start_s, end_s = _resolve(segment.start, source), _resolve(segment.end, source)
    order = source.order
    low, high = _span(order, track, index, start_s, end_s)
    if low >= high:
        raise errors.RANGE_EMPTY()
    if mode == "keyframe":
        low, high = _widened(source, low, high)
    pieces = {"exact": _exact, "instant": _instant, "keyframe": _whole, "encode": _anew}[mode](source, low, high)
    times: Sequence[int] = sorted(set(order.times[low:high])) if track.unreliable else order.times[low:high]
    after = order.times[high] if high < len(order.times) else times[-1] + _last_duration(track, order)
    nominal = math.ceil(1 / (track.stream.frame_rate * tb)) if track.stream.frame_rate else 1
    if end_s is not None and mode != "keyframe":
        # A frame that the source holds for long (a still, a pause) lasts only to the end that was asked for.
        asked = math.ceil((index.start + end_s) / tb)
        if after > asked + nominal:
            after = max(asked, times[-1] + 1)
    return Part(segment.source, track, times, times[0], after, pieces, times[0] * tb, after * tb)


def _outlasted(part: Part, segment: Segment, source: Source) -> Part:
    """A part before another one: its last picture stays while its sound goes on, if that is for longer than a codec's last packet."""
    if segment.end is not None or part.track is None:
        return part
    sounds = [(t.pts[-1] + t.last) * t.time_base for t in source.index.audio]
    if max(sounds, default=part.finish) - part.finish <= SOUND_TAIL:
        return part
    end = math.ceil(max(sounds) / part.track.time_base)
    return replace(part, end=end, finish=end * part.track.time_base)


def _resolve(time: Time | None, source: Source) -> Fraction | None:
    """Seconds from time 0. Counted frames are looked up in the true times."""
    if time is None:
        return None
    if not isinstance(time, Frames):
        return time.value
    track, index = source.track, source.index
    if track is None:
        raise errors.INVALID_RANGE("A source without video has no frames to count; give the time in seconds.")
    shown = track.shown_times()
    rate = track.stream.frame_rate or Fraction(25)
    if time.count < len(shown):
        return shown[time.count] * track.time_base - index.start
    if time.count > len(shown):
        raise errors.INVALID_RANGE(f"The source has {len(shown)} frames.")
    return (shown[-1] if shown else 0) * track.time_base - index.start + 1 / rate


def _span(order: Order, track: Track, index: Index, start: Fraction | None, end: Fraction | None) -> tuple[int, int]:
    """Ranks [low, high) of the frames shown in [start, end)."""
    tb = track.time_base
    first = track.hidden_before if start is None else max(math.ceil((index.start + start) / tb), track.hidden_before)
    low, high = bisect_left(order.times, first), len(order.times)
    if end is not None:
        high = bisect_left(order.times, math.ceil((index.start + end) / tb))
    if track.hidden_from is not None:
        high = min(high, bisect_left(order.times, track.hidden_from))
    return low, high


def _last_duration(track: Track, order: Order) -> int:
    if (known := track.last_shown(order.times[-1])) > 0:
        return known
    return order.times[-1] - order.times[-2] if len(order.times) > 1 else max(1, math.ceil(Fraction(1, 25) / track.time_base))


def _exact(source: Source, low: int, high: int) -> tuple[Piece, ...]:
    assert source.track is not None
    return codecs.of(source.track.stream.codec).pieces(source, low, high)


def _instant(source: Source, low: int, high: int) -> tuple[Piece, ...]:
    """Everything from the key frame before the first frame to the last packet that the last frames need."""
    return (Copy(base.decode_from(source, low), 1 + max(source.order.by_rank[low:high])),)


def _whole(source: Source, low: int, high: int) -> tuple[Piece, ...]:
    start = source.points.last_until(low)
    assert start is not None  # _widened() found it
    return (Copy(start.row, high, start.dropped),)


def _widened(source: Source, low: int, high: int) -> tuple[int, int]:
    """The nearest ranks outside [low, high) where packets can be cut and no frame is encoded."""
    found = source.points.last_until(low)
    if found is None:
        raise NotCopyable("no clean key frame lies before the cut")
    start = found.rank
    end = next(n for n in range(high, len(source.order.times) + 1) if source.order.complete[n])
    track = source.track
    assert track is not None
    if not track.shown(source.order.times[start]):
        raise NotCopyable("the source's own edit list hides the key frame before the cut")
    while end > high and not track.shown(source.order.times[end - 1]):
        end -= 1
    if not source.order.complete[end]:
        raise NotCopyable("the source's own edit list hides frames after the cut")
    return start, end


def _anew(source: Source, low: int, high: int) -> tuple[Piece, ...]:
    return (base.anew(source, low, high),)


def _finish(plan: Plan, edit: Edit, sources: Sequence[Source], mode: str) -> None:
    """Promises and warnings that concern the whole."""
    plan.hidden_after = mode == "instant"
    last, segment = plan.parts[-1], edit.segments[-1]
    source = sources[segment.source]
    end = _resolve(segment.end, source)
    asked = source.index.start + (end if end is not None else source.index.media.duration)
    sounds = [(t.pts[-1] + t.last) * t.time_base for t in source.index.audio]
    if sounds:
        # The sound may outlast the picture, when the end asked for lies there.
        over = min(asked, max(sounds)) - last.finish
        plan.run_out = over if over >= (Fraction(1, 200) if len(plan.parts) == 1 else SOUND_TAIL) else Fraction(0)
    if mode == "keyframe":
        for part in plan.parts:
            if part.heard is not None:
                continue
            start = sources[part.source].index.start
            plan.warnings.append(f"Cut at key frames: from {float(part.begin - start):.3f} s to {float(part.finish - start):.3f} s.")


def _sound_only(edit: Edit, sources: Sequence[Source]) -> Plan:
    """Segments of sources without a picture."""
    if any(sources[s.source].track is not None for s in edit.segments):
        raise errors.SOURCE_NO_VIDEO("Some of the sources have no video, so they cannot follow each other.")
    return Plan([part(edit, n, sources, edit.mode) for n in range(len(edit.segments))], edit.mode != "encode")


def _sound_part(segment: Segment, source: Source) -> Part:
    index = source.index
    if not index.audio:
        raise errors.SOURCE_UNSUPPORTED("The source holds neither video nor sound that can be read.")
    start = _resolve(segment.start, source) or Fraction(0)
    end = _resolve(segment.end, source)
    finish = min(end, index.media.duration) if end is not None else index.media.duration
    if finish <= start:
        raise errors.RANGE_EMPTY("No sound of the source lies in the range.")
    return Part(segment.source, None, (), 0, 0, (), index.start + start, index.start + finish)
