"""Our own readers of strangers' bytes: whatever is in them, they end soon, in little memory, with what they are said to raise."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native import errors
from native.media import boxes, h264, index, matroska, nal, sidecar
from native.media.h264 import sets, slices
from native.media.source import Blocks
from tests import clips

SECONDS, MEGABYTES = 2, 64
ODD = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


class Bytes:
    """Bytes as a source."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@contextmanager
def bounded() -> Iterator[None]:
    """Time and memory of what is done inside."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
    finally:
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < SECONDS
    assert peak < MEGABYTES << 20


@st.composite
def spoilt(draw: st.DrawFn, good: bytes, first: int = 0, last: int | None = None) -> bytes:
    """Some bytes with a few numbers in them changed, a piece taken out, or an end missing."""
    data, end = bytearray(good), min(last or len(good), len(good))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(first, max(first, end - 5)))
        width = draw(st.sampled_from((1, 2, 4, 4, 8)))
        value = draw(st.one_of(st.sampled_from(ODD), st.integers(0, (1 << 32) - 1)))
        data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "big")
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(first, end - 1))
        del data[at : at + draw(st.integers(1, 64))]
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(first, len(data))) :]
    return bytes(data)


def fuzz(
    good: bytes, read: Callable[[bytes], object], *allowed: type[Exception], examples: int, first: int = 0, last: int | None = None
) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(data=spoilt(good, first, last))
    def holds(data: bytes) -> None:
        with bounded():
            try:
                read(data)
            except allowed:
                pass

    holds()


def moov(data: bytes) -> tuple[int, int]:
    at = data.index(b"moov") - 4
    return at, at + int.from_bytes(data[at : at + 4], "big")


@pytest.mark.parametrize("name", ["pyramid", "late_start", "moov_last", "prores"])
def test_sample_tables(name: str, folder: Path) -> None:
    """The tables of an MP4 or MOV."""
    data = clips.make({**clips.H264, **clips.OTHERS}[name], folder).read_bytes()
    first, last = moov(data)
    fuzz(data, lambda spoilt: boxes.read(Blocks(Bytes(spoilt))), errors.Problem, examples=150, first=first, last=last)


@pytest.mark.parametrize("name", ["pyramid", "fragmented", "matroska", "transport", "mpeg4", "vp9"])
def test_the_index_of_anything(name: str, folder: Path) -> None:
    """A whole index, libavformat's part in it too."""
    data = clips.make({**clips.H264, **clips.OTHERS}[name], folder).read_bytes()
    fuzz(data, lambda spoilt: index.build(Blocks(Bytes(spoilt))), errors.Problem, examples=25, last=8000)


def test_matroska_headers(folder: Path) -> None:
    """The elements of a Matroska file."""
    data = clips.make(clips.H264["matroska"], folder).read_bytes()
    fuzz(data, lambda spoilt: matroska.matrices(Blocks(Bytes(spoilt))), errors.Problem, examples=150, last=4000)


def test_an_index_that_was_kept(folder: Path) -> None:
    """The index of a source as anybody may have left it in the store."""
    data = clips.make(clips.H264["pyramid"], folder).read_bytes()
    packed = sidecar.pack(index.build(Blocks(Bytes(data))))
    fuzz(packed, lambda spoilt: sidecar.unpack(spoilt, Blocks(Bytes(data))), sidecar.Broken, errors.Problem, examples=150)


@pytest.mark.parametrize("name", ["pyramid", "main_slices", "interlaced", "four_two_two"])
def test_parameter_sets_and_slices(name: str, folder: Path) -> None:
    """Sequence and picture sets, and the headers of slices under them."""
    with av.open(str(clips.make(clips.H264[name], folder))) as file:
        stream = file.streams.video[0]
        found = nal.config(bytes(stream.codec_context.extradata or b""))
        assert found is not None
        packets = [bytes(packet) for _, packet in zip(range(6), file.demux(stream), strict=False)]
    fuzz(found.record(), nal.config, examples=80)
    fuzz(found.sps[0], sets.read_sps, h264.Unsupported, examples=120)
    fuzz(found.pps[0], sets.read_pps, h264.Unsupported, examples=80)
    known = sets.read([*found.sps, *found.pps])
    fuzz(packets[0], lambda data: nal.kinds(data, 4), nal.Broken, examples=50)
    for packet in packets[1:4]:
        fuzz(nal.prefixed(packet, 4)[-1], lambda unit: slices.read(unit, known), h264.Unsupported, examples=60, last=24)
