"""Reference priming: where in the middle of a group of pictures a cut can go on with copied slices.

A slice needs from before it only the pictures in its reference lists. So a copied run may begin at the first picture from which on all
lists name pictures after the cut; the few frames between are encoded, and take the places of those that the lists name. Motion is borrowed
by direct modes only, from the first entry of list 1 (ITU-T H.264, 8.4.1.2), which therefore has to be a copied picture itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from native.media.h264 import numbering
from native.media.h264.bits import Unsupported
from native.media.h264.buffer import Picture, State
from native.media.h264.sets import BASELINE, Sps

MOST_B = 16  # x264 codes no more B frames in a row
Kind = str  # I, P or B


class Showing(Protocol):
    """Decoding order against showing order, as splice.Order has it."""

    @property
    def rank(self) -> Sequence[int]: ...
    @property
    def by_rank(self) -> Sequence[int]: ...
    @property
    def complete(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Frame:
    """A frame to be encoded in the place of the picture in row `row`."""

    row: int
    top: int  # the order count of its top field, from the first frame on
    kind: Kind
    needed: bool  # copied slices refer to it


@dataclass(frozen=True)
class Start:
    """A copied run from row `row` on, after `frames`, which are in coding order."""

    row: int
    state: State  # the source's buffer before it
    base: int  # the order count of the first frame, which the new stream counts from
    frames: tuple[Frame, ...]


def find(pictures: Iterable[tuple[Picture, State]], showing: Showing, s: Sps, low: int) -> Start | None:
    """The first start for a cut at rank `low`; None when there is none. `pictures` are those in decoding order up to where the copy ends,
    each with the buffer before it. Raises Unsupported."""
    seen: dict[int, tuple[Picture, State]] = {}
    candidates: list[int] = []
    for picture, before in pictures:
        row = picture.name
        seen[row] = picture, before
        if row > low and showing.complete[row]:
            candidates.append(row)
        if any(entry.name is None or showing.rank[entry.name] < low for entry in picture.used):
            candidates.clear()
        for lender in _lenders(picture):
            candidates = [c for c in candidates if lender is not None and c <= lender]
        # once the buffer holds nothing from before a candidate, no later picture can name it
        while candidates and all(kept.name is not None and kept.name >= candidates[0] for kept in picture.kept):
            if start := _start(candidates.pop(0), seen, showing, s, low):
                return start
    for row in candidates:
        if start := _start(row, seen, showing, s, low):
            return start
    return None


def _lenders(picture: Picture) -> list[int | None]:
    """The pictures whose motion the direct modes of a picture may borrow."""
    return [
        entry.name if entry else None
        for part, lists in zip(picture.slices, picture.lists, strict=True)
        if part.bipredicted
        for entry in lists[1][:1]
    ]


def _start(row: int, seen: dict[int, tuple[Picture, State]], showing: Showing, s: Sps, low: int) -> Start | None:
    """The start at a row, if frames can be encoded that fit it."""
    after = [picture for name, (picture, _) in seen.items() if name >= row]
    needed = {entry.name for picture in after for entry in picture.used if entry.name is not None and entry.name < row}
    shown = [seen[r][0] for r in showing.by_rank[low:row] if r in seen]
    orders = [picture.order for picture in shown]
    if len(shown) != row - low or any(a >= b for a, b in pairwise(orders)):
        raise Unsupported("its pictures are not shown in their own order")
    base = shown[0].top
    for kinds in _kinds([picture.name for picture in shown], needed, showing, s):
        frames = tuple(Frame(name, seen[name][0].top - base, kind, name in needed) for name, kind in kinds)
        try:
            _rehearse(frames, after, s)
        except Unsupported:
            continue
        return Start(row, seen[row][1], base, frames)
    return None


def _kinds(rows: list[int], needed: set[int], showing: Showing, s: Sps) -> Iterable[list[tuple[int, Kind]]]:
    """The ways to code the frames in these rows, which are in showing order; each way in coding order."""
    yield [(row, "P" if n else "I") for n, row in enumerate(rows)]
    reorders = s.reorder > 0 if s.reorder is not None else any(showing.rank[row] != row for row in rows)
    if s.profile == BASELINE or not reorders:
        return
    # Every P frame counts up the frame numbers, which may be few. B frames that nothing refers to do not.
    made, waiting = [(rows[0], "I")], list[int]()
    for row in rows[1:]:
        if row in needed or row == rows[-1] or len(waiting) == MOST_B:
            made += [(row, "P"), *((b, "B") for b in waiting)]
            waiting = []
        else:
            waiting.append(row)
    yield made


def _rehearse(frames: Sequence[Frame], after: Iterable[Picture], s: Sps) -> None:
    """Raises Unsupported when the frames and the pictures after them do not fit the frame numbers and the buffer."""
    numbers = numbering.Numbering(s)
    needed: set[int] = set()
    for n, frame in enumerate(frames):
        numbers.begin(idr=n == 0)
        if stays(frames, n):
            anchors = [f.row for f in frames[:n] if f.kind != "B"]
            numbers.finish(frame.row, needed | set(anchors[-1:] if any(f.kind == "B" for f in frames) else ()))
        if frame.needed:
            needed.add(frame.row)
    for picture in after:
        numbers.begin(idr=picture.idr)
        if picture.reference:
            numbers.finish(picture.name, {kept.name for kept in picture.kept if kept.name is not None})


def stays(frames: Sequence[Frame], n: int) -> bool:
    """Does anything refer to the n-th frame?"""
    frame = frames[n]
    return n == 0 or frame.needed or (frame.kind != "B" and n < len(frames) - 1)
