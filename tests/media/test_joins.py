"""Sources of different encoders joined without encoding them: one sequence parameter set, and frames that are the sources' own."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from native.media import index, nal, source, splice
from native.media.h264 import sets, slices
from native.media.h264.footage import Footage
from native.media.index import Track
from native.media.made import Made
from native.media.pieces import NotCopyable
from tests import clips
from tests.media import looking
from tests.media.cutting import render, wanted

ALL = {**clips.H264, **clips.GROUPS}
PAIRS = [
    ("gop30", "slow"), ("slow", "gop30"), ("no_b", "many_references"), ("many_references", "baseline_five"), ("baseline", "pyramid"),
    ("cavlc_slices", "temporal"), ("sixteen_b", "no_b"), ("transport", "veryfast"), ("open_b", "main_slices"), ("weighted", "zero_latency"),
    ("matroska", "fragmented"), ("buffered", "gop30"), ("refreshed", "gop250"),
]  # fmt: skip
Segment = dict[str, object]


def joined(paths: list[Path], room: Path, *segments: Segment) -> tuple[Made, list[bool]]:
    """The output of the segments, and which of its frames are the source's own. Shown are exactly the frames asked for."""
    made = render(paths, room, *segments)
    asked = []
    for segment in segments:
        end = segment.get("end")
        shown = looking.frames(paths[int(str(segment.get("source", 0)))])
        asked += wanted(shown, Fraction(str(segment.get("start", 0))), None if end is None else Fraction(str(end)))
    got = looking.frames(made.path)
    assert [f.number for f in got] == [f.number for f in asked]
    looking.strictly_decodes(made.path)
    return made, [a.digest == b.digest for a, b in zip(asked, got, strict=True)]


def picture(path: Path) -> tuple[Track, nal.Config]:
    track = index.of(source.FileSource(path)).video
    assert track is not None
    config = nal.config(track.extradata)
    assert config is not None
    return track, config


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_whole_sources_of_different_encoders_are_joined_bit_for_bit(one: str, other: str, folder: Path, tmp_path: Path) -> None:
    """Nothing is encoded, all frames decode to the sources' own pixels, and the output has one sequence set and none in its samples."""
    paths = [clips.make(ALL[one], folder), clips.make(ALL[other], folder)]
    made, same = joined(paths, tmp_path, {"source": 0}, {"source": 1})
    assert all(same)
    assert (made.copied_frames, made.primed_frames, made.encoded_frames, made.warnings) == (made.frames, 0, 0, ())
    _, config = picture(made.path)
    assert len(config.sps) == 1
    assert not {u[0] & 31 for data in packets(made.path) for u in nal.prefixed(data, config.width)} & {nal.SPS, nal.PPS, nal.AUD}


def test_three_trimmed_sources_follow_each_other(folder: Path, tmp_path: Path) -> None:
    """Segments of three encoders, one of them twice: what is copied is bit-identical, and few frames are encoded."""
    paths = [clips.make(ALL[name], folder) for name in ("slow", "baseline_five", "transport")]
    made, same = joined(
        paths, tmp_path,
        {"source": 0, "start": "0.5", "end": "3.1"}, {"source": 1, "end": "2.2"}, {"source": 2, "start": "1.1", "end": "4.7"},
        {"source": 0, "start": "4", "end": "5"},
    )  # fmt: skip
    assert sum(same) >= made.copied_frames > 100
    assert made.primed_frames > 50
    assert made.encoded_frames < 80
    assert len(picture(made.path)[1].sps) == 1


def test_the_larger_source_is_not_touched(folder: Path, tmp_path: Path) -> None:
    """Where the sets allow it, what most is copied of keeps its packets byte for byte, whichever comes first."""
    large, small = clips.make(ALL["gop250"], folder), clips.make(ALL["no_b"], folder)
    for order in ((0, 1), (1, 0)):
        made, _ = joined([large, small], tmp_path, *({"source": n} for n in order))
        assert set(packets(large)) <= set(packets(made.path))


def test_sources_of_one_encoder_are_not_touched(folder: Path, tmp_path: Path) -> None:
    """Clips that share their sets are joined packet by packet."""
    one, other = clips.make(ALL["mono44"], folder), clips.make(ALL["silent"], folder)
    made, same = joined([one, other], tmp_path, {"source": 0}, {"source": 1})
    assert all(same)
    assert set(packets(made.path)) <= {*packets(one), *packets(other)}


def test_neighbouring_idr_pictures_have_different_numbers(folder: Path, tmp_path: Path) -> None:
    """Two IDR pictures in a row differ in their idr_pic_id, also where sources meet."""
    one = clips.make(ALL["intra"], folder)
    segments = [{"source": 0, "start": f"0.{n}", "end": f"0.{n}7"} for n in (3, 5, 8, 2, 2)]
    made, same = joined([one], tmp_path, *segments)
    assert all(same)
    _, config = picture(made.path)
    known = sets.read([*config.sps, *config.pps])
    numbers = []
    for data in packets(made.path):
        unit = next(u for u in nal.prefixed(data, config.width) if u[0] & 31 in (1, 5))
        numbers.append(slices.read(unit, known).idr_pic_id if unit[0] & 31 == nal.IDR else None)
    assert all(a != b for a, b in pairwise(numbers) if a is not None)


def test_sets_that_are_only_in_the_stream_are_found_there(folder: Path) -> None:
    """A source whose header has no parameter sets is read by those in its packets."""
    opened = splice.Source(index.of(source.FileSource(clips.make(ALL["transport"], folder))))
    usual = Footage(opened)
    assert opened.track is not None
    opened.track.extradata = b""
    assert (Footage(opened).sets, Footage(opened).width) == (usual.sets, 0)


def test_sets_that_change_on_the_way_end_the_copy(folder: Path) -> None:
    """A packet that repeats its source's sets is copied; one that brings another encoder's is not, and says so."""
    footage = Footage(splice.Source(index.of(source.FileSource(clips.make(ALL["transport"], folder)))))
    other = Footage(splice.Source(index.of(source.FileSource(clips.make(ALL["no_b"], folder)))))
    sample = next(footage.samples(0, 1))
    foreign = b"".join(b"\0\0\0\1" + unit for unit in other.units)
    assert footage.units_of(sample.data)
    with pytest.raises(NotCopyable, match="change on the way"):
        footage.units_of(foreign + sample.data)
    with pytest.raises(NotCopyable, match="damaged"):
        footage.units_of(foreign)
