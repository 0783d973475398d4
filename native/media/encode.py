"""Frames decoded, and encoded again where nothing can be copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.codec.context import CodecContext
from av.video.frame import PictureType

from native import errors
from native.media import demuxer, index, packets
from native.media.info import Stream
from native.media.pieces import Encode, Part, Undecodable
from native.media.splice import Source

THREADS = 2  # of one decoder or encoder; several of them may run on one machine
WHOLE_CRF = 18  # of a whole encode: not to be told from the source by eye


def frames(source: Source, piece: Encode, times: Sequence[int]) -> Iterator[av.VideoFrame]:
    """The frames shown at `times`, in order. Raises Undecodable when the decoder gives others."""
    track = source.track
    assert track is not None
    waited = iter(times)
    wanted = next(waited, None)
    for frame in _decoded(source, piece):
        if wanted is None:
            return
        assert frame.pts is not None  # its packet had one
        if frame.pts < wanted:
            continue
        if frame.pts > wanted:
            if not track.unreliable:
                raise Undecodable
            while wanted is not None and wanted < frame.pts:
                wanted = next(waited, None)
            if wanted != frame.pts:
                continue
        yield frame
        wanted = next(waited, None)
    if wanted is not None and not track.unreliable:
        raise Undecodable


def _decoded(source: Source, piece: Encode) -> Iterator[av.VideoFrame]:
    track = source.track
    assert track is not None
    if track.unreliable == index.ORDERLESS:
        # Without trustworthy times the n-th frame that comes out is the n-th one shown, so decoding starts at the beginning.
        for frame, time in zip(_pictures(source, 0, len(track.pts)), source.order.times, strict=False):
            frame.pts = time
            yield frame
        return
    last = len(track.pts) if track.unreliable else max(piece.last, piece.key + 1)
    pictures = _pictures(source, piece.key, last)
    first = next(pictures, None)
    if first is None:
        return
    if piece.key and first.pict_type != PictureType.I:
        # The container calls a key frame what needs the frames before it: only the beginning is sure.
        yield from _pictures(source, 0, last)
        return
    yield first
    yield from pictures


def _pictures(source: Source, first: int, last: int) -> Iterator[av.VideoFrame]:
    track = source.track
    assert track is not None
    # A frame that decodes with errors would be encoded as a picture that nobody has ever seen.
    decoder = video_decoder(track, err_detect="explode") if _strict(track) else video_decoder(track)
    start = source.points.at(first) if not track.unreliable else None
    for sample in packets.read(source.index, track, first, last):
        if start is not None and sample.number in start.dropped:
            continue  # the decoder would leave it out, or stumble over it
        yield from _decode(decoder, sample.packet(track), track, track.pts[first])
    yield from _decode(decoder, None, track, track.pts[first])


def _decode(decoder: Any, packet: av.Packet | None, track: index.Track, begin: int) -> Iterator[av.VideoFrame]:
    """Raises Undecodable at once: whatever refers to a damaged picture looks whole to the decoder, and is not. What is shown before the
    tick `begin`, where decoding starts, may refer to pictures that were never read."""
    try:
        for frame in decoder.decode(packet):
            if frame.is_corrupt and _strict(track) and frame.pts is not None and frame.pts >= begin:
                raise Undecodable
            yield frame
    except av.error.FFmpegError:
        if _strict(track):
            raise Undecodable from None


def _strict(track: index.Track) -> bool:
    """Is an error of the decoder damage? Where times or key frames cannot be trusted, decoding may have begun at a wrong place."""
    return not track.unreliable or track.unreliable == index.ORDERLESS


def video_decoder(track: index.Track, **options: str) -> Any:
    """A decoder for a track. Raises CODEC_UNSUPPORTED."""
    if track.decoder is None:
        raise errors.CODEC_UNSUPPORTED(f"Video of the kind {track.stream.codec} is not supported.")
    decoder: Any = CodecContext.create(track.decoder, "r")
    if track.extradata:
        decoder.extradata = track.extradata
    if track.stream.width and track.stream.height:
        decoder.width, decoder.height = track.stream.width, track.stream.height
    if track.stream.codec == "rawvideo" and track.stream.pixel_format:
        decoder.pix_fmt = track.stream.pixel_format  # nothing in the packets says it
    decoder.thread_type = "AUTO"
    decoder.thread_count = THREADS
    # a frame header may claim any size; memory is not given before this limit is checked
    decoder.options = {"max_pixels": str(demuxer.MAX_PIXELS), **options}
    return decoder


def like(codec: str, track: index.Track) -> Any:
    """An encoder for frames of a track, with its size, pixels, shape, colours and clock; its options are still to be set."""
    facts = track.stream
    encoder: Any = CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = facts.width, facts.height, facts.pixel_format
    encoder.time_base = track.time_base
    encoder.framerate = facts.frame_rate or Fraction(25)
    if facts.sample_aspect:
        encoder.sample_aspect_ratio = facts.sample_aspect
    colour(encoder, facts)
    encoder.thread_count = THREADS
    return encoder


def colour(encoder: Any, facts: Stream) -> None:
    """Gives an encoder the colour description of a stream, as far as it has one."""
    for name, value in (
        ("color_range", facts.color_range),
        ("color_primaries", facts.color_primaries),
        ("color_trc", facts.color_transfer),
        ("colorspace", facts.color_matrix),
    ):
        if value is not None:
            setattr(encoder, name, value)


def packets_of(encoder: Any, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[av.Packet]:
    """The piece's frames, coded one packet each. Raises Undecodable."""
    assert source.track is not None
    made = 0
    for frame in frames(source, piece, times):
        frame.pict_type = PictureType.NONE
        frame.time_base = source.track.time_base
        for packet in encoder.encode(frame):
            made += 1
            yield packet
    for packet in encoder.encode(None):
        made += 1
        yield packet
    if made != len(times):
        raise Undecodable


