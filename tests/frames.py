"""What a file really shows: its frames by content, its sound by samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def shown(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """(time in s, luma) of every frame that a player shows, in order."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = sorted(
            ((frame.pts * stream.time_base, frame.to_ndarray(format="gray")) for frame in file.decode(stream)), key=lambda it: it[0]
        )
    return [(time, luma) for time, luma in frames if time >= 0]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Decibels; infinite when they are identical."""
    error = np.mean((one.astype(np.int32) - other) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def sound(path: Path) -> tuple[np.ndarray, int]:
    """Mono samples as a player plays them, and their rate in Hz."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        parts = [out.to_ndarray()[0] for frame in file.decode(stream) for out in resampler.resample(frame)]
    return np.concatenate(parts), stream.rate


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))
