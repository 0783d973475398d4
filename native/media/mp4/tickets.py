"""Tickets: 40 bytes that stand for a packet which may stay where it lies."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field

# Muxers look into packets of some codecs. This is a metadata OBU of 38 bytes to the one of AV1 (AV1 specification, 5.3), no ADTS header to
# the one of AAC, and its last byte no superframe index to the one of VP9 (VP9 bitstream specification, annex B).
_LAYOUT = struct.Struct(">BB16sIQQH")
_OBU, _REST = 0x2A, 38
SIZE = _LAYOUT.size

# What the muxer makes of any packets: it copies nothing out of them into the tables. (E-)AC-3 headers, for one, come from the packets.
VIDEO = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"})
SOUND = frozenset({"aac", "mp3", "opus", "flac", "alac"})


@dataclass(frozen=True)
class Tickets:
    """The tickets of one output. Nobody who does not know the number can make a packet that looks like one."""

    _number: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def issue(self, source: int, offset: int, size: int) -> bytes:
        """For bytes [offset, offset + size) of a source."""
        return _LAYOUT.pack(_OBU, _REST, self._number, source, offset, size, 0)

    def read(self, packet: bytes) -> tuple[int, int, int] | None:
        """The source, offset and size that a ticket is for; None for anything else."""
        if len(packet) != SIZE or packet[2:18] != self._number:
            return None
        return _LAYOUT.unpack(packet)[3:6]
