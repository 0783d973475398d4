"""Outputs whose packets stay where they lie: tickets, sample tables written again, and what a file of tickets is joined to."""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.media import boxes
from native.media.mp4 import join, moov
from native.media.mp4.layout import Assembled, Layout, Piece
from native.media.mp4.tickets import SIZE, Tickets
from native.media.source import Blocks, FileSource

KIB = 1 << 10


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def clip(path: Path, *tracks: list[bytes]) -> Path:
    """An MP4 with these packets, the first track MPEG-4 video and the others FLAC, 40 ms each."""
    with av.open(str(path), "w", format="mp4", container_options={"movflags": "+faststart"}) as out:
        streams = []
        for n, _ in enumerate(tracks):
            stream = out.add_stream("mpeg4", rate=25) if n == 0 else out.add_stream("flac", rate=48000)
            if n == 0:
                stream.width = stream.height = 64
            stream.codec_context.open()
            streams.append(stream)
        for n in range(max(map(len, tracks))):
            for stream, packets in zip(streams, tracks, strict=True):
                if n < len(packets):
                    packet = av.Packet(len(packets[n]))
                    packet.update(packets[n])
                    packet.stream, packet.time_base = stream, stream.codec_context.time_base
                    packet.pts = packet.dts = n if stream is streams[0] else n * 1920
                    packet.duration = 1 if stream is streams[0] else 1920
                    packet.is_keyframe = n % 7 == 0
                    out.mux_one(packet)
    return path


def samples(source: Bytes | Assembled) -> list[list[bytes]]:
    """What the tables of a file say its packets are, track by track."""
    tables = boxes.read(Blocks(source))
    assert tables is not None
    return [[source.read(offset, size) for offset, size in zip(t.offsets, t.sizes, strict=True)] for t in tables]


def facts(source: Bytes | Assembled) -> list[object]:
    """Everything else in the tables."""
    tables = boxes.read(Blocks(source))
    assert tables is not None
    return [(t.id, t.tag, t.timescale, t.dts, t.pts, t.keys, t.duration, t.hidden_before, t.hidden_from, t.language) for t in tables]


def demuxed(path: Path) -> list[list[tuple[bytes, int | None, int | None, bool]]]:
    """What libavformat says they are."""
    with av.open(str(path)) as container:
        found: list[list[tuple[bytes, int | None, int | None, bool]]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size:
                found[packet.stream_index].append((bytes(packet), packet.pts, packet.dts, packet.is_keyframe))
    return found


def put_together(layout: Layout, made: bytes, sources: list[bytes]) -> bytes:
    return b"".join((made if p.source is None else sources[p.source])[p.offset : p.offset + p.size] for p in layout.pieces)


# tickets ----------------------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(0, (1 << 63) - 1), st.integers(1, (1 << 40)))
def test_a_ticket_says_what_it_is_for(source: int, offset: int, size: int) -> None:
    """What was issued is read back, by its own book only."""
    book = Tickets()
    ticket = book.issue(source, offset, size)
    assert len(ticket) == SIZE
    assert book.read(ticket) == (source, offset, size)
    assert Tickets().read(ticket) is None
    assert book.read(ticket[:-1]) is None
    assert book.read(bytes(SIZE)) is None


# tables -----------------------------------------------------------------------------------------------------------------------------

sizes = st.lists(st.integers(0, 3000), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(sizes, st.data())
def test_tables_are_read_as_they_were_written(video: list[int], data: st.DataObject) -> None:
    """Samples moved to any places, above and below 4 GiB, are found there again; with the same places the tables say the same."""
    found = tables([video, data.draw(sizes)])
    places = [moov.Places(array("q", t.offsets), array("q", t.sizes)) for t in found]
    for it in places:
        for n in range(len(it.offsets)):
            it.offsets[n] = data.draw(st.one_of(st.just(it.offsets[n]), st.integers(0, 10_000), st.integers((1 << 32) - 3000, 1 << 34)))
            it.sizes[n] = data.draw(st.one_of(st.just(it.sizes[n]), st.integers(0, 2 << 20)))
    again = moov.places(moov.moved(MOOV[0], places, shift=77))
    assert [[o - 77 for o in it.offsets] for it in again] == [list(it.offsets) for it in places]
    assert [list(it.sizes) for it in again] == [list(it.sizes) for it in places]


MOOV: list[bytes] = []


def tables(tracks: list[list[int]]) -> list[moov.Places]:
    """The places of a hand-made `moov` with tracks of these sample sizes, which is left in MOOV."""
    blank = [moov.Places(array("q", [0] * len(t)), array("q", t)) for t in tracks]
    traks = b""
    for handler in (b"vide", b"soun"):
        stbl = moov._box(b"stbl", *(moov._box(kind, bytes(8)) for kind in (b"stsd", b"stsz", b"stsc", b"stco")))
        mdhd = moov._box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, 1000, 5000, 0))
        hdlr = moov._box(b"hdlr", bytes(8) + handler + bytes(13))
        traks += moov._box(b"trak", moov._box(b"mdia", mdhd, hdlr, moov._box(b"minf", stbl)))
    MOOV[:] = [moov.moved(moov._box(b"moov", traks), blank)]
    return moov.places(MOOV[0])