@dataclass(frozen=True)
class Target:
    """What a whole encode makes."""

    codec: str
    pixel_format: str
    options: dict[str, str]
    tag: str | None = None


def target(stream: Stream, container: str) -> Target:
    """The codec and its settings for a source that cannot be copied."""
    deep = bool(stream.pixel_format and ("10" in stream.pixel_format or "12" in stream.pixel_format))
    hdr = stream.color_transfer in (16, 18)  # PQ, HLG
    if container == "webm":
        if deep:
            # the libvpx at hand codes eight bits
            return Target("libsvtav1", "yuv420p10le", {"preset": "10", "crf": "28"})
        return Target("libvpx-vp9", "yuv420p", {"crf": "28", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"})
    if hdr or (deep and stream.codec in ("hevc", "av1", "vp9")):
        params = f"log-level=error:crf={WHOLE_CRF + 2}:pools={THREADS}"
        return Target("libx265", "yuv420p10le", {"preset": "superfast", "x265-params": params}, "hvc1")
    pixels = stream.pixel_format or "yuv420p"
    if stream.codec != "h264" or not pixels.startswith("yuv"):
        # what every player shows
        pixels = "yuvj420p" if pixels.startswith("yuvj") else "yuv420p"
    options = {"preset": "veryfast", "crf": str(WHOLE_CRF)}
    if stream.interlaced:
        options["flags"] = "+ildct+ilme"
    return Target("libx264", pixels, options)


def whole(
    sources: Sequence[Source], parts: Sequence[Part], stream: Any, offsets: Sequence[int], time_base: Fraction
) -> Iterator[av.Packet]:
    """Every frame of every part through the encoder of an output stream; packets in ticks of `time_base`."""
    encoder = stream.codec_context
    for part, offset in zip(parts, offsets, strict=True):
        source, piece = sources[part.source], part.pieces[0]
        assert isinstance(piece, Encode)
        assert source.track is not None
        tb = source.track.time_base
        for frame in frames(source, piece, part.times):
            assert frame.pts is not None
            pts = offset + round((frame.pts - part.origin) * tb / time_base)
            made = frame
            if (frame.width, frame.height, frame.format.name) != (encoder.width, encoder.height, encoder.pix_fmt):
                made = frame.reformat(width=encoder.width, height=encoder.height, format=encoder.pix_fmt)
            made.pict_type = PictureType.NONE
            made.pts, made.time_base = pts, time_base
            yield from stream.encode(made)
    yield from stream.encode(None)
