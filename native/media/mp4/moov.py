"""The `moov` of a file whose packets will lie elsewhere (ISO/IEC 14496-12): where its samples are, and the same boxes with other places.

Only what follows from the samples' sizes and places is written anew: `stsz`, `stsc`, `stco` or `co64`, and the bit rates that a sample
description states (`btrt`, ISO/IEC 14496-12 8.5.2; the DecoderConfigDescriptor of `esds`, ISO/IEC 14496-1 7.2.6.6).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from native.media import boxes

CHUNK = 1 << 20  # bytes; players read a chunk at once
_INSIDE = {b"moov", b"mdia", b"minf", b"stbl"}
_ENTRY = {b"vide": 78, b"soun": 28}  # bytes of a sample entry before its boxes
_MOST_32 = (1 << 32) - 1


@dataclass(frozen=True)
class Places:
    """Where the samples of one track lie, in decoding order."""

    offsets: array[int]
    sizes: array[int]


def places(moov: bytes) -> list[Places]:
    """Of every track of a `moov`, header included. Raises boxes.Unfit, struct.error."""
    found = []
    for kind, trak in boxes.walk(memoryview(moov)[8:]):
        if kind == b"trak":
            stbl = _inside(trak, b"mdia", b"minf", b"stbl")
            found.append(Places(*boxes.places(stbl)))
    return found


def moved(moov: bytes, tracks: Sequence[Places], shift: int = 0) -> bytes:
    """The `moov` for samples in these places plus `shift`. Its length is the same for all shifts that leave them below 4 GiB, or do not."""
    coming = iter(tracks)

    def track(trak: memoryview) -> bytes:
        it = next(coming)
        scale, duration = _media_time(_inside(trak, b"mdia", b"mdhd"))
        handler = bytes(_inside(trak, b"mdia", b"hdlr")[8:12])
        total = sum(it.sizes)
        rate = min(total * 8 * scale // duration, _MOST_32) if duration else 0
        tables = {
            b"stsd": lambda box: _described(box, handler, rate),
            b"stsz": lambda _: _sizes(it.sizes),
            b"stsc": lambda _: b"",
            b"stco": lambda _: _chunks(it, shift),
            b"co64": lambda _: _chunks(it, shift),
        }
        return _box(b"trak", b"".join(_rebuilt(kind, payload, tables) for kind, payload in boxes.walk(trak)))

    inside = boxes.walk(memoryview(moov)[8:])
    return _box(b"moov", b"".join(track(payload) if kind == b"trak" else _box(kind, payload) for kind, payload in inside))


def _rebuilt(kind: bytes, payload: memoryview, tables: dict[bytes, Callable[[memoryview], bytes]]) -> bytes:
    if kind in tables:
        return tables[kind](payload)
    if kind in _INSIDE:
        return _box(kind, b"".join(_rebuilt(inner, part, tables) for inner, part in boxes.walk(payload)))
    return _box(kind, payload)


def _box(kind: bytes, *parts: bytes | memoryview) -> bytes:
    return struct.pack(">I4s", 8 + sum(len(part) for part in parts), kind) + b"".join(parts)


def _inside(data: memoryview, *path: bytes) -> memoryview:
    for kind in path:
        found = next((payload for name, payload in boxes.walk(data) if name == kind), None)
        if found is None:
            raise boxes.Unfit(f"no {kind!r}")
        data = found
    return data


def _media_time(mdhd: memoryview) -> tuple[int, int]:
    """(timescale, duration)"""
    return struct.unpack(">IQ", mdhd[20:32]) if mdhd[0] else struct.unpack(">II", mdhd[12:20])


def _big(code: str, numbers: Sequence[int]) -> bytes:
    found = array(code, numbers)
    found.byteswap()
    return found.tobytes()


def _sizes(sizes: array[int]) -> bytes:
    first = sizes[0] if sizes else 0
    if first and sizes.count(first) == len(sizes):  # 0 means that a table follows
        return _box(b"stsz", struct.pack(">III", 0, first, len(sizes)))
    return _box(b"stsz", struct.pack(">III", 0, 0, len(sizes)), _big("I", sizes))


def _chunks(it: Places, shift: int) -> bytes:
    """`stsc` and the chunks' places. A chunk is samples that lie one after the other."""
    starts, counts = array("q"), array("q")
    end = -1
    for offset, size in zip(it.offsets, it.sizes, strict=True):
        if offset == end and end - starts[-1] + size <= CHUNK:
            counts[-1] += 1
        else:
            starts.append(offset)
            counts.append(1)
        end = offset + size
    runs = [(n, count) for n, count in enumerate(counts, 1) if n == 1 or counts[n - 2] != count]
    stsc = _box(b"stsc", struct.pack(">II", 0, len(runs)), *(struct.pack(">III", first, count, 1) for first, count in runs))
    kind, code = (b"co64", "Q") if max(starts, default=0) + shift > _MOST_32 else (b"stco", "I")
    return stsc + _box(kind, struct.pack(">II", 0, len(starts)), _big(code, [start + shift for start in starts]))


def _described(stsd: memoryview, handler: bytes, rate: int) -> bytes:
    """`stsd` with the average bit rate, and a greatest one that is no less."""
    before = _ENTRY.get(handler)
    entries = []
    for kind, entry in boxes.walk(stsd[8:]):
        if before is None:
            entries.append(_box(kind, entry))
            continue
        # the sound description of QuickTime has more fields in its versions 1 and 2
        more = {1: 16, 2: 36}.get(int.from_bytes(entry[8:10], "big"), 0) if handler == b"soun" else 0
        inner = (_rated(name, bytes(part), rate) for name, part in boxes.walk(entry[before + more :]))
        entries.append(_box(kind, entry[: before + more], *inner))
    return _box(b"stsd", stsd[:8], *entries)


def _rated(kind: bytes, payload: bytes, rate: int) -> bytes:
    at = None
    if kind == b"btrt" and len(payload) == 12:
        at = 4
    elif kind == b"esds":
        at = next(_decoder_configs(payload), None)
    if at is not None:
        greatest, average = struct.unpack_from(">II", payload, at)
        # an average of 0 says that the rate varies
        payload = payload[:at] + struct.pack(">II", max(greatest, rate), rate if average else 0) + payload[at + 8 :]
    return _box(kind, payload)


def _decoder_configs(esds: bytes) -> Iterator[int]:
    """Where the greatest bit rate stands in the DecoderConfigDescriptor of an `esds`."""
    at, inside = 4, {3: 3}  # an ES_Descriptor has 3 bytes before its descriptors when it has no flags
    while at + 2 <= len(esds):
        tag, size = esds[at], 0
        at += 1
        for n in range(4):
            size = size << 7 | esds[at + n] & 0x7F
            if not esds[at + n] & 0x80:
                at += n + 1
                break
        if tag == 4 and at + 13 <= len(esds):
            yield at + 5
        at += inside.get(tag, size)


def header(size: int) -> bytes:
    """Of an `mdat` with so many bytes."""
    return struct.pack(">I4s", 8 + size, b"mdat") if 8 + size <= _MOST_32 else struct.pack(">I4sQ", 1, b"mdat", 16 + size)