def test_chunks_are_what_lies_together_up_to_a_mebibyte() -> None:
    """Neighbours share a chunk, and none is longer than players read at once."""
    step = 400 * KIB
    it = moov.Places(array("q", [n * step for n in range(6)] + [100 * step]), array("q", [step] * 7))
    chunks = moov._chunks(it, 0)
    stsc, rest = chunks[: int.from_bytes(chunks[:4], "big")], chunks[int.from_bytes(chunks[:4], "big") :]
    assert stsc[4:8] == b"stsc"
    assert struct.unpack(">III", stsc[16:28]) == (1, 2, 1)
    assert rest[4:8] == b"stco"
    assert struct.unpack(">4I", rest[16:]) == (0, 2 * step, 4 * step, 100 * step)


# joins ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packets() -> tuple[list[bytes], list[bytes]]:
    return [os.urandom(3000 + n) for n in range(50)], [os.urandom(100 + n % 3) for n in range(50)]


def ticketed(book: Tickets, source: bytes, tracks: list[list[bytes]], kept: range, number: int = 0) -> list[list[bytes]]:
    """The same packets, those of a range as tickets for where they lie in the source."""
    return [[book.issue(number, source.index(p), len(p)) if n in kept else p for n, p in enumerate(track)] for track in tracks]


