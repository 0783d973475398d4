"""Where every packet of a source lies and when it is shown.

MP4 and MOV say it in their own tables (boxes.py); every other container, and fragmented MP4, is walked through once. Times are integer
ticks of the stream's time base on the file's own clock; `Index.start` is where the presentation begins on it.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import av.stream
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from native import errors
from native.media import boxes, damage, demuxer, matroska, places, sidecar, stub
from native.media.info import MediaInfo, Stream, StreamKind
from native.media.source import Blocks, Readable
from native.media.tracks import MAX_PACKETS, Index, Track

__all__ = ["Index", "Track", "build", "facts", "keyframes", "of", "offer", "worth_keeping"]
MAX_OFFERED = 1024  # sources of one session

ORDERLESS = "AVI does not say in which order frames are shown"
_KINDS: dict[str, StreamKind] = {"video": "video", "audio": "audio", "subtitle": "subtitle", "data": "data", "attachment": "attachment"}


def build(blocks: Blocks) -> Index:
    """The index of a source. Raises the SOURCE_… problems: empty, unsupported, truncated, unreadable, too complex."""
    kind = demuxer.format_of(blocks)
    tables = boxes.read(blocks) if kind.demuxer == "mov" else None
    if kind.demuxer != "mov":
        demuxer.check_size(blocks, kind)
    with demuxer.open_(blocks, kind) as container:
        tracks = _from_tables(container, tables) if tables is not None else None
        if tracks is None:
            _turn(tracks := _by_reading(container, blocks), boxes.matrices(blocks) if kind.demuxer == "mov" else [])
        elif any(_starts_without_key(track) for track in tracks.values()):
            tracks = _retimed(tracks, _by_reading(container, blocks))
        found = _index(blocks, kind, container, tracks)
        if tables is not None:
            blocks.patch = stub.of(blocks, kind, container)
    if found.video is not None:
        damage.check(blocks, found.video)
    return found


_known: OrderedDict[int, Index] = OrderedDict()
KEPT = 64  # indexes remembered; one of a long film takes 30 MB
_offered: OrderedDict[int, tuple[Readable, Readable]] = OrderedDict()


def offer(source: Readable, kept: Readable) -> None:
    """Say what is kept as the index of a source. It is read, and judged, when the index is wanted."""
    _offered[id(source)] = (source, kept)
    while len(_offered) > MAX_OFFERED:
        _offered.popitem(last=False)


def of(source: Readable, blocks: Blocks | None = None) -> Index:
    """The index of a source object, made once: from what was kept of it, else from the source, of which `blocks` may have been read."""
    if (found := _remembered(source)) is not None:
        return found
    found = _known[id(source)] = _kept(source) or build(blocks or Blocks(source))
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return found


def worth_keeping(source: Readable) -> bytes | None:
    """The index of a source as bytes to offer the next time; None when none was made, or from nothing but such bytes."""
    found = _remembered(source)
    return sidecar.pack(found) if found is not None and not found.kept else None


def _remembered(source: Readable) -> Index | None:
    found = _known.get(id(source))
    return found if found is not None and found.blocks.source is source else None


def _kept(source: Readable) -> Index | None:
    of_which, kept = _offered.pop(id(source), (None, None))
    if kept is None or of_which is not source:
        return None
    try:
        return sidecar.unpack(kept.read(0, kept.size), Blocks(source))
    except sidecar.Broken:
        return None


def keyframes(source: Readable) -> list[Fraction]:
    """Seconds from time 0 of the shown frames that the container marks as key frames. Raises SOURCE_NO_VIDEO."""
    index = of(source)
    if index.video is None:
        raise errors.SOURCE_NO_VIDEO()
    track = index.video
    marked = (t for t, key in zip(track.pts, track.keys, strict=True) if key and track.shown(t))
    return [t * track.time_base - index.start for t in sorted(marked)]


def facts(source: Readable) -> MediaInfo:
    """What a source is, from its header alone where that says enough. Raises what `build` raises."""
    if (known := _remembered(source)) is not None:
        return known.media
    if id(source) in _offered:
        return of(source).media
    blocks = Blocks(source)
    kind = demuxer.format_of(blocks)
    if kind.demuxer == "mov":
        return of(source, blocks).media
    demuxer.check_size(blocks, kind)
    with demuxer.open_(blocks, kind) as container:
        if container.duration is not None and container.duration > 0:
            tracks = {s.index: Track(_stream(s), _extradata(s), _decoder(s)) for s in container.streams}
            return _index(blocks, kind, container, tracks).media
    return of(source, blocks).media


def _from_tables(container: InputContainer, tables: list[boxes.Table]) -> dict[int, Track] | None:
    """Tracks whose packets the file's own tables name; None when the demuxer sees other tracks than we do."""
    by_id = {table.id: table for table in tables}
    if len(by_id) != len(tables):
        return None
    tracks = {}
    for stream in container.streams:
        table = by_id.get(stream.id)
        if table is None:
            if stream.type in ("video", "audio") and not _is_cover(stream):
                return None
            tracks[stream.index] = Track(_stream(stream), _extradata(stream), _decoder(stream))
            continue
        tracks[stream.index] = Track(
            stream=_stream(stream, table), extradata=_extradata(stream), decoder=_decoder(stream),
            pts=table.pts, dts=table.dts, sizes=table.sizes, offsets=table.offsets, keys=table.keys, last=table.duration,
            hidden_before=table.hidden_before, hidden_from=table.hidden_from,
        )  # fmt: skip
    return tracks


