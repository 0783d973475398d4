"""What goes with picture, sound and subtitles: titles, chapters, cover pictures, attachments, the timecode.
What cannot go along is named in the warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from native.media import chapters, containers, demuxer, mux, packets, smpte
from native.media.chapters import Chapter
from native.media.index import Index
from native.media.info import Stream
from native.media.stretches import Stretch

# What the muxer says of itself and of the file, which is not the source's to say.
OWN_WORDS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode"}
NAMES = {
    "video": "further video tracks",
    "data": "data tracks",
    "attachment": "attachments",
    "audio": "sound of an unknown kind",
}
PICTURES = {"png": ("cover.png", "image/png"), "mjpeg": ("cover.jpg", "image/jpeg")}  # by codec: what Matroska calls a cover


def describe(out: OutputContainer, template: InputContainer, stretches: Sequence[Stretch], container: str, warnings: list[str]) -> None:
    """The file's title and the like, and its chapters. `template` is the first stretch's source."""
    out.metadata.update({key: value for key, value in template.metadata.items() if key.lower() not in OWN_WORDS})
    known = {stretches[0].number: chapters.of(template)}

    def chapters_of(stretch: Stretch) -> Sequence[Chapter]:
        if stretch.number not in known:
            with demuxer.open_(stretch.index.blocks, stretch.index.kind) as source:
                known[stretch.number] = chapters.of(source)
        return known[stretch.number]

    placed = chapters.placed(stretches, chapters_of)
    if placed and container == "ts":
        warnings.append("Left out: chapters.")
        return
    if containers.OF[container].edited:
        placed = chapters.filled(placed)
    out.set_chapters([chapter.entry(n) for n, chapter in enumerate(placed, 1)])  # type: ignore[list-item]  # a chapter is a dict


def turn(stream: Any, facts: Stream, container: str, warnings: list[str]) -> None:
    """Has players turn or mirror the output's picture as they do the source's."""
    if facts.matrix is None:
        return
    if container == "ts":
        warnings.append("TS does not say how a picture is turned; it is shown as it was recorded.")
        return
    stream.set_display_matrix(facts.matrix)


def label(stream: Any, stretches: Sequence[Stretch], container: str, warnings: list[str]) -> None:
    """Gives the output's picture the timecode of its first frame, from which libavformat makes a track or a tag."""
    first = stretches[0]
    media, video = first.index.media, first.index.media.video
    written = next((s.timecode for s in media.streams if s.timecode), None)
    if written is None or video is None or not video.frame_rate:
        return
    own = media.start + (video.start or 0)
    moved = smpte.later(written, round((first.begin - own) * video.frame_rate), video.frame_rate)
    if moved is None or container == "ts":
        warnings.append("Left out: the timecode.")
        return
    stream.metadata["timecode"] = moved
    if not all(a.leads_to(b) for a, b in pairwise(stretches)):
        warnings.append("The timecode is that of the first segment and runs on over the joins.")


def attached(
    out: OutputContainer, template: InputContainer, index: Index, container: str, warnings: list[str]
) -> list[tuple[Any, Iterator[av.Packet]]]:
    """Cover pictures and attached files of the first source, and a warning for the streams that are left out."""
    streams, left = [], set()
    has_chapters = bool(template.chapters())
    for facts in index.media.streams:
        if facts.cover:
            made = _cover(out, template, facts, container)
            if made is None:
                left.add("the cover picture")
            elif isinstance(made, tuple):
                streams.append(made)
        elif facts.kind == "attachment":
            if container == "mkv":
                _file(out, template.streams[facts.index])
            else:
                left.add(NAMES["attachment"])
        elif _left_out(facts, index, has_chapters):
            left.add(NAMES[facts.kind])
    if left:
        warnings.append(f"Left out: {', '.join(sorted(left))}.")
    return streams


def _left_out(facts: Stream, index: Index, has_chapters: bool) -> bool:
    """Is a stream one that nobody keeps? MP4 has chapters and the timecode in tracks of their own, which the muxer writes anew."""
    if facts.kind == "video":
        return facts.index != (index.media.video.index if index.media.video else None)
    if facts.kind == "audio":
        return facts.codec == "unknown"
    return facts.kind == "data" and facts.tag != "tmcd" and not (has_chapters and facts.tag == "text")


def _cover(out: OutputContainer, template: InputContainer, facts: Stream, container: str) -> tuple[Any, Iterator[av.Packet]] | bool | None:
    """A cover as a stream of the output with its packet, or True when it is in already; None when the container holds none."""
    source = template.streams[facts.index]
    data = next((bytes(packet) for packet in template.demux(source) if packet.size), b"")
    if not data or container not in ("mp4", "mkv"):
        return None
    if container == "mkv":
        if facts.codec not in PICTURES:
            return None
        out.add_attachment(*PICTURES[facts.codec], data)
        return True
    stream: Any = mux.copied(out, source, opaque=True)
    stream.disposition = Disposition.attached_pic
    return stream, iter((_still(data),))


def _still(data: bytes) -> av.Packet:
    packet = packets.owned(data)
    packet.pts = packet.dts = 0
    packet.time_base, packet.is_keyframe = Fraction(1, 90_000), True
    return packet


def _file(out: OutputContainer, source: Any) -> None:
    name, kind = source.metadata.get("filename"), source.metadata.get("mimetype")
    made: Any = out.add_attachment(name or "attachment", kind or "application/octet-stream", source.data)
    if title := source.metadata.get("title"):
        made.metadata["title"] = title
