"""Damage that can be told without decoding is told, and what real writers do is none."""

from __future__ import annotations

import pytest

from native.media import damage, nal

SLICE_P = bytes((0x61, 0b1_00110_00, 0x10))  # first_mb 0, slice type 5: all P
SLICE_I = bytes((0x61, 0b1_0001000, 0x10))  # first_mb 0, slice type 7: all I
RECOVERY = bytes((6, 5, 3, 9, 9, 9, 6, 1, 0xC4, 0x80))  # user data, then a recovery point
OTHER = bytes((6, 5, 3, 6, 6, 6, 0x80))


def joined(*units: bytes) -> bytes:
    return nal.join(list(units))


@pytest.mark.parametrize(
    ("units", "does"),
    [
        ((bytes((0x65, 0x88)),), True),
        ((SLICE_P,), False),
        ((SLICE_I,), True),
        ((SLICE_I, SLICE_P), False),
        ((RECOVERY, SLICE_P), True),
        ((OTHER, SLICE_P), False),
        ((OTHER,), True),
    ],
)
def test_where_a_player_could_start(units: tuple[bytes, ...], does: bool) -> None:
    """An IDR, a recovery point or an all-I picture; not a P picture that is merely marked."""
    assert damage.starts(joined(*units), 4, "h264") is does


@pytest.mark.parametrize(("kind", "does"), [(19, True), (21, True), (16, True), (1, False), (9, False)])
def test_where_hevc_could_start(kind: int, does: bool) -> None:
    """Any IRAP picture."""
    assert damage.starts(joined(bytes((kind << 1, 1, 0x80))), 4, "hevc") is does


@pytest.mark.parametrize(
    "data",
    [
        joined(b"\x65" + b"abc" + bytes(3) + b"d"),  # a hole
        joined(b"\x65abc\0\0\1\x65"),  # a start code inside
        joined(b"\x65abc")[:-1],
        joined(b"\xe5abc"),
        joined(b"\x65abc") + bytes(4),
        b"\xff" * 40,
    ],
)
def test_what_does_not_hold_together(data: bytes) -> None:
    """A hole, a start code, a length too long, the forbidden bit, an empty unit, noise."""
    with pytest.raises(nal.Broken):
        nal.kinds(data, 4)


@pytest.mark.parametrize("tail", [b"", b"\0\0\0", b"\0\0\0\1\x0a", b"\0\0\1\x0b", b"\0\0\3"])
def test_what_writers_leave_at_the_end_is_harmless(tail: bytes) -> None:
    """Zeros and an end of sequence behind the last unit do no harm to anybody."""
    assert nal.kinds(joined(b"\x65abc" + tail), 4) == {nal.IDR}
