"""H.264 headers: parameter sets and slices taken apart, followed through the reference buffer, and written again under other numbers."""

from native.media.h264.bits import Unsupported

__all__ = ["Unsupported"]
