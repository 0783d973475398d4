"""A file of tickets becomes a layout: packets that lie together in a source, and are many, stay there; all others are written."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from native.media import boxes
from native.media.mp4 import moov
from native.media.mp4.layout import Layout, Piece
from native.media.mp4.tickets import SIZE, Tickets
from native.media.source import Blocks, FileSource, Readable

# A track that goes back in its source by more than this begins another segment of it. Less is a packet that two segments need.
BACK = 1 << 20

Spare = Sequence[tuple[int, int]]  # bytes [start, end) of a source


@dataclass
class Run:
    """Bytes [offset, end) of a source, every one of them of a sample of the output. `last`: the row of its last sample."""

    source: int
    offset: int
    end: int
    last: int
    at: int = 0  # where it begins in the output's data


class Rows:
    """The samples of all tracks in the order of the file they were written to. A sample is written bytes, or a range of a source."""

    def __init__(self, tracks: Sequence[moov.Places], file: Readable, tickets: Tickets) -> None:
        places = sorted((offset, track, n) for track, it in enumerate(tracks) for n, offset in enumerate(it.offsets))
        self.tracks = array("i", (track for _, track, _ in places))
        self.numbers = array("i", (n for *_, n in places))
        self.offsets = array("q", (offset for offset, *_ in places))
        self.sizes = array("q", (tracks[track].sizes[n] for _, track, n in places))
        self.sources = array("i", [-1]) * len(places)  # -1: written bytes
        for row, size in enumerate(self.sizes):
            if size == SIZE and (ticket := tickets.read(file.read(self.offsets[row], size))) is not None:
                self.sources[row], self.offsets[row], self.sizes[row] = ticket

    def __len__(self) -> int:
        return len(self.offsets)


def runs(rows: Rows, least: int, spare: Sequence[Spare]) -> tuple[list[Run], array[int]]:
    """Whole ranges of sources of at least so many bytes, and for every row the number of its range, or -1."""
    # what lies in a source before or after, by the segment of the source that it was taken for
    reached: dict[tuple[int, int], int] = {}
    segments: dict[tuple[int, int], int] = {}
    groups: dict[tuple[int, int], list[int]] = {}
    for row, source in enumerate(rows.sources):
        if source < 0:
            continue
        key = (rows.tracks[row], source)
        ahead = rows.offsets[row] - reached.get(key, 0)
        if ahead < -BACK:
            segments[key] = segments.get(key, 0) + 1
        if ahead >= 0 or ahead < -BACK:
            groups.setdefault((source, segments.get(key, 0)), []).append(row)
            reached[key] = rows.offsets[row] + rows.sizes[row]
    found: list[Run] = []
    of = array("i", [-1]) * len(rows)
    for (source, _), members in groups.items():
        members.sort(key=rows.offsets.__getitem__)
        for first, last in _unbroken(rows, members, merged(spare[source]) if spare else []):
            start, end = rows.offsets[members[first]], rows.offsets[members[last - 1]] + rows.sizes[members[last - 1]]
            if end - start >= least:
                for row in members[first:last]:
                    of[row] = len(found)
                found.append(Run(source, start, end, max(members[first:last])))
    return found, of


def _unbroken(rows: Rows, members: Sequence[int], spare: Spare) -> Iterator[tuple[int, int]]:
    """[first, last) of the members, sorted by place, that lie one right after the other, or with spare bytes between them."""
    starts, first = [start for start, _ in spare], 0
    for n in range(1, len(members) + 1):
        if n < len(members):
            end, start = rows.offsets[members[n - 1]] + rows.sizes[members[n - 1]], rows.offsets[members[n]]
            at = bisect_right(starts, end) - 1
            if end == start or (end < start and at >= 0 and start <= spare[at][1]):
                continue
        yield first, n
        first = n


def merged(spans: Spare) -> list[tuple[int, int]]:
    """The same bytes in the fewest spans."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def join(
    written: Path, made: Path, tickets: Tickets, sources: Sequence[Readable], *, least: int, spare: Sequence[Spare] = ()
) -> Layout | None:
    """What the MP4 at `written` stands for: `made` becomes its index, what was new in it, and the packets that are too few to stay.

    No byte of a source goes along that is not of a packet in the output, but for `spare` ones of each source, where they lie in between.
    None when no range of `least` bytes may stay. Raises boxes.Unfit and what the sources raise.
    """
    with FileSource(written) as file:
        blocks = Blocks(file)
        top = {kind: blocks.read(start, end - start) for kind, start, _, end in boxes.top_level(blocks) if kind in (b"ftyp", b"moov")}
        tracks = moov.places(top[b"moov"])
        rows = Rows(tracks, blocks, tickets)
        kept, of = runs(rows, least, spare)
        if not kept:
            return None
        work = _Join(rows, kept, of, tracks)
        before = work.header(top[b"ftyp"], top[b"moov"], work.lay())
        with made.open("xb") as out:
            return Layout(pieces=tuple(work.write(out, before, blocks, sources)))


@dataclass(frozen=True)
class _Join:
    rows: Rows
    runs: Sequence[Run]
    of: array[int]  # the number of the run that a row is in, or -1
    tracks: Sequence[moov.Places]

    def parts(self) -> Iterator[int | Run]:
        """The output's data: rows that are written, and runs.

        A run comes where its last sample would, so that what belongs beside it comes before it: a player that reads on has it by then.
        """
        for row, number in enumerate(self.of):
            if number < 0:
                yield row
            elif self.runs[number].last == row:
                yield self.runs[number]

    def lay(self) -> int:
        """Gives every sample its place in the output's data, in `tracks`; the length of the data."""
        at = 0
        for part in self.parts():
            if isinstance(part, Run):
                part.at = at
                at += part.end - part.offset
            else:
                self._place(part, at)
                at += self.rows.sizes[part]
        for row, number in enumerate(self.of):
            if number >= 0:
                self._place(row, self.runs[number].at + self.rows.offsets[row] - self.runs[number].offset)
        return at

    def _place(self, row: int, at: int) -> None:
        track, n = self.tracks[self.rows.tracks[row]], self.rows.numbers[row]
        track.offsets[n], track.sizes[n] = at, self.rows.sizes[row]

    def header(self, ftyp: bytes, index: bytes, total: int) -> bytes:
        """All that comes before the data."""
        data, length = moov.header(total), 0
        while True:
            # places beyond 4 GiB take more room and move the data; once they do, they still do
            made = moov.moved(index, self.tracks, len(ftyp) + length + len(data))
            if len(made) == length:
                return ftyp + made + data
            length = len(made)

    def write(self, out: BinaryIO, before: bytes, written: Readable, sources: Sequence[Readable]) -> Iterator[Piece]:
        """Writes what does not stay; the pieces of the output."""
        rows, begun = self.rows, 0
        at = out.write(before)
        for part in self.parts():
            if isinstance(part, Run):
                if at > begun:
                    yield Piece(offset=begun, size=at - begun)
                yield Piece(source=part.source, offset=part.offset, size=part.end - part.offset)
                begun = at
                continue
            source = sources[rows.sources[part]] if rows.sources[part] >= 0 else written
            data = source.read(rows.offsets[part], rows.sizes[part])
            if len(data) != rows.sizes[part]:
                raise boxes.Unfit("a packet that is not there")
            at += out.write(data)
        if at > begun:
            yield Piece(offset=begun, size=at - begun)
