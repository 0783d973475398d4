"""What goes with picture and sound: names, titles, chapters, subtitles. What cannot go along is named in the warnings."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from native.media import mux, packets
from native.media.index import Index, Track
from native.media.info import Stream
from native.media.plan import Plan

# What the muxer says of itself and of the file, which is not the source's to say.
OWN_WORDS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
MILLISECOND = Fraction(1, 1000)
NAMES = {
    "video": "further video tracks",
    "subtitle": "subtitles",
    "data": "data tracks",
    "attachment": "attachments",
    "audio": "sound of an unknown kind",
}


def name(stream: Any, track: Track) -> None:
    """Language and title of a track."""
    if track.stream.language:
        stream.metadata["language"] = track.stream.language
    if track.stream.title:
        stream.metadata["title"] = track.stream.title


def describe(out: OutputContainer, template: InputContainer, index: Index, plan: Plan, length: Fraction) -> None:
    """Title and the like, chapters; a warning for the streams that are left out."""
    out.metadata.update({key: value for key, value in template.metadata.items() if key.lower() not in OWN_WORDS})
    chapters = _chapters(template, plan, length) if len(plan.parts) == 1 else []
    out.set_chapters(chapters)
    kept = {t.stream.index for t in index.audio} | ({index.video.stream.index} if index.video else set())
    kept |= {t.stream.index for t in _texts(out, index, plan)}
    left = sorted({_named(s) for s in index.media.streams if s.index not in kept and not _is_chapters(s, bool(template.chapters()))})
    if len(plan.parts) > 1 and template.chapters():
        left.append("chapters")
    if left:
        plan.warnings.append(f"Left out: {', '.join(left)}.")


def subtitles(
    out: OutputContainer, template: InputContainer, index: Index, plan: Plan, length: Fraction
) -> list[tuple[Any, Iterator[av.Packet]]]:
    """Text tracks of MP4 in MP4, cut to the range."""
    found = []
    for track in _texts(out, index, plan):
        stream: Any = mux.copied(out, template.streams[track.stream.index])
        stream.time_base = track.time_base
        name(stream, track)
        found.append((stream, _lines(index, track, plan.parts[0].begin, plan.parts[0].begin + length)))
    return found


def _texts(out: OutputContainer, index: Index, plan: Plan) -> list[Track]:
    """The subtitles that can go along: every line lasts to the next one, so only tables that say so will do."""
    if len(plan.parts) > 1 or out.format.name not in ("mp4", "mov"):
        return []
    tracks = [t for t in index.tracks.values() if t.stream.kind == "subtitle" and t.stream.codec == "mov_text" and t.offsets is not None]
    return [t for t in tracks if len(t.pts) and t.pts[0] * t.time_base < plan.parts[0].finish]


def _lines(index: Index, track: Track, begin: Fraction, finish: Fraction) -> Iterator[av.Packet]:
    tb = track.time_base
    start, stop = round(begin / tb), round(finish / tb)
    first, last = max(0, bisect_right(track.pts, start) - 1), bisect_left(track.pts, stop)
    for sample in packets.read(index, track, first, last):
        following = track.pts[sample.number + 1] if sample.number + 1 < len(track.pts) else sample.pts + track.last
        at = max(sample.pts, start)
        if min(following, stop) > at:
            packet = packets.owned(sample.data)
            packet.pts = packet.dts = at - start
            packet.duration = min(following, stop) - at
            packet.time_base = tb
            packet.is_keyframe = True
            yield packet


def _chapters(template: InputContainer, plan: Plan, length: Fraction) -> list[Any]:
    begin, kept = plan.parts[0].begin, []
    for chapter in template.chapters():
        tb = Fraction(chapter["time_base"] or MILLISECOND)
        start, end = max(Fraction(0), chapter["start"] * tb - begin), min(length, chapter["end"] * tb - begin)
        if end > start:
            times = {"start": round(start / MILLISECOND), "end": round(end / MILLISECOND), "time_base": MILLISECOND}
            kept.append({"id": len(kept) + 1, **times, "metadata": chapter["metadata"]})
    return kept


def _is_chapters(stream: Stream, has_chapters: bool) -> bool:
    """MP4 keeps the chapters' names in a text track, which the muxer writes anew."""
    return has_chapters and stream.tag == "text"


def _named(stream: Stream) -> str:
    return "the cover picture" if stream.cover else NAMES[stream.kind]