def _starts_without_key(track: Track) -> bool:
    """Whether the edit list begins before the first key frame, so that nothing decodes its first frame."""
    if track.stream.kind != "video" or track.stream.cover or (key := track.keys.find(1)) <= 0 or track.hidden_before < 0:
        return False
    first = min((row for row, t in enumerate(track.pts) if track.shown(t)), key=track.pts.__getitem__, default=len(track.pts))
    return first < key


def _retimed(tracks: dict[int, Track], read: dict[int, Track]) -> dict[int, Track]:
    """`tracks` with the pictures of such edit lists at the times that libavformat finds for them: it lays time 0 where the edit can be
    shown from, which no table says."""
    changed = dict(tracks)
    for number, track in tracks.items():
        if not _starts_without_key(track):
            continue
        found = read[number]
        found.hidden_before = max(found.hidden_before, 0)  # what it puts before time 0 is only there to be decoded
        if len(found.pts) == len(track.pts) and track.hidden_from is not None:
            # the same packets on another clock: the edit's end goes along
            found.hidden_from = track.hidden_from + found.pts[0] - track.pts[0]
        found.stream = track.stream  # the tables say more: how the picture is turned
        changed[number] = found
    return changed


def _by_reading(container: InputContainer, blocks: Blocks) -> dict[int, Track]:
    """Tracks found by walking through the whole source once."""
    tracks = {s.index: Track(_stream(s), _extradata(s), _decoder(s)) for s in container.streams}
    lie = {number: places.Places(blocks) for number in tracks}
    total = looked = 0
    try:
        for packet in container.demux():
            if packet.size == 0 or packet.stream_index not in tracks:
                continue
            track = tracks[packet.stream_index]
            if packet.has_sidedata("new_extradata"):
                raise errors.SOURCE_UNSUPPORTED("The source changes its format on the way, which is not supported.")
            pts, dts = packet.pts, packet.dts
            if pts is None:
                track.unreliable = "some packets do not say when they are shown"
                pts = dts if dts is not None else (track.pts[-1] + 1 if track.pts else 0)
            if track.stream.codec == "vp8" and not bytes(packet)[0] & 0x10:
                track.unreliable = "it has frames that are only referred to and never shown"
            track.pts.append(pts)
            track.dts.append(dts if dts is not None else pts)
            track.sizes.append(packet.size)
            lie[packet.stream_index].see(packet.pos, bytes(packet))
            track.keys.append(1 if packet.is_keyframe else 0)
            if track.stream.kind == "subtitle":
                track.lengths.append(packet.duration or 0)
            if packet.is_discard and len(track.pts) == 1:
                track.hidden_before = pts + 1
            track.last = packet.duration or track.last
            total, looked = total + 1, looked + packet.size
            if looked <= damage.SHORT and track.stream.kind == "video":
                damage.holds_together(track, bytes(packet))
            if total > MAX_PACKETS:
                raise errors.SOURCE_TOO_COMPLEX("The source has too many packets.")
    except av.error.FFmpegError as exc:
        raise errors.SOURCE_UNREADABLE() from exc
    for number, track in tracks.items():
        track.offsets = lie[number].found()
        if track.stream.kind == "video" and track.pts:
            _settle(track, container.format.name)
    return tracks


