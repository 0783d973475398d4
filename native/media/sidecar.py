"""An index as bytes, kept beside its source so that the next cut reads neither tables nor packets to find its way.

Written by a worker and read by another one later, and workers handle what strangers made: what is read here is checked as if it came
from the source itself. Whatever is wrong with it, it is only ignored, and the index is made anew.

    "nve index", the length of a JSON document, the document, and what it counts: the columns of each track (columns.py), one by one

Two things bind it: the size of its source, and the code that made it, since what an index says is decided there. That the source is still
the same one is for those to know who keep it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from array import array
from itertools import accumulate
from operator import add, sub
from pathlib import Path
from typing import Any

import av

from native.media import channel, columns, demuxer
from native.media.info import MediaInfo
from native.media.source import Blocks, Patch
from native.media.tracks import MAX_PACKETS, Index, Track

MAGIC = b"nve index\n"
MAX_BYTES = 64 << 20  # of a whole sidecar; three hours take 2 MiB
MAX_DOCUMENT = 4 << 20  # bytes, inflated
MAX_EXTRADATA = 1 << 20
MAX_PATCH = 8 << 20
MAX_TICK = 1 << 62
MAX_REASON = 300  # characters
# The modules on which depends what an index says.
MAKERS = ("boxes", "columns", "damage", "demuxer", "index", "info", "matroska", "nal", "places", "sidecar", "stub", "tracks")
FORMATS = {kind.name: kind for kind in vars(demuxer).values() if isinstance(kind, demuxer.Format)}


class Broken(Exception):
    """These bytes are not an index of this source, made by this code."""


def _maker() -> str:
    """Names the code that an index depends on: ours, and libavformat."""
    digest = hashlib.sha256(repr((av.__version__, sorted(av.library_versions.items()))).encode())
    for name in MAKERS:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:32]


MAKER = _maker()  # now, because a worker opens no file later


def pack(found: Index) -> bytes:
    """The index as bytes."""
    blobs: list[bytes] = []
    described = []
    for number, track in found.tracks.items():
        said, columns_ = _described(track)
        described.append({"stream": number} | said)
        blobs += columns_
    patch = found.blocks.patch
    if patch is not None:
        blobs.append(zlib.compress(patch.data, columns.LEVEL))
    document = {
        "maker": MAKER,
        "size": found.blocks.size,
        "media": found.media.model_dump(mode="json"),
        "tracks": described,
        "patch": [patch.start, patch.end, len(patch.data), len(blobs[-1])] if patch is not None else None,
    }
    text = zlib.compress(json.dumps(document).encode())
    return b"".join((MAGIC, len(text).to_bytes(4, "big"), text, *blobs))


def unpack(data: bytes, blocks: Blocks) -> Index:
    """The index of a source from bytes that anybody may have made. Raises Broken."""
    try:
        return _Reading(data, blocks).index()
    except (columns.Broken, ValueError, KeyError, TypeError, AttributeError, OverflowError, ZeroDivisionError, RecursionError) as exc:
        raise Broken(f"{type(exc).__name__}: {exc}"[:200]) from exc


def _described(track: Track) -> tuple[dict[str, Any], list[bytes]]:
    """A track as what the document says of it, and its columns: steps of time, delays, sizes, gaps between packets."""
    numbers = {
        "dts": map(sub, track.dts[1:], track.dts),
        "pts": map(sub, track.pts, track.dts),
        "sizes": track.sizes,
        "lengths": track.lengths,
        "offsets": map(sub, track.offsets[1:], map(add, track.offsets, track.sizes)) if track.offsets is not None else (),
    }
    packed = [columns.pack(array("q", column)) for column in numbers.values()]
    packed.append(zlib.compress(bytes(track.keys), columns.LEVEL))
    said = {
        "count": len(track.pts),
        "timed": len(track.lengths),
        "first": [_first(track.dts), _first(track.offsets)],
        "extradata": base64.b64encode(track.extradata).decode(),
        "decoder": track.decoder,
        "last": track.last,
        "hidden_before": track.hidden_before,
        "hidden_from": track.hidden_from,
        "unreliable": track.unreliable,
        "columns": [len(column) for column in packed],
    }
    return said, packed


def _first(numbers: array[int] | None) -> int | None:
    """The number that the steps start from; None when there are no numbers to know."""
    return None if numbers is None else numbers[0] if numbers else 0


class _Reading:
    """A sidecar, read from front to back."""

    def __init__(self, data: bytes, blocks: Blocks) -> None:
        self._data = data
        self._blocks = blocks
        self._at = len(MAGIC)
        self._packets = MAX_PACKETS  # that may still come

    def index(self) -> Index:
        if len(self._data) > MAX_BYTES or not self._data.startswith(MAGIC):
            raise ValueError("not a sidecar")
        try:
            text = zlib.decompressobj().decompress(self._take(int.from_bytes(self._take(4), "big")), MAX_DOCUMENT)
        except zlib.error as exc:
            raise ValueError("deflate") from exc
        said = json.loads(text)
        if said["maker"] != MAKER or said["size"] != self._blocks.size:
            raise ValueError("of another source, or by other code")
        channel.look_at_fractions(said["media"])
        media = MediaInfo.model_validate(said["media"])
        if media.size != self._blocks.size or len(media.streams) > demuxer.MAX_STREAMS:
            raise ValueError("media")
        streams = {stream.index: stream for stream in media.streams}
        tracks: dict[int, Track] = {}
        for one in said["tracks"]:
            # each stream once
            tracks[one["stream"]] = self._track(one, Track(streams.pop(one["stream"]), _extradata(one), one["decoder"]))
        patch = self._patch(*said["patch"]) if said["patch"] is not None else None
        if self._at != len(self._data):
            raise ValueError("something is left")
        self._blocks.patch = patch
        return Index(self._blocks, FORMATS[media.container], media, tracks, kept=True)

    def _track(self, said: dict[str, Any], track: Track) -> Track:
        if track.decoder not in (None, *demuxer.CODECS) or track.time_base <= 0:
            raise ValueError("stream")
        count, size = _whole(said["count"], 0, self._packets), self._blocks.size
        self._packets -= count
        timed = _whole(said["timed"], 0, count)
        began, at = (None if first is None else _whole(first, -MAX_TICK, MAX_TICK) for first in said["first"])
        *packed, marks = (self._take(length) for length in said["columns"])
        steps, late, sizes, timings, gaps = packed
        track.dts = _sums(began, steps, count)
        track.pts = _within(array("q", map(add, track.dts, columns.unpack(late, count))), -MAX_TICK, MAX_TICK)
        track.sizes = _column(sizes, count, 0, size)
        track.lengths = _column(timings, timed, 0, MAX_TICK)
        if at is not None:
            track.offsets = _places(at, gaps, track.sizes, size)
        track.keys = bytearray(columns.inflate(marks, count))
        if track.keys.translate(None, b"\0\1"):
            raise ValueError("keys")
        track.last = _whole(said["last"], -MAX_TICK, MAX_TICK)
        track.hidden_before = _whole(said["hidden_before"], -MAX_TICK, MAX_TICK)
        track.hidden_from = None if said["hidden_from"] is None else _whole(said["hidden_from"], -MAX_TICK, MAX_TICK)
        track.unreliable = said["unreliable"]
        if track.unreliable is not None and not (len(track.unreliable) <= MAX_REASON and track.unreliable.isprintable()):
            raise ValueError("reason")
        return track

    def _patch(self, start: int, end: int, length: int, packed: int) -> Patch:
        _whole(end, _whole(start, 0, self._blocks.size), self._blocks.size)
        return Patch(start, end, columns.inflate(self._take(packed), _whole(length, 0, min(MAX_PATCH, end - start))))

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + _whole(length, 0, MAX_BYTES)]
        if len(taken) != length:
            raise ValueError("too short")
        self._at += length
        return taken


def _extradata(said: dict[str, Any]) -> bytes:
    data = base64.b64decode(said["extradata"], validate=True)
    if len(data) > MAX_EXTRADATA:
        raise ValueError("extradata")
    return data


def _column(packed: bytes, count: int, least: int, most: int) -> array[int]:
    low, high = columns.bounds(packed)
    numbers = columns.unpack(packed, count)
    return numbers if least <= low and high <= most else _within(numbers, least, most)


def _sums(first: int | None, packed: bytes, count: int) -> array[int]:
    """`count` numbers of which the first is known, and how far each is from the one before."""
    if first is None:
        raise ValueError("no first")
    if not count:
        return array("q")
    least, most = columns.bounds(packed)
    if least == most and least:
        return _within(array("q", range(first, first + count * least, least)), -MAX_TICK, MAX_TICK, ordered=True)
    sums = array("q", accumulate(columns.unpack(packed, count - 1), initial=first))
    return _within(sums, -MAX_TICK, MAX_TICK, ordered=least >= 0)


def _places(first: int, packed: bytes, sizes: array[int], end: int) -> array[int]:
    """Where packets lie, each a gap behind the end of the one before; all of them before `end`."""
    if not sizes:
        return array("q")
    gaps = columns.unpack(packed, len(sizes) - 1)
    places = array("q", accumulate(map(add, gaps, sizes), initial=first))
    ordered = columns.bounds(packed)[0] >= 0
    _within(places, 0, end, ordered=ordered)
    if places[-1] + sizes[-1] > end or (not ordered and max(map(add, places, sizes)) > end):
        raise ValueError("past the end")
    return places


def _within(numbers: array[int], least: int, most: int, *, ordered: bool = False) -> array[int]:
    if numbers:
        low, high = sorted((numbers[0], numbers[-1])) if ordered else (min(numbers), max(numbers))
        if low < least or high > most:
            raise ValueError("out of bounds")
    return numbers


def _whole(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError("not such a number")
    return value
