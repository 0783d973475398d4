"""What a file really shows and sounds like, by decoding all of it with libavformat and libavcodec alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from bench.race.clips import ACROSS, BITS, CLIP_BITS, SWEEP_BY, SWEEP_FROM
from bench.race.result import Seen

WINDOW_SECONDS, REACH_SECONDS = 0.25, 0.05  # what is compared with the sweep, and how far it may have slipped
LIKE = 0.8  # the least correlation of two pieces that are the same sound
SYNC_SECONDS = 0.0015  # the most that sound may be off: a millisecond, and half of one that edit lists round away


@dataclass(frozen=True)
class Picture:
    """A frame shown: its clip's number and its own, its time in seconds, and a checksum of its luma."""

    clip: int
    frame: int
    time: float
    check: int


def pictures(path: Path) -> list[Picture]:
    """The frames that a player shows, in order."""
    found = []
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in file.decode(stream):
            assert frame.pts is not None
            luma = _luma(frame)
            number = sum(1 << bit for bit in range(BITS + CLIP_BITS) if _lit(luma, bit, "10" in frame.format.name))
            time = float(frame.pts * stream.time_base) - _start(file)
            found.append(Picture(number >> BITS, number & (1 << BITS) - 1, time, zlib.crc32(np.ascontiguousarray(luma))))
    return found


def video_seconds(path: Path) -> float:
    """How long a file's picture is, by its own word."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return float((stream.duration or 0) * stream.time_base)


def _start(file: av.container.InputContainer) -> float:
    """The file's time when its picture or its sound begins, whichever is first, in seconds."""
    starts = [float(it.start_time * it.time_base) for it in file.streams if it.type in ("video", "audio") and it.start_time is not None]
    return max(0.0, min(starts, default=0.0))


def _luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    wide = np.uint16 if "10" in frame.format.name else np.uint8
    lines = np.frombuffer(plane, wide).reshape(plane.height, -1)
    return lines[:, : plane.width]


def _lit(luma: np.ndarray, bit: int, deep: bool) -> bool:
    side = luma.shape[1] / ACROSS
    return int(luma[int(side / 2), int((bit + 0.5) * side)]) > (500 if deep else 125)


def sound(path: Path) -> tuple[np.ndarray, int, float]:
    """(samples of the first channel, rate in Hz, time of the first in seconds), as a player plays them."""
    parts, first = [], None
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        for frame in file.decode(stream):
            if first is None:
                first = float((frame.pts or 0) * frame.time_base) - _start(file)
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(parts), stream.rate, first or 0.0


def slip(samples: np.ndarray, rate: int, at: float, source_time: Callable[[float], float]) -> float | None:
    """Seconds by which the sound, `at` seconds into the samples, comes too late for the sweep; None when it is another sound."""
    count, reach = int(WINDOW_SECONDS * rate), int(REACH_SECONDS * rate)
    piece = samples[int(at * rate) : int(at * rate) + count]
    if len(piece) < count or not np.any(piece):
        return None
    times = source_time(int(at * rate) / rate) + (np.arange(-reach, count + reach) / rate)
    u = times % 1
    truth = np.sin(2 * np.pi * (SWEEP_FROM * u + SWEEP_BY * u * u))
    windows = np.lib.stride_tricks.sliding_window_view(truth, count)
    likeness = windows @ piece / (np.linalg.norm(windows, axis=1) * np.linalg.norm(piece))
    best = int(np.argmax(likeness))
    return (reach - best) / rate if likeness[best] >= LIKE else None


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency in Hz, to a tenth of a bin."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    top = int(np.argmax(spectrum))
    if 0 < top < len(spectrum) - 1:  # a parabola through the three highest values
        a, b, c = np.log(spectrum[top - 1 : top + 2] + 1e-12)
        return float((top + (a - c) / (2 * (a - 2 * b + c))) * rate / len(samples))
    return float(top * rate / len(samples))


# judgements