def _settle(track: Track, container: str) -> None:
    """What a player does with video packets before the first key frame, and whether the times can be right at all."""
    first = track.keys.find(1)
    if first < 0:
        track.unreliable = "no packet is marked as a key frame"
        return
    # Pictures shown before the first key frame refer to others that the file does not have.
    track.hidden_before = max(track.hidden_before, track.pts[first])
    if len(set(track.pts)) != len(track.pts):
        track.unreliable = "two frames claim the same time"
    if container == "avi" and track.stream.codec in ("h264", "hevc", "mpeg4"):
        track.unreliable = ORDERLESS


def _index(blocks: Blocks, kind: demuxer.Format, container: InputContainer, tracks: dict[int, Track]) -> Index:
    if kind.demuxer == "matroska":
        _turn(tracks, matroska.matrices(blocks))
    streams = [t.stream for t in tracks.values()]
    if not any(s.kind in ("video", "audio") and not s.cover for s in streams):
        raise errors.SOURCE_UNSUPPORTED("The source holds neither video nor sound.")
    if any(s.tag in ("encv", "enca") for s in streams):
        raise errors.SOURCE_UNSUPPORTED("The source is encrypted.")
    for stream in streams:
        if (stream.width or 0) * (stream.height or 0) > demuxer.MAX_PIXELS:
            raise errors.SOURCE_TOO_COMPLEX("The picture of the source is too large.")
    spans = {i: _span(track, container.streams[i]) for i, track in tracks.items()}
    video = next((s for s in streams if s.kind == "video" and not s.cover), None)
    played = [i for i, t in tracks.items() if t.stream.kind == "audio" or t.stream is video]
    starts = [(spans[i] or (Fraction(0), None))[0] for i in played if spans[i]]
    start = _start(tracks, spans, video)
    ends = [end for i in played if (span := spans[i]) and (end := span[1]) is not None]
    whole = Fraction(container.duration, av.time_base) if container.duration else Fraction(0)
    duration = max(ends) - start if ends else whole
    if duration <= 0 and starts:
        duration = max(whole, Fraction(0))
    described = {i: _placed(track, spans[i], start) for i, track in tracks.items()}
    for i, track in tracks.items():
        track.stream = described[i]
    media = MediaInfo(
        container=kind.name, duration=duration, size=blocks.size, streams=tuple(described.values()), start=start,
        warnings=tuple(_warnings(described.values())),
    )  # fmt: skip
    return Index(blocks, kind, media, {i: t for i, t in tracks.items() if t.pts} or tracks)


def _turn(tracks: dict[int, Track], matrices: list[matroska.Matrix | None]) -> None:
    """Gives the pictures, in the file's order, their display matrices."""
    pictures = [t for _, t in sorted(tracks.items()) if t.stream.kind == "video" and not t.stream.cover]
    for track, matrix in zip(pictures, matrices, strict=False):
        track.stream = track.stream.model_copy(update={"matrix": matrix, "rotation": _rotation(matrix)})


def _span(track: Track, stream: av.stream.Stream) -> tuple[Fraction, Fraction | None] | None:
    """(first, end) of what is shown of a track, in seconds on the file's clock."""
    tb = track.time_base
    if track.pts:
        before, until = track.hidden_before, track.hidden_from if track.hidden_from is not None else 1 << 62
        shown = [t for t in track.pts if before <= t < until] or list(track.pts)
        if track.stream.kind == "audio" and track.pts[0] < track.hidden_before < shown[0]:
            # the edit begins within a packet
            return track.hidden_before * tb, (max(shown) + track.last) * tb
        return min(shown) * tb, (max(shown) + track.last_shown(max(shown))) * tb
    if stream.start_time is None:
        return None
    first = stream.start_time * tb
    return first, first + stream.duration * tb if stream.duration else None


def _start(tracks: dict[int, Track], spans: dict[int, tuple[Fraction, Fraction | None] | None], video: Stream | None) -> Fraction:
    """Time 0: where the picture or the sound begins, whichever is first. Sound before 0 is the decoder's run-in, which nobody hears."""
    sound = [span[0] for i, t in tracks.items() if t.stream.kind == "audio" and (span := spans[i])]
    picture = [span[0] for i, t in tracks.items() if t.stream is video and (span := spans[i])]
    return min([*picture, *(max(s, Fraction(0)) for s in sound)], default=Fraction(0))


def _placed(track: Track, span: tuple[Fraction, Fraction | None] | None, start: Fraction) -> Stream:
    changes: dict[str, object] = {}
    if span:
        changes["start"] = max(span[0] - start, Fraction(0)) if track.stream.kind == "audio" else span[0] - start
        if span[1] is not None:
            changes["duration"] = span[1] - max(span[0], start)
    if track.pts and track.stream.kind == "video":
        shown = track.shown_times()
        changes["frames"] = len(shown)
        if len(shown) > 1 and shown[-1] > shown[0]:
            changes["frame_rate"] = _rate(shown, track.time_base) or track.stream.frame_rate
    return track.stream.model_copy(update=changes)


