"""Where the segments of an edit lie in the output: what sound, subtitles and chapters go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from native.media.index import Index
from native.media.pieces import Part
from native.media.splice import Source


@dataclass(frozen=True)
class Stretch:
    """One segment in the output, in seconds: `length` of it from `begin` on, on the source's own clock, lies `at` a place of the output."""

    number: int  # of the source
    index: Index
    begin: Fraction
    length: Fraction
    at: Fraction

    @property
    def finish(self) -> Fraction:
        return self.begin + self.length

    def leads_to(self, other: Stretch) -> bool:
        """Does the source itself go on with the other?"""
        return self.number == other.number and self.finish == other.begin


def of(parts: Sequence[Part], sources: Sequence[Source], lengths: Sequence[Fraction]) -> list[Stretch]:
    """The stretches of an edit whose segments last `lengths` seconds. Places are sums of exact numbers, so nothing drifts."""
    found, at = [], Fraction(0)
    for part, length in zip(parts, lengths, strict=True):
        found.append(Stretch(part.sound, sources[part.sound].index, part.begin, length, at))
        at += length
    return found
