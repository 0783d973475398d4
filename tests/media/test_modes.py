"""Several segments, the other modes and containers, and sound that has to be laid end to end."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests import clips
from tests.media import looking
from tests.media.cutting import check, render, wanted


def numbers(path: Path) -> list[int]:
    return [f.number for f in looking.frames(path)]


def test_segments_follow_each_other_without_losing_a_frame(folder: Path, tmp_path: Path) -> None:
    """Four ranges of one source, one of them twice and out of order, become exactly their frames one after the other, evenly spaced."""
    clip = clips.make(clips.H264["pyramid"], folder)
    ranges = [("0.5", "2.1"), ("3", "4.05"), ("0.5", "1.2"), ("5", "5.9")]
    made = render([clip], tmp_path, *({"start": a, "end": b} for a, b in ranges))
    shown = looking.frames(clip)
    expected = [f for a, b in ranges for f in wanted(shown, Fraction(a), Fraction(b))]
    got = looking.frames(made.path)
    assert [f.number for f in got] == [f.number for f in expected]
    assert {b.time - a.time for a, b in pairwise(got)} == {Fraction(1, 30)}
    assert sum(a.digest == b.digest for a, b in zip(expected, got, strict=True)) >= made.copied_frames > 0
    looking.strictly_decodes(made.path)


def test_sound_does_not_drift_over_many_joins(folder: Path, tmp_path: Path) -> None:
    """After twelve joins the sound still lies within a millisecond of its picture."""
    clip = clips.make(clips.H264["ntsc"], folder)
    starts = [Fraction(n, 10) * 4 for n in range(12)]
    made = render([clip], tmp_path, *({"start": str(s), "end": str(s + Fraction(1, 3))} for s in starts))
    shown, at = looking.frames(clip), Fraction(0)
    for n, start in enumerate(starts):
        part = wanted(shown, start, start + Fraction(1, 3))
        if n in (0, 5, 11):
            assert abs(looking.lag(clip, made.path, part[0].time - at, at + Fraction(1, 10))) <= 48
        at += len(part) * Fraction(1001, 30000)


def test_joins_do_not_click(folder: Path, tmp_path: Path) -> None:
    """Where two sounds meet, no step between neighbouring samples is larger than the sounds' own."""
    clip = clips.make(clips.Recipe("tone", clips.x264("keyint=30:scenecut=0"), channels=1, sample_rate=48000), folder)
    quiet = [(Fraction(61, 100), Fraction(97, 100)), (Fraction(261, 100), Fraction(297, 100))]  # between the clicks
    made = render([clip], tmp_path, *({"start": str(a), "end": str(b)} for a, b in quiet))
    first, rate, sound = looking.samples(made.path)
    first_part = len(wanted(looking.frames(clip), *quiet[0]))
    join = round((Fraction(first_part, 30) - first) * rate)
    near = sound[join - 480 : join + 480]
    assert max(abs(a - b) for a, b in pairwise(near)) < 0.05


def test_sources_from_one_encoder_are_joined_by_copying(folder: Path, tmp_path: Path) -> None:
    """Two files with the same settings are merged without encoding a frame; the pictures are bit-identical."""
    one = clips.make(clips.H264["gop30"], folder)
    other = clips.make(clips.Recipe("gop30b", clips.H264["gop30"].video, seconds=3), folder)
    made = render([one, other], tmp_path, {"source": 0}, {"source": 1})
    assert made.encoded_frames == 0
    assert [f.digest for f in looking.frames(made.path)] == [f.digest for p in (one, other) for f in looking.frames(p)]
    looking.strictly_decodes(made.path)


def test_sources_of_one_shape_by_different_encoders_are_copied_together(folder: Path, tmp_path: Path) -> None:
    """Same size and rate but other encoder settings: both are copied, and every frame is there."""
    one, other = clips.make(clips.H264["no_b"], folder), clips.make(clips.H264["pyramid"], folder)
    made = render([one, other], tmp_path, {"source": 0, "end": "1"}, {"source": 1, "start": "2", "end": "3"})
    assert numbers(made.path) == [*range(30), *range(60, 90)]
    assert made.warnings == ()
    assert made.copied_frames >= 30


def test_sources_of_different_shapes_are_conformed(folder: Path, tmp_path: Path) -> None:
    """Sources whose pictures differ are brought to one form, and the difference is named."""
    one, other = clips.make(clips.H264["gop30"], folder), clips.make(clips.H264["film50"], folder)
    made = render([one, other], tmp_path, {"source": 0, "end": "1"}, {"source": 1, "end": "1"})
    assert made.frames == 100
    assert made.warnings[0] == "Clip 1 (352x192 at 30 frames/s) was conformed to 352x192 at 50 frames/s."


