"""The demo's check believes nothing: a right film passes, and every kind of wrong one is found."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from cli.demo import check
from cli.demo.check import Piece

RATE, SIZE, SOUND = 25, 96, 48_000


def write(path: Path, numbers: Sequence[int], hertz: Sequence[int], *, lossless: bool = True, late: int = -1) -> Path:
    """A film whose n-th frame shows the number numbers[n], as a bright square that wanders, and a tone for each frame's duration.

    `late` is a frame that is shown twice as long as it should be.
    """
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=RATE, options={"qp": "0"} if lossless else {"crf": "20"})
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = file.add_stream("aac", rate=SOUND)
        audio.layout = "mono"
        for n, number in enumerate(numbers):
            frame = av.VideoFrame(SIZE, SIZE, "yuv420p")
            luma = bytearray(40 for _ in range(SIZE * SIZE))
            left = (number * 7) % (SIZE - 24)
            for row in range(30, 54):
                luma[row * SIZE + left : row * SIZE + left + 24] = bytes([220]) * 24
            luma[:number] = bytes([200]) * number
            frame.planes[0].update(_padded(luma, frame.planes[0].line_size))
            for plane in frame.planes[1], frame.planes[2]:
                plane.update(bytes([128]) * (plane.line_size * plane.height))
            frame.pts = n + (late >= 0 and n > late)
            frame.time_base = Fraction(1, RATE)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        count = SOUND // RATE
        for n, tone in enumerate(hertz):
            samples = array("f", (0.4 * math.sin(2 * math.pi * tone * (n * count + i) / SOUND) for i in range(count)))
            sound = av.AudioFrame("fltp", "mono", count)
            sound.sample_rate = SOUND
            sound.planes[0].update(samples.tobytes() + bytes(sound.planes[0].buffer_size - 4 * count))
            sound.pts, sound.time_base = n * count, Fraction(1, SOUND)
            file.mux(audio.encode(sound))
        file.mux(audio.encode())
    return path


def _padded(luma: bytes | bytearray, line: int) -> bytes:
    return b"".join(bytes(luma[row * SIZE : (row + 1) * SIZE]) + bytes(line - SIZE) for row in range(SIZE))


@pytest.fixture
def pieces(tmp_path: Path) -> list[Piece]:
    """Frames 10 … 39 of one clip and 5 … 34 of another."""
    one = write(tmp_path / "one.mp4", range(50), [440] * 50)
    two = write(tmp_path / "two.mp4", range(100, 150), [660] * 50)
    return [
        Piece(one, Fraction("0.371"), Fraction("1.571"), 440),
        Piece(two, Fraction("0.171"), Fraction("1.371"), 660),
    ]


RIGHT = [*range(10, 40), *range(105, 135)]
TONES = [440] * 30 + [660] * 30


def test_a_right_film_passes(pieces: list[Piece], tmp_path: Path) -> None:
    """Sixty frames, all of them bit for bit, and both tones."""
    assert [check.count(piece) for piece in pieces] == [30, 30]
    verdict = check.film(write(tmp_path / "film.mp4", RIGHT, TONES), pieces)
    assert verdict.problems == []
    assert (verdict.expected, verdict.found, verdict.identical) == (60, 60, 60)
    assert verdict.words() == "60 frames: 60 bit-identical"


def test_an_encoded_film_passes_by_likeness(pieces: list[Piece], tmp_path: Path) -> None:
    """Frames that were encoded again are compared by PSNR, and counted as what they are."""
    verdict = check.film(write(tmp_path / "film.mp4", RIGHT, TONES, lossless=False), pieces)
    assert verdict.problems == []
    assert verdict.identical < 60
    assert verdict.worst_decibel
    assert verdict.worst_decibel > check.LEAST_DECIBEL


@pytest.mark.parametrize(
    ("name", "numbers", "tones", "late", "said"),
    [
        ("one frame too few", RIGHT[:-1], TONES, -1, "59 frames instead of 60"),
        ("one frame too many", [*RIGHT, 135], TONES, -1, "61 frames instead of 60"),
        ("one frame early", [n - 1 for n in RIGHT], TONES, -1, "one beside it"),
        ("two frames exchanged", [*RIGHT[:20], RIGHT[21], RIGHT[20], *RIGHT[22:]], TONES, -1, "frame 20 is not the frame"),
        ("another picture", [*RIGHT[:20], 7, *RIGHT[21:]], TONES, -1, "frame 20 is not like its source"),
        ("a frame too long", RIGHT, TONES, 20, "frame 21 is shown at"),
        ("the wrong tone", RIGHT, [440] * 60, -1, "Hz instead of 660 Hz"),
        ("no sound at the end", RIGHT, TONES[:50], -1, "the sound lasts"),
    ],
)
def test_a_wrong_film_is_found(
    pieces: list[Piece], tmp_path: Path, name: str, numbers: list[int], tones: list[int], late: int, said: str
) -> None:
    """What is wrong is said in words that name the frame or the tone."""
    verdict = check.film(write(tmp_path / "film.mp4", numbers, tones, late=late), pieces)
    assert not verdict.exact
    assert any(said in problem for problem in verdict.problems), verdict.problems


def test_a_film_of_unlike_pieces_has_to_last(tmp_path: Path) -> None:
    """Where frames cannot be compared, the length is, to two frames."""
    film = write(tmp_path / "film.mp4", range(50), [440] * 50)
    assert check.lasts(film, Fraction(2)).problems == []
    assert check.lasts(film, Fraction("2.2")).problems
