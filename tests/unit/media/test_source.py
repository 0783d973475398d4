"""Blocks of sources: what is read is what is there, and what is remembered has one limit for all of them."""

from __future__ import annotations

import pytest

from native.media import source


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
