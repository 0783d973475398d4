"""Bytes of a source by ranges: what the engine needs of an object store, a file or a channel, and the view of it that PyAV reads."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable
from weakref import ref

BLOCK = 128 << 10  # bytes; what is fetched is aligned to it: one packet costs itself and little more
PIECE = 2 << 20  # bytes asked for at once, and never more than twice as many: fewer requests than blocks, and a short wait
AHEAD = 4  # pieces on their way while one is used: 8 MiB hide 60 ms of latency at 1 Gb/s
WALK = 1 << 20  # bytes that a demuxer reads in one go before it is taken to read on
KEPT = 192  # blocks remembered, 24 MiB, so that the video's and the audio's readers share what they fetch
KEPT_BY_ALL = 768  # blocks remembered of all sources together, 96 MiB: a merge may have hundreds


@runtime_checkable
class Readable(Protocol):
    """A source of known size whose bytes can be read anywhere. Read from several threads at once."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; fewer only at the end of the source."""
        ...


@runtime_checkable
class Foretold(Readable, Protocol):
    """A source that can fetch what it is told it will be asked for."""

    def expect(self, offset: int, length: int) -> None:
        """These very bytes will be read soon. Returns at once."""
        ...


class FileSource:
    """A file as a source. `bytes_read` counts what was asked of it."""

    def __init__(self, path: Path | str) -> None:
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset)
        with self._lock:
            self.bytes_read += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Held:
    """Bytes in memory as a source."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


@dataclass(frozen=True)
class Patch:
    """What is read in place of bytes [start, end) of a source: `data`, and zeros up to the end."""

    start: int
    end: int
    data: bytes

    def read(self, offset: int, end: int) -> bytes:
        found = self.data[offset - self.start : end - self.start]
        return found + bytes(end - offset - len(found))


class Blocks:
    """A source read in aligned blocks, the latest of which are remembered. Safe to use from several threads at once."""

    # every remembered block of every source, the latest last; it keeps no source alive
    _latest: ClassVar[OrderedDict[tuple[int, int], ref[Blocks]]] = OrderedDict()
    _lock: ClassVar[threading.RLock] = threading.RLock()  # of all that is remembered; not held while bytes come
    _serials = count()

    def __init__(self, source: Readable, block: int = BLOCK, kept: int = KEPT) -> None:
        self.source = source
        self.size = source.size
        self.patch: Patch | None = None
        self._block = block
        self._kept = kept
        self._serial = next(self._serials)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._expected: dict[int, range] = {}  # block -> the piece it was foretold in
        self._foretold = isinstance(source, Foretold)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end."""
        end = min(offset + length, self.size)
        if offset < 0 or offset >= end:
            return b""
        patch = self.patch
        if patch is not None and offset < patch.end and end > patch.start:
            start, over = max(offset, patch.start), min(end, patch.end)
            return self.read(offset, start - offset) + patch.read(start, over) + self.read(over, end - over)
        first, last = offset // self._block, (end - 1) // self._block
        parts: list[bytes] = []
        while (number := first + len(parts)) <= last:
            parts += self._from(number, last)
        base = first * self._block
        if len(parts) == 1:
            return parts[0][offset - base : end - base]
        parts[0] = parts[0][offset - base :]
        parts[-1] = parts[-1][: end - last * self._block]
        return b"".join(parts)

    def peek(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`, from what is remembered or else these alone: for many small reads far apart."""
        end = min(offset + length, self.size)
        if offset < 0 or offset >= end:
            return b""
        with self._lock:
            known = all(n in self._blocks for n in range(offset // self._block, (end - 1) // self._block + 1))
        return self.read(offset, end - offset) if known else self.source.read(offset, end - offset)

    def run(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each (offset, length), in order. The pieces they lie in are fetched ahead, so say no more than will be used."""
        coming, waiting, depth = iter(spans), deque[tuple[int, int, int]](), 1
        seen = used = 0  # bytes of the blocks up to the end of what waits, and of what was given out
        last = -1  # the last block that was counted
        while True:
            # the first pieces are asked for one by one: a run may turn out to be short
            while seen - used < depth * PIECE and (span := next(coming, None)) is not None:
                offset, length = span
                over = (offset + length - 1) // self._block if length else last
                seen += (over - max(last, offset // self._block - 1)) * self._block if over > last else 0
                last = over
                waiting.append((offset, length, seen))
            self.expect((offset, length) for offset, length, _ in waiting)
            depth = min(depth + 1, AHEAD)
            if not waiting:
                return
            goal = used + PIECE
            while waiting and used < goal:
                offset, length, used = waiting.popleft()
                yield self.read(offset, length)

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Have what these (offset, length) miss fetched ahead, joined to pieces."""
        if not self._foretold:
            return
        numbers: dict[int, None] = {}
        for offset, length in spans:
            end = min(offset + length, self.size)
            if 0 <= offset < end:
                numbers.update(dict.fromkeys(range(offset // self._block, (end - 1) // self._block + 1)))
        pieces: list[range] = []
        with self._lock:
            for number in numbers:
                if number in self._blocks or number in self._expected:
                    continue
                if pieces and pieces[-1].stop == number and len(pieces[-1]) * self._block < 2 * PIECE:
                    pieces[-1] = range(pieces[-1].start, number + 1)
                else:
                    pieces.append(range(number, number + 1))
            for piece in pieces:
                self._expected.update(dict.fromkeys(piece, piece))
        for piece in pieces:
            self.source.expect(*self._extent(piece))  # type: ignore[attr-defined]

    def file(self) -> BlockFile:
        """A file object for `av.open`; several of them share the blocks."""
        return BlockFile(self)

    def _from(self, number: int, last: int) -> list[bytes]:
        """Block `number` and those after it, up to `last`, that are had together with it."""
        with self._lock:
            if (data := self._blocks.get(number)) is not None:
                self._blocks.move_to_end(number)
                self._latest.move_to_end((self._serial, number))
                return [data]
            piece = self._expected.get(number)
            if piece is None:
                stop = number + 1
                while stop <= last and (stop - number) * self._block < PIECE and stop not in self._blocks and stop not in self._expected:
                    stop += 1
                piece = range(number, stop)
        offset, length = self._extent(piece)
        data = self.source.read(offset, length)
        blocks = [data[at : at + self._block] for at in range(0, max(len(data), 1), self._block)] if len(piece) > 1 else [data]
        # the source is shorter than it said: what is missing is empty, and who reads it finds too little
        blocks += [b""] * (len(piece) - len(blocks))
        self._remember(piece, blocks)
        return blocks[number - piece.start : last + 1 - piece.start]

    def _extent(self, piece: range) -> tuple[int, int]:
        return piece.start * self._block, min(piece.stop * self._block, self.size) - piece.start * self._block

    def _remember(self, piece: range, blocks: list[bytes]) -> None:
        with self._lock:
            for number, data in zip(piece, blocks, strict=True):
                self._expected.pop(number, None)
                self._blocks[number] = data
                self._blocks.move_to_end(number)
                self._latest[self._serial, number] = ref(self)
                self._latest.move_to_end((self._serial, number))
            while len(self._blocks) > self._kept:
                oldest, _ = self._blocks.popitem(last=False)
                self._latest.pop((self._serial, oldest), None)
            while len(self._latest) > KEPT_BY_ALL:
                (_, oldest), owner = self._latest.popitem(last=False)
                if (other := owner()) is not None:
                    other._blocks.pop(oldest, None)


class BlockFile(io.RawIOBase):
    """The file object over `Blocks`. libavformat asks `seek(-1, SEEK_END)` for the size, so that must work."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._blocks = blocks
        self._at = 0
        self._walked = 0  # bytes read without a seek
        self._ahead = 0  # up to where the source was told

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blocks.size}[whence]
        target = max(0, base + offset)
        if target != self._at:
            self._at, self._walked, self._ahead = target, 0, 0
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self._blocks.read(self._at, self._blocks.size - self._at if size < 0 else size)
        self._at += len(data)
        self._walked += len(data)
        # told half of it before it is used up, and no more than was walked already
        reach = min(self._walked, AHEAD * PIECE) if self._walked >= WALK else 0
        if reach and self._ahead < self._at + reach // 2:
            start, self._ahead = max(self._at, self._ahead), self._at + reach
            self._blocks.expect([(start, self._ahead - start)])
        return data
