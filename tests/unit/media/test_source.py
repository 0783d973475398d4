"""Blocks of sources: what is read is what is there, and what is remembered has one limit for all of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.media import channel, source


class Bytes:
    """A source in memory that counts how often it is asked."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.asked = data, len(data), 0

    def read(self, offset: int, length: int) -> bytes:
        self.asked += 1
        return self.data[offset : offset + length]


def test_many_sources_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty sources read in full remember no more blocks than all of them may, and still give their own bytes."""
    monkeypatch.setattr(source, "KEPT_BY_ALL", 12)
    sources = [Bytes(bytes([n]) * 100) for n in range(50)]
    many = [source.Blocks(s, block=10, kept=4) for s in sources]
    for _ in range(2):
        for n, blocks in enumerate(many):
            assert blocks.read(0, 100) == bytes([n]) * 100
            assert blocks.read(5, 20) == bytes([n]) * 20
    assert sum(len(blocks._blocks) for blocks in many) <= 12
    assert all(len(blocks._blocks) <= 4 for blocks in many)


def test_the_latest_blocks_are_not_asked_for_again() -> None:
    """What was read last is at hand; the block used longest ago goes first."""
    one = Bytes(bytes(range(100)))
    blocks = source.Blocks(one, block=10, kept=2)
    assert [blocks.read(at, 1)[0] for at in (0, 10, 5, 20, 1)] == [0, 10, 5, 20, 1]
    assert one.asked == 3
    blocks.read(10, 1)
    assert one.asked == 4


class Told(Bytes):
    """A source that hears what it will be asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.expected: list[tuple[int, int]] = []
        self.reads: list[tuple[int, int]] = []

    def expect(self, offset: int, length: int) -> None:
        self.expected.append((offset, length))

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


DATA = random.Random(7).randbytes(10_000)
spans = st.lists(st.tuples(st.integers(0, 10_050), st.integers(0, 700)), max_size=40)


@given(wanted=spans, block=st.integers(1, 900), kept=st.integers(1, 30), piece=st.integers(1, 4000), told=st.booleans())
def test_a_run_gives_what_lies_there(wanted: list[tuple[int, int]], block: int, kept: int, piece: int, told: bool) -> None:
    """Whatever spans are run through, in pieces of whatever size: each gives its own bytes, and nothing is foretold in vain."""
    one = Told(DATA) if told else Bytes(DATA)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(source, "PIECE", piece)
        blocks = source.Blocks(one, block=block, kept=kept)
        assert list(blocks.run(wanted)) == [DATA[at : at + length] for at, length in wanted]
    if isinstance(one, Told):
        assert set(one.expected) <= set(one.reads)


def test_a_run_is_foretold_in_pieces() -> None:
    """A run of many small packets is read in few pieces, all but the first on their way before they are needed, and none past the run."""
    one = Told(bytes(40 << 20))
    blocks = source.Blocks(one)
    packets = [(1_000_000 + n * 20_000, 19_000) for n in range(1000)]
    given = blocks.run(packets)
    next(given)
    assert len(one.expected) == 1
    for _ in range(300):
        next(given)
    assert sum(length for _, length in one.expected) - sum(length for _, length in one.reads) >= source.PIECE
    assert len(list(given)) == 699
    read = sum(length for _, length in one.reads)
    assert 20_000_000 <= read <= 20_000_000 + 2 * source.BLOCK
    assert len(one.reads) <= 20_000_000 / source.PIECE + 6
    assert max(length for _, length in one.reads) <= 2 * source.PIECE <= channel.READ_BYTES


def test_packets_far_apart_cost_themselves() -> None:
    """A run of packets with much between them reads the blocks that they lie in, and not what is between."""
    one = Told(bytes(100 << 20))
    assert sum(map(len, source.Blocks(one).run([(n << 20, 1000) for n in range(100)]))) == 100_000
    assert sum(length for _, length in one.reads) <= 100 * source.BLOCK


def test_a_walk_is_foretold() -> None:
    """A demuxer that reads on and on has the next pieces on their way; one that leaps about has not."""
    one = Told(bytes(40 << 20))
    blocks = source.Blocks(one)
    file = blocks.file()
    for at in range(0, 40 << 20, 3 << 20):
        file.seek(at)
        file.read(300_000)
    assert one.expected == []
    one = Told(bytes(40 << 20))
    file = source.Blocks(one).file()
    while file.read(256 << 10):
        pass
    assert sum(length for _, length in one.reads) == 40 << 20
    assert sum(length for _, length in one.expected) >= 38 << 20
    assert len(one.reads) <= 20 + 10


@given(at=st.integers(0, 110), length=st.integers(0, 120), start=st.integers(0, 99), size=st.integers(0, 60), said=st.binary(max_size=60))
def test_a_patch_is_read_in_place(at: int, length: int, start: int, size: int, said: bytes) -> None:
    """What is patched reads as the patch and zeros; everything else as the source; the size stays."""
    end = min(100, start + size)
    patch = source.Patch(start, end, said[: end - start])
    blocks = source.Blocks(Bytes(DATA[:100]), block=7)
    blocks.patch = patch
    seen = bytearray(DATA[:100])
    seen[start:end] = patch.data + bytes(end - start - len(patch.data))
    assert blocks.read(at, length) == seen[at : at + length]


def test_a_peek_reads_what_it_asks_for() -> None:
    """A small read far off costs its own bytes only; what is at hand costs nothing."""
    one = Told(DATA)
    blocks = source.Blocks(one, block=1000)
    assert blocks.peek(5000, 10) == DATA[5000:5010]
    assert one.reads == [(5000, 10)]
    blocks.read(0, 10)
    assert blocks.peek(100, 50) == DATA[100:150]
    assert one.reads == [(5000, 10), (0, 1000)]
    assert blocks.peek(9_990, 50) == DATA[9_990:]
