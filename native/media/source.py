"""Bytes of a source by ranges: what the engine needs of an object store, a file or a channel, and the view of it that PyAV reads."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from itertools import count
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable
from weakref import ref

BLOCK = 1 << 20  # bytes fetched at once: PyAV's own 32 KiB reads would be one request each
KEPT = 24  # blocks remembered, so that the video's and the audio's readers share what they fetch
KEPT_BY_ALL = 96  # blocks remembered of all sources together: a merge may have hundreds


@runtime_checkable
class Readable(Protocol):
    """A source of known size whose bytes can be read anywhere."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; fewer only at the end of the source."""
        ...


class FileSource:
    """A file as a source. `bytes_read` counts what was asked of it."""

    def __init__(self, path: Path | str) -> None:
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
        self.size = os.fstat(self._file.fileno()).st_size
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset)
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Blocks:
    """A source read in aligned blocks, the latest of which are remembered."""

    # every remembered block of every source, the latest last; it keeps no source alive
    _latest: ClassVar[OrderedDict[tuple[int, int], ref[Blocks]]] = OrderedDict()
    _serials = count()

    def __init__(self, source: Readable, block: int = BLOCK, kept: int = KEPT) -> None:
        self.source = source
        self.size = source.size
        self._block = block
        self._kept = kept
        self._serial = next(self._serials)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def _fetch(self, number: int) -> bytes:
        data = self._blocks.pop(number, None)
        if data is None:
            data = self.source.read(number * self._block, min(self._block, self.size - number * self._block))
        self._blocks[number] = data
        self._latest[self._serial, number] = ref(self)
        self._latest.move_to_end((self._serial, number))
        if len(self._blocks) > self._kept:
            oldest, _ = self._blocks.popitem(last=False)
            self._latest.pop((self._serial, oldest), None)
        while len(self._latest) > KEPT_BY_ALL:
            (_, oldest), owner = self._latest.popitem(last=False)
            if (blocks := owner()) is not None:
                blocks._blocks.pop(oldest, None)
        return data

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the end."""
        end = min(offset + length, self.size)
        if offset < 0 or offset >= end:
            return b""
        first, last = offset // self._block, (end - 1) // self._block
        if first == last:
            base = first * self._block
            return self._fetch(first)[offset - base : end - base]
        parts = [self._fetch(number) for number in range(first, last + 1)]
        base = first * self._block
        return b"".join(parts)[offset - base : end - base]

    def file(self) -> BlockFile:
        """A file object for `av.open`; several of them share the blocks."""
        return BlockFile(self)


class BlockFile(io.RawIOBase):
    """The file object over `Blocks`. libavformat asks `seek(-1, SEEK_END)` for the size, so that must work."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._blocks = blocks
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blocks.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self._blocks.read(self._at, self._blocks.size - self._at if size < 0 else size)
        self._at += len(data)
        return data
