"""Exact cuts of HEVC: what is copied, what stays of the picture's description, and that one header serves all sets."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import pytest

from native.media import index, nal, source
from native.media.hevc import record, sets, slices
from native.media.index import Track
from tests import clips
from tests.media import looking
from tests.media.cutting import check, render


def _track(path: Path) -> tuple[source.FileSource, Track]:
    file = source.FileSource(path)
    track = index.of(file).video
    assert track is not None
    return file, track


def _pictures(path: Path) -> list[list[bytes]]:
    """The units of every packet of a file whose packets lie at known places."""
    file, track = _track(path)
    width = (track.extradata[21] & 3) + 1
    return [nal.prefixed(file.read(at, size), width) for at, size in zip(track.offsets or (), track.sizes, strict=True)]


@pytest.mark.parametrize("name", clips.HEVC)
def test_cuts_copy_from_the_next_intra_picture_on(name: str, folder: Path, tmp_path: Path) -> None:
    """Random cuts are exact and copy all but the head up to the next intra picture and an incomplete mini-GOP at the tail."""
    clip = clips.make(clips.HEVC[name], folder)
    chance, longest = random.Random(name), 30 + 8 + 8  # a GOP, its leading pictures, a mini-GOP
    start = Fraction(chance.randrange(50, 900), 1000)
    for end in (start + Fraction(chance.randrange(1500, 1900), 1000), None):
        made = render([clip], tmp_path, {"start": str(start), **({"end": str(end)} if end else {})})
        check(clip, made, start, end)
        assert made.copied_frames > 0
        assert made.encoded_frames <= longest
        assert made.warnings == ()


@pytest.mark.parametrize("name", ["hevc_open", "hevc_hdr10"])
def test_a_cut_inside_one_group_encodes_it(name: str, folder: Path, tmp_path: Path) -> None:
    """A cut without an intra picture in it is encoded in HEVC, exactly."""
    clip = clips.make(clips.HEVC[name], folder)
    made = render([clip], tmp_path, {"start": "0.9", "end": "1.4"})
    check(clip, made, Fraction(9, 10), Fraction(7, 5))
    assert made.copied_frames == 0
    assert next(s.codec for s in made.streams if s.kind == "video") == "hevc"


@pytest.mark.parametrize("name", ["hevc_open", "hevc_transport", "hevc_slices"])
def test_all_sets_are_in_the_header_and_none_in_the_packets(name: str, folder: Path, tmp_path: Path) -> None:
    """The output is `hvc1`: the source's sets unchanged, the encoder's under ids of their own, and every slice points at one of them."""
    made = render([clips.make(clips.HEVC[name], folder)], tmp_path, {"start": "0.3", "end": "2.6"})
    assert made.copied_frames
    assert made.encoded_frames
    _, track = _track(made.path)
    assert track.stream.tag == "hvc1"
    header = record.parse(track.extradata)
    assert header is not None
    for kind, ids in (
        (sets.VPS, [unit[2] >> 4 for unit in header.of(sets.VPS)]),
        (sets.SPS, [sets.sps(unit).id for unit in header.of(sets.SPS)]),
        (sets.PPS, [sets.pps(unit).id for unit in header.of(sets.PPS)]),
    ):
        assert len(ids) == len(set(ids)) == 2, kind
    units = [unit for packet in _pictures(made.path) for unit in packet]
    assert not {sets.kind(unit) for unit in units} & {sets.VPS, sets.SPS, sets.PPS, sets.AUD}


def test_an_open_start_becomes_a_clean_one(folder: Path, tmp_path: Path) -> None:
    """The first copied picture after encoded ones is a BLA without leading pictures; all others are the source's own bits."""
    clip = clips.make(clips.HEVC["hevc_open"], folder)
    made = render([clip], tmp_path, {"start": "0.5", "end": "2.9"})
    before = {b"".join(packet[-1:]) for packet in _pictures(clip)}
    after = _pictures(made.path)
    links = [n for n, packet in enumerate(after) if sets.kind(packet[-1]) == slices.BLA]
    assert len(links) == 1
    copied = [packet[-1] for packet in after if packet[-1] in before]
    assert len(copied) == made.copied_frames - 1
    restored = bytes((after[links[0]][-1][0] & 0x81 | slices.CRA << 1,)) + after[links[0]][-1][1:]
    assert restored in before


def test_the_picture_is_described_as_in_the_source(folder: Path, tmp_path: Path) -> None:
    """Colours, mastering display, light level and chroma location of the encoded frames are the source's."""
    clip = clips.make(clips.HEVC["hevc_hdr10"], folder)
    made = render([clip], tmp_path, {"start": "0.2", "end": "2.6"})
    assert made.encoded_frames
    described = []
    for path in (clip, made.path):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            data = {side.type.name: bytes(side) for side in frame.side_data}
            described.append((frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range, frame.format.name,
                              data["MASTERING_DISPLAY_METADATA"], data["CONTENT_LIGHT_LEVEL"]))  # fmt: skip
    assert described[0] == described[1]
    made = render([clips.make(clips.HEVC["hevc_422"], folder)], tmp_path, {"start": "0.2", "end": "2.6"})
    header = record.parse(_track(made.path)[1].extradata)
    assert header is not None
    assert [sets.sps(unit).vui.chroma_location for unit in header.of(sets.SPS)] == [2, 2]


def test_encoded_frames_are_no_worse_than_the_source_is_coded(folder: Path, tmp_path: Path) -> None:
    """Frames at a cut follow the source's own quantiser: at least 38 dB from a source that is coded at about that."""
    clip = clips.make(clips.HEVC["hevc_open"], folder)
    made = render([clip], tmp_path, {"start": "0.5", "end": "1.9"})
    shown = [f for f in looking.frames(clip) if Fraction(1, 2) <= f.time < Fraction(19, 10)]
    places = {n for n, (a, b) in enumerate(zip(shown, looking.frames(made.path), strict=True)) if a.digest != b.digest}
    first = looking.frames(clip).index(shown[0])
    theirs, mine = looking.lumas(clip, {first + n for n in places}), looking.lumas(made.path, places)
    assert places
    worst = max(float(((mine[n].astype(float) - theirs[first + n].astype(float)) ** 2).mean()) for n in places)
    assert worst < 255**2 / 10**3.8


def test_two_encoders_pictures_follow_each_other_untouched(folder: Path, tmp_path: Path) -> None:
    """Sources with different sets are joined without encoding a frame: the second's slices only point at other ids."""
    one, other = (clips.make(clips.HEVC[name], folder) for name in ("hevc_closed", "hevc_slices"))
    made = render([one, other], tmp_path, {"source": 0}, {"source": 1})
    assert made.encoded_frames == 0
    shown = [*looking.frames(one), *looking.frames(other)]
    assert [f.digest for f in looking.frames(made.path)] == [f.digest for f in shown]
    looking.strictly_decodes(made.path)


def test_segments_of_one_source_are_cut_alike(folder: Path, tmp_path: Path) -> None:
    """Several segments, out of order, each exact, and their intra parts copied."""
    clip = clips.make(clips.HEVC["hevc_open"], folder)
    made = render([clip], tmp_path, {"start": "40f", "end": "85f"}, {"start": "3f", "end": "70f"})
    assert [f.number for f in looking.frames(made.path)] == [*range(40, 85), *range(3, 70)]
    assert made.copied_frames > made.encoded_frames
    looking.strictly_decodes(made.path)