def cut(path: Path, wanted: Sequence[tuple[int, int]], source_time: Callable[[int], float], late: float = 0.0) -> Seen:
    """A cut out of swept clips: `wanted` lists (clip, frame), `source_time` says when a frame number is shown in its source, whose own
    sound is `late` by so many seconds.

    Right: exactly those frames, their distances in time kept to 1.5 ms, and the sound on its place at the start and at the end.
    """
    shown = pictures(path)
    frames, words = _frames(shown, wanted)
    pace = max((abs((b.time - a.time) - (source_time(b.frame) - source_time(a.frame))) for a, b in _runs(shown)), default=0.0)
    slips = [None if it is None else it - late for it in _slips(path, shown, source_time)]
    steady = pace <= SYNC_SECONDS
    synced = all(it is not None and abs(it) <= SYNC_SECONDS for it in slips)
    said = "sound " + " and ".join("lost" if it is None else f"{1000 * it:+.1f} ms" for it in slips)
    return Seen(frames and steady and synced, f"{words}; {said}" + ("" if steady else f"; times off by {1000 * pace:.0f} ms"))


def lateness(source: Path, source_time: Callable[[int], float]) -> float:
    """Seconds by which a source's own sound is late: not every container tells the delay of its encoder."""
    return _slips(source, pictures(source), source_time)[0] or 0.0


def _slips(path: Path, shown: Sequence[Picture], source_time: Callable[[int], float]) -> list[float | None]:
    """How late the sound is at the first picture and at the last; None for where it is another sound."""
    samples, rate, first = sound(path)
    found = []
    for picture in (shown[0], shown[-1]):
        # so much earlier than the last frame that the window is still in the sound
        at = max(0.0, picture.time - first - (WINDOW_SECONDS + REACH_SECONDS if picture is shown[-1] else 0))
        ahead = source_time(picture.frame) - picture.time + first
        found.append(slip(samples, rate, at, lambda t, ahead=ahead: t + ahead))
    return found


def _runs(shown: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """Neighbours that were neighbours in their source, too."""
    return [(a, b) for a, b in pairwise(shown) if a.clip == b.clip and b.frame == a.frame + 1]


def merge(path: Path, wanted: Sequence[tuple[int, int]] | Sequence[int], tones: Sequence[int], seconds: float) -> Seen:
    """Clips one after the other, each as long as the others: (clip, frame) in full, or only the clip where the frame rate changes.

    Right: those frames, and in the middle of each clip its tone to within 0.3 %.
    """
    shown = pictures(path)
    whole = [it if isinstance(it, tuple) else None for it in wanted]
    if None in whole:
        right = [it.clip for it in shown] == list(wanted)
        words = f"{len(shown)} frames" + ("" if right else f" of {len(wanted)} wanted, in the wrong places")
    else:
        right, words = _frames(shown, [it for it in whole if it])
    samples, rate, first = sound(path)
    each = seconds / len(tones)
    heard = []
    for n in range(len(tones)):
        begin = int(((n + 0.25) * each - first) * rate)
        piece = samples[max(0, begin) : begin + int(0.5 * each * rate)]
        heard.append(pitch(piece, rate) if len(piece) > rate // 4 else 0.0)
    tuned = all(abs(a - b) <= 0.003 * b for a, b in zip(heard, tones, strict=True))
    length = len(samples) / rate
    complete = abs(length - seconds) <= 0.03
    said = f"{'/'.join(f'{it:.0f}' for it in heard)} Hz" + ("" if complete else f", {length:.2f} s of sound for {seconds:g}")
    return Seen(right and tuned and complete, f"{words}; {said}")


def _frames(shown: Sequence[Picture], wanted: Sequence[tuple[int, int]]) -> tuple[bool, str]:
    got = [(it.clip, it.frame) for it in shown]
    if got == list(wanted):
        return True, f"{len(got)} frames, {got[0][1]}–{got[-1][1]}"
    if not got:
        return False, "no frames"
    missing, extra = len(set(wanted) - set(got)), len(got) - len(set(got) & set(wanted))
    return False, f"{len(got)} frames, {got[0][1]}–{got[-1][1]}: {missing} missing, {extra} not asked for or twice" + (
        "" if missing or extra else ", out of order"
    )


def same(shown: Sequence[Picture], sources: Sequence[Picture]) -> int:
    """How many frames have the very pixels of their sources'."""
    known = {(it.clip, it.frame): it.check for it in sources}
    return sum(known.get((it.clip, it.frame)) == it.check for it in shown)


def frames(start: Fraction, end: Fraction, rate: int, clip: int = 0) -> list[tuple[int, int]]:
    """The frames of [start, end) of a clip of constant rate."""
    first, last = -(-start * rate // 1), -(-end * rate // 1)
    return [(clip, n) for n in range(int(first), int(last))]
