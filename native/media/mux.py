"""Writing the output file: its streams, its options, and what libavformat's MP4 writer cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from native.media import containers

TOP_TIMESCALE = 2_000_000  # ticks/s; a finer movie clock makes some players overflow


def create(path: Path, container: str, clocks: Iterable[int]) -> OutputContainer:
    """An empty output. `clocks` are the streams' ticks per second: the movie's clock divides none of their ticks where it can."""
    options: dict[str, str] = {}
    if containers.OF[container].edited:
        # moov first, so that the file plays while it is being downloaded
        options["movflags"] = "+faststart"
        # edit lists are written in the movie's clock; at the default 1000 ticks/s they would be off by half a millisecond
        options["movie_timescale"] = str(movie_timescale(clocks))
        # negative times are the run-in that the edit list hides; shifting them would show it
        options["avoid_negative_ts"] = "disabled"
    return av.open(str(path), "w", format=containers.OF[container].muxer, container_options=options)


class Refused(Exception):
    """The container does not hold such a stream."""


def copied(out: OutputContainer, template: Any, **options: Any) -> Any:
    """A new stream of the output, for the packets of `template`. Raises Refused."""
    return _added(out.add_stream_from_template, template, **options)


def encoded(out: OutputContainer, codec: str, **options: Any) -> Any:
    """A new stream of the output, and its encoder. Raises Refused."""
    return _added(out.add_stream, codec, **options)


def _added(add: Any, what: Any, **options: Any) -> Any:
    try:
        return add(what, **options)
    except ValueError as exc:
        raise Refused(str(exc)) from exc


def movie_timescale(clocks: Iterable[int]) -> int:
    """The least common multiple of the streams' clocks while that is sane, else the finest one."""
    known = [clock for clock in clocks if clock > 0] or [90_000]
    common = math.lcm(*known)
    common = common if common <= TOP_TIMESCALE else max(known)
    # a clock as coarse as the frames could not say how long sound is
    return common * math.ceil(10_000 / common)


def interleaved(streams: Iterable[tuple[Any, Iterable[av.Packet]]]) -> Iterable[av.Packet]:
    """All packets in the order of their decoding times, each knowing its stream."""

    def tagged(stream: Any, packets: Iterable[av.Packet]) -> Iterable[tuple[float, int, av.Packet]]:
        for packet in packets:
            assert packet.dts is not None  # every maker of packets gives them one
            packet.stream = stream
            yield float(packet.dts * packet.time_base), stream.index, packet

    for _, _, packet in merge(*(tagged(s, p) for s, p in streams), key=lambda row: row[:2]):
        yield packet


def patch(path: Path, track: int, shown: Fraction) -> None:
    """Sets the length in seconds that is shown of the n-th track of an MP4 whose moov comes first."""
    with path.open("r+b") as file:
        moov_at, moov_size = _moov(file)
        file.seek(moov_at)
        moov = bytearray(file.read(moov_size))
        mvhd = _boxes(moov, 8, len(moov))[b"mvhd"][0]
        trak = _boxes(moov, 8, len(moov))[b"trak"][track]
        inside = _boxes(moov, *trak)
        tkhd = inside[b"tkhd"][0]
        scale_at = mvhd[0] + (20 if moov[mvhd[0]] else 12)
        scale = int.from_bytes(moov[scale_at : scale_at + 4], "big")
        elst = _boxes(moov, *_boxes(moov, *trak)[b"edts"][0])[b"elst"][0]
        total = _set_edit(moov, elst[0], round(shown * scale))
        _set_duration(moov, tkhd[0], 28 if moov[tkhd[0]] else 20, total)
        others = [_duration(moov, _boxes(moov, *t)[b"tkhd"][0][0]) for t in _boxes(moov, 8, len(moov))[b"trak"]]
        _set_duration(moov, mvhd[0], 24 if moov[mvhd[0]] else 16, max(others))
        file.seek(moov_at)
        file.write(moov)


def speak(path: Path, languages: Sequence[str | None]) -> None:
    """Gives the tracks of a MOV whose moov comes first their languages, by the codes of ISO 639-2/T as in MP4. QuickTime takes them beside
    its own, which libavformat writes, and which know fewer languages."""
    with path.open("r+b") as file:
        moov_at, moov_size = _moov(file)
        file.seek(moov_at)
        moov = bytearray(file.read(moov_size))
        for trak, language in zip(_boxes(moov, 8, len(moov))[b"trak"], languages, strict=False):
            if language and len(language) == 3 and language.isascii() and language.islower():
                mdhd = _boxes(moov, *_boxes(moov, *trak)[b"mdia"][0])[b"mdhd"][0][0]
                at = mdhd + (32 if moov[mdhd] else 20)
                first, second, third = (ord(letter) - 0x60 for letter in language)
                moov[at : at + 2] = (first << 10 | second << 5 | third).to_bytes(2, "big")
        file.seek(moov_at)
        file.write(moov)


def _moov(file: Any) -> tuple[int, int]:
    at = 0
    while True:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            return at, size
        if size < 8:
            raise ValueError("no moov")
        at += size


def _boxes(data: bytearray, start: int, end: int) -> dict[bytes, list[tuple[int, int]]]:
    """(payload, end) of the boxes between two positions, by kind."""
    found: dict[bytes, list[tuple[int, int]]] = {}
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        found.setdefault(bytes(data[start + 4 : start + 8]), []).append((start + 8, start + size))
        start += max(size, 8)
    return found


def _set_edit(data: bytearray, elst: int, length: int) -> int:
    """Gives the last entry of an edit list this length; the list's total length."""
    wide, count = data[elst] == 1, int.from_bytes(data[elst + 4 : elst + 8], "big")
    row, width = (20, 8) if wide else (12, 4)
    at = elst + 8 + (count - 1) * row
    data[at : at + width] = length.to_bytes(width, "big")
    return sum(int.from_bytes(data[elst + 8 + n * row : elst + 8 + n * row + width], "big") for n in range(count))


def _duration(data: bytearray, tkhd: int) -> int:
    return int.from_bytes(data[tkhd + 28 : tkhd + 36] if data[tkhd] else data[tkhd + 20 : tkhd + 24], "big")


def _set_duration(data: bytearray, box: int, offset: int, value: int) -> None:
    width = 8 if data[box] else 4
    data[box + offset : box + offset + width] = value.to_bytes(width, "big")
