"""What every way of cutting has to do, and what most of them do alike: copies between clean starts, and frames encoded around them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from native.media import packets
from native.media.index import Track
from native.media.pieces import Coded, Copy, Encode, NotCopyable, Part, Piece, Primed
from native.media.splice import INTRA_ONLY, Source

FAR = 900  # packets; decoding more than these to reach a cut is worse than trusting a recovery point


class Codec(ABC):
    """One way of cutting."""

    def refusal(self, sources: Sequence[Source], container: str) -> str | None:
        """Why nothing of these sources, all of this codec, can be copied into one stream of the container; None when it can."""
        del container
        first = track_of(sources[0]).stream
        if any(track_of(source).stream.setup != first.setup for source in sources):
            return "the sources were made by encoders with different settings"
        return None

    @abstractmethod
    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        """Exactly the frames of ranks [low, high), as much of them copied as can be. Raises NotCopyable."""

    @abstractmethod
    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> Stitch:
        """The maker of one output's pictures from all of its parts. Raises NotCopyable."""


class Stitch:
    """Makes the coded pictures of one output stream, part after part. What the stream's header needs is known before the first of them."""

    def __init__(self, sources: Sequence[Source], extradata: bytes, tag: str | None = None) -> None:
        self.sources = sources
        self.extradata = extradata
        self.tag = tag  # of the sample entry in MP4 and MOV; None: libavformat's own choice
        self.warnings: list[str] = []

    def order(self, part: Part) -> Iterator[int]:
        """Ticks of the part's pictures in coding order, before any of them is made."""
        track = part.track
        assert track is not None
        for piece in part.pieces:
            if isinstance(piece, Encode):
                yield from times_of(part, piece)
            else:
                yield from (track.pts[n] for n in rows(piece))

    def pictures(self, part: Part) -> Iterator[Coded]:
        """The part's pictures in coding order. Raises NotCopyable, Undecodable, and the problems of the source."""
        source = self.sources[part.source]
        for piece in part.pieces:
            if isinstance(piece, Copy):
                yield from self.copied(source, piece) if source.index.left is None or not self.passes(source) else self._left(source, piece)
            elif isinstance(piece, Primed):
                yield from self.primed(source, piece)
            else:
                yield from self.encoded(source, piece, times_of(part, piece))

    def passes(self, source: Source) -> bool:
        """Do the copied packets of a source go into the output as they are, so that they may stay where they lie?"""
        del source
        return False

    def _left(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """A copied run that stays, but for its ends: what comes before and after may want them changed."""
        numbers = list(rows(piece))
        if len(numbers) < 3:
            yield from self.copied(source, piece)
            return
        first, last, dropped = numbers[0], numbers[-1], set(piece.dropped)
        yield from self.copied(source, Copy(first, first + 1))
        for sample in packets.left(source.index, track_of(source), first + 1, last):
            if sample.number not in dropped:
                yield Coded(sample.data, sample.pts, sample.key, left=True)
        yield from self.copied(source, Copy(last, last + 1))

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """Packets as they are."""
        track, dropped = track_of(source), set(piece.dropped)
        for sample in packets.read(source.index, track, piece.first, piece.last):
            if sample.number not in dropped:
                yield Coded(sample.data, sample.pts, sample.key)

    def primed(self, source: Source, piece: Primed) -> Iterator[Coded]:
        """Packets under new headers."""
        del piece
        raise NotCopyable(f"packets of {track_of(source).stream.codec} video cannot be copied under other headers")

    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        """Frames encoded to fit the copied ones."""
        del piece, times
        raise NotCopyable(f"frames of {track_of(source).stream.codec} video at a cut cannot be encoded to fit the copied ones")


class KeyFrames(Codec):
    """Any codec: what lies between two clean starts is copied; a cut elsewhere is no copy."""

    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        found = between_keys(source, low, high)
        if any(isinstance(piece, Encode) for piece in found):
            raise NotCopyable(f"frames of {track_of(source).stream.codec} video at a cut cannot be encoded to fit the copied ones")
        return found

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> Stitch:
        del container
        return Stitch(sources, track_of(sources[parts[0].source]).extradata)


def track_of(source: Source) -> Track:
    """Of a source that has a picture."""
    assert source.track is not None
    return source.track


def rows(piece: Copy | Primed) -> Iterator[int]:
    """The packets of a piece."""
    dropped = set(piece.dropped) if isinstance(piece, Copy) else set()
    return (n for n in range(piece.first, piece.last) if n not in dropped)


def times_of(part: Part, piece: Encode) -> Sequence[int]:
    """Ticks of the frames of an encoded piece."""
    return part.times[bisect_left(part.times, piece.start) : bisect_left(part.times, piece.end)]


def between_keys(source: Source, low: int, high: int) -> tuple[Piece, ...]:
    """Encode up to the first clean start, copy the longest run that is complete, encode what is left of it."""
    order = source.order
    start = source.points.first_from(low, high)
    if start is None:
        return (anew(source, low, high),)
    # the first `end` packets are the first `end` frames shown
    end = next((n for n in range(high, start.rank, -1) if order.complete[n]), None)
    if end is None:
        return (anew(source, low, high),)
    pieces: list[Piece] = []
    if start.rank > low:
        pieces.append(anew(source, low, start.rank))
    pieces.append(Copy(start.row, end, start.dropped))
    if end < high:
        pieces.append(anew(source, end, high))
    return tuple(pieces)


def anew(source: Source, low: int, high: int) -> Encode:
    """The frames of ranks [low, high), encoded."""
    order = source.order
    last = 1 + max(order.by_rank[low:high])
    end = order.times[high] if high < len(order.times) else order.times[-1] + 1
    return Encode(decode_from(source, low), last, order.times[low], end, high - low)


def decode_from(source: Source, low: int) -> int:
    """The packet to start decoding at, so that the frame of rank `low` comes out right."""
    track, order = track_of(source), source.order
    if track.stream.codec in INTRA_ONLY:
        return order.by_rank[low]
    start = source.points.last_until(low)
    if start is not None and low - start.row <= FAR:
        return start.row
    # Far from a clean start: a key frame that is merely flagged, and shown no later than the frame wanted.
    at = track.keys.rfind(1, 0, min(order.by_rank[low], low) + 1)
    while at > 0 and order.rank[at] > low:
        at = track.keys.rfind(1, 0, at)
    return max(at, 0) if start is None or at > start.row else start.row