def test_a_silent_source_among_others_is_silence(folder: Path, tmp_path: Path) -> None:
    """A source without sound leaves a silent stretch of its own length."""
    one, other = clips.make(clips.H264["gop30"], folder), clips.make(clips.H264["silent"], folder)
    made = render(
        [one, other], tmp_path, {"source": 0, "end": "1"}, {"source": 1, "end": "1"}, {"source": 0, "start": "1", "end": "2"}, mode="encode"
    )
    first, rate, sound = looking.samples(made.path)
    middle = sound[round((Fraction(11, 10) - first) * rate) : round((Fraction(19, 10) - first) * rate)]
    assert max(map(abs, middle)) < 0.001
    assert abs(len(sound) / rate - 3) < 0.03
    assert max(map(abs, sound[: rate // 2])) > 0.1


@pytest.mark.parametrize("name", ["gop250", "pyramid", "open_gop", "mono44"])
def test_instant_copies_everything_and_hides_the_lead_in(name: str, folder: Path, tmp_path: Path) -> None:
    """Instant mode encodes nothing and yet shows exactly the frames asked for."""
    clip = clips.make(clips.H264[name], folder)
    start, end = Fraction(23, 10), Fraction(411, 100)
    made = render([clip], tmp_path, {"start": str(start), "end": str(end)}, mode="instant")
    asked = wanted(looking.frames(clip), start, end)
    got = looking.frames(made.path)
    assert made.encoded_frames == 0
    assert [(f.number, f.digest) for f in got] == [(f.number, f.digest) for f in asked]
    assert abs(looking.lag(clip, made.path, asked[0].time, Fraction(1, 2))) <= 48


def test_keyframe_mode_says_where_it_cut(folder: Path, tmp_path: Path) -> None:
    """Keyframe mode copies from the key frame before to the next place where copying can stop, and names both."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "2.3", "end": "4.15"}, mode="keyframe")
    got = numbers(made.path)
    assert made.encoded_frames == 0
    assert got[0] == 60
    assert got == list(range(60, got[-1] + 1))
    assert got[-1] >= 124
    assert f"from 2.000 s to {(got[-1] + 1) / 30:.3f} s" in made.warnings[0]


def test_encode_mode_encodes_everything(folder: Path, tmp_path: Path) -> None:
    """Encode mode copies no frame and shows exactly those asked for."""
    clip = clips.make(clips.H264["vfr"], folder)
    made = render([clip], tmp_path, {"start": "1.3", "end": "3.1"}, mode="encode")
    check(clip, made, Fraction(13, 10), Fraction(31, 10))
    assert made.copied_frames == 0


@pytest.mark.parametrize("container", ["mov", "mkv"])
def test_other_containers_are_exact_as_well(container: str, folder: Path, tmp_path: Path) -> None:
    """MOV and Matroska outputs show the same frames; MP4's way of hiding sound before the start is not needed there."""
    clip = clips.make(clips.H264["pyramid"], folder)
    made = render([clip], tmp_path, {"start": "1.3", "end": "4.4"}, container=container)
    check(clip, made, Fraction(13, 10), Fraction(44, 10))
    assert made.copied_frames > 0


def test_webm_is_encoded_and_keeps_the_frames(folder: Path, tmp_path: Path) -> None:
    """H.264 into WebM is one encode to VP9 and Opus with every frame in its place."""
    clip = clips.make(clips.H264["gop30"], folder)
    made = render([clip], tmp_path, {"start": "1.3", "end": "2"}, container="webm")
    assert numbers(made.path) == list(range(39, 60))
    assert {s.codec for s in made.streams} == {"vp9", "opus"}


def test_every_frame_of_an_intra_only_source_is_copied(folder: Path, tmp_path: Path) -> None:
    """ProRes into MOV is cut at any frame without encoding one."""
    clip = clips.make(clips.OTHERS["prores"], folder)
    made = render([clip], tmp_path, {"start": "0.51", "end": "1.3"}, container="mov")
    assert made.encoded_frames == 0
    check(clip, made, Fraction(51, 100), Fraction(13, 10))


def test_sound_alone_is_cut_too(folder: Path, tmp_path: Path) -> None:
    """A file without a picture is cut to the sample."""
    clip = clips.sound_only(folder)
    made = render([clip], tmp_path, {"start": "1.25", "end": "3"})
    assert (made.frames, made.warnings) == (0, ())
    assert abs(made.duration - Fraction(7, 4)) < Fraction(1, 20)
    assert abs(looking.lag(clip, made.path, Fraction(5, 4), Fraction(1, 2))) <= 48


def test_sound_alone_is_heard_over_black(folder: Path, tmp_path: Path) -> None:
    """A source without a picture among others is shown as black."""
    made = render(
        [clips.make(clips.H264["gop30"], folder), clips.sound_only(folder)], tmp_path, {"source": 0, "end": "1"}, {"source": 1, "end": "1"}
    )
    assert made.frames == 60
    assert made.duration == 2
    assert "Clip 2 (no picture) was given a black one." in made.warnings
