"""10 s out of 20 s of what people have besides plain H.264, against encoding the range with the codec it had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bench.race import clips, ours, peers, shown
from bench.race.clips import Clip
from bench.race.row import OURS, Contestant, Ratio, Row
from bench.race.world import World

AGAIN = "encoded again"
START, END = "5.37", "15.37"
# every eleventh, or so, of the frames is not there, as in the dark with a phone
DROPS = "select='mod(n*7,11)-3'"


@dataclass(frozen=True)
class Kind:
    """A sort of source, and how FFmpeg would encode the range again at a fast preset."""

    title: str
    video: Sequence[str]
    again: Sequence[str]
    audio: Sequence[str] = ("-c:a", "aac", "-b:a", "128k")
    suffix: str = ".mp4"
    output: str = "mp4"
    filters: str = ""
    extra: Sequence[str] = ()
    smartcut: bool = True


X265 = ("-c:v", "libx265", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-tag:v", "hvc1")
SVT = ("-c:v", "libsvtav1", "-preset", "8", "-crf", "28", "-pix_fmt", "yuv420p")
VPX = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1", "-b:v", "6M")
QUIET = ("-x265-params", "log-level=error")
OPUS, PCM, MP2 = ("-c:a", "libopus"), ("-c:a", "pcm_s16le"), ("-c:a", "mp2", "-b:a", "192k")
PRORES = ("-c:v", "prores_ks")
MPEG2 = ("-c:v", "mpeg2video", "-b:v", "15M", "-bf", "2", "-g", "15", "-pix_fmt", "yuv420p")
PHONE = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-b:v", "14M", "-pix_fmt", "yuv420p", *clips.gop(30))
VARYING = ("-fps_mode", "passthrough")
KINDS = {
    "hevc": Kind("HEVC, key frames 2 s apart", (*X265, *QUIET, "-g", "60", "-keyint_min", "60"), (*X265, *QUIET)),
    # smartcut takes libaom at its default speed here: minutes
    "av1": Kind("AV1 (SVT), key frames 5 s apart", (*SVT, "-g", "150"), SVT, smartcut=False),
    "vp9": Kind("VP9 in WebM, key frames 4 s apart", (*VPX, "-g", "120"), (*VPX, *OPUS), OPUS, ".webm", "webm"),
    "prores": Kind("ProRes 422 in MOV", PRORES, (*PRORES, *PCM), PCM, ".mov", "mov"),
    "mpeg2": Kind("MPEG-2 in a transport stream, key frames 0.5 s apart", MPEG2, (*MPEG2, *MP2), MP2, ".ts", "ts"),
    "vfr": Kind(
        "H.264 of varying frame rate, as phones make it",
        PHONE,
        (*clips.x264("veryfast", 20), *VARYING),
        filters=DROPS,
        extra=(*VARYING, "-video_track_timescale", "90000"),
    ),
}


def row(world: World, name: str) -> Row:
    kind = KINDS[name]
    clip = Clip(f"codec-{name}", 20, kind.video, world.size, audio=kind.audio, filters=kind.filters, extra=kind.extra, suffix=kind.suffix)
    source = world.clip(clip)
    a, b = float(START), float(END)
    times = {picture.frame: picture.time for picture in shown.pictures(source)}
    late = shown.lateness(source, lambda n: times.get(n, n / clip.rate))
    wanted = [(0, frame) for frame, time in times.items() if Fraction(START) <= round(time, 6) < Fraction(END)]
    edit = {"segments": [{"start": START, "end": END}], "output": {"container": kind.output}}
    contestants = [
        Contestant(OURS, lambda output: ours.cut([source], edit, output), f".{kind.output}"),
        peers.ffmpeg(AGAIN, peers.encoded(source, a, b - a, *kind.again), suffix=f".{kind.output}"),
    ]
    if kind.smartcut:
        contestants.append(world.packages.smartcut(source, [(a, b)], once=True, suffix=kind.suffix))
    return Row(
        name,
        f"10 s of {kind.title}",
        contestants,
        lambda output: shown.cut(output, wanted, lambda n: times.get(n, n / clip.rate), late),
        (Ratio("wall_seconds", AGAIN, Fraction(1)),),
        "wall_seconds",
    )


def _named(name: str) -> Callable[[World], Row]:
    def make(world: World) -> Row:
        return row(world, name)

    return make


ROWS = {name: _named(name) for name in KINDS}
