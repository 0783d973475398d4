"""HEVC headers under other ids: what changes and, above all, what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from native.media.h264.bits import Reader, unescape
from native.media.hevc import record, sei, sets, slices

# x265's sets for 352x192 in 10 bits
VPS = bytes.fromhex("40010c01ffff02200000030090000003000003003cba0240")
SPS = bytes.fromhex("42010102200000030090000003000003003ca00b080c1365bab930b9a5b080000003008000000f04")
PPS = bytes.fromhex("4401c173c189")
# x265's sets of an interlaced stream differ in these flags of the profile: progressive, interlaced
INTERLACED = SPS.replace(b"\x00\x00\x03\x00\x90", b"\x00\x00\x03\x00\x50", 1)


def bits(unit: bytes) -> str:
    body = unescape(unit[2:])
    return format(int.from_bytes(body, "big"), f"0{8 * len(body)}b")


@given(st.sampled_from([0, 1, 8, 9, 19, 20, 21]), st.integers(0, 255), st.binary(max_size=40), st.sampled_from(slices.MOVED))
def test_a_moved_slice_says_the_same_of_another_set(kind: int, front: int, rest: bytes, number: int) -> None:
    """Only the id changes; what follows moves by one byte, and no start code can appear in front of it."""
    flags = 2 if kind >= 16 else 1
    unit = bytes((kind << 1, 1, front | 1 << (7 - flags))) + rest
    made = slices.moved(unit, number)
    assert made[:2] + made[4:] == unit[:2] + unit[3:]
    assert made[2]
    assert made[3]
    before, after = Reader(unit[2:]), Reader(made[2:])
    assert before.u(flags) == after.u(flags)
    assert (before.ue(), after.ue()) == (0, number)
    left = 8 * len(unit) - 16 - before.at
    assert before.u(left) == after.u(left)


@given(st.integers(0, 15), st.integers(0, 15), st.sampled_from(slices.MOVED))
def test_sets_under_other_ids_are_otherwise_the_same(video: int, sequence: int, picture: int) -> None:
    """Parsing gives the new ids and every other value as before; the old ids give back the old bytes."""
    vps, sps, pps = sets.vps_as(VPS, video), sets.sps_as(SPS, sequence, video), sets.pps_as(PPS, picture, sequence)
    one, other = sets.sps(SPS), sets.sps(sps)
    assert (other.id, other.vps_id) == (sequence, video)
    assert (other.profile, other.level, other.vui, other.references) == (one.profile, one.level, one.vui, one.references)
    assert (sets.pps(pps).id, sets.pps(pps).sps_id, sets.pps(pps).qp) == (picture, sequence, sets.pps(PPS).qp)
    assert bits(vps)[:4] == f"{video:04b}"
    assert bits(vps)[4:] == bits(VPS)[4:]
    assert (sets.vps_as(vps, 0), sets.sps_as(sps, 0, 0), sets.pps_as(pps, 0, 0)) == (VPS, SPS, PPS)


def test_fields_are_told_from_frames() -> None:
    """The profile's flags say that a stream is interlaced."""
    assert not sets.sps(SPS).interlaced
    assert INTERLACED != SPS
    assert sets.sps(INTERLACED).interlaced


def test_a_record_is_what_it_was_made_of() -> None:
    """Sets make a record, and the record gives them back; further sets raise its level but never lower it."""
    made = record.built((VPS, SPS, PPS))
    assert made is not None
    again = record.parse(made.bytes())
    assert again is not None
    assert (again.of(sets.VPS), again.of(sets.SPS), again.of(sets.PPS)) == ((VPS,), (SPS,), (PPS,))
    assert (again.level, again.width) == (sets.sps(SPS).level, 4)
    more = again.merged((sets.pps_as(PPS, 16, 0),), 150)
    assert (more.level, len(more.of(sets.PPS))) == (150, 2)
    assert more.merged((), 30).level == 150


@given(st.binary(max_size=60))
def test_broken_records_are_none_or_whole(data: bytes) -> None:
    """No bytes make the parser fail."""
    found = record.parse(b"\1" + data)
    assert found is None or all(len(unit) > 2 for unit in found.units)


def test_messages_that_last_are_kept_and_others_left() -> None:
    """Mastering display and light level are taken out of the units that they come in, each kind once."""
    mastering, light, other = b"\x89\x03abc", b"\x90\x04wxyz", b"\x81\x01t"
    units = [bytes((78, 1)) + body + b"\x80" for body in (other + mastering, light + mastering)]
    assert sei.lasting(units) == (bytes((78, 1)) + mastering + light + b"\x80",)
    assert sei.lasting([bytes((78, 1)) + other + b"\x80"]) == ()
