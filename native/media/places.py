"""Where in a source the bytes of a demuxer's packets lie, found while it is walked through: later they are read without the demuxer.

Only what was compared is believed: Matroska, AVI, FLV and fragmented MP4 keep most packets in one piece, a transport stream does not, and
some files strip what their packets have in common.
"""

from __future__ import annotations

from array import array

from native.media.source import Blocks

NEAR = 64  # bytes between where a packet's frame begins and its data; the longest, Matroska's group of a block, has fewer


class Places:
    """The places of one track's packets, in decoding order."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._lead = 0  # between the frame and the data of the last packet
        self._end = 0  # of the last packet
        self._found: array[int] | None = array("q")

    def see(self, position: int | None, data: bytes) -> None:
        """The next packet, whose frame begins at `position` of the source if the demuxer knows."""
        if self._found is None:
            return
        place = self._find(-1 if position is None else position, data)
        if place is None:
            self._found = None
            return
        self._found.append(place)
        self._end = place + len(data)

    def found(self) -> array[int] | None:
        """Where every packet lies; None when one was not found in one piece."""
        return self._found

    def _find(self, position: int, data: bytes) -> int | None:
        # as the packet before lay in its frame, or right behind it, as in a lace
        for place in (position + self._lead, self._end):
            if position >= 0 and self._blocks.read(place, len(data)) == data:
                return place
        at = self._blocks.read(position, len(data) + NEAR).find(data) if position >= 0 else -1
        if at < 0:
            return None
        self._lead = at
        return position + at