def test_what_lies_together_stays(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """The output has every packet of the original at the same times, made of new bytes around one range of the source."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    written = clip(tmp_path / "written.mp4", *ticketed(book, source, list(packets), range(10, 40)))
    layout = join.join(written, tmp_path / "made", book, [Bytes(source)], least=64 * KIB)
    assert layout is not None
    made = (tmp_path / "made").read_bytes()
    layout.check(len(made), [len(source)])
    assert [p.source for p in layout.pieces] == [None, 0, None]
    assert sum(p.size for p in layout.pieces if p.source == 0) > 29 * 3000
    output = put_together(layout, made, [source])
    assert samples(Bytes(output)) == samples(Bytes(source)) == [list(track) for track in packets]
    assert facts(Bytes(output)) == facts(Bytes(source))
    (tmp_path / "output.mp4").write_bytes(output)
    assert demuxed(tmp_path / "output.mp4") == demuxed(whole)


def test_bit_rates_are_those_of_the_packets(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """The sample descriptions say what they would say of the whole packets, to the byte."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    written = clip(tmp_path / "written.mp4", *ticketed(book, source, list(packets), range(50)))
    assert join.join(written, tmp_path / "made", book, [Bytes(source)], least=KIB) is not None
    made = (tmp_path / "made").read_bytes()
    at = [data.index(b"stsd") for data in (source, made)]
    size = int.from_bytes(source[at[0] - 4 : at[0]], "big")
    assert made[at[1] : at[1] + size] == source[at[0] : at[0] + size]


def test_no_byte_is_carried_that_nothing_refers_to(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """Where something else lies between packets, what stays ends and begins again, however little it is."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    tracks = ticketed(book, source, list(packets), range(50))
    secret = packets[0][25]
    tracks[0][25] = b"another picture"
    written = clip(tmp_path / "written.mp4", *tracks)
    layout = join.join(written, tmp_path / "made", book, [Bytes(source)], least=16 * KIB)
    assert layout is not None
    output = put_together(layout, (tmp_path / "made").read_bytes(), [source])
    assert [p.source for p in layout.pieces].count(0) == 2
    assert secret not in output
    assert secret[:50] not in output


def test_bytes_that_may_be_carried_join_what_stays(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """Sound of the range that is encoded anew lies between the pictures; with leave it is carried, and the pictures stay in one piece."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    tracks = [ticketed(book, source, [packets[0]], range(50))[0], [b"new sound %d" % n for n in range(50)]]
    written = clip(tmp_path / "written.mp4", *tracks)
    assert join.join(written, tmp_path / "none", book, [Bytes(source)], least=64 * KIB) is None
    spare = [sorted((source.index(p), source.index(p) + len(p)) for p in packets[1])]
    layout = join.join(written, tmp_path / "made", book, [Bytes(source)], least=64 * KIB, spare=spare)
    assert layout is not None
    assert [p.source for p in layout.pieces].count(0) == 1
    assert samples(Bytes(put_together(layout, (tmp_path / "made").read_bytes(), [source]))) == [packets[0], tracks[1]]


def test_ranges_of_one_source_may_repeat_and_overlap(
    tmp_path: Path, packets: tuple[list[bytes], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that go back in their source, and packets that two segments share, are all there, in the order of the output."""
    monkeypatch.setattr(join, "BACK", 8 * KIB)
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    issue = lambda p: book.issue(0, source.index(p), len(p))  # noqa: E731
    order = [*range(20, 50), *range(5, 40), *range(39, 50)]
    written = clip(tmp_path / "written.mp4", *([issue(track[n]) for n in order] for track in packets))
    layout = join.join(written, tmp_path / "made", book, [Bytes(source)], least=20 * KIB)
    assert layout is not None
    made = (tmp_path / "made").read_bytes()
    layout.check(len(made), [len(source)])
    output = put_together(layout, made, [source])
    assert samples(Bytes(output)) == [[track[n] for n in order] for track in packets]
    assert [p.source for p in layout.pieces].count(0) >= 2


def test_several_sources(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """Ranges of two sources and new packets, one after the other."""
    other = [os.urandom(2500 + n) for n in range(40)]
    files = [clip(tmp_path / "a.mp4", *packets).read_bytes(), clip(tmp_path / "b.mp4", other).read_bytes()]
    book = Tickets()
    one, two = ticketed(book, files[0], [packets[0]], range(50))[0], ticketed(book, files[1], [other], range(40), 1)[0]
    written = clip(tmp_path / "written.mp4", [b"head", *two, b"seam", *one[:30]])
    spare = [[(files[0].index(p), files[0].index(p) + len(p)) for p in packets[1]], []]
    layout = join.join(written, tmp_path / "made", book, [Bytes(f) for f in files], least=40 * KIB, spare=spare)
    assert layout is not None
    assert [p.source for p in layout.pieces] == [None, 1, None, 0]
    output = put_together(layout, (tmp_path / "made").read_bytes(), files)
    assert samples(Bytes(output))[0] == [b"head", *other, b"seam", *packets[0][:30]]


def test_nothing_stays_that_is_too_short(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """Then there is no layout."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    source, book = whole.read_bytes(), Tickets()
    written = clip(tmp_path / "written.mp4", *ticketed(book, source, list(packets), range(10, 20)))
    assert join.join(written, tmp_path / "made", book, [Bytes(source)], least=64 * KIB) is None


# layouts ----------------------------------------------------------------------------------------------------------------------------


@given(st.data())
def test_an_assembled_file_reads_as_the_file_it_will_be(data: st.DataObject) -> None:
    """Any range of any layout, over the ends of its pieces."""
    made, sources = os.urandom(300), [os.urandom(200), os.urandom(500)]
    pieces, at = [], 0
    while at < len(made):
        size = data.draw(st.integers(1, len(made) - at))
        pieces.append(Piece(offset=at, size=size))
        at += size
        if data.draw(st.booleans()):
            number = data.draw(st.integers(0, 1))
            offset = data.draw(st.integers(0, len(sources[number]) - 1))
            pieces.append(Piece(source=number, offset=offset, size=data.draw(st.integers(1, len(sources[number]) - offset))))
    layout = Layout(pieces=tuple(pieces))
    layout.check(len(made), [len(s) for s in sources])
    whole, seen = put_together(layout, made, sources), Assembled(layout, Bytes(made), [Bytes(s) for s in sources])
    assert seen.size == layout.size == len(whole)
    offset, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole) + 9))
    assert seen.read(offset, length) == whole[offset : offset + length]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"offset": 0, "size": 99}],
        [{"offset": 0, "size": 101}],
        [{"offset": 1, "size": 99}],
        [{"offset": 50, "size": 50}, {"offset": 0, "size": 50}],
        [{"offset": 0, "size": 100}, {"offset": 0, "size": 100}],
        [{"offset": 0, "size": 100}, {"source": 1, "offset": 0, "size": 1}],
        [{"offset": 0, "size": 100}, {"source": 0, "offset": 10, "size": 11}],
        [{"offset": 0, "size": 100}, {"source": 0, "offset": 1 << 61, "size": 1}],
    ],
)
def test_a_false_layout_is_refused(pieces: list[dict[str, int]]) -> None:
    """A made file that is not used whole, once and in order, and ranges that no source has."""
    with pytest.raises(ValueError, match=r"made file|range"):
        Layout.model_validate({"pieces": pieces}).check(100, [20])


