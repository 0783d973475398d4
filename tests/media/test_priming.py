"""Cuts in the middle of long groups of pictures: a few frames are encoded, and the rest of the group is copied under other headers."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from statistics import fmean

import pytest

from native.media import codecs, index, nal, pieces, source, splice
from native.media.h264 import priming
from native.media.h264.bits import Unsupported
from tests import clips
from tests.media import bits, gates, looking
from tests.media.cutting import check, render

FEW = 60  # frames encoded at most, of groups of 250


@pytest.mark.parametrize("name", clips.GROUPS)
def test_random_cuts_in_the_middle_of_groups(name: str, folder: Path, tmp_path: Path) -> None:
    """Whatever made the stream: exactly the frames asked for, a strict decode without a word, and few frames encoded."""
    clip = clips.make(clips.GROUPS[name], folder)
    chance = random.Random(name)
    duration = looking.frames(clip)[-1].time
    for _ in range(2):
        start = Fraction(chance.randrange(100, int(duration * 400)), 1000)
        end = start + Fraction(chance.randrange(1700, 2400), 1000)
        made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
        check(clip, made, start, min(end, duration))
        assert made.encoded_frames <= FEW
        assert made.primed_frames > 0
        assert made.warnings == ()


@pytest.mark.parametrize(("name", "most"), [("zero_latency", 2), ("veryfast", 8), ("baseline_five", 6), ("temporal", 14), ("slow", 32)])
def test_few_frames_are_encoded(name: str, most: int, folder: Path, tmp_path: Path) -> None:
    """As many as the source's references reach back, and the end of the last mini-GOP."""
    clip = clips.make(clips.GROUPS[name], folder)
    for start in ("0.7", "1.9", "3.3"):
        assert render([clip], tmp_path, {"start": start, "end": "5.31"}).encoded_frames <= most


def test_copied_slices_are_copied(folder: Path, tmp_path: Path) -> None:
    """The coded data behind the headers of a primed run are the source's own, picture for picture."""
    clip = clips.make(clips.H264["gop250"], folder)
    made = render([clip], tmp_path, {"start": "2.2", "end": "9.5"})
    counts = gates.interior([gates.Cut(clip, Fraction(11, 5), Fraction(19, 2))], made.path)
    assert (counts.copied, counts.primed, counts.encoded) == (made.copied_frames, made.primed_frames, made.encoded_frames)
    assert counts.primed > 150


@pytest.mark.parametrize("name", ["noisy", "refreshed", "weighted", "deep_422"])
def test_copied_pictures_are_as_good_as_the_frames_encoded_for_them(name: str, folder: Path, tmp_path: Path) -> None:
    """A primed run stays within a decibel of the encoded frames, or so near to the source (46 dB) that nobody sees a difference."""
    clip = clips.make(clips.GROUPS[name], folder)
    start = Fraction(61, 100)
    made = render([clip], tmp_path, {"start": str(start)})
    cut = gates.Cut(clip, start)
    found = gates.quality([cut], made.path, gates.frames([cut], made.path))
    kinds = [type(piece) for piece in planned(clip, start) for _ in range(piece.frames)]
    encoded = [q for q, kind in zip(found, kinds, strict=True) if issubclass(kind, pieces.Encode)]
    primed = [q for q, kind in zip(found, kinds, strict=True) if issubclass(kind, pieces.Primed)]
    assert min(encoded) > 36
    assert fmean(primed) >= min(fmean(encoded) - 1, 46)
    assert min(primed) >= min(min(encoded) - 1, 46)


def planned(clip: Path, start: Fraction) -> tuple[pieces.Piece, ...]:
    opened = splice.Source(index.of(source.FileSource(clip)))
    low = next(n for n, f in enumerate(looking.frames(clip)) if f.time >= start)
    return codecs.of("h264").pieces(opened, low, len(opened.order.times))


def test_only_true_starts_are_key_frames(folder: Path, tmp_path: Path) -> None:
    """A player may seek to IDR pictures only: a recovery point in a primed run refers to what it may not have."""
    clip = clips.make(clips.GROUPS["open_b"], folder)
    made = render([clip], tmp_path, {"start": "0.7", "end": "4.9"})
    track = index.of(source.FileSource(made.path)).video
    assert track is not None
    config = nal.config(track.extradata)
    assert config is not None
    file = source.FileSource(made.path)
    for key, offset, size in zip(track.keys, track.offsets or (), track.sizes, strict=True):
        assert bool(key) == (nal.IDR in nal.kinds(file.read(offset, size), config.width))


def test_no_bytes_of_the_encoder_are_left(folder: Path, tmp_path: Path) -> None:
    """One sequence set, the source's own, and no words of the encoder's in what was encoded here."""
    clip = clips.make(clips.H264["gop250"], folder)
    made = render([clip], tmp_path, {"start": "2.2", "end": "5"})
    assert {unit for packet in bits.packets(made.path) for unit in packet.units if unit[0] & 31 == nal.SEI} == set()


def test_what_priming_does_not_know_is_encoded_up_to_the_next_key_frame(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a source's references cannot be followed, the frames up to the next IDR are encoded, with the reason; the rest is copied."""

    def lost(*_: object) -> None:
        raise Unsupported("it uses long-term references")

    monkeypatch.setattr(priming, "find", lost)
    clip = clips.make(clips.H264["no_b"], folder)
    start, end = Fraction(7, 10), Fraction(9, 2)
    made = render([clip], tmp_path, {"start": str(start), "end": str(end)})
    check(clip, made, start, end)
    assert (made.primed_frames, made.encoded_frames) == (0, 19)
    assert made.copied_frames == made.frames - 19
    assert any("long-term" in warning for warning in made.warnings)
