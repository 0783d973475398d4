"""probe(): what a source is. Reads its header and a little more; the whole only where nothing else says how long it is."""

from __future__ import annotations

from native.media import index
from native.media.info import MediaInfo, Stream
from native.media.source import Readable

__all__ = ["MediaInfo", "Stream", "probe"]


def probe(source: Readable) -> MediaInfo:
    """The facts of a source. Raises SOURCE_EMPTY, SOURCE_UNSUPPORTED, SOURCE_TRUNCATED, SOURCE_UNREADABLE or SOURCE_TOO_COMPLEX."""
    return index.facts(source)
