"""Codecs whose every frame stands alone: a copied run begins and ends anywhere, and nothing is ever encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from native.media.codecs import base
from native.media.pieces import Coded, Copy, NotCopyable, Part, Piece
from native.media.splice import Source


class Intra(base.Codec):
    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        rank = source.order.rank
        if any(rank[n] != n for n in range(low, high)):
            raise NotCopyable("the source's frames are not in the order of showing")
        return (Copy(low, high),)

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        del container
        return Stitch(sources, base.track_of(sources[parts[0].source]).extradata)


class Stitch(base.Stitch):
    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        """Every packet is a key frame, whatever the source's container says."""
        return (Coded(made.data, made.pts, True) for made in super().copied(source, piece))
