"""H.264 and HEVC between start codes (Annex B of either standard), as MPEG-TS has them, instead of behind their lengths as in MP4."""

from __future__ import annotations

from dataclasses import dataclass

from native.media import nal

START = b"\0\0\0\1"
RECOVERY_POINT = 6  # payload type of a message


@dataclass(frozen=True)
class Stream:
    """How to write the pictures of a stream. `sets` is its header: the parameter sets, which are repeated before every key frame."""

    sets: bytes
    width: int  # bytes of the length before each NAL unit; 0: they stand between start codes already
    codec: str

    def written(self, data: bytes) -> bytes:
        """A picture. Raises nal.Broken."""
        if not self.width:
            return data
        units = nal.prefixed(data, self.width)
        # the muxer repeats the sets before IDR pictures; a receiver may begin with these as well
        return (self.sets if self.codec == "h264" and _recovers(units) else b"") + _joined(units)


def of(codec: str, extradata: bytes) -> Stream:
    """From the header that MP4 would have (ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1), or one between start codes. Raises nal.Broken."""
    if extradata[:1] != b"\1":
        return Stream(extradata, 0, codec)
    if codec == "h264":
        config = nal.config(extradata)
        if config is None:
            raise nal.Broken
        return Stream(_joined([*config.sps, *config.pps]), config.width, codec)
    return Stream(_joined(_arrays(extradata)), (extradata[21] & 3) + 1, codec)


def _recovers(units: list[bytes]) -> bool:
    """Is there a recovery point among the messages before the slices (H.264 §7.3.2.3, D.1.8)?"""
    for unit in units:
        at = 1
        while unit[0] & 31 == nal.SEI and at + 2 < len(unit):
            kind, at = _sum(unit, at)
            size, at = _sum(unit, at)
            if kind == RECOVERY_POINT:
                return True
            at += size
    return False


def _sum(unit: bytes, at: int) -> tuple[int, int]:
    """A number in bytes of which all but the last are 255, and where it ends."""
    total = 0
    while at < len(unit) and unit[at] == 0xFF:
        total, at = total + 255, at + 1
    return total + (unit[at] if at < len(unit) else 0), at + 1


def _joined(units: list[bytes]) -> bytes:
    return b"".join(START + unit for unit in units)


def _arrays(record: bytes) -> list[bytes]:
    """The parameter sets of an HEVC record."""
    units, at = [], 23
    for _ in range(record[22]):
        count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            units.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return units
