"""H.264: packets copied between IDRs, frames at a cut encoded under the source's own parameter sets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from statistics import median
from typing import Any

import av
from av.codec.context import CodecContext
from av.video.frame import PictureType

from native.media import encode, h264, nal, packets, splice
from native.media.codecs import base
from native.media.pieces import Coded, Copy, Encode, NotCopyable, Part, Piece, Undecodable
from native.media.splice import Source

BEST, WORST = 12, 20  # the range of constant rate factors for frames at a cut
# What x264 codes in the profiles that allow it.
ENCODABLE = {f"yuv{j}{shape}p{depth}" for j in ("", "j") for shape in ("420", "422", "444") for depth in ("", "10le")}


class H264(base.Codec):
    def refusal(self, sources: Sequence[Source], container: str) -> str | None:
        if any(nal.config(source.track.extradata) is None for source in sources if source.track is not None):
            return "the source keeps its H.264 parameter sets in the stream only"
        return super().refusal(sources, container)

    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        found = base.between_keys(source, low, high)
        if any(isinstance(piece, Encode) for piece in found):
            _check_encodable(source)
        return found

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        return Stitch(parts, sources, container)


def _check_encodable(source: Source) -> None:
    """Raises NotCopyable when frames at a cut cannot be encoded under the source's own parameter sets."""
    assert source.track is not None
    found = nal.config(source.track.extradata)
    assert found is not None
    if len(found.sps) != 1:
        raise NotCopyable("the source has several H.264 parameter sets")
    try:
        if reason := h264.refusal(h264.sps(found.sps[0])):
            raise NotCopyable(reason)
        for unit in found.pps:
            h264.pps(unit)
    except h264.Unsupported as exc:
        raise NotCopyable(str(exc)) from exc
    if source.track.stream.pixel_format not in ENCODABLE:
        raise NotCopyable(f"{source.track.stream.pixel_format} pixels cannot be encoded in H.264 here")


class Stitch(base.Stitch):
    """Pictures of H.264 under one sequence parameter set."""

    def __init__(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> None:
        track = sources[parts[0].source].track
        assert track is not None
        config = nal.config(track.extradata)
        assert config is not None
        self._boundary = self._prepare(parts, sources)
        more = self._boundary.added if self._boundary else ()
        record = nal.Config(config.sps, config.pps, config.width or 4, config.extension).with_pps(more).record()
        super().__init__(sources, record, "avc1" if container in ("mp4", "mov") else "\0\0\0\0")

    @staticmethod
    def _prepare(parts: Sequence[Part], sources: Sequence[Source]) -> Boundary | None:
        """The encoder of the frames at the cuts, its parameter set already known. None when no frame is encoded."""
        pieces = [(p, piece) for p in parts for piece in p.pieces if isinstance(piece, Encode)]
        if not pieces:
            return None
        part, piece = pieces[0]
        source = sources[part.source]
        boundary = Boundary(source, piece.key)
        boundary.prepare(source, piece, part.times[bisect_left(part.times, piece.start) :])
        return boundary

    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        assert self._boundary is not None
        return self._boundary.encode(source, piece, times)

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """A copied run, looked at while it passes: damaged packets and parameter sets that change on the way end the copy."""
        track = source.track
        assert track is not None
        config = nal.config(track.extradata)
        assert config is not None
        known, width = {*config.sps, *config.pps}, config.width
        for sample in packets.read(source.index, track, piece.first, piece.last):
            data = sample.data
            try:
                kinds = nal.kinds(data, width) if width else {nal.SPS}
            except nal.Broken as exc:
                raise NotCopyable("some of its packets are damaged") from exc
            if nal.SPS in kinds or nal.PPS in kinds:
                units = splice.units_of(track, data)
                if any(u[0] & 31 in (nal.SPS, nal.PPS) and u not in known for u in units):
                    raise NotCopyable("its parameter sets change on the way")
                kinds = {u[0] & 31 for u in units}
                if not width:
                    # start codes become lengths; the sets are in the file's header, and delimiters have no place in MP4
                    data = nal.join([u for u in units if u[0] & 31 not in (nal.SPS, nal.PPS, nal.AUD)])
            if not kinds & {1, 2, 5}:
                raise NotCopyable("some of its packets are damaged")
            yield Coded(data, sample.pts, nal.IDR in kinds)


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
        for frame in encode.frames(source, piece, times):
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
        encoder.thread_count = encode.THREADS
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
