"""How a file is divided into the parts of a multipart upload, for our own uploads and for the clients'.

An object that is put together from a file of ours and from ranges of objects in the same store (`join`) has parts that are sent and
parts that the store copies. S3 wants every part but the last to have 5 MiB or more, so a sent part that would be smaller takes the
first bytes of the range after it along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20

# S3 wants at least 5 MiB a part (but for the last) and at most 10 000 parts; 8 MiB keeps four buffers of a worker at 32 MiB.
SMALLEST = 8 * MIB
MOST = 9_000

# The least that S3 takes for a part with others after it.
LEAST = 5 * MIB
# A range shorter than this is not worth leaving in the store: up to 5 MiB of it are sent all the same, to fill the part before it.
WORTH = 16 * MIB
# The most that one request copies inside the store: a slow store answers it in time. A store that does not copy costs twice this in memory.
COPIED = 32 * MIB


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


@dataclass(frozen=True)
class Span:
    """Bytes [offset, offset + size) of a source by its number, or of the file that is sent (None)."""

    source: int | None
    offset: int
    size: int


@dataclass(frozen=True)
class Step:
    """One part of an upload and the bytes it is made of; numbered from 1. `copied`: the store takes them, all of one source, itself."""

    number: int
    spans: tuple[Span, ...]
    copied: bool = False

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans)


def steps(size: int) -> list[Step]:
    """The parts of a file that is sent whole."""
    return [Step(part.number, (Span(None, part.offset, part.size),)) for part in layout(size)]


def join(spans: Sequence[Span]) -> list[Step]:
    """The parts of an object that is these bytes one after the other."""
    total = sum(span.size for span in spans)
    # with parts no smaller than this there are not too many of them
    least = max(LEAST, -(-total // MOST))
    made: list[tuple[tuple[Span, ...], bool]] = []
    waiting: list[Span] = []
    for span in spans:
        if span.source is None:
            waiting.append(span)
            continue
        lacking = least - sum(w.size for w in waiting)
        fill = min(lacking, span.size) if waiting and lacking > 0 else 0
        if span.size - fill < least:
            waiting.append(span)
            continue
        if fill:
            waiting.append(Span(span.source, span.offset, fill))
        made += [(part, False) for part in _divided(waiting, max(1, sum(w.size for w in waiting) // least))]
        rest = Span(span.source, span.offset + fill, span.size - fill)
        made += [(part, True) for part in _divided([rest], -(-rest.size // max(COPIED, 2 * least)))]
        waiting = []
    made += [(part, False) for part in _divided(waiting, max(1, sum(w.size for w in waiting) // least))]
    return [Step(number, part, copied) for number, (part, copied) in enumerate(made, 1)]


def cut(spans: Sequence[Span], start: int, end: int) -> tuple[Span, ...]:
    """Bytes [start, end) of these spans one after the other, as spans."""
    found, at = [], 0
    for span in spans:
        low, high = max(start, at), min(end, at + span.size)
        if low < high:
            found.append(Span(span.source, span.offset + low - at, high - low))
        at += span.size
    return tuple(found)


def _divided(spans: Sequence[Span], count: int) -> list[tuple[Span, ...]]:
    """The same bytes in so many pieces of nearly one size; none for no bytes."""
    total = sum(span.size for span in spans)
    return [cut(spans, total * n // count, total * (n + 1) // count) for n in range(count)] if total else []
