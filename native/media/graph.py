"""FFmpeg's command for joining clips that disagree: one filter graph, built with ffmpeg-python from numbers of ours only.

No text of a user or of a source gets in here: ffmpeg-python does not escape everything that FFmpeg unescapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import ffmpeg

from native.media import demuxer
from native.media.clips import HDR, Clip, Target, matrix_of
from native.media.inputs import Input

WHITELIST = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}  # the names that one demuxer goes by

ENCODERS: dict[str, dict[str, Any]] = {
    # CRF 18 is where x264 is transparent; veryfast costs a tenth more bytes than medium and a third of the time
    "video": {"c:v": "libx264", "crf": 18, "preset": "veryfast"},
    "audio": {"c:a": "aac", "b:a": "192k"},
}
WEB_ENCODERS: dict[str, dict[str, Any]] = {
    # constant quality; libvpx's defaults would take minutes per second of video
    "video": {"c:v": "libvpx-vp9", "crf": 30, "b:v": 0, "deadline": "realtime", "cpu-used": 5, "row-mt": 1},
    "audio": {"c:a": "libopus", "b:a": "160k"},
}

SCALING = "bicubic+accurate_rnd+full_chroma_int"

PARTS = {"mp4": "mov", "mov": "mov", "mkv": "mov", "webm": "mkv"}  # what holds PCM beside the result's pictures

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


def command(clips: Sequence[Clip], inputs: Sequence[Input], to: Target, container: str, out: str, *, part: bool = False) -> list[str]:
    """FFmpeg's arguments that make `out` from the clips, whose inputs lie in the same order. A `part` is made for `joining`."""
    pictures, sounds = [], []
    for clip, source in zip(clips, inputs, strict=True):
        file = _open(clip, source)
        if to.width:
            pictures.append(_picture(clip, file, to))
        if to.sample_rate:
            sounds.append(_sound(clip, file, to))
    # Two joins instead of one: concat pads whichever of a clip's streams is shorter, and ours are already exact.
    streams = [_join(pictures, v=1, a=0)] if pictures else []
    streams += [_join(sounds, v=0, a=1)] if sounds else []
    return [*GLOBAL, *ffmpeg.get_args(ffmpeg.output(*streams, out, **_output(to, container, part=part)))]


def joining(playlist: str, to: Target, container: str, out: str) -> list[str]:
    """FFmpeg's arguments that put the parts of a playlist behind each other: pictures as they are, sound encoded once over all of them."""
    options = {
        # our own playlist of our own files, which may name nothing else
        "f": "concat",
        "protocol_whitelist": "file",
        "format_whitelist": f"concat,{WHITELIST['mov']},{WHITELIST['matroska']}",
        "codec_whitelist": "h264,vp9,pcm_s16le",
    }
    parts = ffmpeg.input(playlist, **options)
    streams = [parts[kind] for kind, wanted in (("v", to.width), ("a", to.sample_rate)) if wanted]
    encoders = WEB_ENCODERS if container == "webm" else ENCODERS
    made = (_container(to, container) | {"c:v": "copy"} if to.width else _container(to, container)) | (
        encoders["audio"] if to.sample_rate else {}
    )
    return [*GLOBAL, *ffmpeg.get_args(ffmpeg.output(*streams, out, **made))]


def _open(clip: Clip, source: Input) -> Any:
    options: dict[str, Any] = {
        # decided by us from the first bytes; FFmpeg's own guess may be a playlist
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
    }
    if clip.picture:
        # a stream that changes its size half-way must not restart the graph and its counting
        options["reinit_filter:v"] = 0
    if source.seek is not None:
        # to the key frame before the clip, on the file's own clock; the graph cuts, not the seek
        options |= {"ss": _micro(source.seek), "seek_timestamp": 1, "noaccurate_seek": None}
    if source.length is not None:
        # and no further than the clip: what lies behind it may not be in the room
        options["t"] = _micro(source.length)
    return ffmpeg.input(source.file, **options)


def _picture(clip: Clip, file: Any, to: Target) -> Any:
    """Exactly `clip.frames` frames of the target's size, rate and colours."""
    if clip.picture is None:
        black = ffmpeg.input(
            f"color@{clip.number}=black:s={to.width}x{to.height}:r={to.frame_rate}:d={_micro(clip.duration + 1)}", f="lavfi"
        )
        return _finish(black.video, clip, to)
    stream = file[str(clip.picture.index)]
    cuts = {}
    if clip.cut_in is not None:
        cuts["start"] = _micro(clip.cut_in)
    if clip.cut_out is not None:
        cuts["end"] = _micro(clip.cut_out)
    if cuts:
        stream = stream.filter("trim", **cuts)
    stream = stream.filter("setpts", f"PTS-({clip.begin.numerator}/{clip.begin.denominator})/TB")
    # from time 0 on: a picture that begins late is shown from the start
    stream = stream.filter("fps", fps=str(to.frame_rate), start_time=0)
    if clip.picture.interlaced:
        stream = stream.filter("yadif", deint="interlaced")
    transfer = clip.picture.color_transfer
    if transfer in HDR and to.transfer not in HDR:
        return _finish(_dimmed(stream, clip, transfer), clip, to)
    colours = {"in_color_matrix": matrix_of(clip.picture), "out_color_matrix": to.matrix, "out_range": "tv"}
    if (clip.picture.pixel_format or "").startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal")):
        del colours["in_color_matrix"]
    stream = stream.filter("scale", clip.width, clip.height, flags=SCALING, **colours)
    return _finish(stream, clip, to)


