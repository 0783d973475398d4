"""The HEVC decoder configuration record, hvcC (ISO/IEC 14496-15, 8.3.3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from native.media.hevc import sets

_HEAD = 22  # bytes before the number of arrays
_LEVEL, _WIDTH = 12, 21


@dataclass(frozen=True)
class Record:
    """`head`: the bytes before the arrays; `units`: the units of the arrays, parameter sets and SEI."""

    head: bytes
    units: tuple[bytes, ...]

    @property
    def width(self) -> int:
        """Bytes of the length before each unit of a packet."""
        return (self.head[_WIDTH] & 3) + 1

    @property
    def level(self) -> int:
        return self.head[_LEVEL]

    def of(self, kind: int) -> tuple[bytes, ...]:
        return tuple(unit for unit in self.units if sets.kind(unit) == kind)

    @property
    def parameters(self) -> tuple[bytes, ...]:
        """The parameter sets."""
        return tuple(unit for unit in self.units if sets.kind(unit) in (sets.VPS, sets.SPS, sets.PPS))

    def merged(self, more: tuple[bytes, ...], level: int) -> Record:
        """With more units, lengths of four bytes, and a level that allows both."""
        head = bytearray(self.head)
        head[_LEVEL] = max(head[_LEVEL], level)
        head[_WIDTH] |= 3
        return replace(self, head=bytes(head), units=(*self.units, *(unit for unit in more if unit not in self.units)))

    def bytes(self) -> bytes:
        kinds = sorted({sets.kind(unit) for unit in self.units})
        made = bytearray(self.head)
        made.append(len(kinds))
        for kind in kinds:
            group = self.of(kind)
            made.append((0x80 if kind != sets.SEI else 0) | kind)  # complete: there are no other sets in the packets
            made += len(group).to_bytes(2, "big")
            for unit in group:
                made += len(unit).to_bytes(2, "big") + unit
        return bytes(made)


def parse(data: bytes) -> Record | None:
    """A record; None when it is none or broken. It may hold no sets at all."""
    if len(data) <= _HEAD or data[0] != 1:
        return None
    at, units = _HEAD + 1, []
    for _ in range(data[_HEAD]):
        count, at = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            if at + size > len(data):
                return None
            units.append(data[at : at + size])
            at += size
    return Record(data[:_HEAD], tuple(unit for unit in units if len(unit) > 2))


def built(units: tuple[bytes, ...]) -> Record | None:
    """A record for the parameter sets among these units; None when there is not one of each kind. Raises Unsupported."""
    known = tuple(dict.fromkeys(u for u in units if len(u) > 2 and sets.kind(u) in (sets.VPS, sets.SPS, sets.PPS) and not sets.layer(u)))
    if {sets.kind(unit) for unit in known} != {sets.VPS, sets.SPS, sets.PPS}:
        return None
    s = sets.sps(next(unit for unit in known if sets.kind(unit) == sets.SPS))
    head = bytes((1, *s.profile, s.level, 0xF0, 0, 0xFC, 0xFC | s.chroma, 0xF8 | s.depths[0] - 8, 0xF8 | s.depths[1] - 8, 0, 0))
    return Record(head + bytes((s.sub_layers << 3 | s.nested << 2 | 3,)), known)
