"""H.264 headers: what is read and written again is the same, only the numbers that should change do, and any bits come to an end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.media import nal
from native.media.h264 import bits, buffer, sets, slices, target
from tests.unit.media import x264


@given(st.binary(max_size=300))
def test_emulation_prevention_is_undone(data: bytes) -> None:
    """Escaped bytes hold no start code and unescape to what they were."""
    payload = data.rstrip(b"\0") + b"\x80"
    escaped = bits.escape(payload)
    assert not any(bytes((0, 0, n)) in escaped for n in range(3))
    assert bits.unescape(escaped) == payload


@pytest.mark.parametrize("zeros", [2, 4])
def test_zeros_at_the_end_of_a_payload_are_kept_apart_from_what_follows(zeros: int) -> None:
    """A payload may end in words of zeros; a byte 3 shields each."""
    payload = b"\x80" + bytes(zeros)
    assert bits.escape(payload) == b"\x80" + b"\0\0\3" * (zeros // 2)
    assert bits.unescape(bits.escape(payload)) == payload


@given(st.lists(st.tuples(st.sampled_from(["u", "ue", "se"]), st.integers(0, 2**16 - 2)), max_size=40))
def test_bits_come_back(items: list[tuple[str, int]]) -> None:
    """What is written is what is read."""
    w = bits.Writer()
    for kind, value in items:
        w.u(16, value) if kind == "u" else getattr(w, kind)(value if kind == "ue" else value - 2**15)
    w.u(1, 1)
    r = bits.Reader(bits.packed(w.bits()))
    for kind, value in items:
        assert (r.u(16) if kind == "u" else getattr(r, kind)()) == (value - 2**15 if kind == "se" else value)


@pytest.mark.parametrize("stream", x264.KINDS)
def test_headers_written_again_are_the_same_bits(stream: str) -> None:
    """Reading any parameter set or slice and writing it under its own sets gives back the same bytes."""
    units = x264.units(stream)
    known = sets.read(units)
    seen = 0
    for unit in units:
        kind = unit[0] & 31
        if kind == sets.SPS:
            assert sets.write_sps(sets.read_sps(unit))[1:] == unit[1:]
        elif kind == sets.PPS:
            assert sets.write_pps(sets.read_pps(unit))[1:] == unit[1:]
        elif kind in (slices.SLICE, slices.IDR):
            header = slices.read(unit, known)
            assert slices.write(header, *known.of(header.pps_id), unit) == unit
            seen += 1
    assert seen >= x264.FRAMES


def test_a_slice_moves_under_sets_with_wider_numbers() -> None:
    """Under other widths and ids, reading back gives the same header and the same data."""
    units = x264.units("cavlc")
    known = sets.read(units)
    p, s = known.of(0)
    wide, other = replace(s, frame_num_bits=16, poc_type=0, poc_bits=16), replace(p, id=77)
    under = sets.Sets({wide.id: wide}, {77: other})
    for unit in units:
        if unit[0] & 31 in (slices.SLICE, slices.IDR):
            header = slices.read(unit, known)
            moved = slices.write(header, other, wide, unit)
            again = slices.read(moved, under)
            assert replace(again, pps_id=header.pps_id, start=header.start) == header
            assert slices.write(again, p, s, moved) == unit


@given(st.binary(min_size=1, max_size=120))
def test_hostile_sets_are_refused_and_nothing_else_happens(data: bytes) -> None:
    """Any bytes are a set or unsupported; the readers raise nothing else and come to an end."""
    for read in (sets.read_sps, sets.read_pps):
        try:
            read(data)
        except bits.Unsupported:
            continue


@given(st.sampled_from(sorted(x264.KINDS)), st.data())
def test_damaged_sets_and_slices_are_refused_and_nothing_else_happens(stream: str, data: st.DataObject) -> None:
    """Bits turned over anywhere in real units give other headers or Unsupported, in reading, following and writing."""
    units = [bytearray(unit) for unit in x264.units(stream)[:12]]
    for _ in range(data.draw(st.integers(1, 6))):
        unit = data.draw(st.sampled_from(units))
        at = data.draw(st.integers(0, min(len(unit), 40) - 1))
        unit[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        known = sets.read(map(bytes, units))
        state = None
        for n, unit in enumerate(map(bytes, units)):
            if unit[0] & 31 in (slices.SLICE, slices.IDR):
                header = slices.read(unit, known)
                state = state or buffer.start(known.of(header.pps_id)[1])
                _, state = buffer.follow(state, n, [header], known)
                slices.write(header, *known.of(header.pps_id), unit)
    except bits.Unsupported:
        pass


def test_a_start_code_left_in_a_unit_ends_it() -> None:
    """What some writers leave behind a slice is not its data."""
    units = x264.units("cavlc")
    known = sets.read(units)
    unit = next(u for u in units if u[0] & 31 == slices.IDR)
    header = slices.read(unit + b"\0\0\0\1\x0a", known)
    assert slices.write(header, *known.of(header.pps_id), unit + b"\0\0\0\1\x0a") == unit


def test_flat_matrices_shield_from_those_of_the_sequence() -> None:
    """A picture set with flat matrices of its own reads back, in every chroma format."""
    p = next(sets.read_pps(u) for u in x264.units("plain") if u[0] & 31 == sets.PPS)
    for chroma, lists in ((1, 8), (3, 12)):
        flat = sets.flattened(p, chroma)
        assert sets.read_pps(sets.write_pps(flat)) == flat
        r = bits.Reader(bits.packed(flat.extension[2:]))
        for n in range(lists):
            assert (r.flag(), r.se()) == (True, 8)
            assert all(r.se() == 0 for _ in range(15 if n < 6 else 63))


def test_one_set_is_chosen_for_all() -> None:
    """The target is the first set with the widest numbers, the highest profile and level, and the deepest reordering of all."""
    plain = next(sets.read_sps(u) for u in x264.units("plain") if u[0] & 31 == sets.SPS)
    assert target.choose([plain]) == target.choose([plain, plain]) == plain
    assert plain.vui is not None
    assert plain.vui.restriction is not None
    deep = replace(plain, vui=replace(plain.vui, restriction=replace(plain.vui.restriction, reorder=5, buffering=6)), profile=110, level=51)
    both = target.choose([plain, deep])
    assert (both.reorder, both.profile, both.level) == (5, 110, 51)
    assert target.same_slices(both, plain)
    wide = replace(plain, frame_num_bits=12, poc_bits=9)
    assert not target.same_slices(target.choose([plain, wide]), plain)
    assert target.choose([replace(plain, poc_type=2, poc_bits=0), plain]).poc_type == 0
    silent = replace(plain, vui=None)
    assert target.choose([plain, silent]).reorder is None
    assert sets.read_sps(sets.write_sps(both)) == both


@pytest.mark.parametrize(
    "change", [{"macroblocks": (9, 9)}, {"luma_depth": 10}, {"chroma": 2}, {"frames_only": False}, {"bypass": True}, {"scaling": "0"}]
)
def test_what_cannot_share_a_set_says_why(change: dict[str, object]) -> None:
    """Another size, depth, chroma or scan is refused with the reason."""
    plain = next(sets.read_sps(u) for u in x264.units("plain") if u[0] & 31 == sets.SPS)
    with pytest.raises(bits.Unsupported, match="different"):
        target.choose([plain, replace(plain, **change)])  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_units_add_up_to_their_packet(width: int) -> None:
    """Length-prefixed units are taken apart and put together; a length past the end is damage."""
    units = [b"\x65abc", b"\x41" + b"\x11" * 100, b"\x06x"]
    data = nal.join(units, width)
    assert nal.prefixed(data, width) == units
    assert nal.kinds(data, width) == {5, 1, 6}
    for broken in (data[:-1], data + b"\x00" * (width - 1) + b"\x09"):
        with pytest.raises(nal.Broken):
            nal.prefixed(broken, width)
    assert nal.annexb(b"\0\0\0\1" + b"\0\0\1".join(units)) == units
