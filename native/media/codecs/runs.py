"""Codecs that are copied from one clean start on: what lies before it is encoded in the same codec, each frame to one packet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2
from typing import Any

from native.media import encode, packets
from native.media.codecs import base
from native.media.pieces import Coded, Copy, Encode, NotCopyable, Part, Piece
from native.media.splice import Source


class Runs(base.Codec):
    """`formats`: pixel formats that the encoder of frames at a cut takes; `maker`: what stitches."""

    def __init__(self, maker: type[Stitch], formats: frozenset[str]) -> None:
        self._maker, self._formats = maker, formats

    def pieces(self, source: Source, low: int, high: int) -> tuple[Piece, ...]:
        found = base.between_keys(source, low, high)
        stream = base.track_of(source).stream
        if any(isinstance(piece, Encode) for piece in found):
            if not any(isinstance(piece, Copy) for piece in found):
                raise NotCopyable("no key frame lies within the range")
            if stream.pixel_format not in self._formats:
                raise NotCopyable(f"{stream.pixel_format} pixels cannot be encoded in {stream.codec} here")
        return found

    def stitch(self, parts: Sequence[Part], sources: Sequence[Source], container: str) -> base.Stitch:
        del container
        return self._maker(sources, base.track_of(sources[parts[0].source]).extradata)


class Stitch(base.Stitch):
    """Each codec says how its frames are encoded, and what its packets need where encoded and copied ones meet."""

    def copied(self, source: Source, piece: Copy) -> Iterator[Coded]:
        for n, made in enumerate(super().copied(source, piece)):
            yield Coded(self.opened(source, piece, made.data), made.pts, True) if n == 0 else made

    def encoded(self, source: Source, piece: Encode, times: Sequence[int]) -> Iterator[Coded]:
        encoder = self.encoder(source, piece)
        for n, packet in enumerate(encode.packets_of(encoder, source, piece, times)):
            yield Coded(self.fitted(source, piece, bytes(packet)), times[n], packet.is_keyframe)

    def encoder(self, source: Source, piece: Encode) -> Any:
        """An encoder whose first picture is a key frame and whose packets come in the order of showing."""
        raise NotImplementedError

    def opened(self, source: Source, piece: Copy, data: bytes) -> bytes:
        """The first packet of a copied run."""
        del source, piece
        return data

    def fitted(self, source: Source, piece: Encode, data: bytes) -> bytes:
        """An encoder's packet."""
        del source, piece
        return data


def key_packet(source: Source, row: int) -> bytes:
    return packets.one(source.index, base.track_of(source), row).data


def by_size(source: Source, row: int) -> float:
    """How often a quarter of a bit doubles up to what a key frame spends on a pixel: its quality, where no quantiser is known."""
    stream = base.track_of(source).stream
    pixels = (stream.width or 1) * (stream.height or 1)
    return log2(max(8 * len(key_packet(source, row)) / pixels, 1 / 64) * 4)
