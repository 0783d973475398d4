"""The sample tables of a progressive MP4 or MOV (ISO/IEC 14496-12), read straight from `moov`.

They say where every packet lies and when it is shown, so a cut can be planned without reading media bytes, and they betray a file that
ends too soon. Files that keep their tables elsewhere (fragments) or play a track in several pieces (complex edit lists) are left to the
demuxer: `read` returns None for them.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, islice, repeat
from operator import add, sub

from native import errors
from native.media.source import Blocks

MAX_MOOV = 256 << 20  # bytes; 3 h of video and several sounds need 20 MiB
MAX_SAMPLES = 8_000_000  # per track
PCM_PACKET = 1024  # samples of raw audio handled as one packet
_CONTAINERS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"udta"}
_IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


class Unfit(Exception):
    """The tables are legal, or not, but not of the plain kind that is read here."""


@dataclass(frozen=True)
class Table:
    """One track: a row per packet in decoding order; times in ticks of `timescale` on the presentation's clock."""

    id: int
    handler: str
    tag: str
    timescale: int
    offsets: array[int]
    sizes: array[int]
    dts: array[int]
    pts: array[int]
    keys: bytearray  # 1 where the container says that decoding may start
    duration: int  # ticks of the last packet
    hidden_before: int  # packets shown before this tick are not shown at all
    hidden_from: int | None  # nor from this one on
    matrix: tuple[int, ...] | None
    language: str | None


def top_level(blocks: Blocks) -> list[tuple[bytes, int, int, int]]:
    """(kind, start, payload, end) of the outermost boxes. Raises SOURCE_TRUNCATED when one ends after the source does."""
    found, at = [], 0
    while at + 8 <= blocks.size and len(found) < 100_000:
        head = blocks.read(at, 16)
        size, kind, payload = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, payload = int.from_bytes(head[8:16], "big"), at + 16
        elif size == 0:
            size = blocks.size - at
        if size < payload - at:
            break
        if at + size > blocks.size:
            # a wrong size in the last, ignorable box is not a loss
            if kind in (b"mdat", b"moov", b"moof"):
                raise errors.SOURCE_TRUNCATED()
            break
        found.append((kind, at, payload, at + size))
        at += size
    return found


