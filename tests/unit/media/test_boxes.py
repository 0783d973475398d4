"""The sample tables, against the plainest reading of ISO/IEC 14496-12."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from native.media import boxes

sizes = st.lists(st.integers(0, 1 << 32), max_size=60)
chunks = st.lists(st.integers(0, 1 << 40), max_size=30)
runs = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12)), max_size=8)


def plainly(sizes: list[int], chunks: list[int], runs: list[tuple[int, int]]) -> list[int] | None:
    """Offsets of the samples (8.7.4: each row of `stsc` holds up to the first chunk of the next), None when there are too few."""
    found: list[int] = []
    if chunks and (not runs or runs[0][0] != 1):
        return None
    for row, (first, samples) in enumerate(runs):
        until = runs[row + 1][0] if row + 1 < len(runs) else len(chunks) + 1
        for chunk in range(first, min(until, len(chunks) + 1)):
            at = chunks[chunk - 1]
            for _ in range(samples):
                if len(found) < len(sizes):
                    found.append(at)
                    at += sizes[len(found) - 1]
    return found if len(found) == len(sizes) else None


@given(sizes=sizes, chunks=chunks, steps=runs, one=st.booleans())
def test_offsets_are_where_the_chunks_put_them(sizes: list[int], chunks: list[int], steps: list[tuple[int, int]], one: bool) -> None:
    """Samples of a chunk follow each other; chunks lie anywhere; tables with chunks to spare or too few are told apart."""
    first, rows = 1 if one else 2, []
    for step, samples in steps:
        rows.append((first, samples))
        first += step
    try:
        found = list(boxes._offsets(array("q", sizes), array("q", chunks), array("I", [n for row in rows for n in (*row, 1)])))
    except boxes.Unfit:
        found = None
    assert found == plainly(sizes, chunks, rows)
