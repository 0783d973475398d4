"""Random segment lists over clips of every kind, judged by gates that know nothing of the engine; and the gates find what is wrong."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native import errors
from tests import clips
from tests.media import gates, looking
from tests.media.cutting import render

SOURCES = [name for name in clips.H264 if name not in ("intra", "interlaced", "moov_last", "tagged", "gop30", "baseline")]
WORST = 35  # dB of any picture that is not the source's own


def judged(clip: Path, room: Path, spans: list[tuple[Fraction, Fraction]]) -> None:
    """Renders the segments and passes the result through every gate."""
    made = render([clip], room, *({"start": str(a), "end": str(b)} for a, b in spans))
    cuts = [gates.Cut(clip, a, b) for a, b in spans]
    same, counts = gates.exact(cuts, made.path)
    assert made.frames == len(same) == made.copied_frames + made.primed_frames + made.encoded_frames
    assert made.copied_frames <= min(counts.copied, sum(same))
    found = [q for q in gates.quality(cuts, made.path, same) if q < 100]
    assert min(found, default=100) >= WORST


@st.composite
def segments(draw: st.DrawFn, most: int) -> list[tuple[Fraction, Fraction]]:
    """Stretches in milliseconds, also of a frame or two, and also ones that overlap."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, 5000))
        found.append((Fraction(start, 1000), Fraction(start + draw(st.integers(60, 1500)), 1000)))
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_any_cut_passes_every_gate(name: str, folder: Path) -> None:
    """One stretch of a clip, wherever it begins and ends."""
    _any(clips.make(clips.H264[name], folder), 1, examples=2)


@pytest.mark.parametrize("name", ["gop250", "open_gop", "ntsc", "vfr"])
def test_any_list_of_segments_passes_every_gate(name: str, folder: Path) -> None:
    """Several stretches of a clip, one after the other, in any order."""
    _any(clips.make(clips.H264[name], folder), 3, examples=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", clips.H264)
def test_many_lists_of_segments_pass_every_gate(name: str, folder: Path) -> None:
    """The same, for longer."""
    _any(clips.make(clips.H264[name], folder), 4, examples=12)


def _any(clip: Path, most: int, *, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(spans=segments(most))
    def holds(spans: list[tuple[Fraction, Fraction]]) -> None:
        with tempfile.TemporaryDirectory() as room:
            try:
                judged(clip, Path(room), spans)
            except errors.Problem as problem:
                if problem.kind not in (errors.RANGE_EMPTY, errors.INVALID_RANGE):
                    raise

    holds()


@pytest.fixture
def good(folder: Path, tmp_path: Path) -> tuple[list[gates.Cut], Path]:
    """A cut, and the result of it."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "1.37", "end": "3.91"})
    return [gates.Cut(clip, Fraction(137, 100), Fraction(391, 100))], made.path


def test_the_gates_find_another_range(good: tuple[list[gates.Cut], Path]) -> None:
    """A frame too early, too late, too many or too few is found."""
    (cut,), output = good
    frame = Fraction(1, 30)
    for start, end in ((-frame, 0), (frame, 0), (0, -frame), (0, frame), (frame, frame)):
        other = gates.Cut(cut.source, cut.start + start, (cut.end or 0) + end)
        with pytest.raises(AssertionError):
            gates.frames([other], output)


def test_the_gates_find_a_shifted_picture_without_its_number(good: tuple[list[gates.Cut], Path]) -> None:
    """Even where no number is read off the picture, a frame is known by its looks."""
    (cut,), output = good
    shifted = gates.Cut(cut.source, cut.start + Fraction(1, 30), (cut.end or 0) + Fraction(1, 30), numbered=False)
    with pytest.raises(AssertionError, match="of the source, not"):
        gates.frames([shifted], output)


def test_the_gates_find_sound_that_is_off(good: tuple[list[gates.Cut], Path], tmp_path: Path) -> None:
    """Three milliseconds are heard by the gate."""
    cuts, output = good
    late = tmp_path / "late.mp4"
    clips.ffmpeg("-i", str(output), "-itsoffset", "0.003", "-i", str(output), "-map", "0:v", "-map", "1:a", "-c", "copy", str(late))
    assert gates.in_step(cuts, output)
    with pytest.raises(AssertionError, match="lags"):
        gates.in_step(cuts, late)


def test_the_gates_find_a_second_parameter_set(good: tuple[list[gates.Cut], Path], folder: Path, tmp_path: Path) -> None:
    """Sets among the samples, as in a stream that was joined carelessly."""
    _, output = good
    careless = tmp_path / "careless.mkv"
    other = clips.make(clips.H264["baseline"], folder)
    (tmp_path / "list").write_text(f"file '{output}'\nfile '{other}'\n")
    clips.ffmpeg("-f", "concat", "-safe", "0", "-i", str(tmp_path / "list"), "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb",
                 str(tmp_path / "careless.ts"))  # fmt: skip
    clips.ffmpeg("-i", str(tmp_path / "careless.ts"), "-c", "copy", str(careless))
    with pytest.raises(AssertionError, match="sequence parameter sets"):
        gates.one_parameter_set(careless)


def test_the_gates_find_a_frame_that_the_edit_list_hides(good: tuple[list[gates.Cut], Path], tmp_path: Path) -> None:
    """The last frame behind a short edit list, which other tools lose."""
    _, output = good
    data = bytearray(output.read_bytes())
    at = data.find(b"elst") + 12
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") * 9 // 10).to_bytes(4, "big")
    short = tmp_path / "short.mp4"
    short.write_bytes(data)
    with pytest.raises(AssertionError, match="hides"):
        gates.decoding_times(short)
    looking.strictly_decodes(short)