def _rate(shown: list[int], time_base: Fraction) -> Fraction | None:
    """The frame rate: exact when it is constant, else the average."""
    exact = Fraction(len(shown) - 1) / ((shown[-1] - shown[0]) * time_base)
    return exact if exact <= 1000 else None


def _warnings(streams: object) -> Iterator[str]:
    unknown = [s for s in streams if s.codec == "unknown"]  # type: ignore[attr-defined]
    if unknown:
        yield "Some streams of the source are of an unknown kind and are left out."


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _extradata(stream: av.stream.Stream) -> bytes:
    return bytes(getattr(stream.codec_context, "extradata", None) or b"")


def _decoder(stream: av.stream.Stream) -> str | None:
    name = stream.codec_context.codec.name if stream.codec_context is not None else None
    return name if name in demuxer.CODECS else None


def _stream(stream: av.stream.Stream, table: boxes.Table | None = None) -> Stream:
    """The facts that libavformat and the tables tell about a stream."""
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else "unknown"
    language = stream.metadata.get("language") or (table.language if table else None)
    facts: dict[str, object] = {
        "index": stream.index,
        "kind": _KINDS.get(stream.type, "data"),
        "codec": codec,
        "time_base": Fraction(stream.time_base) if stream.time_base else Fraction(1, 1000),
        "language": None if language in (None, "und") else language,
        "title": stream.metadata.get("title") or stream.metadata.get("name"),
        "default": bool(stream.disposition & av.stream.Disposition.default),
        "disposition": tuple(flag.name for flag in av.stream.Disposition if flag & stream.disposition),
        "timecode": stream.metadata.get("timecode") or stream.metadata.get("TIMECODE"),
    }
    if table:
        facts["time_base"] = Fraction(1, table.timescale)
        facts["tag"] = table.tag
    if isinstance(stream, VideoStream) and context is not None:
        facts |= _picture(stream, table)
    elif stream.type == "audio":
        facts |= {
            "profile": stream.profile if context is not None else None,
            "bit_rate": getattr(stream, "bit_rate", None),
            "sample_rate": getattr(stream, "rate", None),
            "channels": getattr(stream, "channels", None),
            "layout": stream.layout.name if isinstance(stream, AudioStream) and context is not None else None,
            "sample_format": stream.format.name if isinstance(stream, AudioStream) and context is not None and stream.format else None,
        }
    facts["setup"] = _setup(stream, facts)
    return Stream.model_validate(facts)


def _picture(stream: VideoStream, table: boxes.Table | None) -> dict[str, object]:
    context = stream.codec_context
    matrix = table.matrix if table else None
    return {
        "profile": stream.profile,
        "bit_rate": stream.bit_rate,
        "width": context.width,
        "height": context.height,
        "pixel_format": context.pix_fmt,
        "frame_rate": Fraction(stream.average_rate or stream.guessed_rate or 0) or None,
        "frames": stream.frames or None,
        "sample_aspect": Fraction(context.sample_aspect_ratio) if context.sample_aspect_ratio else None,
        "rotation": _rotation(matrix),
        "matrix": matrix,
        "level": context.level,
        "interlaced": int(context.field_order) > 1,
        "color_range": int(context.color_range) or None,
        "color_primaries": _said(context.color_primaries),
        "color_transfer": _said(context.color_trc),
        "color_matrix": _said(context.colorspace),
        "cover": _is_cover(stream),
    }


def _rotation(matrix: tuple[int, ...] | None) -> int:
    """Degrees clockwise."""
    return round(math.degrees(math.atan2(matrix[1], matrix[0]))) % 360 if matrix else 0


def _said(code: int) -> int | None:
    """A colour code of H.273, None for `unspecified` (2) and `reserved` (0, but RGB for the matrix is not met in H.264 sources)."""
    return int(code) if int(code) not in (0, 2) else None


def _setup(stream: av.stream.Stream, facts: dict[str, object]) -> str:
    parts = [facts.get(k) for k in ("codec", "profile", "width", "height", "pixel_format", "sample_rate", "channels")]
    digest = hashlib.sha256(repr(parts).encode() + _extradata(stream))
    return digest.hexdigest()[:16]
