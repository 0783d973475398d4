"""Cuts of interlaced H.264: frames are encoded up to the next clean key frame, in the source's own scan type, and the rest is copied."""

from __future__ import annotations

import random
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest

from native.media import index, nal, source
from native.media.h264 import sets
from tests import clips
from tests.media import looking
from tests.media.cutting import check, render

GROUP = "keyint=30:min-keyint=30:scenecut=0"
RECIPES = {
    recipe.name: recipe
    for recipe in (
        clips.Recipe("top_first", clips.x264(f"{GROUP}:tff=1"), filters="setfield=tff", seconds=4),
        clips.Recipe("top_first_no_b", clips.x264(f"{GROUP}:tff=1:bframes=0"), filters="setfield=tff", seconds=4),
        clips.Recipe("bottom_first", clips.x264(f"{GROUP}:bff=1:bframes=3"), filters="setfield=bff", seconds=4),
        clips.Recipe("bottom_first_cavlc", clips.x264(f"{GROUP}:bff=1:cabac=0:slices=2"), filters="setfield=bff", seconds=4),
        clips.Recipe("never_fields", clips.x264(f"{GROUP}:fake-interlaced=1"), seconds=4),
        clips.Recipe("never_fields_no_b", clips.x264(f"{GROUP}:fake-interlaced=1:bframes=0"), seconds=4, suffix=".mkv"),
        clips.Recipe("top_first_ts", clips.x264(f"{GROUP}:tff=1:bframes=3"), filters="setfield=tff", seconds=4, suffix=".ts"),
    )
}


def scans(path: Path) -> list[bool]:
    """Of each frame shown: is it interlaced?"""
    with av.open(str(path)) as container:
        return [bool(frame.interlaced_frame) for frame in container.decode(video=0)]


def sequence_sets(path: Path) -> set[bytes]:
    track = index.of(source.FileSource(path)).video
    assert track is not None
    config = nal.config(track.extradata)
    assert config is not None
    return set(config.sps)


@pytest.mark.parametrize("name", RECIPES)
def test_random_cuts(name: str, folder: Path, tmp_path: Path) -> None:
    """Exactly the frames asked for, each as interlaced as it was, and no more of them encoded than up to the next key frame."""
    clip = clips.make(RECIPES[name], folder)
    chance = random.Random(name)
    shown, were = looking.frames(clip), scans(clip)
    for _ in range(2):
        start = Fraction(chance.randrange(100, 1900), 1000)
        end = start + Fraction(chance.randrange(1500, 2000), 1000)
        made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
        asked = check(clip, made, start, end)
        assert made.copied_frames > 0
        assert made.primed_frames == 0
        first = next(n for n, f in enumerate(shown) if f.time >= start)
        assert made.encoded_frames <= -first % 30 + 8
        assert first % 30 == 0 or any("interlaced" in warning for warning in made.warnings)
        assert scans(made.path) == were[first : first + len(asked)]
        (kept,) = sequence_sets(made.path)
        if clip.suffix != ".ts":
            assert {kept} == sequence_sets(clip)
        assert not sets.read_sps(kept).frames_only


@pytest.mark.parametrize("name", ["top_first", "bottom_first"])
def test_the_order_of_the_fields_is_kept(name: str, folder: Path, tmp_path: Path) -> None:
    """The field order that a decoder tells of a frame, encoded or copied, is the source's."""
    clip = clips.make(RECIPES[name], folder)
    made = render([clip], tmp_path, {"start": "0.4", "end": "1.9"})
    assert made.encoded_frames > 0
    assert set(orders(made.path)) == set(orders(clip)) == {"T" if name == "top_first" else "B"}


def orders(path: Path) -> list[str]:
    """T or B for each frame: which of its fields comes first, as FFmpeg's showinfo filter says."""
    done = subprocess.run(
        [looking.FFMPEG, "-nostdin", "-i", str(path), "-an", "-vf", "showinfo", "-f", "null", "-"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return re.findall(r" i:([PTB]) ", done.stderr)
