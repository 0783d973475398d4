"""Streams written under another sequence set decode to the very same frames."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.media.h264 import sets, slices, target
from native.media.h264.bits import Unsupported
from native.media.h264.numbering import Numbering
from native.media.h264.sets import Sps
from native.media.h264.stream import SEI, Stream
from tests.unit.media import x264
from tests.unit.media.test_h264_buffer import FRAMES_ONLY, followed


def sequence(kind: str) -> Sps:
    return next(sets.read_sps(u) for u in x264.units(kind) if u[0] & 31 == sets.SPS)


def rewritten(kind: str, stream: Stream) -> list[list[bytes]]:
    """The pictures of a stream under another set."""
    known = sets.read(x264.units(kind))
    step = 2 if next(iter(known.sps.values())).poc_type > stream.target.poc_type else 1
    return [
        stream.write(units, picture, known, top=picture.top * step, keep={kept.name for kept in picture.kept}, reference=picture.reference)
        for (_, units), picture in zip(x264.packets(kind), followed(kind), strict=True)
    ]


@pytest.mark.parametrize("kind", FRAMES_ONLY)
def test_a_whole_stream_under_a_wider_set_shows_the_same(kind: str) -> None:
    """Other widths, another type of order counts, other ids, more references: the decoded frames are bit-identical."""
    own = sequence(kind)
    wide = replace(own, frame_num_bits=12, poc_type=0, poc_bits=14, references=16, level=51, id=3)
    stream = Stream(target.choose([own, wide]), [])
    written = rewritten(kind, stream)
    written[0][:0] = [sets.write_sps(stream.target), *map(sets.write_pps, stream.pps)]
    before = x264.decoded([list(units) for _, units in x264.packets(kind)])
    assert len(before) == x264.FRAMES
    assert x264.decoded(written) == before


@pytest.mark.parametrize(("one", "other"), [("plain", "pyramid"), ("many_references", "baseline"), ("baseline", "slices"), ("open", "hrd")])
def test_two_streams_under_one_set_show_the_same(one: str, other: str) -> None:
    """Streams of different encoders, one behind the other under one sequence set, decode to the frames of both."""
    chosen = target.choose([sequence(one), sequence(other)])
    stream = Stream(chosen, [])
    written = rewritten(one, stream) + rewritten(other, stream)
    written[0][:0] = [sets.write_sps(chosen), *map(sets.write_pps, stream.pps)]
    before = [frame for kind in (one, other) for frame in x264.decoded([list(units) for _, units in x264.packets(kind)])]
    assert x264.decoded(written) == before
    assert not any(u[0] & 31 in (sets.SPS, sets.PPS) for picture in written[1:] for u in picture)


def test_picture_sets_that_are_alike_are_one() -> None:
    """An adopted set takes a free id, and one that is there already is not added again."""
    p = next(sets.read_pps(u) for u in x264.units("plain") if u[0] & 31 == sets.PPS)
    s = sequence("plain")
    stream = Stream(s, [replace(p, id=n, qp=0, body=p.body + "0" * n) for n in (0, 1, 3)])
    assert stream.adopt(replace(p, id=9), s).id == 0
    assert stream.adopt(replace(p, body=p.body + "11"), s).id == 2
    assert [q.id for q in stream.pps] == [0, 1, 3, 2]


def test_messages_about_another_clock_are_left_out() -> None:
    """Timing that only makes sense with its own sequence set goes; what encoders and captions say stays."""
    s = sequence("hrd")
    stream = Stream(replace(s, vui=None), [])
    before = {u[1] for u in x264.units("hrd") if u[0] & 31 == SEI}
    after = {u[1] for picture in rewritten("hrd", stream) for u in picture if u[0] & 31 == SEI}
    assert {0, 1, 5} <= before
    assert after == before - {0, 1}


def test_a_second_layer_is_refused() -> None:
    """What belongs to a second view or layer is not silently dropped."""
    known, pictures = sets.read(x264.units("plain")), followed("plain")
    stream = Stream(sequence("plain"), [])
    with pytest.raises(Unsupported, match="layers"):
        stream.write([b"\x6e\x00\x80", *x264.packets("plain")[0][1]], pictures[0], known, top=0, keep=(), reference=True)


def test_numbers_never_run_into_each_other() -> None:
    """A reference as old as all frame numbers, and more references than the buffer holds, are refused."""
    small = replace(sequence("plain"), frame_num_bits=4, references=3)
    numbers = Numbering(small)
    for n in range(15):
        assert numbers.begin(idr=n == 0) == n
        numbers.finish(n, {0})
    assert numbers.begin(idr=False) == 15
    numbers.finish(15, {0})
    with pytest.raises(Unsupported, match="reach back"):
        numbers.begin(idr=False)
    numbers = Numbering(small)
    for n in range(3):
        numbers.begin(idr=n == 0)
        numbers.finish(n, {0, 1, 2})
    numbers.begin(idr=False)
    with pytest.raises(Unsupported, match="buffer"):
        numbers.finish(3, {0, 1, 2})


def test_slices_keep_their_data() -> None:
    """Under another header the coded data are the same bytes."""
    stream = Stream(replace(sequence("no_b"), frame_num_bits=9), [])
    for (_, units), written in zip(x264.packets("no_b"), rewritten("no_b", stream), strict=True):
        known = sets.Sets({0: stream.target}, {p.id: p for p in stream.pps})
        old = [u for u in units if u[0] & 31 in (slices.SLICE, slices.IDR)]
        new = [u for u in written if u[0] & 31 in (slices.SLICE, slices.IDR)]
        for before, after in zip(old, new, strict=True):
            start = slices.read(after, known).start // 8
            assert before.endswith(after[1 + start + 8 :])
