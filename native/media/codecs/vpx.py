"""VP8 and VP9: frames before the next key frame are encoded by libvpx. A key frame empties all references and contexts."""

from __future__ import annotations

from typing import Any

from native.media import encode
from native.media.codecs import base, runs
from native.media.pieces import Encode
from native.media.splice import Source

VP8 = frozenset({"yuv420p"})
VP9 = frozenset({"yuv420p", "yuv422p", "yuv444p"})  # the libvpx at hand codes eight bits
USUAL, STEP, BEST, WORST = 26, 5, 8, 32  # rate factor at a quarter of a bit for each pixel of a key frame, and for each doubling


class Stitch(runs.Stitch):
    def encoder(self, source: Source, piece: Encode) -> Any:
        track = base.track_of(source)
        encoder = encode.like("libvpx" if track.stream.codec == "vp8" else "libvpx-vp9", track)
        quality = max(BEST, min(WORST, round(USUAL - STEP * runs.by_size(source, piece.key))))
        encoder.bit_rate = 0 if track.stream.codec == "vp9" else 100_000_000  # VP8 knows no quality without a limit of the rate
        encoder.gop_size = 9999
        # no hidden frames and no delay: each packet is one frame
        encoder.options = {"crf": str(quality), "deadline": "realtime", "cpu-used": "6", "auto-alt-ref": "0", "lag-in-frames": "0"}
        return encoder
