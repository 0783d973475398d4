"""Clips whose frames tell their numbers by how bright they are, whatever size they are made to be; and what a player sees and hears."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from native.media import process

STEP = 2  # levels of luma from a frame to the next
GREY = f"geq=lum='16+{STEP}*mod(N\\,110)':cb=128:cr=128"


def make(folder: Path, name: str, *, size: str = "160x90", rate: str = "30", frames: int = 60, tone: int = 0, hz: int = 48000,
         channels: int = 2, seconds: float | None = None, picture: str = GREY, extra: tuple[str, ...] = ()) -> Path:  # fmt: skip
    """A clip of H.264 and AAC. Frame n is grey 16+2n all over; the sound is a tone, of its own length in `seconds` if that is said."""
    if (folder / name).exists():
        return folder / name
    length = f"{float(frames / Fraction(rate)):.6f}"
    heard = f"{seconds:.6f}" if seconds is not None else length
    sound = ["-f", "lavfi", "-i", f"sine=f={tone}:r={hz}:d={heard}", "-ac", f"{channels}", "-c:a", "aac"] if tone else []
    video = ["-f", "lavfi", "-i", f"nullsrc=s={size}:r={rate}:d={length},{picture}"]
    options = ["-c:v", "libx264", "-qp", "4", "-g", "12", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    process.ffmpeg(["-nostdin", "-loglevel", "error", *video, *sound, *options, *extra, name], folder)
    return folder / name


def pictures(path: Path) -> tuple[list[Fraction], np.ndarray]:
    """(times, luma of every frame as rows×columns)."""
    with av.open(str(path)) as file:
        shown = [(frame.pts * frame.time_base, frame.to_ndarray(format="gray").astype(int)) for frame in file.decode(video=0)]
    return [time for time, _ in shown], np.stack([luma for _, luma in shown])


def numbers(luma: np.ndarray) -> list[int]:
    """Which frame of its source each frame is, by its grey in the middle (gray is full range, the clips' 16…235 is not)."""
    rows, columns = luma.shape[1:]
    middle = luma[:, rows // 2 - 4 : rows // 2 + 4, columns // 2 - 4 : columns // 2 + 4].mean(axis=(1, 2))
    return [round((value * 219 / 255) / STEP) for value in middle]


def sound(path: Path) -> tuple[int, np.ndarray]:
    """(rate, channels×samples) as a player hears it: what the container hides is hidden."""
    with av.open(str(path)) as file:
        parts = [frame.to_ndarray() for frame in file.decode(audio=0)]
        return file.streams.audio[0].rate, np.concatenate(parts, axis=1)


def pitch(rate: int, samples: np.ndarray) -> float:
    """The loudest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))
