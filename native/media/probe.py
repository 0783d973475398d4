"""probe(): what a source is. Reads its header and a little more, never the whole."""

from __future__ import annotations

from native.media.info import MediaInfo, Stream
from native.media.source import Readable

__all__ = ["MediaInfo", "Stream", "probe"]


def probe(source: Readable) -> MediaInfo:
    raise NotImplementedError
