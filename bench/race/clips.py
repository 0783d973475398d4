"""The clips of the benchmark, made once per data directory by the FFmpeg of imageio-ffmpeg.

Every frame carries its own number as black and white blocks along its top edge, 14 bits for the frame and 6 for the clip, each a fortieth
of the picture's width: it survives encoding and scaling, so what an output shows is read off its pictures. The sound sweeps from 300 to
1100 Hz every second, which makes any shift of it measurable, or is a plain tone where its pitch is what matters.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

BITS, CLIP_BITS, ACROSS = 14, 6, 40
SWEEP_FROM, SWEEP_BY = 300, 400  # Hz and Hz/s: the phase after u seconds is 2π(300 u + 400 u²)
SWEEP = f"0.4*sin(2*PI*({SWEEP_FROM}*mod(t,1)+{SWEEP_BY}*mod(t,1)*mod(t,1)))"


@dataclass(frozen=True)
class Clip:
    """A recipe. `tone` is in Hz, None for the sweep; `number` tells clips of one output apart."""

    name: str
    seconds: float
    video: Sequence[str]
    size: str = "1920x1080"
    rate: int = 30
    number: int = 0
    noise: int = 6
    fractal: bool = False
    tone: int | None = None
    audio: Sequence[str] = ("-c:a", "aac", "-b:a", "128k")
    sample_rate: int = 48000
    channels: int = 2
    filters: str = ""
    extra: Sequence[str] = ()
    suffix: str = ".mp4"


def x264(preset: str, crf: int, *more: str) -> tuple[str, ...]:
    return ("-c:v", "libx264", "-preset", preset, "-crf", str(crf), "-pix_fmt", "yuv420p", *more)


def gop(length: int) -> tuple[str, ...]:
    return ("-g", str(length), "-keyint_min", str(length), "-sc_threshold", "0")


# 8.6 Mb/s, whatever the picture: the rate of what a phone or a camera makes, with one key frame in 250
STEADY = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "8600k", "-pix_fmt", "yuv420p", *gop(250))


def ffmpeg(*words: str | Path) -> None:
    """Runs FFmpeg. Raises CalledProcessError."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, words)], check=True)


def make(clip: Clip, folder: Path) -> Path:
    """The clip's file."""
    return kept(folder, clip.name, repr(clip), clip.suffix, lambda path: _encode(clip, path))


def kept(folder: Path, name: str, recipe: str, suffix: str, work: Callable[[Path], object]) -> Path:
    """A file made by `work(path)` unless one made by the same recipe is there."""
    path = folder / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f"making-{os.getpid()}-{path.name}")
        try:
            work(making)
            making.rename(path)
        finally:
            making.unlink(missing_ok=True)
    return path


def looped(source: Path, times: int, folder: Path) -> Path:
    """The source so many times over, its packets copied."""
    words = ("-stream_loop", times - 1, "-i", source, "-c", "copy", "-movflags", "+faststart")
    return kept(folder, f"{source.stem}-{times}", "looped", source.suffix, lambda path: ffmpeg(*map(str, words), path))


def cut_at(source: Path, start: float, seconds: float, folder: Path) -> Path:
    """A piece of the source from a key frame to a key frame, its packets copied."""
    words = ("-ss", start, "-t", seconds, "-i", source, "-c", "copy", "-movflags", "+faststart")
    return kept(folder, f"{source.stem}-{start:g}+{seconds:g}", "cut", source.suffix, lambda path: ffmpeg(*map(str, words), path))


def _encode(clip: Clip, path: Path) -> None:
    picture = f"testsrc2=s={clip.size}:r={clip.rate}:d={clip.seconds}[a]"
    if clip.fractal:  # small, and enlarged: the filter is slow, and smooth detail is what is wanted
        picture += f";mandelbrot=s=480x270:r={clip.rate},trim=duration={clip.seconds},scale={clip.size.replace('x', ':')}[f];"
        picture += "[a][f]blend=all_mode=average[a]"
    chain = ["format=yuv420p", f"noise=alls={clip.noise}:allf=t", *_blocks(clip), *([clip.filters] if clip.filters else [])]
    picture += f";[a]{','.join(chain)}[v]"
    tone = f"0.4*sin(2*PI*{clip.tone}*t)" if clip.tone else SWEEP
    layout = {1: "mono", 2: "stereo"}[clip.channels]
    sound = f"aevalsrc='{'|'.join([tone] * clip.channels)}':s={clip.sample_rate}:d={clip.seconds}:c={layout}[s]"
    fast = ("-movflags", "+faststart") if clip.suffix in (".mp4", ".mov") else ()
    ffmpeg("-filter_complex", f"{picture};{sound}", "-map", "[v]", "-map", "[s]", *clip.video, *clip.audio, *clip.extra, *fast, path)


def _blocks(clip: Clip) -> list[str]:
    side = int(clip.size.split("x")[0]) // ACROSS
    boxes = [f"drawbox=x=0:y=0:w=iw:h={side}:c=black:t=fill"]
    for bit in range(BITS + CLIP_BITS):
        box = f"drawbox=x={bit * side}:y=0:w={side}:h={side}:c=white:t=fill"
        if bit < BITS:
            boxes.append(f"{box}:enable='mod(floor(n/{1 << bit}),2)'")
        elif clip.number >> (bit - BITS) & 1:
            boxes.append(box)
    return boxes
