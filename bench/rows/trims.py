"""One range out of one file: the cut that most people make."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from bench.race import clips, ours, peers, shown
from bench.race.clips import Clip
from bench.race.result import Entry, Sample
from bench.race.row import OURS, AtMost, Contestant, Ratio, Row
from bench.race.world import World

RATE = 30


def encoded(entries: dict[str, Entry]) -> float | None:
    """Frames of ours that were encoded."""
    samples = entries[OURS].samples
    return samples[0].encoded_frames if samples else None


def trim(
    source: ours.Source, start: str, end: str, world: World | None = None, *, mode: str = "exact", name: str = OURS, kept: bool = False
) -> Contestant:
    """Ours; with a world, from and to its store. `kept`: an earlier job has left the index of the source beside it."""

    def make(output: Path) -> Sample:
        edit = {"segments": [{"start": start, "end": end}], "mode": mode}
        return ours.cut([source], edit, output, world.objects.environment if world else None, kept=kept)

    return Contestant(name, make)


def across(world: World) -> Row:
    """Many groups of pictures, a cut within the first and one within the last."""
    start, end = ("10.37", "30.91") if world.quick else ("10.37", "110.91")
    source = world.clip(world.long())
    a, b = float(start), float(end)
    wanted = shown.frames(Fraction(start), Fraction(end), RATE)
    return Row(
        "across",
        f"[{start}, {end}) of {world.long().seconds:g} s of 1080p30 H.264, GOP 250",
        (
            trim(source, start, end),
            world.packages.smartcut(source, [(a, b)]),
            peers.losslesscut(source, a, b, 500 / 30, RATE),
            peers.ffmpeg("FFmpeg copy", peers.mediacms_trim(source, a, b - a)),
            peers.ffmpeg("x264 veryfast", peers.encoded(source, a, b - a, *clips.x264("veryfast", 20)), once=True),
        ),
        lambda path: shown.cut(path, wanted, lambda n: n / RATE),
        (
            Ratio("wall_seconds", "smartcut", Fraction(1, 6)),
            Ratio("cpu_seconds", "smartcut", Fraction(1, 6)),
            AtMost("frames encoded", encoded, 40),
        ),
    )


def within(world: World) -> Row:
    """A range so short that no whole group of pictures lies in it."""
    size = world.size
    source = world.clip(Clip("noisy", 34 if world.quick else 60, (*clips.x264("veryfast", 23), *clips.gop(250)), size, noise=9))
    wanted = shown.frames(Fraction(20), Fraction(30), RATE)
    return Row(
        "within",
        "10 s inside two groups of 250 pictures, [20, 30) of 60 s of noisy 1080p30 H.264",
        (
            trim(source, "20", "30"),
            world.packages.smartcut(source, [(20, 30)]),
            peers.ffmpeg("x264 veryfast", peers.encoded(source, 20, 10, *clips.x264("veryfast", 20))),
        ),
        lambda path: shown.cut(path, wanted, lambda n: n / RATE),
        (Ratio("wall_seconds", "smartcut", Fraction(1, 20)), Ratio("wall_seconds", "x264 veryfast", Fraction(1, 8))),
        "wall_seconds",
    )


ROWS = {"across": across, "within": within}
