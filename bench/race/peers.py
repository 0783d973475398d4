"""The peers, as their makers run them: two Python packages in environments of their own, MLT's `melt`, and FFmpeg commands."""

from __future__ import annotations

import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg

from bench.race import clock
from bench.race.result import Sample
from bench.race.row import Contestant
from deployments.local import install

HERE = Path(__file__).parent
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
MELT_MISSING = "melt is not installed (Debian, Ubuntu: apt install melt)"
OUT, FETCHED = "{output}", "fetched.mp4"
X264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "23")

Words = Sequence[str | Path | float]


class Packages:
    """The environments of the Python peers, made on first use below `folder` from their own lock files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def python(self, name: str) -> Path:
        """The Python of a peer. Raises `install.Refusal`, whose text says what to do, when it cannot be made."""
        lock, target = HERE / f"requirements-{name}.lock", self._folder / name
        mark, python = target / "made-from.lock", target / "bin/python"
        if mark.exists() and filecmp.cmp(lock, mark, shallow=False):
            return python
        shutil.rmtree(target, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as room:
            uv = install.find_uv(Path(room))
            install.run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(target))
            install.install(uv, python, lock)
        shutil.copyfile(lock, mark)
        return python

    def versions(self) -> dict[str, str]:
        """Of everything that takes part."""
        ffmpeg = subprocess.run([FFMPEG, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
        found = {"FFmpeg": ffmpeg}
        for name in ("smartcut", "moviepy"):
            pins = (HERE / f"requirements-{name}.lock").read_text().splitlines()
            found[name] = next(line.split("==")[1].split()[0] for line in pins if line.startswith(f"{name}=="))
        if shutil.which("melt"):
            said = subprocess.run(["melt", "--version"], capture_output=True, text=True, check=False)
            found["melt"] = next((line.split()[-1] for line in (said.stdout + said.stderr).splitlines() if line.startswith("melt")), "?")
        return found

    # a row's contestants

    def smartcut(self, source: Path, ranges: Sequence[tuple[float, float]], *, once: bool = False, suffix: str = ".mp4") -> Contestant:
        """Its own command line."""

        def make(output: Path) -> Sample:
            keep = ",".join(f"{time:g}" for pair in ranges for time in pair)
            program = self.python("smartcut").with_name("smartcut")
            return clock.time([[program, source, output, "--keep", keep]], output.parent, reads=True)

        return self._installed("smartcut", make, once=once, suffix=suffix)

    def moviepy(self, clips: Sequence[tuple[Path, float | None, float | None]], *, once: bool = False) -> Contestant:
        """(source, start, end) one after the other, as its documentation writes files: one clip, or `method="compose"`."""

        def make(output: Path) -> Sample:
            program = (
                "import json, sys\n"
                "from moviepy import VideoFileClip, concatenate_videoclips\n"
                "clips, output = json.loads(sys.argv[1]), sys.argv[2]\n"
                "clips = [VideoFileClip(source) if start is None else VideoFileClip(source).subclipped(start, end)"
                " for source, start, end in clips]\n"
                "film = clips[0] if len(clips) == 1 else concatenate_videoclips(clips, method='compose')\n"
                "film.write_videofile(output, logger=None)\n"
            )
            listed = json.dumps([[str(source), start, end] for source, start, end in clips])
            return clock.time([[self.python("moviepy"), "-c", program, listed, output]], output.parent)

        return self._installed("MoviePy", make, once=once)

    def _installed(self, name: str, make: Callable[[Path], Sample], **more: Any) -> Contestant:
        try:
            self.python(name.lower())
        except install.Refusal as refusal:
            return Contestant(name, make, absent=str(refusal), **more)
        return Contestant(name, make, **more)


def melt(clips: Sequence[tuple[Path, int | None, int | None]], *, once: bool = False) -> Contestant:
    """MLT's own program; (source, first frame, last frame) one after the other."""

    def make(output: Path) -> Sample:
        words: list[str | Path] = []
        for source, first, last in clips:
            words += [source] if first is None else [source, f"in={first}", f"out={last}"]
        consumer = [f"avformat:{output}", "vcodec=libx264", "preset=medium", "crf=23", "acodec=aac"]
        return clock.time([["melt", *words, "-consumer", *consumer]], output.parent)

    return Contestant("melt", make, once=once, absent=None if shutil.which("melt") else MELT_MISSING)


