"""What is known of a source's packets: the values that the index is made of."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from native.media.demuxer import Format
from native.media.info import MediaInfo, Stream
from native.media.source import Blocks

MAX_PACKETS = 8_000_000  # of all tracks of a source


@dataclass
class Track:
    """The packets of one stream in decoding order."""

    stream: Stream
    extradata: bytes
    decoder: str | None  # libavcodec's name of what decodes it
    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] | None = None  # None: only the demuxer knows
    keys: bytearray = field(default_factory=bytearray)
    last: int = 0  # ticks that the last packet lasts
    hidden_before: int = -(1 << 62)
    hidden_from: int | None = None
    unreliable: str | None = None  # why the times cannot be trusted
    lengths: array[int] = field(default_factory=lambda: array("q"))  # of subtitles: ticks that each packet lasts

    @property
    def time_base(self) -> Fraction:
        return self.stream.time_base

    def shown(self, pts: int) -> bool:
        return pts >= self.hidden_before and (self.hidden_from is None or pts < self.hidden_from)

    def last_shown(self, latest: int) -> int:
        """Ticks that the frame shown last, at `latest`, stays. The edit list knows best; the tables only know the packet decoded last."""
        left = self.hidden_from - latest if self.hidden_from is not None else 0
        if abs(left - self.last) * 20 < self.last:
            return self.last  # the edit list means the same: it only counts in a coarser clock
        return left if 0 < left <= max(3 * self.last, 1) else max(self.last, 0)

    def shown_times(self) -> list[int]:
        """Ticks of the frames that a player shows, in order."""
        times = sorted(self.pts)
        until = len(times) if self.hidden_from is None else bisect_left(times, self.hidden_from)
        return times[bisect_left(times, self.hidden_before) : until]


@dataclass
class Index:
    """One source: what it is, and its packets by stream number."""

    blocks: Blocks
    kind: Format
    media: MediaInfo
    tracks: dict[int, Track]
    kept: bool = False  # it comes from a sidecar
    left: Callable[[int, int], bytes] | None = None  # what stands for the bytes at an offset, so many, when they may stay where they are

    @property
    def start(self) -> Fraction:
        return self.media.start

    @property
    def video(self) -> Track | None:
        stream = self.media.video
        return self.tracks.get(stream.index) if stream else None

    @property
    def audio(self) -> list[Track]:
        return [self.tracks[s.index] for s in self.media.audio if s.index in self.tracks and len(self.tracks[s.index].pts)]
