"""Where a primed run begins: nothing in it looks at what lies before the cut, and the frames before it fit the buffer and the numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import pytest

from native.media.h264 import buffer, priming, sets, slices
from native.media.h264.buffer import Picture, State
from native.media.h264.sets import Sps
from tests.unit.media import x264
from tests.unit.media.test_h264_stream import sequence


@dataclass
class Showing:
    """As splice.Order, from the frames' numbers in coding order."""

    rank: array[int]
    by_rank: array[int]
    complete: bytearray


def showing(names: list[int]) -> Showing:
    by_rank = array("i", sorted(range(len(names)), key=names.__getitem__))
    rank = array("i", (sorted(names).index(name) for name in names))
    complete = bytearray([1, *(highest == n for n, highest in enumerate(accumulate(rank, max)))])
    return Showing(rank, by_rank, complete)


def pictures(kind: str, first: int = 0) -> Iterator[tuple[Picture, State]]:
    """The pictures of a stream named by their rows, each with the buffer before it."""
    known, state = sets.read(x264.units(kind)), None
    for row, (_, units) in enumerate(x264.packets(kind)):
        if row >= first:
            headers = [slices.read(u, known) for u in units if u[0] & 31 in (slices.SLICE, slices.IDR)]
            before = state or buffer.start(known.of(headers[0].pps_id)[1])
            picture, state = buffer.follow(before, row, headers, known)
            yield picture, before


def found(kind: str, low: int, s: Sps | None = None) -> priming.Start | None:
    return priming.find(pictures(kind), showing([n for n, _ in x264.packets(kind)]), s or sequence(kind), low)


KINDS = [
    "plain",
    "cavlc",
    "slices",
    "no_b",
    "baseline",
    "pyramid",
    "strict_pyramid",
    "one_reference",
    "temporal",
    "weighted",
    "open",
    "refreshed",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [1, 7, 18, 33])
def test_nothing_in_a_run_looks_at_what_lies_before_the_cut(kind: str, low: int) -> None:
    """From its first picture on, all lists name pictures from the cut on, the encoded ones among them are marked, and motion is only
    borrowed from copied ones."""
    start = found(kind, low)
    assert start is not None
    order = showing([n for n, _ in x264.packets(kind)])
    assert sorted(order.rank[frame.row] for frame in start.frames) == list(range(low, start.row))
    assert order.complete[start.row]
    needed = {frame.row for frame in start.frames if frame.needed}
    used: set[int | None] = set()
    for picture, before in pictures(kind):
        if picture.name == start.row:
            assert before == start.state
        if picture.name >= start.row:
            if picture.idr:
                break
            used |= {entry.name for entry in picture.used}
            for part, lists in zip(picture.slices, picture.lists, strict=True):
                if part.bipredicted:
                    assert lists[1][0] is not None
                    assert (lists[1][0].name or 0) >= start.row
    assert {name for name in used if name is not None and name < start.row} == needed
    tops = {order.rank[frame.row]: frame.top for frame in start.frames}
    assert tops[low] == 0
    assert [tops[rank] for rank in sorted(tops)] == sorted(tops.values())


def test_a_low_delay_b_picture_may_not_borrow_motion_from_an_encoded_one() -> None:
    """Where list 1 begins with a picture before the run, as in streams whose B pictures only look back, the run begins later."""
    low = 5
    usual = found("no_b", low)
    assert usual is not None

    def low_delay() -> Iterator[tuple[Picture, State]]:
        for picture, before in pictures("no_b"):
            if picture.name < 12 and not picture.idr:
                part = replace(picture.slices[0], type=6)
                yield replace(picture, slices=(part,), lists=((picture.lists[0][0], picture.lists[0][0]),)), before
            else:
                yield picture, before

    later = priming.find(low_delay(), showing([n for n, _ in x264.packets("no_b")]), sequence("no_b"), low)
    assert later is not None
    assert later.row > usual.row


def test_few_frame_numbers_are_saved_by_b_frames() -> None:
    """Where a chain of P frames would use up the frame numbers, only the frames that are needed are references."""
    start = found("sixteen_b", 3)
    assert start is not None
    assert {frame.kind for frame in start.frames} == {"I", "P", "B"}
    assert all(frame.kind != "B" for frame in start.frames if frame.needed)


def test_a_run_has_to_fit_the_numbers() -> None:
    """The frames and the pictures after them are numbered in rehearsal: sixteen references only fit sixteen numbers near its end."""
    usual = found("many_references", 5)
    later = found("many_references", 5, replace(sequence("many_references"), frame_num_bits=4))
    assert usual is not None
    assert later is None or later.row > x264.FRAMES - 16 > usual.row


def test_without_reordering_there_are_no_b_frames() -> None:
    """A set that promises not to reorder gets a chain of P frames or nothing."""
    for kind in ("no_b", "baseline", "refreshed"):
        start = found(kind, 9)
        assert start is not None
        assert [frame.kind for frame in start.frames] == ["I", *["P"] * (len(start.frames) - 1)]


def test_an_idr_ends_the_search() -> None:
    """At the latest, a run begins with the next IDR, for which nothing is needed."""
    start = found("intra", 9)
    assert start is not None
    assert (start.row, len(start.frames), start.frames[0].needed) == (10, 1, False)


def test_a_cut_at_the_very_end_has_no_run() -> None:
    """Where no picture is left to be copied, there is no run."""
    assert found("pyramid", x264.FRAMES - 1) is None


def test_times_against_the_order_counts_are_refused() -> None:
    """Frames whose times contradict the stream's own order are not renumbered."""
    names = [n for n, _ in x264.packets("no_b")]
    names[8], names[9] = names[9], names[8]
    with pytest.raises(priming.Unsupported, match="own order"):
        priming.find(pictures("no_b"), showing(names), sequence("no_b"), 7)
