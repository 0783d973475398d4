"""Exact cuts of VP9, AV1 and MPEG-2: copied from the next clean start on, encoded in the same codec before it."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

from tests import clips
from tests.media import looking
from tests.media.cutting import check, render


@pytest.mark.parametrize("name", sorted(set(clips.RUNS) - {"vp9_deep"}))
def test_cuts_copy_from_the_next_key_frame_on(name: str, folder: Path, tmp_path: Path) -> None:
    """Random cuts, one to the very end, are exact, encode less than a group and a mini-GOP, and stay in their codec."""
    clip = clips.make(clips.RUNS[name], folder)
    container = "webm" if clip.suffix == ".webm" else "mp4"
    chance = random.Random(name)
    start = Fraction(chance.randrange(50, 800), 1000)
    for end in (start + Fraction(chance.randrange(1500, 1900), 1000), None):
        made = render([clip], tmp_path, {"start": str(start), **({"end": str(end)} if end else {})}, container=container)
        check(clip, made, start, end)
        assert made.copied_frames > 0, made.warnings
        assert made.encoded_frames <= 34


@pytest.mark.parametrize("name", ["vp9_mp4", "av1_run", "mpeg2_open"])
def test_segments_of_one_source_are_cut_alike(name: str, folder: Path, tmp_path: Path) -> None:
    """Several segments, out of order, each exact, and mostly copied."""
    clip = clips.make(clips.RUNS[name], folder)
    made = render([clip], tmp_path, {"start": "40f", "end": "85f"}, {"start": "3f", "end": "70f"})
    assert [f.number for f in looking.frames(made.path)] == [*range(40, 85), *range(3, 70)]
    assert made.copied_frames > made.encoded_frames
    looking.strictly_decodes(made.path)


def test_ten_bits_of_vp9_keep_their_depth_in_webm(folder: Path, tmp_path: Path) -> None:
    """What cannot be encoded in the source's codec is encoded once, in one that has its depth, with the reason."""
    clip = clips.make(clips.RUNS["vp9_deep"], folder)
    made = render([clip], tmp_path, {"start": "0.3", "end": "1.6"}, container="webm")
    check(clip, made, Fraction(3, 10), Fraction(8, 5))
    video = next(stream for stream in made.streams if stream.kind == "video")
    assert (video.codec, video.pixel_format) == ("av1", "yuv420p10le")
    assert any("encoded anew" in warning for warning in made.warnings)
