"""Clips made on the spot. Every frame carries its own number as ten black and white blocks along its top edge, so that a test can tell
which frame of the source it is looking at, even after encoding; the sound is a rising tone with a click every half second.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

BITS, BLOCK = 10, 32  # blocks and their side in pixels
WIDTH, HEIGHT = 352, 192


@dataclass(frozen=True)
class Recipe:
    """What is special about a clip."""

    name: str
    video: tuple[str, ...] = ("-c:v", "libx264", "-preset", "medium")
    audio: tuple[str, ...] | None = ("-c:a", "aac", "-b:a", "96k")
    filters: str = ""
    rate: str = "30"
    seconds: float = 6
    sample_rate: int = 48000
    channels: int = 1
    extra: tuple[str, ...] = ()
    first: tuple[str, ...] = ()  # options before the outputs
    suffix: str = ".mp4"


def x264(params: str) -> tuple[str, ...]:
    return ("-c:v", "libx264", "-preset", "medium", "-x264-params", params)


BT709 = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "800k", "-g", "60")
H264 = {
    recipe.name: recipe
    for recipe in (
        Recipe("gop250", x264("keyint=250:min-keyint=250:scenecut=0"), seconds=10),
        Recipe("gop30", x264("keyint=30:min-keyint=30:scenecut=0")),
        Recipe("pyramid", x264("keyint=48:min-keyint=48:scenecut=0:bframes=8:b-adapt=2:b-pyramid=normal:ref=5")),
        Recipe("open_gop", x264("keyint=48:min-keyint=48:scenecut=0:open-gop=1:bframes=3:b-pyramid=normal")),
        Recipe("no_b", x264("keyint=40:min-keyint=40:scenecut=0:bframes=0")),
        Recipe("baseline", (*x264("keyint=40:min-keyint=40:scenecut=0"), "-profile:v", "baseline")),
        Recipe("main_slices", (*x264("keyint=40:min-keyint=40:scenecut=0:slices=4:cabac=0"), "-profile:v", "main")),
        Recipe("intra", x264("keyint=1")),
        Recipe("infinite", x264("keyint=infinite:scenecut=0")),
        Recipe("ten_bit", (*x264("keyint=48:min-keyint=48:scenecut=0"), "-pix_fmt", "yuv420p10le")),
        Recipe("four_two_two", (*x264("keyint=48:min-keyint=48:scenecut=0"), "-pix_fmt", "yuv422p")),
        Recipe("silent", x264("keyint=48:min-keyint=48:scenecut=0"), audio=None),
        Recipe("mono44", x264("keyint=48:min-keyint=48:scenecut=0"), sample_rate=44100),
        Recipe("ntsc", x264("keyint=48:min-keyint=48:scenecut=0"), rate="30000/1001", channels=2),
        Recipe("film50", x264("keyint=50:min-keyint=50:scenecut=0"), rate="50"),
        Recipe("vfr", x264("keyint=48:min-keyint=48:scenecut=0"), filters="select='mod(n*7,11)-3'", extra=("-fps_mode", "passthrough")),
        Recipe("moov_last", x264("keyint=48:min-keyint=48:scenecut=0"), suffix=".mov"),
        Recipe("matroska", x264("keyint=48:min-keyint=48:scenecut=0"), suffix=".mkv"),
        Recipe("transport", x264("keyint=48:min-keyint=48:scenecut=0"), suffix=".ts"),
        Recipe("fragmented", x264("keyint=48:min-keyint=48:scenecut=0"), extra=("-movflags", "frag_keyframe+empty_moov")),
        Recipe("late_start", x264("keyint=48:min-keyint=48:scenecut=0"), extra=("-output_ts_offset", "3.5")),
        Recipe("tagged", x264("keyint=48:min-keyint=48:scenecut=0"), filters=BT709,
               extra=("-metadata", "title=A title", "-metadata:s:a:0", "language=deu")),
        Recipe("interlaced", x264("keyint=48:min-keyint=48:scenecut=0:tff=1"), filters="setfield=tff"),
    )
}  # fmt: skip
LONG = "keyint=250:min-keyint=250:scenecut=0"
FADES = "fade=in:0:60,fade=out:90:60"
# Long groups of pictures by encoders of every temper, for cuts in the middle of them.
GROUPS = {
    recipe.name: recipe
    for recipe in (
        Recipe("veryfast", ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", LONG)),
        Recipe("slow", ("-c:v", "libx264", "-preset", "slow", "-x264-params", f"{LONG}:bframes=8")),
        Recipe("zero_latency", ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-x264-params", LONG)),
        Recipe("one_reference", x264(f"{LONG}:ref=1:bframes=2")),
        Recipe("many_references", x264(f"{LONG}:ref=16:bframes=3")),
        Recipe("sixteen_b", x264(f"{LONG}:bframes=16:b-adapt=0:b-pyramid=normal:ref=4")),
        Recipe("strict_pyramid", x264(f"{LONG}:bframes=5:b-pyramid=strict:ref=3")),
        Recipe("temporal", x264(f"{LONG}:direct=temporal:bframes=3")),
        Recipe("weighted", x264(f"{LONG}:weightp=2:weightb=1:bframes=3"), filters=FADES),
        Recipe("refreshed", x264("keyint=60:intra-refresh=1:bframes=0")),
        Recipe("refreshed_b", x264("keyint=60:intra-refresh=1:bframes=3")),
        Recipe("open_b", x264("keyint=30:min-keyint=30:scenecut=0:open-gop=1:bframes=5:b-pyramid=normal:ref=5")),
        Recipe("open_transport", x264("keyint=48:min-keyint=48:scenecut=0:open-gop=1:aud=1"), suffix=".ts"),
        Recipe("cavlc_slices", x264(f"{LONG}:cabac=0:slices=3:ref=5:bframes=4")),
        Recipe("baseline_five", (*x264("keyint=infinite:scenecut=0:ref=5"), "-profile:v", "baseline")),
        Recipe("four_four_four", (*x264(LONG), "-pix_fmt", "yuv444p")),
        Recipe("deep_422", (*x264(LONG), "-pix_fmt", "yuv422p10le")),
        Recipe("matrices", x264(f"{LONG}:cqm=jvt")),
        Recipe("lossless", x264(f"{LONG}:qp=0"), seconds=3),
        Recipe("buffered", x264(f"{LONG}:nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000:pic-struct=1:aud=1")),
        Recipe("odd_size", x264(LONG), filters="crop=346:186:0:0"),
        Recipe("cropped", x264(f"{LONG}:crop-rect=2,0,4,6")),
        Recipe("noisy", x264(f"{LONG}:crf=23"), filters="noise=alls=14:allf=t"),
    )
}  # fmt: skip
OTHERS = {
    recipe.name: recipe
    for recipe in (
        Recipe("vp9", VP9, ("-c:a", "libopus"), suffix=".webm", seconds=3),
        Recipe("mpeg4", ("-c:v", "mpeg4", "-b:v", "1500k", "-bf", "2", "-g", "30"), ("-c:a", "mp3"), suffix=".avi", seconds=3),
        Recipe("mpeg2", ("-c:v", "mpeg2video", "-b:v", "3M", "-bf", "2", "-g", "15"), ("-c:a", "mp2"), suffix=".ts", seconds=3),
        Recipe("prores", ("-c:v", "prores_ks",), ("-c:a", "pcm_s16le"), suffix=".mov", seconds=2),
    )
}  # fmt: skip
_HDR10 = (
    "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:hdr10=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


def x265(params: str, *more: str) -> tuple[str, ...]:
    return ("-c:v", "libx265", "-preset", "fast", "-x265-params", f"{params}:scenecut=0:log-level=error", *more)


HEVC = {
    recipe.name: recipe
    for recipe in (
        Recipe("hevc_closed", x265("keyint=24:min-keyint=24:open-gop=0", "-tag:v", "hvc1"), seconds=3),
        Recipe("hevc_open", x265("keyint=24:min-keyint=24:open-gop=1:bframes=4", "-tag:v", "hvc1"), seconds=3),
        Recipe("hevc_radl", x265("keyint=24:min-keyint=24:open-gop=0:radl=2", "-tag:v", "hvc1"), seconds=3),
        Recipe("hevc_slices", x265("keyint=30:min-keyint=30:slices=2:ref=5:bframes=8"), seconds=3),
        Recipe("hevc_hdr10", x265(f"keyint=24:min-keyint=24:{_HDR10}", "-tag:v", "hvc1", "-pix_fmt", "yuv420p10le"), seconds=3),
        Recipe("hevc_422", x265("keyint=24:min-keyint=24:chromaloc=2", "-pix_fmt", "yuv422p10le", "-tag:v", "hvc1"), seconds=3),
        Recipe("hevc_transport", x265("keyint=24:min-keyint=24:open-gop=1"), seconds=3, suffix=".ts"),
        Recipe("hevc_matroska", x265("keyint=24:min-keyint=24:repeat-headers=1"), seconds=3, suffix=".mkv"),
        Recipe("hevc_vfr", x265("keyint=24:min-keyint=24"), filters="select='mod(n*7,11)-3'", seconds=3,
               extra=("-fps_mode", "passthrough")),
    )
}  # fmt: skip
RUNS = {
    recipe.name: recipe
    for recipe in (
        Recipe("vp9_run", (*VP9[:-1], "30"), ("-c:a", "libopus"), suffix=".webm", seconds=3),
        Recipe("vp9_deep", (*VP9[:-1], "30", "-pix_fmt", "yuv420p10le"), ("-c:a", "libopus"), suffix=".webm", seconds=2),
        Recipe("vp9_mp4", (*VP9[:-1], "30"), seconds=3),
        Recipe("av1_run", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "35", "-g", "30"), seconds=3),
        Recipe("av1_deep", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "35", "-g", "30", "-pix_fmt", "yuv420p10le"), seconds=3),
        Recipe("mpeg2_open", ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "15"), suffix=".ts", seconds=3),
        Recipe("mpeg2_closed", ("-c:v", "mpeg2video", "-q:v", "3", "-g", "15", "-flags", "+cgop", "-sc_threshold", "1000000000"),
               suffix=".ts", seconds=3),
        Recipe("mpeg2_fields", ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-g", "12", "-flags", "+ildct+ilme"), rate="25",
               filters="setfield=tff", suffix=".ts", seconds=3),
    )
}  # fmt: skip
PCM = ("-c:a", "pcm_s16le")
INTRA = {
    recipe.name: recipe
    for recipe in (
        OTHERS["prores"],
        Recipe("mjpeg", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"), PCM, suffix=".avi", seconds=2),
        Recipe("dv", ("-c:v", "dvvideo", "-s", "720x576"), PCM, rate="25", suffix=".avi", seconds=2),
        Recipe("dnxhr", ("-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p"), PCM, suffix=".mov", seconds=2),
        Recipe("cineform", ("-c:v", "cfhd", "-pix_fmt", "yuv422p10le"), PCM, suffix=".mov", seconds=2),
        Recipe("v210", ("-c:v", "v210", "-pix_fmt", "yuv422p10le"), PCM, suffix=".mov", seconds=2),
        Recipe("png", ("-c:v", "png", "-pix_fmt", "rgb24"), PCM, suffix=".mov", seconds=2),
        Recipe("ffv1", ("-c:v", "ffv1", "-g", "1", "-level", "3"), PCM, suffix=".mkv", seconds=2),
    )
}  # fmt: skip


def ffmpeg(*arguments: str) -> None:
    """Runs FFmpeg; its words are the failure's."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-threads", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def make(recipe: Recipe, folder: Path) -> Path:
    """The clip of a recipe, made once per folder."""
    path = folder / f"{recipe.name}{recipe.suffix}"
    if path.exists():
        return path
    blocks = ",".join(
        f"drawbox=x={bit * BLOCK}:y=0:w={BLOCK}:h={BLOCK}:c=white:t=fill:enable='mod(floor(n/{1 << bit})\\,2)'" for bit in range(BITS)
    )
    picture = f"testsrc2=s={WIDTH}x{HEIGHT}:r={recipe.rate}:d={recipe.seconds},drawbox=x=0:y=0:w=iw:h={BLOCK}:c=black:t=fill,{blocks}"
    if recipe.filters:
        picture += f",{recipe.filters}"
    inputs = ["-f", "lavfi", "-i", picture]
    if recipe.audio:
        tone = "0.4*sin(2*PI*(200*t+60*t*t))+0.5*lt(mod(t\\,0.5)\\,0.002)"
        layout = "mono" if recipe.channels == 1 else "stereo"
        inputs += [
            "-f",
            "lavfi",
            "-i",
            f"aevalsrc='{'|'.join([tone] * recipe.channels)}':s={recipe.sample_rate}:d={recipe.seconds}:c={layout}",
        ]
    working = path.with_name(f"{recipe.name}.making{recipe.suffix}")
    pixels = () if "-pix_fmt" in recipe.video or recipe.name == "prores" else ("-pix_fmt", "yuv420p")
    ffmpeg(*recipe.first, *inputs, *recipe.video, *pixels, *(recipe.audio or ()), *recipe.extra, str(working))
    working.rename(path)
    return path


def rotated(folder: Path) -> Path:
    """A clip that players turn by a quarter."""
    path = folder / "rotated.mp4"
    if not path.exists():
        plain = make(H264["gop30"], folder)
        ffmpeg("-display_rotation", "90", "-i", str(plain), "-c", "copy", str(path))
    return path


def sound_only(folder: Path) -> Path:
    """A file with sound and no picture."""
    path = folder / "sound.m4a"
    if not path.exists():
        ffmpeg("-i", str(make(H264["gop30"], folder)), "-vn", "-c", "copy", str(path))
    return path
