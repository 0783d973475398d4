"""H.264 headers: what is read and written again is the same, and only the numbers that should change do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.media import h264, nal


def encoded(count: int = 6, **params: object) -> list[bytes]:
    """All NAL units of a few frames from x264."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 25)
    fixed = {"keyint": "infinite", "scenecut": 0, "bframes": 0, "ref": 1, "weightp": 0, "repeat-headers": 1, "sliced-threads": 0}
    encoder.options = {"preset": "veryfast", "x264-params": ":".join(f"{k}={v}" for k, v in {**fixed, **params}.items())}
    units = []
    for n in range(count):
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes((n * 37 + i * i) & 255 for i in range(plane.buffer_size)))
        frame.pts = n
        units += [u for p in encoder.encode(frame) for u in nal.annexb(bytes(p))]
    return units + [u for p in encoder.encode(None) for u in nal.annexb(bytes(p))]


@pytest.mark.parametrize("cabac", [0, 1])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_slice_written_again_is_the_same(cabac: int, slices: int) -> None:
    """Reading a slice and writing it under its own sets gives back the same bits, but for the reference count that is spelt out."""
    units = encoded(cabac=cabac, slices=slices)
    s, p = h264.sps(next(u for u in units if u[0] & 31 == 7)), h264.pps(next(u for u in units if u[0] & 31 == 8))
    seen = 0
    for unit in units:
        if unit[0] & 31 in (1, 5):
            once = h264.write_slice(h264.read_slice(unit, s, p), s, p)
            assert h264.read_slice(once, s, p) == h264.read_slice(unit, s, p)
            if unit[0] & 31 == 5:
                assert once == unit
            seen += 1
    assert seen == 6 * slices


def test_an_adopted_stream_decodes_to_the_same_pictures() -> None:
    """Frames moved under another encoder's sequence set decode to exactly what they were."""
    own, foreign = encoded(12), encoded(1, **{"ref": 4, "bframes": 3, "cabac": 1})
    target = next(u for u in foreign if u[0] & 31 == 7)
    sets = tuple(u for u in foreign if u[0] & 31 == 8)
    adopter = h264.Adopter(target, sets)
    section = adopter.section()
    moved: list[list[bytes]] = []
    picture: list[bytes] = []
    for unit in own:
        picture.append(unit)
        if unit[0] & 31 in (1, 5):
            moved.append(section.picture(picture))
            picture = []
    new_sets = [target, *sets, *adopter.added.values()]

    def decode(units: list[bytes]) -> list[bytes]:
        decoder = av.CodecContext.create("h264", "r")
        frames = []
        for unit in units:
            if unit[0] & 31 in (1, 5):
                frames += decoder.decode(av.Packet(b"".join(b"\0\0\1" + u for u in [*new_sets, unit])))
        return [bytes(f.planes[0]) for f in frames + decoder.decode(None)]

    def decode_own() -> list[bytes]:
        decoder = av.CodecContext.create("h264", "r")
        frames, heads = [], [u for u in own if u[0] & 31 in (7, 8)][:2]
        for unit in own:
            if unit[0] & 31 in (1, 5):
                frames += decoder.decode(av.Packet(b"".join(b"\0\0\1" + u for u in [*heads, unit])))
        return [bytes(f.planes[0]) for f in frames + decoder.decode(None)]

    assert decode([u for units in moved for u in units]) == decode_own()
    assert h264.pps(next(iter(adopter.added.values()))).sps_id == h264.sps(target).id


def test_a_free_id_is_found() -> None:
    """The added picture set takes an id that the source does not use."""
    units = encoded(1)
    s, p = next(u for u in units if u[0] & 31 == 7), next(u for u in units if u[0] & 31 == 8)
    taken = tuple(h264.pps_with_ids(p, n, 0) for n in (0, 1, 3))
    adopter = h264.Adopter(s, taken)
    assert h264.pps(adopter.adopt(p)).id == 2
    assert adopter.adopt(p) == adopter.adopt(p)


@given(st.binary(max_size=300))
def test_emulation_prevention_is_undone(data: bytes) -> None:
    """Escaped bytes hold no start code and unescape to what they were."""
    payload = data.rstrip(b"\0") + b"\x80"
    escaped = h264.escape(payload)
    assert not any(bytes((0, 0, n)) in escaped for n in range(3))
    assert h264.unescape(escaped) == payload


@given(st.lists(st.tuples(st.sampled_from(["u", "ue", "se"]), st.integers(0, 2**16 - 2)), max_size=40))
def test_bits_come_back(items: list[tuple[str, int]]) -> None:
    """What is written is what is read."""
    w = h264.Writer()
    for kind, value in items:
        w.u(16, value) if kind == "u" else getattr(w, kind)(value if kind == "ue" else value - 2**15)
    w.u(1, 1)
    r = h264.Reader(w.bytes())
    for kind, value in items:
        assert (r.u(16) if kind == "u" else getattr(r, kind)()) == (value - 2**15 if kind == "se" else value)


@given(st.binary(min_size=1, max_size=120))
def test_hostile_bits_are_refused_and_nothing_else_happens(data: bytes) -> None:
    """Any bytes are a header or unsupported; the readers raise nothing else and come to an end."""
    for read in (h264.sps, h264.pps):
        try:
            read(data)
        except h264.Unsupported:
            continue


def test_what_cannot_be_moved_says_why() -> None:
    """Interlaced, scaled and cropped streams are refused with the reason."""
    s = h264.sps(next(u for u in encoded(1) if u[0] & 31 == 7))
    assert h264.refusal(s) is None
    for change in ({"frames_only": False}, {"scaling": True}, {"crop_left": 1}, {"separate_planes": True}, {"references": 0}):
        assert h264.refusal(replace(s, **change))


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