def _dimmed(stream: Any, clip: Clip, transfer: int) -> Any:
    """HDR (BT.2020 with PQ or HLG) as BT.709, by way of linear light."""
    stream = stream.filter("scale", clip.width, clip.height, flags=SCALING).filter("format", "yuv420p10le")
    known = {"pin": "2020", "tin": "smpte2084" if transfer == 16 else "arib-std-b67", "min": "2020_ncl", "rin": "limited"}
    # 203 cd/m² is what ITU-R BT.2408 calls the white of paper
    stream = stream.filter("zscale", **known, t="linear", npl=203).filter("format", "gbrpf32le")
    stream = stream.filter("zscale", p="709").filter("tonemap", "mobius", desat=0)
    return stream.filter("zscale", t="709", m="709", r="limited")


def _finish(stream: Any, clip: Clip, to: Target) -> Any:
    if (clip.width, clip.height) != (to.width, to.height) and clip.picture:
        # an even place, or the chroma of 4:2:0 would shift by half a pixel
        left, top = (to.width - clip.width) // 4 * 2, (to.height - clip.height) // 4 * 2
        stream = stream.filter("pad", to.width, to.height, left, top)
    stream = stream.filter("setsar", 1).filter("format", to.pixel_format)
    stream = stream.filter("setparams", color_primaries=to.primaries, color_trc=to.transfer, colorspace=to.matrix, range="tv")
    if clip.picture:
        # the last picture stays as long as it should, and for a frame of rounding; more is not made up
        stream = stream.filter("tpad", stop_mode="clone", stop=ceil(clip.still * to.frame_rate) + 1)
    return stream.filter("trim", end_frame=clip.frames).filter("setpts", "PTS-STARTPTS")


def _sound(clip: Clip, file: Any, to: Target) -> Any:
    """Exactly `clip.samples` samples of the target's rate and layout; silence where there is no sound."""
    if clip.sound is None:
        silence = ffmpeg.input(f"anullsrc@{clip.number}=r={to.sample_rate}:cl={to.layout}:d={_micro(clip.duration + 1)}", f="lavfi")
        stream = silence.audio
    else:
        stream = file[str(clip.sound.index)]
        stream = stream.filter("atrim", start=_micro(clip.begin), end=_micro(clip.begin + clip.duration))
        stream = stream.filter("asetpts", f"PTS-({clip.begin.numerator}/{clip.begin.denominator})/TB")
        # from time 0 on, with silence for what is missing before and within
        stream = stream.filter("aresample", to.sample_rate, **{"async": 1, "first_pts": 0})
    stream = stream.filter("aformat", sample_fmts="fltp", sample_rates=to.sample_rate, channel_layouts=to.layout)
    stream = stream.filter("apad", whole_len=clip.samples).filter("atrim", end_sample=clip.samples)
    return stream.filter("asetpts", "N/SR/TB")


def _join(streams: list[Any], *, v: int, a: int) -> Any:
    return streams[0] if len(streams) == 1 else ffmpeg.concat(*streams, v=v, a=a)


def _output(to: Target, container: str, *, part: bool) -> dict[str, Any]:
    encoders = WEB_ENCODERS if container == "webm" else ENCODERS
    options = _container(to, PARTS[container] if part else container)
    if to.width:
        options |= encoders["video"] | {
            "pix_fmt": to.pixel_format,
            # the frames are already on this grid; said so that the encoder and the container agree
            "r": str(to.frame_rate),
            "fps_mode": "cfr",
            # a key frame every five seconds at least: players seek by them
            "g": max(1, round(to.frame_rate * 5)),
            "color_primaries": to.primaries,
            "color_trc": to.transfer,
            "colorspace": to.matrix,
            "color_range": "tv",
        }
    if to.sample_rate:
        # between parts an encoder's run-in would be heard
        options |= {"c:a": "pcm_s16le"} if part else encoders["audio"]
    return options


def _container(to: Target, container: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "f": {"mkv": "matroska"}.get(container, container),
        # titles and chapters of one clip would be wrong for the whole
        "map_metadata": -1,
        "map_chapters": -1,
    }
    if container in ("mp4", "mov"):
        # moov first: playable while it is downloaded
        options["movflags"] = "+faststart"
        if to.width:
            # ticks in which a frame's length is a whole number
            scale = to.frame_rate.numerator
            options["video_track_timescale"] = scale if scale >= 10_000 else scale * 1000
    return options


def _micro(time: Fraction) -> str:
    """Seconds as FFmpeg's options take them, to the microsecond."""
    return f"{float(round(max(time, Fraction(0)) * 1_000_000)) / 1_000_000:.6f}"
