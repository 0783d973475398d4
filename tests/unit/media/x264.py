"""Small H.264 streams of many kinds, straight from x264."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av

from native.media import nal

FRAMES = 60
WIDTH, HEIGHT = 96, 64

# what is special about a stream: x264's parameters
KINDS: dict[str, str] = {
    "plain": "keyint=20:scenecut=0",
    "cavlc": "cabac=0:keyint=20",
    "slices": "slices=3:cabac=0:keyint=20",
    "cabac_slices": "slices=4:bframes=3",
    "no_b": "bframes=0:ref=3",
    "baseline": "bframes=0:cabac=0:8x8dct=0:weightp=0:ref=1",
    "pyramid": "bframes=8:b-adapt=2:b-pyramid=normal:ref=6:keyint=infinite",
    "strict_pyramid": "bframes=5:b-adapt=0:b-pyramid=strict:ref=3:keyint=infinite",
    "many_references": "ref=16:bframes=3:keyint=infinite",
    "one_reference": "ref=1:bframes=2:keyint=infinite",
    "sixteen_b": "bframes=16:b-adapt=0:b-pyramid=normal:keyint=infinite",
    "temporal": "direct=temporal:bframes=3:keyint=infinite",
    "weighted": "weightp=2:weightb=1:bframes=3:ref=4:keyint=infinite",
    "open": "open-gop=1:keyint=12:bframes=3:b-pyramid=normal",
    "refreshed": "intra-refresh=1:keyint=20:bframes=0",
    "hrd": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:pic-struct=1",
    "matrices": "cqm=jvt",
    "intra": "keyint=1",
    "interlaced": "tff=1",
}
PIXELS = {"ten_bit": "yuv420p10le", "four_two_two": "yuv422p", "four_four_four": "yuv444p", "grey": "gray"}
KINDS |= dict.fromkeys(PIXELS, "bframes=3")


@cache
def packets(kind: str) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
    """The pictures of a stream in coding order: the number of the frame, and its units. The first has the sets."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, PIXELS.get(kind, "yuv420p")
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"preset": "medium", "x264-params": f"threads=1:repeat-headers=1:{KINDS[kind]}"}
    coded = []
    for n in range(FRAMES):
        coded += encoder.encode(_frame(n, encoder.pix_fmt))
    coded += encoder.encode(None)
    return tuple((p.pts, tuple(nal.annexb(bytes(p)))) for p in coded)


def units(kind: str) -> list[bytes]:
    """All units of a stream."""
    return [unit for _, picture in packets(kind) for unit in picture]


def _frame(number: int, pixels: str) -> av.VideoFrame:
    """A pattern that moves, brightens and darkens, so that there are motion and weights to be coded."""
    frame = av.VideoFrame(WIDTH, HEIGHT, pixels)
    deep = "10" in pixels
    light = 100 + abs(number % 24 - 12) * 8
    for plane in frame.planes:
        wide, rows = plane.line_size, plane.height
        values = [((x + 2 * number) // 7 * 31 + (y + number) // 5 * 17) % 90 + light for y in range(rows) for x in range(wide)]
        if deep:
            data = b"".join((values[n] * 2).to_bytes(2, "little") for n in range(0, len(values), 2))
            plane.update(data)
        else:
            plane.update(bytes(min(255, v) for v in values))
    frame.pts = number
    return frame


def decoded(pictures: list[bytes] | list[list[bytes]]) -> list[bytes]:
    """The frames that FFmpeg makes of pictures, each a list of units, in the order shown; nothing may be wrong with them."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.options = {"err_detect": "explode"}
    frames: list[av.VideoFrame] = []
    for number, picture in enumerate(pictures):
        packet = av.Packet(b"".join(b"\0\0\1" + unit for unit in picture))  # type: ignore[union-attr]
        packet.pts = packet.dts = number
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return [_pixels(frame) for frame in frames]


def _pixels(frame: av.VideoFrame) -> bytes:
    wide = 2 if "10" in frame.format.name else 1
    return b"".join(
        bytes(plane)[n * plane.line_size : n * plane.line_size + plane.width * wide] for plane in frame.planes for n in range(plane.height)
    )
