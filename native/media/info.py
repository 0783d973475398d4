"""What a source is, as values that travel as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from native.media.timecode import Rational

StreamKind = Literal["video", "audio", "subtitle", "data", "attachment"]


class Stream(BaseModel):
    """One stream. What does not apply to its kind is None."""

    model_config = ConfigDict(frozen=True)

    index: int
    kind: StreamKind
    codec: str
    profile: str | None = None
    tag: str | None = None
    time_base: Rational
    start: Rational | None = None  # seconds from the start of the presentation
    duration: Rational | None = None  # seconds
    bit_rate: int | None = None  # bit/s
    language: str | None = None
    title: str | None = None
    default: bool = False
    disposition: tuple[str, ...] = ()  # what the track is for, in libavformat's words: `forced`, `hearing_impaired`, `comment`, …
    timecode: str | None = None  # of its first frame, `hh:mm:ss:ff`, or `hh:mm:ss;ff` where frame numbers are dropped
    setup: str = ""  # fingerprint of the decoder's set-up: streams with the same one can follow each other

    width: int | None = None
    height: int | None = None
    pixel_format: str | None = None
    frame_rate: Rational | None = None  # 1/s, the average
    frames: int | None = None
    sample_aspect: Rational | None = None
    rotation: int = 0  # degrees clockwise that a player turns the picture
    matrix: tuple[int, ...] | None = None  # the display matrix (9 fixed-point numbers) when it is not the identity
    level: int | None = None
    interlaced: bool = False
    color_range: int | None = None  # these four as in ITU-T H.273; None when not said
    color_primaries: int | None = None
    color_transfer: int | None = None
    color_matrix: int | None = None
    cover: bool = False  # a still picture that belongs to the file, not a video

    sample_rate: int | None = None  # Hz
    channels: int | None = None
    layout: str | None = None
    sample_format: str | None = None


class MediaInfo(BaseModel):
    """One source. Time 0 is the start of the presentation as a player shows it."""

    model_config = ConfigDict(frozen=True)

    container: str
    duration: Rational  # seconds
    size: int  # bytes
    streams: tuple[Stream, ...]
    start: Rational  # seconds on the file's own clock where time 0 is
    warnings: tuple[str, ...] = ()

    @property
    def video(self) -> Stream | None:
        """The stream that is the picture; covers do not count."""
        return next((s for s in self.streams if s.kind == "video" and not s.cover), None)

    @property
    def audio(self) -> tuple[Stream, ...]:
        return tuple(s for s in self.streams if s.kind == "audio")
