"""What a player would show of a file, found with libavformat's own reading of it and none of the engine's."""

from __future__ import annotations

import hashlib
import subprocess
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from tests import clips

SKETCH = 96  # pixels of a sketch's longer side
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@dataclass(frozen=True)
class Frame:
    number: int  # read off the picture
    time: Fraction  # seconds from the start of the presentation
    digest: str
    sketch: np.ndarray = field(compare=False, repr=False)  # every n-th pixel of every n-th line of its brightness


def number_of(frame: av.VideoFrame) -> int:
    """The number that tests/clips.py wrote into the picture."""
    plane = frame.planes[0]
    data, wide = memoryview(plane), 2 if "10" in frame.format.name else 1
    number = 0
    for bit in range(clips.BITS):
        at = (clips.BLOCK // 2) * plane.line_size + (bit * clips.BLOCK + clips.BLOCK // 2) * wide
        value = int.from_bytes(data[at : at + wide], "little") >> (2 if wide == 2 else 0)
        number |= (value > 125) << bit
    return number


def frames(path: Path, *, numbered: bool = True) -> list[Frame]:
    """The frames shown, in order."""
    state = path.stat()
    return list(_frames(path, (state.st_ino, state.st_size, state.st_mtime_ns), numbered))


@lru_cache(maxsize=256)
def _frames(path: Path, _state: tuple[int, int, int], numbered: bool) -> tuple[Frame, ...]:
    """The same, decoded once as long as the file stays what it is: many tests look at one clip."""
    found = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        start = _start(container)
        for frame in container.decode(stream):
            assert frame.pts is not None
            time = frame.pts * stream.time_base - start
            digest = hashlib.sha256(_visible(frame)).hexdigest()
            found.append(Frame(number_of(frame) if numbered else 0, time, digest, sketch(luma(frame))))
    return tuple(found)


def pictures(path: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(place in the order, brightness in full size) of some of the frames shown."""
    last = max(wanted, default=-1)
    with av.open(str(path), metadata_errors="replace") as container:
        for place, frame in enumerate(container.decode(container.streams.video[0])):
            if place in wanted:
                yield place, luma(frame)
            if place >= last:
                break


def lumas(path: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    """The same, all at once."""
    return dict(pictures(path, wanted))


def luma(frame: av.VideoFrame) -> np.ndarray:
    """The brightness of a picture, 0 to 255 however deep it is."""
    name = frame.format.name
    if not name.startswith(("yuv", "gray", "nv12")):
        return frame.to_ndarray(format="gray")
    plane, depth = frame.planes[0], frame.format.components[0].bits
    wide = np.uint8 if depth == 8 else np.dtype("<u2")
    lines = np.frombuffer(plane, dtype=wide).reshape(-1, plane.line_size // np.dtype(wide).itemsize)[: plane.height, : plane.width]
    return lines.copy() if depth == 8 else (lines >> (depth - 8)).astype(np.uint8)


def sketch(picture: np.ndarray) -> np.ndarray:
    step = max(1, max(picture.shape) // SKETCH)
    return picture[::step, ::step].astype(np.float32)


def _visible(frame: av.VideoFrame) -> bytes:
    """The pixels, without the bytes that only fill up the lines."""
    deep, parts = (2 if any(d in frame.format.name for d in ("p10", "p12")) else 1), []
    for plane in frame.planes:
        data, line, used = bytes(plane), plane.line_size, plane.width * deep
        parts += [data[n * line : n * line + used] for n in range(plane.height)]
    return b"".join(parts)


def _start(container: av.container.InputContainer) -> Fraction:
    starts = [s.start_time * s.time_base for s in container.streams if s.type in ("video", "audio") and s.start_time is not None]
    return Fraction(min(max(s, Fraction(0)) for s in starts))


def samples(path: Path, track: int = 0) -> tuple[Fraction, int, array[float]]:
    """(time of the first sample, rate, first channel) as a player hears it: what an edit list hides is left out."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.audio[track]
        start = _start(container)
        first, sound = None, array("f")
        mixer = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        for frame in container.decode(stream):
            if first is None:
                first = frame.pts * frame.time_base - start
            for mixed in mixer.resample(frame):
                part = array("f")
                part.frombytes(bytes(mixed.planes[0])[: 4 * mixed.samples])
                sound.extend(part)
        assert first is not None
        return first, stream.rate, sound


def heard(path: Path, rate: int, track: int = 0) -> tuple[int, np.ndarray]:
    """(place of the first sample, mono samples at `rate` on the presentation's clock), gaps filled with silence."""
    state = path.stat()
    return _heard(path, (state.st_ino, state.st_size, state.st_mtime_ns), rate, track)


@lru_cache(maxsize=32)
def _heard(path: Path, _state: tuple[int, int, int], rate: int, track: int) -> tuple[int, np.ndarray]:
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.audio[track]
        start = _start(container)
        runs: list[tuple[int, list[np.ndarray]]] = []  # where each begins, and what it holds
        due = None
        mixer = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        for frame in container.decode(stream):
            time = frame.pts * frame.time_base - start if frame.pts is not None else due or Fraction(0)
            if due is None or abs(time - due) > Fraction(1, 200):
                if runs:
                    runs[-1][1].extend(m.to_ndarray()[0] for m in mixer.resample(None))
                    mixer = av.AudioResampler(format="fltp", layout="mono", rate=rate)
                runs.append((round(time * rate), []))
            due = time + Fraction(frame.samples, frame.sample_rate)
            runs[-1][1].extend(m.to_ndarray()[0] for m in mixer.resample(frame))
        if not runs:
            return 0, np.zeros(0, np.float32)
        runs[-1][1].extend(m.to_ndarray()[0] for m in mixer.resample(None))
    laid = [(at, np.concatenate(parts)) for at, parts in runs if parts]
    first = min(at for at, _ in laid)
    sound = np.zeros(max(at + len(part) for at, part in laid) - first, np.float32)
    for at, part in laid:
        sound[at - first : at - first + len(part)] = part
    return first, sound


def lag(source: Path, cut: Path, begin: Fraction, at: Fraction, reach: int = 96) -> int:
    """By how many samples the cut's sound at `at` seconds lags behind the source's at `begin + at`."""
    (a0, rate, a), (b0, _, b) = samples(source), samples(cut)
    here = round((at - b0) * rate)
    there = round((begin + at - a0) * rate)
    window = 600
    piece = b[here : here + window]
    return min(
        range(-reach, reach + 1), key=lambda d: sum((x - y) ** 2 for x, y in zip(piece, a[there - d : there - d + window], strict=True))
    )


def strictly_decodes(path: Path) -> None:
    """FFmpeg's strictest reading has nothing to say. It refuses what browsers refuse."""
    strict = ["-xerror", "-err_detect", "explode", "-i", str(path)]
    # in the file's own clock: in that of its mean rate, frames of a varying one would fall on the same tick
    timing = ["-fps_mode", "passthrough", "-enc_time_base", "demux"]
    command = [FFMPEG, "-v", "error", "-nostdin", *strict, *timing, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"FFmpeg ended with {done.returncode} and said: {done.stderr[:300]}"
