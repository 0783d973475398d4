"""What a browser shows of our outputs: every frame that was asked for, once, in order, the last one too."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests import clips
from tests.media import chromium, looking
from tests.media.cutting import render

pytestmark = pytest.mark.skipif(chromium.found() is None, reason="no Chromium on this machine (Debian's package is called chromium)")

# of every way of cutting: primed from a closed and from an open group, copied and encoded, and the codecs of the web
SAMPLE = {
    "gop250": ("1.37", "3.91"), "gop30": ("1.37", "3.91"), "open_gop": ("1.37", "3.91"), "pyramid": ("0.77", "3.3"), "no_b": ("1.1", "3"),
    "vfr": ("1.37", "3.91"), "ntsc": ("3.5", None), "vp9": ("0.7", "2.6"),
}  # fmt: skip


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[chromium.Browser, Path]]:
    folder = tmp_path_factory.mktemp("theatre")
    with chromium.opened(folder) as browser:
        yield browser, folder


@pytest.mark.parametrize("name", SAMPLE)
def test_a_browser_shows_every_frame(name: str, folder: Path, theatre: tuple[chromium.Browser, Path], tmp_path: Path) -> None:
    """Jumps to every frame show that frame, both seams included; played, it never goes back and ends with the last frame."""
    browser, stage = theatre
    start, end = SAMPLE[name]
    clip = clips.make({**clips.H264, **clips.OTHERS}[name], folder)
    segment = {"start": start} | ({"end": end} if end else {})
    made = render([clip], tmp_path, segment, container="webm" if clip.suffix == ".webm" else "mp4")
    film = f"{name}{made.path.suffix}"
    shutil.copy(made.path, stage / film)
    asked = [f for f in looking.frames(clip) if f.time >= Fraction(start) and (end is None or f.time < Fraction(end))]
    got = looking.frames(made.path)
    between = [float((a.time + b.time) / 2) for a, b in pairwise(got)] + [float(got[-1].time) + 0.004]
    jumped = browser.each(film, between)
    assert jumped.seen == [f.number for f in asked]
    assert jumped.duration == pytest.approx(float(made.duration), abs=0.03)
    played = browser.play(film)
    assert played.seen == sorted(played.seen)
    assert (played.seen[0], played.seen[-1]) == (asked[0].number, asked[-1].number)


def test_a_browser_shows_a_merge_across_its_joins(folder: Path, theatre: tuple[chromium.Browser, Path], tmp_path: Path) -> None:
    """Segments of encoders with other settings, under one parameter set: the frames of both, in order."""
    browser, stage = theatre
    paths = [clips.make(clips.H264[name], folder) for name in ("open_gop", "no_b")]
    made = render(paths, tmp_path, {"source": 0, "start": "1.2", "end": "2.4"}, {"source": 1, "start": "3.1", "end": "4"})
    shutil.copy(made.path, stage / "merge.mp4")
    got = looking.frames(made.path)
    times = [float(f.time) + 0.012 for f in got]
    assert browser.each("merge.mp4", times).seen == [*range(36, 72), *range(93, 120)] == [f.number for f in got]
