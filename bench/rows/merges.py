"""Several files, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from bench.race import clips, ours, peers, shown
from bench.race.clips import Clip
from bench.race.result import Seen
from bench.race.row import OURS, Contestant, Identical, Ratio, Row
from bench.race.world import World
from bench.rows.trims import RATE

GRAPH = "FFmpeg graph"


def merge(sources: Sequence[Path]) -> Contestant:
    edit = {"segments": [{"source": n} for n in range(len(sources))]}
    return Contestant(OURS, lambda output: ours.cut(sources, edit, output))


def mixed(world: World) -> Row:
    """Two sizes, two frame rates, two sample rates, two layouts."""
    video, seconds, tones = (*clips.x264("veryfast", 23), *clips.gop(250)), 5, (440, 880, 440)
    small = "640x360" if world.quick else "1280x720"
    sources = [
        world.clip(Clip("mixed-a", seconds, video, world.size, number=1, tone=440)),
        world.clip(Clip("mixed-b", seconds, video, small, rate=25, number=2, tone=880, sample_rate=44100, channels=1)),
        world.clip(Clip("mixed-c", seconds, video, world.size, number=3, tone=440)),
    ]
    wanted = [number for number in (1, 2, 3) for _ in range(seconds * RATE)]
    return Row(
        "mixed",
        "merge of 1080p30 48 kHz stereo, 720p25 44.1 kHz mono and 1080p30 48 kHz stereo, 5 s each",
        (
            merge(sources),
            peers.graph(GRAPH, sources, size=world.size, rate=RATE),
            peers.concatenated("NCA", sources),
            world.packages.moviepy([(it, None, None) for it in sources]),
            peers.melt([(it, None, None) for it in sources]),
        ),
        lambda output: shown.merge(output, wanted, tones, seconds * len(tones)),
        (Ratio("cpu_seconds", GRAPH, Fraction(1, 2)),),
    )


def encoders(world: World) -> Row:
    """One size, three encoders: nothing has to be encoded again."""
    seconds, tones, size = 6 if world.quick else 20, (440, 660, 880), world.size
    phone = (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-profile:v",
        "main",
        "-bf",
        "0",
        "-b:v",
        "14M",
        "-pix_fmt",
        "yuv420p",
        *clips.gop(30),
    )
    card = (
        "-c:v",
        "libx264",
        "-preset",
        "fast",
        "-profile:v",
        "high",
        "-bf",
        "0",
        "-refs",
        "1",
        "-b:v",
        "8M",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "250",
    )
    sources = [
        world.clip(Clip("encoder-slow", seconds, clips.x264("slow", 23, "-bf", "8", "-g", "250"), size, number=1, tone=440)),
        world.clip(Clip("encoder-phone", seconds, phone, size, number=2, tone=660)),
        world.clip(Clip("encoder-card", seconds, card, size, number=3, tone=880)),
    ]
    wanted = [(number, n) for number in (1, 2, 3) for n in range(seconds * RATE)]
    originals: list[shown.Picture] = []

    def look(output: Path) -> Seen:
        if not originals:
            originals.extend(picture for it in sources for picture in shown.pictures(it))
        seen, identical = shown.merge(output, wanted, tones, seconds * len(tones)), shown.same(shown.pictures(output), originals)
        return Seen(seen.right, f"{seen.words}; {identical} identical", identical)

    return Row(
        "encoders",
        f"merge of 3 clips of one size by x264 slow, a phone (Main, no B frames) and a graphics card (P frames only), {seconds} s each",
        (merge(sources), peers.graph(GRAPH, sources, size=size, rate=RATE), peers.concatenated("concat demuxer", sources)),
        look,
        (Ratio("cpu_seconds", GRAPH, Fraction(1, 15)), Identical(len(wanted))),
    )


def alike(world: World) -> Row:
    """20 clips of one camera."""
    count, kinds, seconds = 20, 4, 5 if world.quick else 10
    made = [world.clip(Clip(f"alike-{n}", seconds, clips.STEADY, world.size, number=n, fractal=True, noise=6)) for n in range(1, kinds + 1)]
    sources = [
        clips.kept(world.clips, f"alike-copy-{n}", made[n % kinds].name, ".mp4", lambda path, n=n: shutil.copyfile(made[n % kinds], path))
        for n in range(count)
    ]
    wanted = [(n % kinds + 1, frame) for n in range(count) for frame in range(seconds * RATE)]
    return Row(
        "alike",
        f"merge of {count} clips of one camera, {seconds} s each, 1080p30 H.264",
        (merge(sources), peers.concatenated("concat demuxer", sources)),
        lambda output: shown.cut(output, wanted, lambda n: n / RATE),
        (Ratio("wall_seconds", "concat demuxer", Fraction(13, 10)),),
        "wall_seconds",
    )


ROWS = {"mixed": mixed, "encoders": encoders, "alike": alike}
