"""What an output is made of whose copied bytes stay in the sources' store, and how it reads before anybody has put it together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from pydantic import BaseModel, ConfigDict, Field

from native.media.source import Readable

MOST = 8192  # pieces; each that stays is megabytes long, and so is what lies between two of them


class Piece(BaseModel):
    """Bytes [offset, offset + size) of a source by its number, or of the file that was made (None)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int | None = Field(default=None, ge=0)
    offset: int = Field(ge=0, lt=1 << 62)
    size: int = Field(gt=0, lt=1 << 62)


class Layout(BaseModel):
    """An output: these pieces, one after the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: tuple[Piece, ...] = Field(min_length=1, max_length=MOST)

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def made(self) -> int:
        """Bytes of the file that was made."""
        return sum(piece.size for piece in self.pieces if piece.source is None)

    def check(self, made: int, sources: Sequence[int]) -> None:
        """Raises ValueError unless it uses a made file of so many bytes once, front to back, and ranges that sources of such sizes have."""
        at = 0
        for piece in self.pieces:
            if piece.source is None:
                if piece.offset != at:
                    raise ValueError("the made file is not used front to back")
                at += piece.size
            elif piece.source >= len(sources) or piece.offset + piece.size > sources[piece.source]:
                raise ValueError("a range that no source has")
        if at != made:
            raise ValueError("the made file is not used whole")


class Assembled:
    """The output as a source. What stays is read from the sources, through `sources`, by the same ranges."""

    def __init__(self, layout: Layout, made: Readable, sources: Sequence[Readable]) -> None:
        self.size = layout.size
        self._pieces = layout.pieces
        self._ends = list(accumulate(piece.size for piece in layout.pieces))
        self._made, self._sources = made, sources

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; fewer only at the end."""
        end, found = min(offset + length, self.size), []
        number = bisect_right(self._ends, offset)
        while offset < end:
            piece = self._pieces[number]
            start = self._ends[number] - piece.size
            size = min(end, self._ends[number]) - offset
            source = self._made if piece.source is None else self._sources[piece.source]
            found.append(source.read(piece.offset + offset - start, size))
            offset, number = offset + size, number + 1
        return b"".join(found)
