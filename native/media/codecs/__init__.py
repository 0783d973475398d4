"""One module for every way of cutting a codec's video. `of(codec)` is the way of one codec.

A way says why nothing can be copied (`refusal`), which packets of a range are copied and which frames are encoded (`pieces`), and makes
the coded pictures of an output (`stitch`). The rest of the engine knows no codec.
"""

from __future__ import annotations

from native.media.codecs import av1, base, h264, hevc, intra, mpeg, runs, vpx
from native.media.splice import INTRA_ONLY

_WAYS: dict[str, base.Codec] = {
    "h264": h264.H264(),
    "hevc": hevc.Hevc(),
    "vp8": runs.Runs(vpx.Stitch, vpx.VP8),
    "vp9": runs.Runs(vpx.Stitch, vpx.VP9),
    "av1": runs.Runs(av1.Stitch, av1.FORMATS),
    "mpeg2video": runs.Runs(mpeg.Mpeg2, mpeg.FORMATS),
    **dict.fromkeys(INTRA_ONLY, intra.Intra()),
}
_OTHERS = base.KeyFrames()


def of(codec: str) -> base.Codec:
    """The way of a codec by libavcodec's name; for one that has none of its own, whole runs between key frames."""
    return _WAYS.get(codec, _OTHERS)
