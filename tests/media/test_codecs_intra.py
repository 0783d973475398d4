"""Cuts of codecs whose every frame stands alone: nothing is encoded, wherever the cut is."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

from tests import clips
from tests.media import looking
from tests.media.cutting import check, render

HELD = {"ffv1": "mkv"}  # the others are held by MOV


@pytest.mark.parametrize("name", clips.INTRA)
def test_every_frame_is_copied_at_any_place(name: str, folder: Path, tmp_path: Path) -> None:
    """Random cuts, and one to the very end, copy every frame and encode none."""
    clip = clips.make(clips.INTRA[name], folder)
    chance = random.Random(name)
    start = Fraction(chance.randrange(100, 900), 1000)
    for end in (start + Fraction(chance.randrange(100, 900), 1000), None):
        made = render([clip], tmp_path, {"start": str(start), **({"end": str(end)} if end else {})}, container=HELD.get(name, "mov"))
        asked = check(clip, made, start, end)
        assert (made.copied_frames, made.encoded_frames, made.warnings) == (len(asked), 0, ())


@pytest.mark.parametrize("name", ["prores", "ffv1"])
def test_matroska_says_how_long_the_last_frame_lasts(name: str, folder: Path, tmp_path: Path) -> None:
    """A copy into Matroska keeps the length of its last frame, which no packet there says."""
    clip = clips.make(clips.INTRA[name], folder)
    made = render([clip], tmp_path, {"start": "0.3", "end": "0.9"}, container="mkv")
    assert made.encoded_frames == 0
    length = next(stream.duration for stream in made.streams if stream.kind == "video")
    assert length is not None
    assert abs(length - Fraction(18, 30)) <= Fraction(1, 1000)


def test_segments_of_one_source_follow_each_other(folder: Path, tmp_path: Path) -> None:
    """Several segments in any order: all copied."""
    clip = clips.make(clips.INTRA["prores"], folder)
    made = render([clip], tmp_path, {"start": "20f", "end": "30f"}, {"start": "3f", "end": "7f"}, container="mov")
    shown = looking.frames(clip)
    assert [f.digest for f in looking.frames(made.path)] == [f.digest for f in (*shown[20:30], *shown[3:7])]
    assert made.encoded_frames == 0
