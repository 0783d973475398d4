"""Is the film what was asked for? Every frame of it is decoded and compared with the frame of the source that has to be there.

This looks at files only, with a decoder of its own: it believes nothing that the functions say.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter

# An encoded frame looks like its source; the next frame of a moving timecode is at about 25 dB.
LEAST_DECIBEL = 32.0
# What is so much like its source needs no comparison with the neighbours, which takes time.
SURE_DECIBEL = 40.0
# In a still scene neighbours are alike: only what is clearly more like a neighbour is one.
BESIDE_DECIBEL = 1.0
# What container time bases round.
TIME_SLACK = Fraction(1, 500)
# AAC has frames of 21 ms, and a player may be given one more at either end.
SOUND_SLACK = Fraction(1, 15)


@dataclass(frozen=True)
class Piece:
    """The frames of a file with start ≤ time < end, in seconds from where its picture or sound begins; `hertz` is its tone, if known."""

    path: Path
    start: Fraction
    end: Fraction
    hertz: int | None = None


@dataclass
class Verdict:
    expected: int = 0
    found: int = 0
    identical: int = 0
    #: of the frames that were encoded, the one least like its source
    worst_decibel: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not self.problems and self.expected > 0

    def words(self) -> str:
        encoded = self.found - self.identical
        alike = f", {encoded} encoded (≥ {self.worst_decibel:.1f} dB)" if encoded and self.worst_decibel is not None else ""
        return f"{self.found} frames: {self.identical} bit-identical{alike}"


@dataclass(frozen=True)
class Facts:
    """What has to agree for two pictures to be compared at all."""

    width: int
    height: int
    format: str
    rate: Fraction
    duration: Fraction
    sound: bool


def facts(path: Path) -> Facts:
    """Raises av.FFmpegError for what is no media file, and ValueError for one without pictures."""
    with av.open(str(path)) as file:
        if not file.streams.video:
            raise ValueError(f"{path.name} has no pictures")
        video = file.streams.video[0]
        length = video.duration * video.time_base if video.duration and video.time_base else Fraction(file.duration or 0, 1_000_000)
        rate = Fraction(video.average_rate or 25)
        return Facts(video.width, video.height, video.format.name, rate, length, bool(file.streams.audio))


def count(piece: Piece) -> int:
    """How many frames the piece has, by the times of the packets: nothing is decoded."""
    with av.open(str(piece.path)) as file:
        base = Fraction(file.streams.video[0].time_base or 1)
        times = [packet.pts * base for packet in file.demux(video=0) if packet.pts is not None and not packet.is_discard]
    first = _origin(piece.path)
    return sum(piece.start <= time - first < piece.end for time in times)


def film(path: Path, pieces: Sequence[Piece]) -> Verdict:
    """The film against the pieces that it has to be made of, frame by frame, and its tones against theirs."""
    verdict = Verdict()
    wanted = itertools.chain.from_iterable(_surrounded(piece) for piece in pieces)
    got = _frames(path, Fraction(0))
    likeness = _Likeness()
    offset: tuple[Fraction, Fraction] | None = None
    for want, have in itertools.zip_longest(wanted, got):
        verdict.expected += want is not None
        verdict.found += have is not None
        if want is None or have is None:
            continue
        number = verdict.found - 1
        if want.first:
            offset = (have[0], want.time)
        elif offset and abs((have[0] - offset[0]) - (want.time - offset[1])) > TIME_SLACK:
            _note(verdict, f"frame {number} is shown at {float(have[0]):.3f} s instead of {float(offset[0] + want.time - offset[1]):.3f} s")
        if _same(want.frame, have[1]):
            verdict.identical += 1
            continue
        decibel = likeness(want.frame, have[1])
        verdict.worst_decibel = min(decibel, verdict.worst_decibel or decibel)
        if decibel < SURE_DECIBEL and any(
            likeness(other, have[1]) > max(decibel + BESIDE_DECIBEL, LEAST_DECIBEL) for other in want.neighbours
        ):
            _note(verdict, f"frame {number} is not the frame that belongs there, but one beside it")
        elif decibel < LEAST_DECIBEL:
            _note(verdict, f"frame {number} is not like its source ({decibel:.1f} dB)")
    if verdict.expected != verdict.found:
        verdict.problems.insert(0, f"{verdict.found} frames instead of {verdict.expected}")
    verdict.problems += _tones(path, pieces)
    return verdict


def lasts(path: Path, seconds: Fraction) -> Verdict:
    """For a film whose pieces had to be made to fit one another: it is decoded whole, and lasts as long as they do."""
    verdict, last = Verdict(), Fraction(0)
    rate = facts(path).rate
    for time, _ in _frames(path, Fraction(0)):
        verdict.found, last = verdict.found + 1, time
    verdict.expected = round(seconds * rate)
    if abs(last + 1 / rate - seconds) > 2 / rate:
        verdict.problems.append(f"it lasts {float(last + 1 / rate):.3f} s instead of {float(seconds):.3f} s")
    return verdict


def _note(verdict: Verdict, problem: str) -> None:
    # Three say what is wrong; three hundred bury it.
    if len(verdict.problems) < 3:
        verdict.problems.append(problem)


@dataclass(frozen=True)
class _Wanted:
    frame: Any
    time: Fraction
    first: bool
    neighbours: tuple[Any, ...]


def _surrounded(piece: Piece) -> Iterator[_Wanted]:
    """The frames of a piece, each with those beside it, for telling a wrong frame from a badly encoded one."""
    before = None
    # One frame more than the piece has: the last one has a neighbour as well.
    frames = _frames(piece.path, piece.start)
    current = next(((time, frame) for time, frame in frames if time >= piece.start), None)
    first = True
    while current is not None and current[0] < piece.end:
        following = next(frames, None)
        neighbours = tuple(frame for frame in (before, following[1] if following else None) if frame is not None)
        yield _Wanted(current[1], current[0], first, neighbours)
        before, current, first = current[1], following, False


def _origin(path: Path) -> Fraction:
    """Time 0, on the file's own clock: where the picture or the sound begins, whichever is first; sound before 0 is not heard."""
    with av.open(str(path)) as file:
        begins = [(it.type, (it.start_time or 0) * Fraction(it.time_base or 1)) for it in (*file.streams.video[:1], *file.streams.audio)]
        return min(time if kind == "video" else max(time, Fraction(0)) for kind, time in begins)


