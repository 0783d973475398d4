"""What a render gave back."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from native.media.info import Stream
from native.media.mp4.layout import Layout
from native.media.timecode import Rational


class Made(BaseModel):
    """A finished output, and the truth about how it was made: the file in the room, or with a `layout` what is new of it."""

    model_config = ConfigDict(frozen=True)

    path: Path
    container: str
    size: int  # bytes of the whole output
    duration: Rational  # seconds, of what is shown
    frames: int  # video frames shown; 0 when there is no video
    copied_frames: int  # bit-identical to the source's
    primed_frames: int  # copied after priming
    encoded_frames: int
    streams: tuple[Stream, ...]
    warnings: tuple[str, ...] = ()
    layout: Layout | None = None
