"""The packets of a file as libavformat reads them, and the picture units inside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av

ALONE = {"prores", "dvvideo", "mjpeg", "dnxhd", "ffv1", "rawvideo", "png"}


@dataclass(frozen=True)
class Packet:
    """A picture's packet; times in seconds."""

    row: int
    pts: Fraction
    dts: Fraction
    duration: Fraction
    tick: Fraction
    key: bool
    clean: bool  # its units say that decoding may start here
    units: tuple[bytes, ...]  # digests of its picture units
    tails: tuple[int, ...]  # the ends of these, whatever their headers


@dataclass(frozen=True)
class Stream:
    """The parameter sets of a file's picture."""

    codec: str
    tag: str
    header_sps: tuple[bytes, ...]
    inband_sps: tuple[bytes, ...]
    inband_sets: int
    layered: bool  # units that only a decoder of layers looks at


def packets(path: Path) -> tuple[Packet, ...]:
    """In decoding order."""
    return _packets(path, _state(path))[0]


def stream(path: Path) -> Stream:
    return _packets(path, _state(path))[1]


def tick(path: Path) -> Fraction:
    """Seconds of one tick of the picture's clock."""
    return packets(path)[0].tick


@lru_cache(maxsize=64)
def _sounds(path: Path, _state: tuple[int, int, int]) -> int:
    with av.open(str(path), metadata_errors="replace") as container:
        return sum(1 for s in container.streams.audio if s.codec_context is not None)


def sounds(path: Path) -> int:
    """How many sound tracks can be decoded."""
    return _sounds(path, _state(path))


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)
def _packets(path: Path, _state: tuple[int, int, int]) -> tuple[tuple[Packet, ...], Stream]:
    found: list[Packet] = []
    inband, sets, layered = set(), 0, False
    with av.open(str(path), metadata_errors="replace") as container:
        video = container.streams.video[0]
        context = video.codec_context
        codec, extra = context.codec.canonical_name, bytes(context.extradata or b"")
        width = _width(codec, extra)
        for packet in container.demux(video):
            if not packet.size:
                continue
            data = bytes(packet)
            units = list(_units(data, width)) if codec in ("h264", "hevc") else [data]
            pictures = [u for u in units if _is_picture(u, codec)]
            sps = [u for u in units if codec == "h264" and u[0] & 31 == 7]
            inband.update(sps)
            layered |= codec == "h264" and any(u[0] & 31 in (14, 15, 20) for u in units)
            sets += sum(
                1 for u in units if (u[0] & 31 in (7, 8) if codec == "h264" else codec == "hevc" and (u[0] >> 1) & 63 in (32, 33, 34))
            )
            base = Fraction(packet.time_base)
            pts = packet.pts if packet.pts is not None else packet.dts or 0
            found.append(
                Packet(
                    row=len(found), pts=pts * base, dts=(packet.dts if packet.dts is not None else pts) * base,
                    duration=(packet.duration or 0) * base, tick=base, key=packet.is_keyframe,
                    clean=_clean(pictures, codec) if codec in ("h264", "hevc") else packet.is_keyframe or codec in ALONE,
                    # the header of an HEVC unit says whether pictures before it may be missing: it is no part of the picture
                    units=tuple(hashlib.sha256(u[2:] if codec == "hevc" else u).digest() for u in pictures),
                    tails=tuple(_tail(u) for u in pictures),
                )
            )  # fmt: skip
        tag = context.codec_tag
    return tuple(found), Stream(codec, tag, tuple(_header_sps(extra, width)) if codec == "h264" else (), tuple(inband), sets, layered)


def marked(path: Path) -> list[int]:
    """Rows of the picture that an MP4's own table of sync samples names. libavformat adds recovery points to them."""
    data = path.read_bytes()
    for track in _boxes(_box(data, b"moov"), b"trak"):
        media = _box(track, b"mdia")
        if _box(media, b"hdlr")[8:12] == b"vide":
            table = _box(_box(_box(media, b"minf"), b"stbl"), b"stss")
            return [int.from_bytes(table[at : at + 4], "big") - 1 for at in range(8, len(table), 4)]
    return []


def lasts(path: Path) -> Fraction:
    """Seconds that an MP4 says its picture is shown: in its track's header, since the media's own length counts decoding times."""
    moov = _box(path.read_bytes(), b"moov")
    header = _box(moov, b"mvhd")
    scale = int.from_bytes(header[20:24] if header[0] else header[12:16], "big")
    for track in _boxes(moov, b"trak"):
        if _box(_box(track, b"mdia"), b"hdlr")[8:12] == b"vide":
            said = _box(track, b"tkhd")
            return Fraction(int.from_bytes(said[28:36] if said[0] else said[20:24], "big"), scale)
    return Fraction(0)


def _box(data: bytes, kind: bytes) -> bytes:
    return next(_boxes(data, kind), b"")


def _boxes(data: bytes, kind: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if data[at + 4 : at + 8] == kind:
            yield data[at + head : at + size]
        at += max(8, size)


def _is_picture(unit: bytes, codec: str) -> bool:
    if codec == "h264":
        return unit[0] & 31 in (1, 2, 3, 4, 5)
    return codec != "hevc" or (unit[0] >> 1) & 63 < 32


def _clean(pictures: list[bytes], codec: str) -> bool:
    if codec == "h264":
        return bool(pictures) and all(u[0] & 31 == 5 for u in pictures)
    return bool(pictures) and all(16 <= (u[0] >> 1) & 63 <= 21 for u in pictures)


def _width(codec: str, extra: bytes) -> int:
    at = {"h264": 4, "hevc": 21}.get(codec)
    return (extra[at] & 3) + 1 if at is not None and len(extra) > at and extra[0] == 1 else 0


def _units(data: bytes, width: int) -> Iterator[bytes]:
    if width:
        at = 0
        while at + width < len(data):
            size = int.from_bytes(data[at : at + width], "big")
            if size:
                yield data[at + width : at + width + size]
            at += width + size
        return
    for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1"):
        if unit := part.rstrip(b"\0"):
            yield unit


def _tail(unit: bytes) -> int:
    """The last coded bits of a unit before its stop bit: 24 bytes of them at most, and none of what may be its header."""
    payload = unit[-48:].replace(b"\0\0\3", b"\0\0")
    number = int.from_bytes(payload, "big")
    if not number:
        return 0
    number >>= (number & -number).bit_length()
    return number & ((1 << 8 * max(2, min(24, len(payload) - 20))) - 1)


def _header_sps(extra: bytes, width: int) -> Iterator[bytes]:
    if not width:
        yield from (u for u in _units(extra, 0) if u[0] & 31 == 7)
        return
    at = 6
    for _ in range(extra[5] & 31):
        size = int.from_bytes(extra[at : at + 2], "big")
        yield extra[at + 2 : at + 2 + size]
        at += 2 + size
