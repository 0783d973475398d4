"""FFmpeg's command for conforming pictures: one filter graph, built with ffmpeg-python from numbers of ours only.

No text of a user or of a source gets in here: ffmpeg-python does not escape everything that FFmpeg unescapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from math import ceil
from typing import Any

import ffmpeg

from native.media import demuxer, encode
from native.media.clips import HDR, Clip, Target, colours, turn
from native.media.info import Stream
from native.media.inputs import Input

WHITELIST = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}  # the names that one demuxer goes by
SCALING = "bicubic+accurate_rnd+full_chroma_int"
KEY_SECONDS = 5  # players seek by key frames, and the next cut encodes what lies before one
PAPER = 203  # cd/m²: what ITU-R BT.2408 calls the white of paper
QUARTERS = {0: (), 1: (("transpose", "clock"),), 2: (("hflip",), ("vflip",)), 3: (("transpose", "cclock"),)}

ENCODERS: dict[str, dict[str, Any]] = {
    # CRF 18 is where x264 is transparent; veryfast costs a tenth more bytes than medium and a third of the time
    "h264": {"c:v": "libx264", "crf": encode.WHOLE_CRF, "preset": "veryfast"},
    "hevc": {
        "c:v": "libx265",
        "crf": encode.WHOLE_CRF + 2,
        "preset": "superfast",
        "x265-params": "log-level=error:open-gop=0",
        "forced-idr": 1,
        "tag:v": "hvc1",
    },
    # constant quality; libvpx's defaults would take minutes per second of video
    "vp9": {"c:v": "libvpx-vp9", "crf": 30, "b:v": 0, "deadline": "realtime", "cpu-used": 5, "row-mt": 1},
    "av1": {"c:v": "libsvtav1", "crf": 30, "preset": 10},
}  # fmt: skip
# Decoding order is showing order, and one reference frame fits every decoder's buffer: such slices can be moved under another
# encoder's parameter sets.
PLAIN = {"bf": 0, "refs": 1, "x264-params": "weightp=0:open-gop=0"}
JOINED = frozenset({"h264", "vp9"})
PROFILES = {"Baseline": "baseline", "Constrained Baseline": "baseline", "Main": "main"}  # the others follow from the pixels

GLOBAL = [
    # never wait for a keyboard
    "-nostdin",
    # only what went wrong, for the log
    "-hide_banner", "-loglevel", "error", "-nostats",
    # a damaged source is refused, not patched: exit code 0 would otherwise hide missing pictures
    "-xerror",
    # times stay those of the file, so that cuts are where the index says
    "-copyts",
    # progress in a form made for programs
    "-progress", "pipe:1", "-stats_period", "0.25",
]  # fmt: skip


def command(clips: Sequence[Clip], inputs: Sequence[Input | None], to: Target, out: str) -> list[str]:
    """FFmpeg's arguments that make `out`, an MP4 of pictures alone, from clips of one frame rate, whose inputs lie in the same order.
    Each of them begins with a key frame that nothing refers across."""
    pictures = [_picture(clip, source, to) for clip, source in zip(clips, inputs, strict=True)]
    joined = pictures[0] if len(pictures) == 1 else ffmpeg.concat(*pictures, v=1, a=0)
    return [*GLOBAL, *ffmpeg.get_args(ffmpeg.output(joined, out, **_output(clips, to)))]


def _open(source: Input) -> Any:
    options: dict[str, Any] = {
        # decided by us; FFmpeg's own guess may be a playlist
        "f": source.demuxer,
        # and nothing that the file names may be opened as another format, protocol or codec
        "format_whitelist": WHITELIST.get(source.demuxer, source.demuxer),
        "protocol_whitelist": "file",
        "codec_whitelist": ",".join(sorted(demuxer.CODECS)),
        # a header may not ask for more memory than the probe allowed
        "max_streams": demuxer.MAX_STREAMS,
        "max_pixels": demuxer.MAX_PIXELS,
        # one decoder thread per core and clip would cost a picture of memory each
        "threads": 2,
        # a stream that changes its size half-way must not restart the graph and its counting
        "reinit_filter:v": 0,
        # the graph turns pictures by the facts that the clips were measured by
        "noautorotate": None,
    }
    return ffmpeg.input(source.file, **options)


def _picture(clip: Clip, source: Input | None, to: Target) -> Any:
    """Exactly `clip.frames` frames of the target's size, rate and colours."""
    if clip.picture is None or source is None:
        length = _micro((clip.frames + 1) / clip.rate)
        black = ffmpeg.input(f"color@{clip.number}=black:s={to.width}x{to.height}:r={clip.rate}:d={length}", f="lavfi")
        return _finish(black.video, clip, to)
    # a cut lies half-way between two frames, and a tick may be a whole frame
    stream = _open(source)[str(source.stream)].filter("settb", "intb/2")
    if source.steady:
        first, step = source.steady
        stream = stream.filter("setpts", f"round(({first.numerator}/{first.denominator}+N*{step.numerator}/{step.denominator})/TB)")
    cuts = {name: _micro(time - source.zero) for name, time in (("start", clip.cut_in), ("end", clip.cut_out)) if time is not None}
    if cuts:
        stream = stream.filter("trim", **cuts)
    begin = clip.begin - source.zero
    # setpts cuts off what is no whole tick
    stream = stream.filter("setpts", f"round(PTS-({begin.numerator}/{begin.denominator})/TB)")
    if clip.picture.interlaced:
        stream = stream.filter("yadif", deint="interlaced")
    # from time 0 on: a picture that begins late is shown from the start
    stream = stream.filter("fps", fps=str(clip.rate), start_time=0)
    mirrored, quarters = turn(clip.picture)
    for name, *values in [*([("hflip",)] if mirrored else []), *QUARTERS[(quarters - to.rotation // 90) % 4]]:
        stream = stream.filter(name, *values)
    transfers = clip.picture.color_transfer, to.transfer
    if transfers[0] != transfers[1] and set(transfers) & HDR:
        return _finish(_relit(stream, clip, to), clip, to)
    return _finish(stream.filter("scale", clip.width, clip.height, flags=SCALING, **_conversion(clip.picture, to)), clip, to)


def _conversion(picture: Stream, to: Target) -> dict[str, Any]:
    """What the scaler has to know of the colours on both sides."""
    _, _, matrix, full = colours(picture)
    options: dict[str, Any] = {"out_color_matrix": to.matrix, "out_range": "pc" if to.full_range else "tv"}
    if not (picture.pixel_format or "").startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal")):
        options["in_color_matrix"] = matrix
        if picture.color_range is not None or full:
            options["in_range"] = "pc" if full else "tv"
    return options


def _relit(stream: Any, clip: Clip, to: Target) -> Any:
    """Another transfer, by way of linear light: HDR (BT.2020 with PQ or HLG) as BT.709, BT.709 as HDR, and one kind of HDR as the other."""
    assert clip.picture is not None
    stream = stream.filter("scale", clip.width, clip.height, flags=SCALING, **_conversion(clip.picture, _own(clip.picture, to)))
    known = _light(clip.picture.color_transfer, "in")
    stream = stream.filter("format", "yuv420p10le")
    if to.transfer in HDR:
        stream = stream.filter("zscale", **known, p="2020", t="linear", m="gbr", npl=PAPER).filter("format", "gbrpf32le")
        return stream.filter("zscale", **_light(to.transfer, ""), npl=PAPER)
    stream = stream.filter("zscale", **known, t="linear", npl=PAPER).filter("format", "gbrpf32le")
    stream = stream.filter("zscale", p="709").filter("tonemap", "mobius", desat=0)
    return stream.filter("zscale", t="709", m="709", r="limited")


def _own(picture: Stream, to: Target) -> Target:
    """The target for the scaler when another filter changes the light: limited range, and the usual matrix of that kind of picture."""
    return Target(to.width, to.height, matrix=9 if picture.color_transfer in HDR else 1)


def _light(transfer: int | None, side: str) -> dict[str, str]:
    """zscale's options for one side of a conversion."""
    known = {16: "smpte2084", 18: "arib-std-b67"}.get(transfer or 1)
    primaries, matrix = ("2020", "2020_ncl") if known else ("709", "709")
    return {f"p{side}": primaries, f"t{side}": known or "709", f"m{side}": matrix, f"r{side}": "limited"}


def _finish(stream: Any, clip: Clip, to: Target) -> Any:
    if clip.picture and (clip.width, clip.height) != (to.width, to.height):
        # an even place, or the chroma of 4:2:0 would shift by half a pixel
        left, top = (to.width - clip.width) // 4 * 2, (to.height - clip.height) // 4 * 2
        stream = stream.filter("pad", to.width, to.height, left, top)
    stream = stream.filter("setsar", str(to.sample_aspect)).filter("format", to.pixel_format)
    shown = "pc" if to.full_range else "tv"
    stream = stream.filter("setparams", color_primaries=to.primaries, color_trc=to.transfer, colorspace=to.matrix, range=shown)
    if clip.picture:
        # the last picture stays as long as it should, and for a frame of rounding; more is not made up
        stream = stream.filter("tpad", stop_mode="clone", stop=ceil(clip.still * clip.rate) + 1)
    return stream.filter("trim", end_frame=clip.frames).filter("setpts", "PTS-STARTPTS")


def _output(clips: Sequence[Clip], to: Target) -> dict[str, Any]:
    rate = clips[0].rate
    firsts = accumulate((clip.frames for clip in clips[:-1]), initial=0)
    options: dict[str, Any] = {
        **ENCODERS[to.codec],
        "f": "mp4",
        "map_metadata": -1,
        "map_chapters": -1,
        "video_track_timescale": _timescale(rate, to),
        "pix_fmt": to.pixel_format,
        # the frames are already on this grid; said so that the encoder and the container agree
        "r": str(rate),
        "fps_mode": "cfr",
        "g": max(1, round(rate * KEY_SECONDS)),
        "force_key_frames": "expr:" + "+".join(f"eq(n,{first})" for first in firsts),
        "color_primaries": to.primaries,
        "color_trc": to.transfer,
        "colorspace": to.matrix,
        "color_range": "pc" if to.full_range else "tv",
    }
    if to.timescale is not None and to.codec == "h264":
        options |= PLAIN
        if to.profile in PROFILES:
            options["profile:v"] = PROFILES[to.profile]
    return options


def _timescale(rate: Fraction, to: Target) -> int:
    """Ticks per second in which a frame's length is a whole number; those of what the clips are joined with, if they will do."""
    if to.timescale and to.timescale * rate.denominator % rate.numerator == 0:
        return to.timescale
    return rate.numerator if rate.numerator >= 10_000 else rate.numerator * 1000


def _micro(time: Fraction) -> str:
    """Seconds as FFmpeg's options take them, to the microsecond."""
    return f"{float(round(max(time, Fraction(0)) * 1_000_000)) / 1_000_000:.6f}"
