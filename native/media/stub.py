"""An MP4's `moov` without its long tables, to stand in for it when only the header is wanted: the tables are in the index.

libavformat opens a source for its streams' set-up, titles and chapters, and on the way reads 5 MiB of tables for every hour. With the
tables cut to the first samples it reads a few kilobytes and says the same; that it does is looked at once, when the index is made.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

from native import errors
from native.media import boxes, demuxer
from native.media.source import Blocks, Patch

SAMPLES = 64  # of each track that stay: what libavformat looks at to know a stream
WORTH = 128 << 10  # bytes; a smaller `moov` is read as it is
LONG = 4 << 10  # bytes of a table of another kind that is left out
_PARENTS = {b"trak", b"mdia", b"minf"}


def of(blocks: Blocks, kind: demuxer.Format, opened: Any) -> Patch | None:
    """What may stand in for the source's `moov`, so that a container opened with it says what `opened` says; None when nothing may."""
    moov = next((box for box in boxes.top_level(blocks) if box[0] == b"moov"), None)
    if moov is None or moov[3] - moov[1] < WORTH:
        return None
    _, start, payload, end = moov
    try:
        short = _box(b"moov", _children(memoryview(blocks.read(payload, end - payload))))
    except (boxes.Unfit, struct.error, ValueError, IndexError):
        return None
    rest = end - start - len(short)
    if rest < WORTH // 2:
        return None
    patch = Patch(start, end, short + struct.pack(">I4sQ", 1, b"free", rest))
    trial = Blocks(blocks.source)
    trial.patch = patch
    try:
        with demuxer.open_(trial, kind) as container:
            return patch if _said(container) == _said(opened) else None
    except errors.Problem:
        return None


def _said(container: Any) -> list[Any]:
    """All that is ever asked of a container that was opened for its header."""
    said: list[Any] = [container.metadata, container.chapters(), len(container.streams)]
    for stream in container.streams:
        context = stream.codec_context
        said += [stream.id, stream.type, stream.metadata, int(stream.disposition), stream.time_base]
        if context is not None:
            said += [context.codec.name, context.codec_tag, bytes(getattr(context, "extradata", None) or b"")]
            said += [getattr(context, name, None) for name in ("profile", "level", "width", "height", "pix_fmt", "sample_rate")]
            said += [str(getattr(context, name, None)) for name in ("sample_aspect_ratio", "format", "layout", "field_order")]
            said += [int(getattr(context, name, None) or 0) for name in ("color_range", "color_primaries", "color_trc", "colorspace")]
        # only rounded where it is an average
        said.append(round(float(getattr(stream, "average_rate", None) or 0), 2))
    return said


def _children(data: memoryview) -> bytes:
    parts = []
    for kind, payload in boxes.walk(data):
        if kind == b"stbl":
            parts.append(_box(kind, _tables(payload)))
        else:
            parts.append(_box(kind, _children(payload) if kind in _PARENTS else bytes(payload)))
    return b"".join(parts)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _tables(stbl: memoryview) -> bytes:
    """The sample tables of a track, of its first samples only; those of a short one as they are."""
    inside = dict(boxes.walk(stbl))
    uniform, count = struct.unpack(">II", inside[b"stsz"][4:12]) if b"stsz" in inside else (0, 0)
    if count <= 8 * SAMPLES:
        return bytes(stbl)
    kept = []
    chunks, left = _chunks(inside[b"stsc"])
    for kind, payload in boxes.walk(stbl):
        if kind == b"stsz":
            table = bytes(payload[:4]) + struct.pack(">II", uniform, SAMPLES) + (b"" if uniform else bytes(payload[12 : 12 + 4 * SAMPLES]))
        elif kind == b"stts":
            table = _times(payload)
        elif kind in (b"stco", b"co64"):
            width = 4 if kind == b"stco" else 8
            table = _rows(payload, min(chunks, _count(payload)), width)
        elif kind == b"stsc":
            table = bytes(payload[:4]) + struct.pack(">I", len(left)) + b"".join(left)
        elif kind == b"ctts":
            table = _rows(payload, min(SAMPLES, _count(payload)), 8)
        elif kind == b"stss":
            numbers = array("I", bytes(payload[8 : 8 + 4 * min(SAMPLES, _count(payload))]))
            numbers.byteswap()
            table = _rows(payload, sum(number <= SAMPLES for number in numbers), 4)
        elif kind != b"stsd" and len(payload) > LONG:
            continue
        else:
            table = bytes(payload)
        kept.append(_box(kind, table))
    return b"".join(kept)


def _count(table: memoryview) -> int:
    return int.from_bytes(table[4:8], "big")


def _rows(table: memoryview, count: int, width: int) -> bytes:
    return bytes(table[:4]) + struct.pack(">I", count) + bytes(table[8 : 8 + count * width])


def _times(stts: memoryview) -> bytes:
    """The first runs as they are, and for all others two that last as long: the average rate stays what it was."""
    count = _count(stts)
    if count <= SAMPLES:
        return bytes(stts)
    rest = struct.unpack(f">{2 * (count - SAMPLES)}I", stts[8 + 8 * SAMPLES : 8 + 8 * count])
    samples, ticks = sum(rest[0::2]), sum(n * step for n, step in zip(rest[0::2], rest[1::2], strict=True))
    each, more = divmod(ticks, max(samples, 1))
    runs = struct.pack(">4I", samples - more, each, more, each + 1)
    return bytes(stts[:4]) + struct.pack(">I", SAMPLES + 2) + bytes(stts[8 : 8 + 8 * SAMPLES]) + runs


def _chunks(stsc: memoryview) -> tuple[int, list[bytes]]:
    """How many chunks hold the first samples, and the rows that say so."""
    rows = [bytes(stsc[8 + 12 * n : 20 + 12 * n]) for n in range(min(_count(stsc), SAMPLES))]
    chunks = samples = 0
    kept = []
    for n, row in enumerate(rows):
        first, each, _ = struct.unpack(">III", row)
        kept.append(row)
        until = struct.unpack(">I", rows[n + 1][:4])[0] if n + 1 < len(rows) else first + SAMPLES
        enough = min(until - first, -(-(SAMPLES - samples) // max(each, 1)))
        chunks, samples = first - 1 + enough, samples + enough * each
        if samples >= SAMPLES:
            break
    return chunks, kept
