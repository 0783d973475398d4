"""Where a copied run may begin: packets from which decoding is clean, told by what is in them and not by the container's flag."""

from __future__ import annotations

from array import array
from functools import cached_property
from itertools import accumulate

from native.media import nal, packets
from native.media.index import Index, Track

# Every frame stands alone.
INTRA_ONLY = {"prores", "dvvideo", "mjpeg", "dnxhd", "ffv1", "rawvideo", "v210", "huffyuv", "ffvhuff", "utvideo", "png", "cfhd", "hap"}
# An I frame that nothing shown earlier follows is a clean start in these.
BY_KEY_FLAG = {"vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "h263", "flv1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "theora"}


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
    """The clean starts of one track, looked at when asked for and remembered."""

    def __init__(self, index: Index, track: Track, order: Order) -> None:
        self._index, self._track, self._order = index, track, order
        self._seen: dict[int, bool] = {}

    def clean(self, row: int) -> bool:
        """May a copied run begin at this packet, whatever comes before it?"""
        if not self._track.keys[row] or not self._order.complete[row] or self._order.rank[row] != row:
            return False
        if row not in self._seen:
            self._seen[row] = self._look(row)
        return self._seen[row]

    def first_from(self, row: int, limit: int) -> int | None:
        """The first clean start in [row, limit)."""
        at = self._track.keys.find(1, row, limit)
        while at >= 0:
            if self.clean(at):
                return at
            at = self._track.keys.find(1, at + 1, limit)
        return None

    def last_until(self, row: int) -> int | None:
        """The last clean start at or before `row`."""
        at = self._track.keys.rfind(1, 0, row + 1)
        while at >= 0:
            if self.clean(at):
                return at
            at = self._track.keys.rfind(1, 0, at)
        return None

    def _look(self, row: int) -> bool:
        codec = self._track.stream.codec
        if codec in INTRA_ONLY or codec in BY_KEY_FLAG:
            return True
        if codec not in ("h264", "hevc"):
            return False
        units = units_of(self._track, packets.one(self._index, self._track, row).data)
        if codec == "h264":
            slices = [u[0] & 31 for u in units if u[0] & 31 in (1, 2, 5)]
            return bool(slices) and all(kind == nal.IDR for kind in slices)
        pictures = [(u[0] >> 1) & 63 for u in units if (u[0] >> 1) & 63 < 32]
        # BLA and IDR; a CRA takes its order numbers from what came before it
        return bool(pictures) and all(16 <= kind <= 20 for kind in pictures)


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
