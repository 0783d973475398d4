"""What a finished file must be, said before it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Promise:
    """The frames, sounds and lengths of one output."""

    times: Sequence[int]  # ticks of `time_base` at which frames are shown, from 0
    time_base: Fraction
    end: int  # tick where the last frame ends
    seams: Sequence[int]  # ticks where a copied run meets an encoded one
    sounds: int
    sound_seconds: Fraction
    copied: int
    primed: int
    encoded: int
    guessed: bool = False  # the source's times could not be trusted, so the number of frames is not promised
    slack: Fraction = Fraction(0)  # seconds by which the container may round a time
