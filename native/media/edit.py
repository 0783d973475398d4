"""What is asked for: a list of segments that becomes one output. A trim is one segment, a merge is whole sources, an edit is ranges."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from native import errors
from native.media.info import MediaInfo
from native.media.timecode import Frames, Seconds, Time, TimeField

Mode = Literal["exact", "instant", "keyframe", "encode"]
Container = Literal["mp4", "mov", "mkv", "webm"]


class Segment(BaseModel):
    """[start, end) of one source. No start is its beginning, no end is its end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: int = Field(default=0, ge=0)
    start: TimeField | None = None
    end: TimeField | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Segment:
        for one in (Seconds, Frames):
            if isinstance(self.start, one) and isinstance(self.end, one) and _size(self.end) <= _size(self.start):
                raise errors.INVALID_RANGE("The end must be after the start.", field="end")
        return self


class Output(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    container: Container = "mp4"
    name: str | None = Field(default=None, min_length=1, max_length=200)


class Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: tuple[Segment, ...] = Field(min_length=1)
    mode: Mode = "exact"
    output: Output = Output()

    def check(self, media: Sequence[MediaInfo]) -> None:
        """Compares the ranges with the facts. Raises INVALID_RANGE (field `start` or `end`) for what lies outside a source."""
        for segment in self.segments:
            if segment.source >= len(media):
                raise errors.INVALID_REQUEST(f"There is no source number {segment.source}.", field="source")
            _check(segment, media[segment.source])


def _check(segment: Segment, info: MediaInfo) -> None:
    rate = info.video.frame_rate if info.video and info.video.frame_rate else None
    for field, time in (("start", segment.start), ("end", segment.end)):
        if isinstance(time, Frames) and rate is None:
            raise errors.INVALID_RANGE("A source without video has no frames to count; give the time in seconds.", field=field)
    # A source's duration is shown rounded, so an end within one frame of it means the end.
    slack = 1 / rate if rate else Fraction(1, 20)
    start = segment.start.at(rate or Fraction(1)) if segment.start else Fraction(0)
    if start >= info.duration:
        raise errors.INVALID_RANGE(f"The start lies past the end of the source, which is {float(info.duration):.3f} s long.", field="start")
    if segment.end is not None:
        end = segment.end.at(rate or Fraction(1))
        # Counted frames of a source with a varying frame rate are resolved by the engine, which knows the true times.
        if end > info.duration + slack and not isinstance(segment.end, Frames):
            raise errors.INVALID_RANGE(f"The end lies past the end of the source, which is {float(info.duration):.3f} s long.", field="end")
        if isinstance(segment.end, Frames) and info.video and info.video.frames and segment.end.count > info.video.frames:
            raise errors.INVALID_RANGE(f"The end lies past the last frame of the source, which has {info.video.frames}.", field="end")
        if end <= start:
            raise errors.INVALID_RANGE("The end must be after the start.", field="end")


def _size(time: Time) -> Fraction:
    return time.value if isinstance(time, Seconds) else Fraction(time.count)