def ffmpeg(
    name: str, *commands: Words, once: bool = False, files: Mapping[str, str] | None = None, fetch: str | None = None, suffix: str = ".mp4"
) -> Contestant:
    """One FFmpeg command or several, run in a folder of their own: `OUT` stands for the output, other names for files beside it.

    `files` are written there first; `fetch` is an address that is downloaded first, as `FETCHED`."""

    def make(output: Path) -> Sample:
        for file, text in (files or {}).items():
            (output.parent / file).write_text(text)
        steps: list[list[str | Path]] = [[sys.executable, "-I", "-S", HERE / "download.py", fetch, FETCHED]] if fetch else []
        steps += [[FFMPEG, "-v", "error", "-nostdin", "-y", *(str(output) if it == OUT else str(it) for it in words)] for words in commands]
        return clock.time(steps, output.parent, reads=True)

    return Contestant(name, make, suffix, once)


# their commands


def nca_trim(source: Path | str, start: float, seconds: float) -> Words:
    """no-code-architects-toolkit's /v1/video/trim: it seeks on the output side and always encodes."""
    return ("-i", source, "-ss", start, "-t", seconds, *X264, "-c:a", "aac", "-b:a", "128k", "-avoid_negative_ts", "make_zero", OUT)


def mediacms_trim(source: Path, start: float, seconds: float) -> Words:
    """MediaCMS's trimmer, and the plain copy of everybody else: it begins at the key frame before."""
    return ("-ss", start, "-i", source, "-t", seconds, "-c", "copy", "-avoid_negative_ts", "1", OUT)


def encoded(source: Path, start: float, seconds: float, *codec: str) -> Words:
    """The range decoded and encoded, from an input-side seek: the trivial way to be exact."""
    return ("-ss", start, "-i", source, "-t", seconds, *codec, OUT)


def losslesscut(source: Path, start: float, end: float, key: float, rate: int, *, once: bool = False) -> Contestant:
    """LosslessCut's smart cut: encode to one frame before the next key frame, copy from it, join with the concat demuxer. Its bit rate is
    1.2 times the mean of the file; its look for the key frame is left out."""
    bits = int(1.2 * source.stat().st_size * 8 / length(source))
    head = ("-ss", start, "-i", source, "-ss", 0, "-t", key - 1 / rate - start, "-c:v", "libx264", "-b:v", bits, "-c:a", "copy")
    body = ("-ss", key, "-i", source, "-t", end - key, "-c", "copy")
    listed = {"list.txt": "file head.mp4\nfile body.mp4\n"}
    join = ("-f", "concat", "-safe", "0", "-i", "list.txt", "-map", "0", "-c", "copy", "-movflags", "+faststart", OUT)
    return ffmpeg("LosslessCut", (*head, "head.mp4"), (*body, "body.mp4"), join, once=once, files=listed)


def concatenated(name: str, sources: Sequence[Path]) -> Contestant:
    """The concat demuxer, packets copied: no-code-architects-toolkit's /v1/video/concatenate, MediaCMS's and LosslessCut's merge."""
    listed = {"list.txt": "".join(f"file '{it}'\n" for it in sources)}
    return ffmpeg(name, ("-f", "concat", "-safe", "0", "-i", "list.txt", "-c", "copy", OUT), files=listed)


def graph(name: str, sources: Sequence[Path], *, size: str, rate: int, once: bool = False) -> Contestant:
    """One filter graph that conforms everything and encodes it: the straightforward right way."""
    width, height = size.split("x")
    fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease,pad={width}:{height}:-1:-1,setsar=1,fps={rate},format=yuv420p"
    parts = [f"[{n}:v]{fit}[v{n}];[{n}:a]aresample=48000,aformat=channel_layouts=stereo[a{n}]" for n in range(len(sources))]
    joined = "".join(f"[v{n}][a{n}]" for n in range(len(sources))) + f"concat=n={len(sources)}:v=1:a=1[v][a]"
    inputs = [word for it in sources for word in ("-i", it)]
    encode = ("-c:v", "libx264", "-preset", "medium", "-crf", "18", "-c:a", "aac", "-b:a", "128k")
    return ffmpeg(name, (*inputs, "-filter_complex", ";".join([*parts, joined]), "-map", "[v]", "-map", "[a]", *encode, OUT), once=once)


def length(source: Path) -> float:
    """Seconds of a file."""
    with av.open(str(source)) as file:
        return (file.duration or 0) / av.time_base
