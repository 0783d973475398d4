"""An index kept as bytes: the same index comes back, and whatever is wrong with the bytes they are no index at all."""

from __future__ import annotations

import dataclasses
import json
import time
import zlib
from array import array
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.media import index, sidecar, tracks
from native.media.info import MediaInfo, Stream
from native.media.source import Blocks, Held, Patch

SIZE = 1 << 20
ticks = st.integers(-(1 << 40), 1 << 40)


class Sized:
    """A source of whose bytes only the number matters."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        raise AssertionError("the source was read")


@st.composite
def made(draw: Callable[..., Any]) -> index.Index:
    """Any index that could be made of a source of SIZE bytes."""
    found: dict[int, tracks.Track] = {}
    streams = []
    for number in range(draw(st.integers(0, 3))):
        stream = Stream(
            index=number, kind="video", codec="h264", time_base=Fraction(1, draw(st.integers(1, 90_000))), title=draw(st.text())
        )
        streams.append(stream)
        rows = draw(st.lists(st.tuples(ticks, ticks, st.integers(0, SIZE), st.integers(0, SIZE), st.integers(0, 1)), max_size=30))
        sizes = array("q", (min(size, SIZE - at) for _, _, at, size, _ in rows))
        track = tracks.Track(stream, draw(st.binary(max_size=90)), draw(st.sampled_from([None, "h264", "aac"])), sizes=sizes)
        track.dts, track.pts = array("q", (row[0] for row in rows)), array("q", (row[1] for row in rows))
        track.keys = bytearray(row[4] for row in rows)
        track.offsets = array("q", (row[2] for row in rows)) if draw(st.booleans()) else None
        track.lengths = array("q", range(draw(st.integers(0, len(rows)))))
        track.last, track.hidden_before = draw(ticks), draw(st.one_of(st.just(-(1 << 62)), ticks))
        track.hidden_from, track.unreliable = draw(st.one_of(st.none(), ticks)), draw(st.sampled_from([None, "it lies"]))
        found[number] = track
    blocks = Blocks(Sized())
    start = draw(st.integers(0, SIZE))
    end = draw(st.integers(start, SIZE))
    blocks.patch = draw(st.sampled_from([None, Patch(start, end, bytes(min(end - start, 50)))]))
    media = MediaInfo(container="mp4", duration=Fraction(7, 3), size=SIZE, streams=tuple(streams), start=Fraction(-1, 9))
    return index.Index(blocks, sidecar.FORMATS["mp4"], media, found)


def plain(found: index.Index) -> tuple[Any, ...]:
    return found.kind, found.media, {number: vars(track) for number, track in found.tracks.items()}, found.blocks.patch


@given(found=made())
def test_the_same_index_comes_back(found: index.Index) -> None:
    """Every field of every track, the streams, the format and the patch are as they were; the source is not looked at."""
    again = sidecar.unpack(sidecar.pack(found), Blocks(Sized()))
    assert plain(again) == plain(found)
    assert again.kept


@pytest.fixture(scope="module")
def one() -> bytes:
    """A sidecar with something in every field."""
    stream = Stream(index=0, kind="video", codec="h264", time_base=Fraction(1, 30))
    track = tracks.Track(stream, b"set-up", "h264", last=1, hidden_from=90, unreliable="it lies")
    track.dts, track.pts = array("q", range(100)), array("q", (n ^ 1 for n in range(100)))
    track.sizes = array("q", (n * 7 % 50 for n in range(100)))
    track.offsets = array("q", range(0, 100_000, 1000))
    track.lengths, track.keys = array("q", [3]), bytearray(n % 9 == 0 for n in range(100))
    blocks = Blocks(Sized())
    blocks.patch = Patch(100, 300, b"instead")
    media = MediaInfo(container="mp4", duration=Fraction(3), size=SIZE, streams=(stream,), start=Fraction(0))
    return sidecar.pack(index.Index(blocks, sidecar.FORMATS["mp4"], media, {0: track}))


def test_every_field_is_kept(one: bytes) -> None:
    """What a track has and the sidecar does not know would silently be lost: none of its fields is."""
    bare = tracks.Track(Stream(index=0, kind="video", codec="", time_base=Fraction(1)), b"", None)
    again = sidecar.unpack(one, Blocks(Sized())).tracks[0]
    same = {field.name for field in dataclasses.fields(tracks.Track) if getattr(again, field.name) == getattr(bare, field.name)}
    assert same == {"hidden_before"}


def test_it_is_of_one_source_and_one_code(one: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of another size, or other code that makes indexes, has no use for it."""
    with pytest.raises(sidecar.Broken):
        sidecar.unpack(one, Blocks(Sized(SIZE + 1)))
    monkeypatch.setattr(sidecar, "MAKER", "another")
    with pytest.raises(sidecar.Broken):
        sidecar.unpack(one, Blocks(Sized()))


@given(st.data())
@settings(max_examples=400)
def test_damage_is_an_index_within_bounds_or_broken(one: bytes, data: st.DataObject) -> None:
    """Bytes that were changed, cut or lengthened give Broken, or an index whose packets still lie in the source."""
    changed = bytearray(one)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(one) - 1), st.integers(0, 255)), max_size=5)):
        changed[at] = value
    changed = changed[: data.draw(st.integers(0, len(one)))] + data.draw(st.binary(max_size=20))
    _bounded(bytes(changed))


lies = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=9), st.just({})
)


@given(st.data())
@settings(max_examples=400)
def test_lies_are_an_index_within_bounds_or_broken(one: bytes, data: st.DataObject) -> None:
    """A document that is sound but for one value, of whatever kind or size, misleads nobody."""
    start = len(sidecar.MAGIC) + 4
    end = start + int.from_bytes(one[start - 4 : start], "big")
    document = json.loads(zlib.decompress(one[start:end]))
    place = data.draw(
        st.sampled_from([document, document["tracks"][0], document["tracks"][0]["columns"], document["patch"], document["media"]])
    )
    key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(lies)
    text = zlib.compress(json.dumps(document).encode())
    _bounded(sidecar.MAGIC + len(text).to_bytes(4, "big") + text + one[end:])


def test_a_sidecar_that_inflates_without_end_is_refused() -> None:
    """The document is not inflated beyond its bound."""
    text = zlib.compress(b"[" * (1 << 28))
    began = time.process_time()
    with pytest.raises(sidecar.Broken):
        sidecar.unpack(sidecar.MAGIC + len(text).to_bytes(4, "big") + text, Blocks(Sized()))
    assert time.process_time() - began < 1


def test_a_broken_one_is_ignored(one: bytes) -> None:
    """An index that is offered and broken is as none: the source itself is looked at."""
    source = Sized()
    index.offer(source, Held(one[:-1]))
    with pytest.raises(AssertionError, match="the source was read"):
        index.of(source)
    index.offer(source, Held(one))
    assert index.of(source).kept
    assert index.worth_keeping(source) is None


def _bounded(data: bytes) -> None:
    try:
        found = sidecar.unpack(data, Blocks(Sized()))
    except sidecar.Broken:
        return
    for track in found.tracks.values():
        count = len(track.pts)
        assert count == len(track.dts) == len(track.sizes) == len(track.keys)
        assert len(track.lengths) <= count
        assert set(track.keys) <= {0, 1}
        assert all(0 <= size <= SIZE for size in track.sizes)
        if track.offsets is not None:
            assert all(at >= 0 and at + size <= SIZE for at, size in zip(track.offsets, track.sizes, strict=True))
    assert found.blocks.patch is None or 0 <= found.blocks.patch.start <= found.blocks.patch.end <= SIZE
