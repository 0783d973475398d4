"""What an exact cut costs against encoding the same range, side by side, in processor seconds.

./nve bench cut
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from bench.table import Row, show
from native.media import session
from native.media.edit import Edit, Segment
from native.media.source import FileSource
from native.media.timecode import Seconds

START, END, LENGTH = Fraction("10.37"), Fraction("110.91"), 120
RUNS = 5
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def clip(folder: Path) -> Path:
    """120 s of 1080p30 H.264, one key frame in 250, with noise so that it is no trivial picture, and a tone."""
    path = folder / "source.mp4"
    picture = f"testsrc2=s=1920x1080:r=30:d={LENGTH}"
    command = [
        FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=f=440:r=48000:d={LENGTH}",
        "-vf", "noise=alls=6:allf=t", "-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-g", "250", "-keyint_min", "250",
        "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return path


def cpu() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def ours(source: Path) -> tuple[float, float]:
    """(processor s, wall s) of one exact cut, verification included."""
    edit = Edit(segments=(Segment(source=0, start=Seconds(START), end=Seconds(END)),))
    before, started = cpu(), time.perf_counter()
    with tempfile.TemporaryDirectory() as room, FileSource(source) as file:
        with session.open([file], Path(room), session.Limits()) as media:
            media.probe()
            made = media.render(edit)
            media.verify(made, edit)
        assert made.frames == 3016, made.frames
    return cpu() - before, time.perf_counter() - started


def peer(source: Path, folder: Path) -> tuple[float, float]:
    command = [
        FFMPEG, "-v", "error", "-y", "-ss", str(float(START)), "-to", str(float(END)), "-i", str(source),
        "-c:v", "libx264", "-preset", "veryfast", "-c:a", "copy", str(folder / "peer.mp4"),
    ]  # fmt: skip
    before, started = cpu(), time.perf_counter()
    subprocess.run(command, check=True)
    return cpu() - before, time.perf_counter() - started


def main() -> int:
    runs = int(os.environ.get("NVE_BENCH_RUNS", RUNS))
    with tempfile.TemporaryDirectory() as folder:
        source = clip(Path(folder))
        pairs = [(ours(source), peer(source, Path(folder))) for _ in range(runs)]
    rows = [
        Row("exact cut, processor", [a[0] for a, _ in pairs], "s"),
        Row("exact cut, wall", [a[1] for a, _ in pairs], "s"),
        Row("ffmpeg -c:v libx264 -preset veryfast, processor", [b[0] for _, b in pairs], "s"),
        Row("ffmpeg -c:v libx264 -preset veryfast, wall", [b[1] for _, b in pairs], "s"),
        Row("ratio of processor time, ours to theirs", [a[0] / b[0] for a, b in pairs], "", 1 / 8),
    ]
    return show(f"[{float(START)}, {float(END)}) of {LENGTH} s of 1080p30 H.264, GOP 250", rows)


if __name__ == "__main__":
    sys.exit(main())
