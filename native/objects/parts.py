"""How a file is divided into the parts of a multipart upload, for our own uploads and for the clients'."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

# S3 wants at least 5 MiB a part (but for the last) and at most 10 000 parts; 8 MiB keeps four buffers of a worker at 32 MiB.
SMALLEST = 8 * MIB
MOST = 9_000


@dataclass(frozen=True)
class Part:
    """Bytes [offset, offset + size) of the file; parts are numbered from 1."""

    number: int
    offset: int
    size: int


def part_size(size: int) -> int:
    """Bytes of every part but the last, for a file of `size` bytes: whole MiB, at least 8."""
    return max(SMALLEST, -(-size // MOST // MIB) * MIB + MIB if size > SMALLEST * MOST else SMALLEST)


def layout(size: int) -> list[Part]:
    """The parts of a file, which cover it exactly; none for an empty one."""
    step = part_size(size)
    return [Part(i + 1, offset, min(step, size - offset)) for i, offset in enumerate(range(0, size, step))]
