"""What the picture of an output is made of: parts, one for each segment, and their pieces in coding order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from native.media.index import Track


@dataclass(frozen=True)
class Copy:
    """Packets first … last-1 but for `dropped`, bit for bit: what they show is what the source shows."""

    first: int
    last: int
    dropped: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        return self.last - self.first - len(self.dropped)


@dataclass(frozen=True)
class Primed:
    """Packets first … last-1, whose coded data are copied and whose headers are written anew. The encoded frames before them take the
    places of the pictures that they refer to, so what they show is very nearly what the source shows."""

    first: int
    last: int

    @property
    def frames(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Encode:
    """The frames shown in ticks [start, end), decoded from packets key … last-1."""

    key: int
    last: int
    start: int
    end: int
    frames: int


Piece = Copy | Primed | Encode


@dataclass(frozen=True)
class Part:
    """One segment, resolved. Ticks are those of its source's video, or of its first sound when it has no picture."""

    source: int
    track: Track | None
    times: Sequence[int]  # ticks of the frames shown, in order
    origin: int  # tick that becomes the part's beginning
    end: int  # tick where its last frame ends
    pieces: tuple[Piece, ...]
    begin: Fraction  # the same span in seconds on the source's own clock, for the sound
    finish: Fraction
    heard: int | None = None  # the source of the sound, and of that clock, when the picture was conformed into a file of its own

    @property
    def sound(self) -> int:
        """The source that is heard."""
        return self.source if self.heard is None else self.heard

    def count(self, kind: type[Piece]) -> int:
        """Frames in pieces of one kind. What was conformed is encoded, even though its packets are copied from the file made for it."""
        if self.heard is not None:
            return len(self.times) if kind is Encode else 0
        return sum(p.frames for p in self.pieces if isinstance(p, kind))


@dataclass(frozen=True, slots=True)
class Coded:
    """One coded picture. Its time is in ticks of the source's time base; `key`: decoding may begin with it."""

    data: bytes
    pts: int
    key: bool
    left: bool = False  # the data only stand for a picture that stays in its source


class NotCopyable(Exception):
    """This cannot be copied. The text is the reason, in words for the user."""


class Undecodable(Exception):
    """The decoder did not give the frames that the index promised."""
