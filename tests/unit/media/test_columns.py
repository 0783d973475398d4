"""Columns of integers: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import zlib
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.media import columns

numbers = st.one_of(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=50),
    st.lists(st.integers(0, 300), max_size=400),
    st.builds(lambda n, count: [n] * count, st.integers(-(1 << 40), 1 << 40), st.integers(0, 300)),
)


@given(numbers=numbers)
def test_what_goes_in_comes_out(numbers: list[int]) -> None:
    """Any numbers of 64 bits come back as they were, and lie within the bounds that the head alone tells."""
    packed = columns.pack(array("q", numbers))
    assert list(columns.unpack(packed, len(numbers))) == numbers
    least, most = columns.bounds(packed)
    assert all(least <= n <= most for n in numbers)


@given(numbers=numbers, count=st.integers(0, 500))
def test_another_count_is_refused(numbers: list[int], count: int) -> None:
    """A column of so many numbers is not one of fewer or more, unless all are the same and their count is told elsewhere."""
    packed = columns.pack(array("q", numbers))
    if packed[0] and count != len(numbers):
        with pytest.raises(columns.Broken):
            columns.unpack(packed, count)


@given(data=st.binary(max_size=200), count=st.integers(0, 100))
def test_noise_is_a_column_or_broken(data: bytes, count: int) -> None:
    """Any bytes are `count` numbers or `Broken`."""
    try:
        assert len(columns.unpack(data, count)) == count
    except columns.Broken:
        pass


def test_a_bomb_is_not_inflated() -> None:
    """A column that inflates to more than it may is refused after as many bytes as were expected."""
    bomb = columns.pack(array("q", range(1000)))[:10] + zlib.compress(bytes(1 << 28))
    with pytest.raises(columns.Broken):
        columns.unpack(bomb, 1000)
