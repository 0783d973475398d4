"""Where a copied run may begin: packets from which decoding is clean, told by what is in them and not by the container's flag."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from native.media import nal, packets, starts
from native.media.index import Index, Track

# Every frame stands alone.
INTRA_ONLY = {"prores", "dvvideo", "mjpeg", "dnxhd", "rawvideo", "v210", "huffyuv", "ffvhuff", "utvideo", "png", "cfhd", "hap"}
LEADING = 64  # packets after an open start that are looked through for its leading pictures: more than any decoder reorders


@dataclass(frozen=True)
class Start:
    """Where a copied run may begin."""

    row: int  # its first packet
    rank: int  # of the first frame that it shows
    dropped: tuple[int, ...] = ()  # its leading pictures: rows that refer to packets before it


class Order:
    """Decoding order against showing order. A *rank* is a packet's place in the order of showing, hidden ones included."""

    def __init__(self, track: Track) -> None:
        count = len(track.pts)
        self.by_rank = array("i", sorted(range(count), key=track.pts.__getitem__))
        self.times = array("q", (track.pts[n] for n in self.by_rank))
        self.rank = array("i", bytes(4 * count))
        for rank, number in enumerate(self.by_rank):
            self.rank[number] = rank
        # complete[n]: the first n packets are exactly the first n frames shown
        self.complete = bytearray(count + 1)
        self.complete[0] = 1
        for n, highest in enumerate(accumulate(self.rank, max), 1):
            self.complete[n] = highest == n - 1


class Points:
    """The starts of one track, looked at when asked for and remembered."""

    def __init__(self, index: Index, track: Track, order: Order) -> None:
        self._index, self._track, self._order = index, track, order
        self._seen: dict[int, Start | None] = {}

    def at(self, row: int) -> Start | None:
        """The start at a packet, None when a copied run cannot begin there."""
        if not self._track.keys[row]:
            return None
        if row not in self._seen:
            self._seen[row] = self._look(row)
        return self._seen[row]

    def first_from(self, low: int, high: int) -> Start | None:
        """The first start whose frames are shown from a rank in [low, high) on."""
        # leading pictures come after their start and are shown before it, so a start's row is at most its rank
        at = self._track.keys.find(1, max(0, low - LEADING), high)
        while at >= 0:
            if (start := self.at(at)) is not None and low <= start.rank < high:
                return start
            at = self._track.keys.find(1, at + 1, high)
        return None

    def last_until(self, rank: int) -> Start | None:
        """The last start whose frames are shown from `rank` on or earlier."""
        at = self._track.keys.rfind(1, 0, rank + 1)
        while at >= 0:
            if (start := self.at(at)) is not None and start.rank <= rank:
                return start
            at = self._track.keys.rfind(1, 0, at)
        return None

    def _look(self, row: int) -> Start | None:
        order, codec = self._order, self._track.stream.codec
        rank = order.rank[row]
        if rank < row:
            return None  # something decoded before it is shown after it
        first = order.complete[row] and rank == row
        if first and codec in INTRA_ONLY:
            return Start(row, rank)
        leading = tuple(n for n in range(row + 1, min(row + LEADING, len(order.rank))) if order.rank[n] < rank) if not first else ()
        if len(leading) != rank - row:
            return None
        kind = starts.kind(codec, packets.one(self._index, self._track, row).data, length_width(self._track))
        if kind is starts.Kind.NONE:
            return None
        return Start(row, row) if first or kind is starts.Kind.CLOSED else Start(row, rank, leading)


class Source:
    """An index with its showing order, shared by all segments of the source."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.track = index.video

    @cached_property
    def order(self) -> Order:
        assert self.track is not None
        return Order(self.track)

    @cached_property
    def points(self) -> Points:
        assert self.track is not None
        return Points(self.index, self.track, self.order)


def units_of(track: Track, data: bytes) -> list[bytes]:
    """The NAL units of a packet, however the source frames them; none when the packet does not add up."""
    width = length_width(track)
    try:
        return nal.prefixed(data, width) if width else nal.annexb(data)
    except nal.Broken:
        return []


def length_width(track: Track) -> int:
    """Bytes of the length before each NAL unit; 0 for start codes."""
    extra = track.extradata
    if track.stream.codec == "hevc":
        return (extra[21] & 3) + 1 if extra[:1] == b"\1" and len(extra) > 22 else 0
    return (extra[4] & 3) + 1 if extra[:1] == b"\1" and len(extra) > 6 else 0
