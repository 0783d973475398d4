"""AV1: frames before the next key frame are encoded by SVT-AV1; each run begins with the sequence header that it was coded under."""

from __future__ import annotations

from typing import Any

from native.media import encode, obu
from native.media.codecs import base, runs
from native.media.pieces import Copy, Encode
from native.media.splice import Source

FORMATS = frozenset({"yuv420p", "yuv420p10le"})
USUAL, STEP, BEST, WORST = 30, 6, 10, 38  # rate factor at a quarter of a bit for each pixel of a key frame, and for each doubling
_RECORD = 4  # bytes of an av1C record before its units (AV1 in ISO base media, 2.3.3)


class Stitch(runs.Stitch):
    def encoder(self, source: Source, piece: Encode) -> Any:
        encoder = encode.like("libsvtav1", base.track_of(source))
        encoder.gop_size = 9999
        quality = max(BEST, min(WORST, round(USUAL - STEP * runs.by_size(source, piece.key))))
        encoder.options = {"preset": "10", "crf": str(quality)}
        return encoder

    def opened(self, source: Source, piece: Copy, data: bytes) -> bytes:
        del piece
        if obu.sequence_header(data) is not None:
            return data
        header = obu.sequence_header(base.track_of(source).extradata[_RECORD:])
        return data if header is None else obu.join((header,)) + data