def _frames(path: Path, start: Fraction) -> Iterator[tuple[Fraction, Any]]:
    """(seconds, frame) in the order of their showing, from the key frame before `start` on."""
    origin = _origin(path)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_type = "AUTO"
        base = Fraction(stream.time_base or 1)
        if start:
            file.seek(int((start + origin) / base), stream=stream, backward=True)
        for frame in file.decode(stream):
            if frame.pts is not None:
                yield frame.pts * base - origin, frame


def _same(one: Any, other: Any) -> bool:
    """Bit for bit, the padding of the rows left out."""
    if (one.width, one.height, one.format.name) != (other.width, other.height, other.format.name):
        return False
    return all(_rows(a) == _rows(b) for a, b in zip(one.planes, other.planes, strict=True))


def _rows(plane: Any) -> bytes:
    data = bytes(plane)
    # width counts samples, of which a deep one is two bytes; a row is never wider than its line.
    width = min(plane.line_size, plane.width * max(1, (plane.line_size // plane.width) if plane.width else 1))
    if width == plane.line_size:
        return data
    return b"".join(data[row : row + width] for row in range(0, plane.line_size * plane.height, plane.line_size))


class _Likeness:
    """PSNR of two pictures in dB, by FFmpeg's own filter."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._shape: Any = None
        self._number = 0

    def __call__(self, one: Any, other: Any) -> float:
        shape = (one.width, one.height, one.format.name)
        if shape != (other.width, other.height, other.format.name):
            return 0.0
        if shape != self._shape:
            self._make(one, shape)
        left, right, sink = self._graph
        for source, frame in ((left, one), (right, other)):
            # The filter pairs pictures by their times, which two files do not share.
            kept, base = frame.pts, frame.time_base
            frame.pts, frame.time_base = self._number, Fraction(1, 1000)
            source.push(frame)
            frame.pts, frame.time_base = kept, base
        self._number += 1
        return float(sink.pull().metadata["lavfi.psnr.psnr_avg"])

    def _make(self, frame: Any, shape: Any) -> None:
        graph = av.filter.Graph()
        size = {"width": frame.width, "height": frame.height, "format": frame.format, "time_base": Fraction(1, 1000)}
        left, right = graph.add_buffer(**size), graph.add_buffer(**size)
        psnr, sink = graph.add("psnr"), graph.add("buffersink")
        left.link_to(psnr, 0, 0)
        right.link_to(psnr, 0, 1)
        psnr.link_to(sink)
        graph.configure()
        self._graph, self._shape = (left, right, sink), shape
        self._keep = graph


def _tones(path: Path, pieces: Sequence[Piece]) -> list[str]:
    """Whether the film sounds like its pieces: as long as they are, and each with its own tone."""
    if not all(piece.hertz for piece in pieces):
        return []
    sound, rate = _sound(path)
    length = sum((piece.end - piece.start for piece in pieces), Fraction(0))
    problems, at = [], Fraction(0)
    if abs(Fraction(len(sound), rate) - length) > SOUND_SLACK:
        problems.append(f"the sound lasts {len(sound) / rate:.3f} s instead of {float(length):.3f} s")
    for piece in pieces:
        # From a fifth of a second after the seam to one before the next: clean of both neighbours.
        last = at + piece.end - piece.start
        heard = _hertz(sound[int((at + Fraction(1, 5)) * rate) : int((last - Fraction(1, 5)) * rate)], rate)
        if piece.hertz and abs(heard - piece.hertz) > piece.hertz / 50:
            problems.append(f"at {float(at):.2f} s the tone is {heard:.0f} Hz instead of {piece.hertz} Hz")
        at = last
    return problems


def _sound(path: Path) -> tuple[array.array[int], int]:
    """The samples of the film's first channel, as 16-bit numbers, and how many there are in a second."""
    samples: array.array[int] = array.array("h")
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return samples, 48_000
        stream = file.streams.audio[0]
        mono = av.AudioResampler(format="s16", layout="mono", rate=stream.rate)
        for frame in file.decode(stream):
            for made in mono.resample(frame):
                samples.frombytes(bytes(made.planes[0])[: made.samples * 2])
        return samples, stream.rate


def _hertz(samples: array.array[int], rate: int) -> float:
    """The pitch of a steady tone: how often it rises through zero in a second."""
    rises = sum(a < 0 <= b for a, b in itertools.pairwise(samples))
    return rises * rate / len(samples) if samples else 0.0