def read(blocks: Blocks) -> list[Table] | None:
    """The tables of every track, or None when the demuxer has to find the packets. Raises SOURCE_TRUNCATED, SOURCE_UNREADABLE."""
    boxes = top_level(blocks)
    moov = next((b for b in boxes if b[0] == b"moov"), None)
    if moov is None:
        if any(b[0] == b"mdat" for b in boxes):
            # the index is written last: without it the recording or the upload was cut off
            raise errors.SOURCE_TRUNCATED()
        raise errors.SOURCE_UNREADABLE()
    if any(b[0] == b"moof" for b in boxes):
        return None
    if moov[3] - moov[2] > MAX_MOOV:
        raise errors.SOURCE_TOO_COMPLEX("The index of the source is too large.")
    data = memoryview(blocks.read(moov[2], moov[3] - moov[2]))
    try:
        children = dict(walk(data))
        if b"mvex" in children or b"mvhd" not in children:
            return None
        scale = _movie_timescale(children[b"mvhd"])
        for kind, trak in walk(data):
            if kind == b"trak":
                _whole(trak)
        tables = [_track(trak, scale) for kind, trak in walk(data) if kind == b"trak"]
    except (Unfit, struct.error, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None
    for table in tables:
        if any(offset + size > blocks.size for offset, size in _ends(table)):
            raise errors.SOURCE_TRUNCATED()
    return tables


def matrices(blocks: Blocks) -> list[tuple[int, ...] | None]:
    """The display matrix of every picture track in the file's order, also where the demuxer finds the packets; None for upright ones."""
    moov = next((box for box in top_level(blocks) if box[0] == b"moov"), None)
    if moov is None or moov[3] - moov[2] > MAX_MOOV:
        return []
    found: list[tuple[int, ...] | None] = []
    try:
        for kind, trak in walk(memoryview(blocks.read(moov[2], moov[3] - moov[2]))):
            if kind == b"trak" and bytes(_need(trak, b"mdia", b"hdlr")[8:12]) == b"vide":
                found.append(_posed(_need(trak, b"tkhd")))
    except (Unfit, struct.error, IndexError):
        return []
    return found


def _posed(tkhd: memoryview) -> tuple[int, ...] | None:
    matrix = struct.unpack(">9i", tkhd[52:88] if tkhd[0] == 1 else tkhd[40:76])
    return None if matrix == _IDENTITY else matrix


# one of each row is in every track (ISO/IEC 14496-12, 8.5 to 8.7)
_MANDATORY = ((b"stsd",), (b"stts",), (b"stsc",), (b"stsz", b"stz2"), (b"stco", b"co64"))


def _whole(trak: memoryview) -> None:
    """Raises SOURCE_UNREADABLE when a track of pictures or sound lacks what every track has: a part of it would silently be missing."""
    hdlr = _find(trak, b"mdia", b"hdlr")
    if hdlr is None or bytes(hdlr[8:12]) not in (b"vide", b"soun"):
        return
    stbl = _find(trak, b"mdia", b"minf", b"stbl")
    there = {kind: payload for kind, payload in walk(stbl)} if stbl is not None else {}
    if any(not any(kind in there for kind in kinds) for kinds in _MANDATORY) or there[b"stsd"][4:8] == bytes(4):
        raise errors.SOURCE_UNREADABLE("The source's index is damaged: one of its tracks does not say what it holds or where.")


def _ends(table: Table) -> Iterator[tuple[int, int]]:
    """The rows that may lie past the end: a file is cut off at its end, so the farthest one decides."""
    if table.offsets:
        last = max(range(len(table.offsets)), key=table.offsets.__getitem__)
        yield table.offsets[last], table.sizes[last]


def walk(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, payload) of the boxes in these bytes. Raises Unfit."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            raise Unfit("a box runs past its parent")
        yield kind, data[at + head : at + size]
        at += size


def _find(data: memoryview, *path: bytes) -> memoryview | None:
    for kind in path:
        found = next((payload for name, payload in walk(data) if name == kind), None)
        if found is None:
            return None
        data = found
    return data


def _need(data: memoryview, *path: bytes) -> memoryview:
    found = _find(data, *path)
    if found is None:
        raise Unfit(f"no {path[-1]!r}")
    return found


def _movie_timescale(mvhd: memoryview) -> int:
    return int.from_bytes(mvhd[20:24] if mvhd[0] else mvhd[12:16], "big") or 1


def _table(box: memoryview, code: str, at: int = 4) -> array[int]:
    """The numbers of a full box whose rows start with a 32-bit count. They are big-endian in the file."""
    count = int.from_bytes(box[at : at + 4], "big")
    width = struct.calcsize(">" + code)
    if count > MAX_SAMPLES or at + 4 + count * width > len(box):
        raise Unfit("a table is longer than its box")
    numbers = array({1: "B", 4: "I", 8: "Q"}[width // max(1, len(code))])
    numbers.frombytes(box[at + 4 : at + 4 + count * width])
    numbers.byteswap()
    return numbers


def _track(trak: memoryview, movie_scale: int) -> Table:
    tkhd, mdhd, hdlr, stbl = (
        _need(trak, b"tkhd"),
        _need(trak, b"mdia", b"mdhd"),
        _need(trak, b"mdia", b"hdlr"),
        _need(trak, b"mdia", b"minf", b"stbl"),
    )
    wide = tkhd[0] == 1
    track_id = int.from_bytes(tkhd[20:24] if wide else tkhd[12:16], "big")
    scale = int.from_bytes(mdhd[20:24] if mdhd[0] else mdhd[12:16], "big")
    code = int.from_bytes(mdhd[32:34] if mdhd[0] else mdhd[20:22], "big")
    language = "".join(chr(((code >> shift) & 31) + 0x60) for shift in (10, 5, 0)) if code >= 0x400 and code != 0x7FFF else None
    stsd = _need(stbl, b"stsd")
    if int.from_bytes(stsd[4:8], "big") != 1:
        raise Unfit("several sample descriptions")
    tag = bytes(stsd[12:16]).decode("latin-1")
    if not scale:
        raise Unfit("no timescale")
    handler = bytes(hdlr[8:12]).decode("latin-1")

    uniform, count = int.from_bytes(_need(stbl, b"stsz")[4:8], "big"), int.from_bytes(_need(stbl, b"stsz")[8:12], "big")
    runs = _table(_need(stbl, b"stts"), "II")
    chunks = _chunk_offsets(stbl)
    if handler == "soun" and uniform and list(runs[1::2]) in ([1], []):
        sizes, offsets, deltas = _raw_audio(stsd, uniform, count, chunks, _table(_need(stbl, b"stsc"), "III"))
        keys = bytearray(b"\1") * len(sizes)
        dts = array("q", accumulate(chain([0], deltas[:-1]))) if deltas else array("q")
        pts, last = array("q", dts), deltas[-1] if deltas else 0
    else:
        offsets, sizes = places(stbl)
        dts, last = _decode_times(runs, count)
        pts = _shown_times(stbl, dts)
        keys = _sync(stbl, count)
    shift, before, until = _edit(trak, movie_scale, scale)
    if handler == "vide" and pts and before >= 0:
        # An edit that starts in the middle of a frame: every player shows the next whole frame at the edit's start.
        begin = before - shift
        shift = before - (begin if begin in pts[:64] else min((t for t in pts if t >= begin), default=begin))
    if shift:
        dts, pts = array("q", map(add, dts, repeat(shift))), array("q", map(add, pts, repeat(shift)))
    return Table(
        id=track_id, handler=handler, tag=tag, timescale=scale, offsets=offsets, sizes=sizes, dts=dts, pts=pts, keys=keys,
        duration=last, hidden_before=before, hidden_from=until, matrix=_posed(tkhd), language=language,
    )  # fmt: skip


def places(stbl: memoryview) -> tuple[array[int], array[int]]:
    """(offsets, sizes) of the samples of a track. Raises Unfit, struct.error and the like, SOURCE_TOO_COMPLEX."""
    stsz = _need(stbl, b"stsz")
    uniform, count = struct.unpack(">II", stsz[4:12])
    if count > MAX_SAMPLES:
        raise errors.SOURCE_TOO_COMPLEX("The source has too many packets.")
    sizes = array("q", repeat(uniform, count)) if uniform else array("q", _table(stsz, "I", 8))
    return _offsets(sizes, _chunk_offsets(stbl), _table(_need(stbl, b"stsc"), "III")), sizes


def _chunk_offsets(stbl: memoryview) -> array[int]:
    stco = _find(stbl, b"stco")
    return array("q", _table(stco, "I")) if stco is not None else array("q", _table(_need(stbl, b"co64"), "Q"))


def _per_chunk(chunks: array[int], stsc: array[int]) -> array[int]:
    """Samples of every chunk."""
    firsts = stsc[0::3]
    if any(number != 1 for number in set(stsc[2::3])):
        # players leave out such samples, and what refers to them breaks
        raise errors.SOURCE_UNREADABLE("The source's index is damaged: it names a description of samples that is not there.")
    if chunks and (not firsts or firsts[0] != 1):
        raise Unfit("chunks without samples")
    firsts.append(len(chunks) + 1)
    runs = map(repeat, stsc[1::3], map(sub, firsts[1:], firsts))  # as many chunks as lie before the next run's first
    return array("q", islice(chain.from_iterable(runs), len(chunks)))


def _offsets(sizes: array[int], chunks: array[int], stsc: array[int]) -> array[int]:
    """Where each sample lies. Laid end to end, samples begin at the sums of the sizes before them; each chunk is moved to its own place."""
    count, samples = len(sizes), _per_chunk(chunks, stsc)
    sums = array("q", accumulate(sizes, initial=0))
    firsts = accumulate(samples, initial=0)
    if sum(samples) > count:  # some tables have chunks to spare
        firsts = map(min, firsts, repeat(count))
    moves = map(sub, chunks, map(sums.__getitem__, firsts))
    offsets = array("q", map(add, sums, islice(chain.from_iterable(map(repeat, moves, samples)), count)))
    if len(offsets) != count:
        raise Unfit("fewer chunks than samples")
    return offsets


def _raw_audio(
    stsd: memoryview, uniform: int, count: int, chunks: array[int], stsc: array[int]
) -> tuple[array[int], array[int], list[int]]:
    """Raw audio has a table row per sample; packets of up to PCM_PACKET samples of one chunk do as well."""
    channels, bits = int.from_bytes(stsd[32:34], "big"), int.from_bytes(stsd[34:36], "big")
    if uniform != channels * bits // 8:
        raise Unfit("compressed audio described as raw")
    sizes, offsets, deltas, left = array("q"), array("q"), [], count
    for start, samples in zip(chunks, _per_chunk(chunks, stsc), strict=True):
        for first in range(0, min(samples, left), PCM_PACKET):
            n = min(PCM_PACKET, samples - first, left - first)
            sizes.append(n * uniform)
            offsets.append(start + first * uniform)
            deltas.append(n)
        left -= min(samples, left)
        if len(sizes) > MAX_SAMPLES:
            raise errors.SOURCE_TOO_COMPLEX("The source has too many packets.")
    return sizes, offsets, deltas


def _decode_times(runs: array[int], count: int) -> tuple[array[int], int]:
    dts, now, delta = array("q"), 0, 0
    for length, step in zip(runs[0::2], runs[1::2], strict=True):
        n = min(length, count - len(dts))
        if step >= 1 << 31:
            raise Unfit("a negative duration")
        dts.extend(range(now, now + n * step, step) if step else repeat(now, n))
        now, delta = now + n * step, step if n else delta
    if len(dts) != count:
        raise Unfit("fewer times than samples")
    return dts, delta


def _shown_times(stbl: memoryview, dts: array[int]) -> array[int]:
    ctts = _find(stbl, b"ctts")
    if ctts is None:
        return array("q", dts)
    runs = _table(ctts, "II")
    # version 0 says unsigned, but writers of negative offsets that forgot the version are common and every player reads them as signed
    signed = array("i", runs[1::2].tobytes())
    pts = array("q", map(add, dts, chain.from_iterable(map(repeat, signed, runs[0::2]))))
    if len(pts) != len(dts):
        raise Unfit("fewer offsets than samples")
    return pts


def _sync(stbl: memoryview, count: int) -> bytearray:
    stss = _find(stbl, b"stss")
    if stss is None:
        return bytearray(b"\1") * count
    keys = bytearray(count)
    for number in _table(stss, "I"):
        if 1 <= number <= count:
            keys[number - 1] = 1
    return keys


def _edit(trak: memoryview, movie_scale: int, scale: int) -> tuple[int, int, int | None]:
    """(shift, first shown tick, first hidden tick) of the edit list: pauses at the start, then at most one stretch of the media."""
    elst = _find(trak, b"edts", b"elst")
    if elst is None:
        return 0, -(1 << 62), None
    wide, count, at = elst[0] == 1, int.from_bytes(elst[4:8], "big"), 8
    pause, stretch = Fraction(0), None
    for _ in range(min(count, 64)):
        length, media_time, rate = struct.unpack(">QqI" if wide else ">IiI", elst[at : at + (20 if wide else 12)])
        at += 20 if wide else 12
        if media_time == -1 and stretch is None:
            pause += Fraction(length, movie_scale)
        elif stretch is None and rate == 0x10000 and media_time >= 0:
            stretch = (length, media_time)
        else:
            raise Unfit("an edit list of several stretches")
    if count > 64:
        raise Unfit("an edit list of many stretches")
    start = round(pause * scale)
    if stretch is None:
        return start, -(1 << 62), None
    length, media_time = stretch
    # the length is rounded to the movie's clock: what begins within its last tick is not lost to rounding
    until = start + int(Fraction(length, movie_scale) * scale + Fraction(scale, 2 * movie_scale)) if length else None
    return start - media_time, start, until
