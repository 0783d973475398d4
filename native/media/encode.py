"""Frames decoded and encoded again: the few at a cut under the source's own parameter sets, or all where nothing can be copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

import av
import av.error
from av.codec.context import CodecContext
from av.video.frame import PictureType

from native import errors
from native.media import demuxer, h264, index, nal, packets, splice
from native.media.info import Stream
from native.media.plan import Encode, Part, Source

THREADS = 2  # of one decoder or encoder; several of them may run on one machine
BEST, WORST = 12, 20  # the range of constant rate factors for frames at a cut
WHOLE_CRF = 18  # of a whole encode: not to be told from the source by eye


class Undecodable(Exception):
    """The decoder did not give the frames that the index promised."""


@dataclass(frozen=True, slots=True)
class Coded:
    """An encoded picture: ticks of the source's time base."""

    data: bytes
    pts: int
    key: bool


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
    decoder = video_decoder(track, err_detect="explode") if not track.unreliable else video_decoder(track)
    for sample in packets.read(source.index, track, first, last):
        yield from _decode(decoder, sample.packet(track), track)
    yield from _decode(decoder, None, track)


def _decode(decoder: Any, packet: av.Packet | None, track: index.Track) -> Iterator[av.VideoFrame]:
    """Raises Undecodable at once: whatever refers to a damaged picture looks whole to the decoder, and is not."""
    try:
        yield from decoder.decode(packet)
    except av.error.FFmpegError:
        if not track.unreliable:
            raise Undecodable from None


def video_decoder(track: index.Track, **options: str) -> Any:
    """A decoder for a track. Raises CODEC_UNSUPPORTED."""
    if track.decoder is None:
        raise errors.CODEC_UNSUPPORTED(f"Video of the kind {track.stream.codec} is not supported.")
    decoder: Any = CodecContext.create(track.decoder, "r")
    if track.extradata:
        decoder.extradata = track.extradata
    if track.stream.width and track.stream.height:
        decoder.width, decoder.height = track.stream.width, track.stream.height
    decoder.thread_type = "AUTO"
    decoder.thread_count = THREADS
    # a frame header may claim any size; memory is not given before this limit is checked
    decoder.options = {"max_pixels": str(demuxer.MAX_PIXELS), **options}
    return decoder


class Boundary:
    """Encodes the frames at the cuts of H.264 sources under the source's own sequence parameter set."""

    def __init__(self, source: Source, row: int) -> None:
        """`row` is the key frame whose quality is to be matched."""
        assert source.track is not None
        found = nal.config(source.track.extradata)
        assert found is not None
        self._source, self._stream = source, source.track.stream
        self._width = found.width or 4
        self._sps = h264.sps(found.sps[0])
        self._adopter = h264.Adopter(found.sps[0], found.pps)
        self._cabac = h264.pps(found.pps[0]).cabac
        self._crf = self._quality(found, row)

    @property
    def added(self) -> tuple[bytes, ...]:
        """The picture parameter sets that the encoded frames need beside the source's own."""
        return tuple(self._adopter.added.values())

    def prepare(self, source: Source, piece: Encode, times: Sequence[int]) -> None:
        """Encodes the first frame, so that `added` is known before anything is written."""
        if self.added:
            return
        first = Encode(piece.key, piece.last, piece.start, piece.end, 1)
        for _ in self.encode(source, first, times[:1]):
            pass

    def encode(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        """The piece's frames. Raises Undecodable, h264.Unsupported."""
        assert source.track is not None
        section, encoder = self._adopter.section(), self._encoder(source)
        made = 0
        for frame in frames(source, piece, times):
            frame.pict_type = PictureType.NONE
            frame.time_base = source.track.time_base
            for packet in encoder.encode(frame):
                made += 1
                yield self._coded(section, packet)
        for packet in encoder.encode(None):
            made += 1
            yield self._coded(section, packet)
        if made != len(times):
            raise Undecodable

    def _coded(self, section: h264.Section, packet: av.Packet) -> Coded:
        assert packet.pts is not None
        units = section.picture(nal.annexb(bytes(packet)))
        return Coded(nal.join(units, self._width), packet.pts, packet.is_keyframe)

    def _encoder(self, source: Source) -> Any:
        assert source.track is not None
        stream = self._stream
        encoder: Any = CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = stream.width, stream.height, stream.pixel_format
        encoder.time_base = source.track.time_base
        encoder.framerate = stream.frame_rate or Fraction(25)
        encoder.thread_count = THREADS
        parameters = {
            "keyint": "infinite",  # one IDR, at the start of the piece
            "scenecut": "0",
            "bframes": "0",  # so that decoding order is showing order and no reordering depth is needed
            "ref": "1",  # fits every source's reference buffer
            "weightp": "0",  # weights would have to be re-written
            "cabac": "1" if self._cabac and self._sps.profile != 66 else "0",  # Baseline has none
            "8x8dct": "1" if self._sps.profile in h264.HIGH_PROFILES else "0",  # nor have Baseline and Main this
            "sliced-threads": "0",
            "repeat-headers": "1",  # the sets come with the packets, where they are taken from
            "rc-lookahead": "20",
        }
        encoder.options = {
            "preset": "veryfast",
            "crf": str(self._crf),
            "x264-params": ":".join(f"{k}={v}" for k, v in parameters.items()),
        }
        return encoder

    def _quality(self, found: nal.Config, row: int) -> int:
        """The rate factor: a little better than the quantiser of the source's own I frame, within sane bounds."""
        track = self._source.track
        assert track is not None
        sets = {p.id: p for p in map(h264.pps, found.pps)}
        units = splice.units_of(track, packets.one(self._source.index, track, row).data)
        seen = [h264.slice_qp(u, self._sps, sets) for u in units if u[0] & 31 in (1, 5)]
        known = [qp for qp in seen if qp is not None]
        return max(BEST, min(WORST, round(median(known)) - 2)) if known else 17


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
        pixels = "yuv420p10le" if deep else "yuv420p"
        return Target("libvpx-vp9", pixels, {"crf": "28", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"})
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
