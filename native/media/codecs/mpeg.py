"""MPEG-2: frames before the next intra picture, its leading pictures with them, are encoded as one I and P pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from native.media import encode
from native.media.codecs import base, runs
from native.media.pieces import Coded, Copy, Encode, NotCopyable
from native.media.splice import Source

FORMATS = frozenset({"yuv420p", "yuv422p"})
_LAMBDA = 118  # FF_QP2LAMBDA: libavcodec's unit of quality
_SEQUENCE, _EXTENSION, _GROUP, _PICTURE = b"\0\0\1\xb3", b"\0\0\1\xb5", b"\0\0\1\xb8", b"\0\0\1\0"
_SLICE = re.compile(rb"\x00\x00\x01[\x01-\xaf](.)", re.DOTALL)
# ISO/IEC 13818-2, table 7-6: what the codes mean where the scale is not linear
_SCALES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 88, 96, 104, 112)


def _encoder(codec: str, source: Source, quantiser: float, flags: str) -> Any:
    encoder = encode.like(codec, base.track_of(source))
    encoder.time_base = 1 / encode.Fraction(25)  # frames are numbered; when they are shown the container says
    encoder.framerate = encode.Fraction(25)
    encoder.gop_size = 600
    encoder.max_b_frames = 0
    encoder.options = {
        "flags": f"+qscale{flags}",
        "global_quality": str(round(quantiser * _LAMBDA)),
        "qmin": "1",
        "sc_threshold": "1000000000",
    }
    return encoder


class Stitch(runs.Stitch):
    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        encoder, made = self.encoder(source, piece), 0
        for n, frame in enumerate(encode.frames(source, piece, times)):
            frame.pict_type = encode.PictureType.NONE
            frame.pts, frame.time_base = n, 1 / encode.Fraction(25)
            for packet in encoder.encode(frame):
                yield Coded(self.fitted(source, piece, bytes(packet)), times[made], packet.is_keyframe)
                made += 1
        for packet in encoder.encode(None):
            yield Coded(self.fitted(source, piece, bytes(packet)), times[made], packet.is_keyframe)
            made += 1
        if made != len(times):
            raise encode.Undecodable


class Mpeg2(Stitch):
    def encoder(self, source: Source, piece: Encode) -> Any:
        data = runs.key_packet(source, piece.key)
        progressive = bool(_header(data)[13 + 4] & 8)
        picture = data.find(_EXTENSION, data.find(_PICTURE))
        # 6.2.3.1: q_scale_type is the bit after the 28 bits of codes, precision, structure and four flags
        linear = picture < 0 or not data[picture + 7] & 0x10
        codes = [found[1][0] >> 3 for found in _SLICE.finditer(data)] or [4]
        quantiser = mean(codes) if linear else mean(_SCALES[code] / 2 for code in codes)
        return _encoder("mpeg2video", source, max(1.0, min(8.0, 0.75 * quantiser)), "+cgop" if progressive else "+cgop+ildct+ilme")

    def fitted(self, source: Source, piece: Encode, data: bytes) -> bytes:
        """Under the source's own sequence header, but for its matrices: the encoder uses the standard's."""
        at = data.find(_GROUP)
        return _header(runs.key_packet(source, piece.key)) + data[at:] if data.startswith(_SEQUENCE) and at > 0 else data

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """The numbers of the first group's pictures count from its first that is there; the group needs nothing before it."""
        track, less = base.track_of(source), len(piece.dropped)
        end = track.keys.find(1, piece.first + 1)
        last = track.pts[end] if end >= 0 else None
        first = True
        for made in super().copied(source, piece):
            first = first and (made.pts != last or made.pts == track.pts[piece.first])
            yield Coded(_renumbered(made.data, less), made.pts, made.key) if less and first else made


def _header(data: bytes) -> bytes:
    """The sequence header of a key packet without its matrices, and its extensions (ISO/IEC 13818-2, 6.2.2.1)."""
    at = data.find(_SEQUENCE)
    end = min(n for n in (data.find(_GROUP, at), data.find(_PICTURE, at)) if n >= 0)
    extension = data.find(_EXTENSION, at, end)
    if at < 0 or extension < 0:
        raise NotCopyable("its sequence headers are not MPEG-2's")
    return data[at : at + 11] + bytes((data[at + 11] & 0xFC,)) + data[extension:end]


def _renumbered(data: bytes, less: int) -> bytes:
    made = bytearray(data)
    group = data.find(_GROUP)
    if group >= 0:
        made[group + 7] |= 0x40
    at = data.find(_PICTURE)
    while at >= 0:
        number = ((made[at + 4] << 2 | made[at + 5] >> 6) - less) & 1023
        made[at + 4], made[at + 5] = number >> 2, (number & 3) << 6 | made[at + 5] & 63
        at = data.find(_PICTURE, at + 4)
    return bytes(made)
