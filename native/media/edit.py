"""What is asked for: a list of segments that becomes one output. A trim is one segment, a merge is whole sources, an edit is ranges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from native import errors
from native.media.info import MediaInfo
from native.media.timecode import Frames, Seconds, Time, TimeField

Mode = Literal["exact", "instant", "keyframe", "encode"]
VideoCodec = Literal["h264", "hevc", "vp9", "av1"]
Container = Literal["mp4", "mov", "mkv", "webm", "ts"]
# MP4 and Matroska hold all of them.
REFUSED: dict[str, tuple[VideoCodec, ...]] = {"webm": ("h264", "hevc"), "mov": ("vp9", "av1"), "ts": ("vp9", "av1")}


_RATE = re.compile(r"\d{1,6}(\.\d{1,6})?|\d{1,6}/0*[1-9]\d{0,5}", re.ASCII)


def _frame_rate(value: object) -> Fraction:
    """Frames per second: a number or `n/d`. 23.976, 29.97 and 59.94 mean the exact rates that are called so."""
    text = str(value)
    if isinstance(value, bool) or not _RATE.fullmatch(text) or not 1 <= Fraction(text) <= 120:
        raise ValueError("a frame rate is a number from 1 to 120, or n/d")
    exact = Fraction(text)
    broadcast = Fraction(round(exact * Fraction(1001, 1000)) * 1000, 1001)
    return broadcast if abs(exact - broadcast) < exact / 4000 else exact  # 30 is a thousandth away from 29.97


FrameRate = Annotated[
    Fraction,
    PlainValidator(_frame_rate),
    PlainSerializer(lambda rate: f"{rate.numerator}/{rate.denominator}", return_type=str),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 1, "maximum": 120}, {"type": "string", "maxLength": 16}]}),
]


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
    # What the picture is made to be; None: what most of it is. A side left out follows the shape.
    width: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    height: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    frame_rate: FrameRate | None = None
    codec: VideoCodec | None = None

    @model_validator(mode="after")
    def _holds_codec(self) -> Output:
        if self.codec in REFUSED.get(self.container, ()):
            raise errors.INVALID_REQUEST(f"{self.container.upper()} does not hold {self.codec} video.", field="codec")
        return self

    @property
    def shapes(self) -> bool:
        """Whether it says anything of the picture."""
        return any((self.width, self.height, self.frame_rate, self.codec))


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
