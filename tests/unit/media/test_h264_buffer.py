"""The reference buffer followed from headers agrees with the encoder that made them and with the decoder that reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.media.h264 import buffer, sets, slices
from native.media.h264.bits import Unsupported
from native.media.h264.buffer import Picture
from native.media.h264.slices import Slice
from tests.unit.media import x264

FRAMES_ONLY = [kind for kind in x264.KINDS if kind != "interlaced"]


def followed(kind: str, first: int = 0) -> list[Picture]:
    """The pictures of a stream from the `first` on, named by the frames that they show."""
    known, state, found = sets.read(x264.units(kind)), None, []
    for number, units in x264.packets(kind)[first:]:
        headers = [slices.read(u, known) for u in units if u[0] & 31 in (slices.SLICE, slices.IDR)]
        state = state or buffer.start(known.of(headers[0].pps_id)[1])
        picture, state = buffer.follow(state, number, headers, known)
        found.append(picture)
    return found


@pytest.mark.parametrize("kind", FRAMES_ONLY)
def test_the_order_counts_are_the_order_of_showing(kind: str) -> None:
    """Within one coded sequence, frames are shown in the order of their counts."""
    groups: list[list[Picture]] = []
    for picture in followed(kind):
        if picture.idr:
            groups.append([])
        groups[-1].append(picture)
    for group in groups:
        names = [picture.name for picture in group]
        assert [picture.name for picture in sorted(group, key=lambda p: p.order)] == sorted(names)
        assert group[0].order == 0


@pytest.mark.parametrize("kind", FRAMES_ONLY)
def test_lists_name_what_is_in_the_buffer(kind: str) -> None:
    """Every entry of a list is a picture that was kept; P slices look at decoded ones, and the buffer is never too full."""
    known = sets.read(x264.units(kind))
    size = next(iter(known.sps.values())).references
    kept: set[int | None] = set()
    for picture in followed(kind):
        assert {entry.name for entry in picture.used} <= (set() if picture.idr else kept)
        assert all(lists and any(lists[0]) for part, lists in zip(picture.slices, picture.lists, strict=True) if part.predicted)
        kept = {reference.name for reference in picture.kept}
        assert len(kept) <= max(1, size)


@pytest.mark.parametrize("kind", ["open", "refreshed", "pyramid", "many_references", "strict_pyramid", "weighted"])
def test_a_stream_entered_in_the_middle_is_never_misunderstood(kind: str) -> None:
    """Followed from anywhere, a list's entry is what it is when followed from the beginning, or unknown."""
    whole = followed(kind)
    for first in range(1, len(whole), 7):
        for mine, true in zip(followed(kind, first), whole[first:], strict=True):
            for part, other in zip(mine.lists, true.lists, strict=True):
                for entries, others in zip(part, other, strict=True):
                    unknown = False
                    for entry, right in zip(entries, others, strict=True):
                        unknown = unknown or (entry is not None and entry.name is None)
                        # behind an unknown picture anything may have moved
                        assert unknown or (entry and entry.name) == (right and right.name)


def test_a_picture_may_stand_in_a_list_more_than_once() -> None:
    """Weighted prediction repeats pictures under other weights, which the lists have to show."""
    repeated = [lists for p in followed("weighted") for lists in p.lists if lists and len(set(lists[0])) < len(lists[0]) and all(lists[0])]
    assert repeated


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"frame_num": 9}, "gap"),
        ({"marking": ((2, 0),)}, "long-term"),
        ({"marking": ((5,),)}, "long-term"),
        ({"changes": (((2, 0),),)}, "long-term"),
        ({"redundant": 1}, "redundant"),
    ],
)
def test_what_is_not_followed_says_why(change: dict[str, object], reason: str) -> None:
    """Gaps, long-term references and redundant pictures are refused with the reason."""
    known = sets.read(x264.units("no_b"))
    headers = [slices.read(u, known) for u in x264.units("no_b") if u[0] & 31 in (slices.SLICE, slices.IDR)]
    _, state = buffer.follow(buffer.start(known.sps[0]), 0, headers[:1], known)
    odd: Slice = replace(headers[1], **change)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=reason):
        buffer.follow(state, 1, [odd], known)


def test_two_pictures_in_one_packet_are_refused() -> None:
    """Slices that belong to different pictures are told apart."""
    known = sets.read(x264.units("no_b"))
    headers = [slices.read(u, known) for u in x264.units("no_b") if u[0] & 31 in (slices.SLICE, slices.IDR)]
    with pytest.raises(Unsupported, match="several pictures"):
        buffer.follow(buffer.start(known.sps[0]), 0, headers[:2], known)


def test_field_pictures_are_refused() -> None:
    """Lists of fields are not followed; frames of fields and blocks that choose are numbered like any others."""
    known = sets.read(x264.units("interlaced"))
    headers = [slices.read(u, known) for u in x264.units("interlaced") if u[0] & 31 in (slices.SLICE, slices.IDR)]
    buffer.follow(buffer.start(known.sps[0]), 0, headers[:1], known)
    with pytest.raises(Unsupported, match="field pictures"):
        buffer.follow(buffer.start(known.sps[0]), 0, [replace(headers[0], field=True)], known)