@pytest.mark.parametrize("piece", [{"offset": -1, "size": 5}, {"offset": 0, "size": 0}, {"source": -1, "offset": 0, "size": 1}])
def test_a_false_piece_is_none(piece: dict[str, int]) -> None:
    """Nothing negative, nothing empty."""
    with pytest.raises(ValueError, match="validation error"):
        Layout.model_validate({"pieces": [piece]})


def test_a_long_output_has_wide_places(tmp_path: Path, packets: tuple[list[bytes], list[bytes]]) -> None:
    """Samples beyond 4 GiB are found: `co64`, and an `mdat` with a wide size. The source is as large only in its tables."""
    whole = clip(tmp_path / "whole.mp4", *packets)
    book, far = Tickets(), 5 << 30
    tracks = [[book.issue(0, n * 200_000_000, 200_000_000) for n in range(30)]]
    written = clip(tmp_path / "written.mp4", tracks[0])
    layout = join.join(written, tmp_path / "made", book, [Bytes(whole.read_bytes())], least=KIB)
    assert layout is not None
    assert layout.size > far
    made = tmp_path / "made"
    with FileSource(made) as file:

        class Far:
            size = 30 * 200_000_000

            def read(self, offset: int, length: int) -> bytes:
                return bytes(length)

        tables = boxes.read(Blocks(Assembled(layout, file, [Far()])))
    assert tables is not None
    start = made.stat().st_size
    assert list(tables[0].offsets) == [start + n * 200_000_000 for n in range(30)]
