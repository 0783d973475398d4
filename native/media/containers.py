"""The containers of outputs: what libavformat calls them, and what they can say of time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Container:
    muxer: str
    demuxer: str
    edited: bool = False  # an edit list hides what has to be decoded and is not shown
    tick: Fraction = Fraction(0)  # seconds to which it rounds times; 0: it keeps the streams' own clocks
    lasts: bool = True  # it says how long the last frame is shown


OF = {
    "mp4": Container("mp4", "mov", edited=True),
    "mov": Container("mov", "mov", edited=True),
    "mkv": Container("matroska", "matroska", tick=Fraction(1, 1000)),
    "webm": Container("webm", "matroska", tick=Fraction(1, 1000)),
    "ts": Container("mpegts", "mpegts", lasts=False),
}
