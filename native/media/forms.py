"""What sound is encoded to where it cannot be copied: its codec, rate, channels and bit rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from native.media.index import Track
from native.media.info import Stream
from native.media.samples import Shape

# What a container holds without a change.
HOLDS: dict[str, frozenset[str]] = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    "mov": frozenset(
        {"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw"}
    ),
    "mkv": frozenset(
        {
            "aac",
            "mp2",
            "mp3",
            "ac3",
            "eac3",
            "dts",
            "truehd",
            "mlp",
            "opus",
            "vorbis",
            "flac",
            "alac",
            "tta",
            "wavpack",
            "pcm_u8",
            "pcm_s16le",
            "pcm_s16be",
            "pcm_s24le",
            "pcm_s24be",
            "pcm_s32le",
            "pcm_s32be",
            "pcm_f32le",
            "pcm_f64le",
        }
    ),
    "webm": frozenset({"opus", "vorbis"}),
    "ts": frozenset({"aac", "mp2", "mp3", "ac3", "eac3"}),
}
USUAL = {"webm": "opus"}  # where it is not AAC
ENCODERS = {"aac": "aac", "opus": "libopus", "ac3": "ac3", "eac3": "eac3", "mp2": "mp2", "flac": "flac", "alac": "alac"}
# The samples that an encoder of them takes; the encoded are as good as the source's.
LOSSLESS = {
    "pcm_s16le": "s16", "pcm_s16be": "s16", "pcm_s24le": "s32", "pcm_s24be": "s32", "pcm_s32le": "s32", "pcm_s32be": "s32",
    "pcm_f32le": "flt", "pcm_f32be": "flt", "pcm_u8": "u8", "flac": "s16", "alac": "s16p",
}  # fmt: skip
FORMATS = {"opus": "flt", "mp2": "s16"}  # where it is not planes of floats
RATES = {
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    "opus": (48000,), "ac3": (32000, 44100, 48000), "eac3": (32000, 44100, 48000), "mp2": (16000, 22050, 24000, 32000, 44100, 48000),
}  # fmt: skip
STEPS = {  # bit/s; what these two can say
    "ac3": (96_000, 128_000, 160_000, 192_000, 224_000, 256_000, 320_000, 384_000, 448_000, 512_000, 576_000, 640_000),
    "mp2": (96_000, 112_000, 128_000, 160_000, 192_000, 224_000, 256_000, 320_000, 384_000),
}
MOST = {"aac": 6, "opus": 5}  # bits per sample of a channel
PLENTY = Fraction(2)  # bits per sample of a channel: where nobody hears AAC, 96 kbit/s at 48 kHz


T = TypeVar("T")


@dataclass(frozen=True)
class Form:
    """What sound is encoded to."""

    codec: str
    encoder: str
    shape: Shape
    channels: int
    bit_rate: int | None  # bit/s; None: as many as it takes
    options: dict[str, str]


def holds(container: str, codec: str) -> bool:
    return codec in HOLDS[container]


def form(tracks: Sequence[tuple[Track, Fraction]], container: str) -> Form:
    """The form that suits these tracks, each with the seconds of it that are heard: as most of it is, with no fewer bits than any."""
    codec = _codec([track.stream for track, _ in tracks], container)
    rate = _most([(track.stream.sample_rate or 48000, seconds) for track, seconds in tracks])
    known = RATES.get(codec, (rate,))
    rate = min(known, key=lambda r: (abs(r - rate), -r))
    layout, channels = _layout(_most([(_channels(track.stream), seconds) for track, seconds in tracks]), codec)
    if codec in LOSSLESS:
        return Form(codec, codec, Shape(rate, layout, _format(codec, tracks[0][0].stream)), channels, None, {})
    best = max((_bit_rate(track) for track, _ in tracks), default=0)
    wanted = max(best, int(PLENTY * min(rate, 48000) * channels))
    wanted = min(wanted, int(MOST[codec] * rate * channels)) if codec in MOST else wanted
    if codec in STEPS:
        wanted = next((step for step in STEPS[codec] if step >= wanted), STEPS[codec][-1])
    # at these rates the quicker search is also the better one, as libavcodec's manual says and measuring shows
    options = {"aac_coder": "fast"} if codec == "aac" else {}
    return Form(codec, ENCODERS[codec], Shape(rate, layout, FORMATS.get(codec, "fltp")), channels, wanted, options)


def _codec(streams: Sequence[Stream], container: str) -> str:
    """The sources' own where they agree and it can be encoded, else the container's usual one."""
    codecs = {stream.codec for stream in streams}
    codec = codecs.pop() if len(codecs) == 1 else ""
    usual = USUAL.get(container, "aac")
    return codec if (codec in ENCODERS or codec in LOSSLESS) and holds(container, codec) else usual


def _most(seen: Sequence[tuple[T, Fraction]]) -> T:
    """What is heard longest; of equals the first."""
    total: Counter[T] = Counter()
    for value, seconds in seen:
        total[value] += seconds  # type: ignore[assignment]  # seconds count as well as numbers do
    return max(total, key=total.__getitem__)


def _channels(stream: Stream) -> tuple[str, int]:
    return stream.layout or "stereo", stream.channels or 2


def _layout(of: tuple[str, int], codec: str) -> tuple[str, int]:
    layout, channels = of
    if codec in LOSSLESS and "channels" not in layout:
        return layout, channels
    if channels == 1:
        return "mono", 1
    if channels == 6 and codec != "mp2":
        return "5.1", 6
    if channels == 8 and layout == "7.1" and codec in ("aac", "opus"):
        return layout, 8
    return "stereo", 2


def _format(codec: str, stream: Stream) -> str:
    """Sample format for a lossless encoder: as deep as the source's."""
    deep = stream.sample_format in ("s32", "s32p") or LOSSLESS[codec].startswith("s32")
    if codec in ("flac", "alac"):
        return {"flac": "s32" if deep else "s16", "alac": "s32p" if deep else "s16p"}[codec]
    return LOSSLESS[codec]


def _bit_rate(track: Track) -> int:
    """Bit/s: what the container says, or what its packets come to."""
    if track.stream.bit_rate:
        return track.stream.bit_rate
    length = (track.pts[-1] - track.pts[0] + track.last) * track.time_base if len(track.pts) > 1 else Fraction(0)
    return int(sum(track.sizes) * 8 / length) if length > 0 else 0
