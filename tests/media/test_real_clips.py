"""Real clips of cameras, phones, browsers and films, from the folder that NVE_MEDIA names. They are not part of the repository."""

from __future__ import annotations

import os
import random
import time
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from native import errors
from native.media import edit, engine, index, source, verify
from tests.media import looking

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("NVE_MEDIA") or ROOT.parent / "shared" / "media")
CLIPS = sorted(p for p in FOLDER.glob("*/*") if p.is_file()) if FOLDER.is_dir() else []
BROKEN = [p for p in CLIPS if "broken" in p.parent.name]
SOUND = [p for p in CLIPS if p not in BROKEN]
# Of these the other codecs' clips, which are decoded and encoded, only a few: they cost seconds each.
COSTLY = ("hevc", "hdr", "av1", "prores", "phone")
LONG = "androidx__long_1080p_lowbitrate.mp4"  # six minutes, to decode as a whole for comparison
SAMPLE = [p for p in SOUND if p.name != LONG and not any(word in p.parent.name for word in COSTLY)] + [
    p for p in SOUND if p.name in ("torchcodec__h265_video.mp4", "androidx__sample_av1.mp4", "fmtcorpus__apple-prores-422-hq.mov",
                                   "fluentffmpeg__IMG_0034.MOV", "androidx__sample_rotate_and_reflect.mp4")
]  # fmt: skip
# What takes longest to decode and to encode for a comparison: with --all only. A clip of each of their containers and codecs stays.
LENGTHY = {"mediabunny__annex-b-avc.mkv", "androidx__bbb_2500ms.ts", "autoeditor__example.mp4", "mdn__flower.mp4",
           "androidx__sample_fragmented_seekable_multiple_sidx.mp4", "androidx__edit_list_positive_shift.mp4",
           "mdn__tears-of-steel-battle-clip-medium.webm", "androidx__sample.mkv", "intel__bottle-detection.mp4", "intel__car-detection.mp4",
           "intel__one-by-one-person-detection.mp4"}  # fmt: skip
# Where libavformat's own times differ from frame to frame of what it decodes, there is nothing to compare with.
UNCOMPARABLE = {"deeplabcut__vid.avi", "androidx__roadtrip-vp92-10bit.webm", "androidx__sample_with_pgs_subtitles.mkv"}

pytestmark = pytest.mark.skipif(not CLIPS, reason=f"no real clips: {FOLDER} is not there (NVE_MEDIA names the folder)")


def cuts(path: Path, duration: Fraction) -> list[tuple[Fraction, Fraction | None]]:
    """One cut somewhere in the middle and one to the very end, the same in every run."""
    chance = random.Random(zlib.crc32(path.name.encode()))
    start = Fraction(chance.randrange(0, max(1, int(duration * 600))), 1000)
    end = min(start + Fraction(chance.randrange(200, 1800), 1000), duration)
    return [(start, end), (max(Fraction(0), duration - Fraction(3, 2)).limit_denominator(1000), None)]


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name, marks=[pytest.mark.slow] * (p.name in LENGTHY)) for p in SAMPLE])
def test_a_cut_of_a_real_clip_is_exact_or_refused(path: Path, tmp_path: Path) -> None:
    """The frames of a cut are those that a decode of the whole clip shows in the range: as many, at the same times, copies identical."""
    file = source.FileSource(path)
    info = index.of(file).media
    shown: list[looking.Frame] = []
    for start, end in cuts(path, info.duration):
        segment = {"start": str(start), **({"end": str(end)} if end is not None else {})}
        asked = edit.Edit.model_validate({"segments": [segment]})
        try:
            made = engine.render(asked, [file], tmp_path, lambda *_: None)
        except errors.Problem as problem:
            if problem.kind in (errors.RANGE_EMPTY, errors.INVALID_RANGE):
                continue
            raise
        verify.verify(made, asked)
        if info.video is None or path.name in UNCOMPARABLE:
            continue
        shown = shown or looking.frames(path, numbered=False)
        expected = [f for f in shown if f.time >= start and (end is None or f.time < end)]
        got = looking.frames(made.path, numbered=False)
        assert len(got) == len(expected) == made.frames
        assert sum(a.digest == b.digest for a, b in zip(expected, got, strict=True)) >= made.copied_frames
        for a, b in zip(expected, got, strict=True):
            assert abs((b.time - got[0].time) - (a.time - expected[0].time)) <= Fraction(2, 1000)
        looking.strictly_decodes(made.path)


@pytest.mark.parametrize("path", BROKEN, ids=lambda p: p.name)
def test_a_broken_clip_is_never_a_wrong_success(path: Path, tmp_path: Path) -> None:
    """Broken and hostile clips give a problem of the source's, or a result whose every frame decodes strictly; within seconds."""
    began = time.monotonic()
    for segment in ({}, {"start": "0.4", "end": "0.9"}):
        asked = edit.Edit.model_validate({"segments": [segment]})
        try:
            made = engine.render(asked, [source.FileSource(path)], tmp_path, lambda *_: None)
        except errors.Problem as problem:
            if problem.code.startswith(("source_", "codec_", "range_")):
                continue
            raise
        verify.verify(made, asked)
        looking.strictly_decodes(made.path)
        assert len(looking.frames(made.path, numbered=False)) == made.frames
    assert time.monotonic() - began < 30  # two renders of a clip of at most 5 s, on a busy machine


def test_time_0_is_where_the_edit_can_be_shown_from(tmp_path: Path) -> None:
    """An edit list that begins before the first key frame: a cut from 0 has the frames that a player shows from 0, not those before."""
    path = FOLDER / "04_phone_rotation_vfr" / "androidx__sample_edit_list_no_sync_frame_before_edit.mp4"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    asked = edit.Edit.model_validate({"segments": [{"start": "0", "end": "0.5"}]})
    made = engine.render(asked, [source.FileSource(path)], tmp_path, lambda *_: None)
    verify.verify(made, asked)
    assert next(s.rotation for s in made.streams if s.kind == "video") == 90  # as only its tables say
    expected, got = _lumas(path, 0.5), _lumas(made.path, 9)
    assert [time for time, _ in got] == [time for time, _ in expected]
    assert len(got) == made.frames == 15
    for n, (_, luma) in enumerate(got):
        apart = [np.mean((luma - other) ** 2) for _, other in expected]
        assert apart[n] == min(apart)  # its own frame, none of its neighbours
        assert apart[n] < 20  # 35 dB


def _lumas(path: Path, end: float) -> list[tuple[float, np.ndarray]]:
    """(time, every fourth pixel of every fourth line in eight bits) of the frames shown from 0 until `end` seconds."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            if frame.time >= end:
                break
            if frame.time >= 0:
                found.append((round(frame.time, 3), frame.to_ndarray(format="gray")[::4, ::4].astype(float)))
    return found
