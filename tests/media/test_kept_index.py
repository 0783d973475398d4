"""An index that was kept serves as well as the source: the same plan, the same file, and next to nothing read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import pytest

from native.media import demuxer, engine, index, process, sidecar, stub
from native.media.edit import Edit
from native.media.source import Blocks, FileSource, Held
from tests import clips

CONTAINERS = [*(clips.H264[name] for name in ("gop30", "moov_last", "matroska", "transport", "fragmented", "vfr", "late_start", "tagged")),
              *(clips.OTHERS[name] for name in ("vp9", "mpeg4", "mpeg2", "prores"))]  # fmt: skip


@pytest.mark.parametrize("recipe", CONTAINERS, ids=lambda recipe: recipe.name)
def test_the_same_cut_comes_of_it(recipe: clips.Recipe, folder: Path, tmp_path: Path) -> None:
    """In every container: a cut from the kept index has the same packets at the same times as one from the source, and the same bytes
    unless all of it was encoded, which a machine with other work does a little differently each time."""
    clip = clips.make(recipe, folder)
    asked = Edit.model_validate({"segments": [{"start": "0.7", "end": "1.6"}]})
    files = []
    kept: bytes | None = None
    for name in ("first", "second"):
        room = tmp_path / name
        room.mkdir()
        with FileSource(clip) as source:
            if kept is not None:
                index.offer(source, Held(kept))
            made = engine.render(asked, [source], room, lambda *_: None)
            assert index.of(source).kept == (kept is not None)
            kept = kept or index.worth_keeping(source)
        streams = [stream.model_copy(update={"bit_rate": None}) for stream in made.streams]
        with av.open(str(made.path)) as out:
            times = [(packet.stream_index, packet.pts, packet.dts, packet.duration) for packet in out.demux()]
        digest = hashlib.sha256(made.path.read_bytes()).hexdigest() if made.copied_frames + made.primed_frames else ""
        files.append((times, digest, made.copied_frames, made.primed_frames, made.encoded_frames, made.warnings, streams))
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of small pictures with a title: 18 000 frames and 28 000 packets of sound."""
    place = tmp_path_factory.mktemp("long")
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=30:d=20", "-f", "lavfi", "-i", "sine=r=48000:d=20"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-c:a", "aac", "-b:a", "32k"]
    process.ffmpeg(["-nostdin", "-loglevel", "error", *inputs, *codecs, "once.mp4"], place)
    more = ["-c", "copy", "-metadata", "title=A title", "-movflags", "+faststart", "long.mp4"]
    process.ffmpeg(["-nostdin", "-loglevel", "error", "-stream_loop", "29", "-i", "once.mp4", *more], place)
    return place / "long.mp4"


def test_the_header_is_opened_without_its_tables(long: Path) -> None:
    """What stands in for `moov` is a hundredth of it and says the same: streams, set-up, title; the tables are not read again."""
    with FileSource(long) as source:
        found = index.build(Blocks(source))
        patch = found.blocks.patch
        assert patch is not None
        assert len(patch.data) * 50 < patch.end - patch.start
        with demuxer.open_(Blocks(source), found.kind) as whole:
            said = stub._said(whole)
        again = sidecar.unpack(sidecar.pack(found), Blocks(source))
        before = source.bytes_read
        with demuxer.open_(again.blocks, again.kind) as container:
            assert stub._said(container) == said
            assert container.metadata["title"] == "A title"
        assert source.bytes_read - before < 600_000


def test_a_second_short_cut_reads_little(long: Path, tmp_path: Path) -> None:
    """Two seconds out of ten minutes, from the kept index: neither the tables nor much beside the packets themselves is read."""
    asked = Edit.model_validate({"segments": [{"start": "300.5", "end": "302.5"}]})
    with FileSource(long) as source:
        engine.render(asked, [source], tmp_path, lambda *_: None)
        kept, first = index.worth_keeping(source), source.bytes_read
    assert kept is not None
    with FileSource(long) as source:
        index.offer(source, Held(kept))
        engine.render(asked, [source], tmp_path, lambda *_: None)
        assert len(kept) + source.bytes_read < first - 500_000
        assert len(kept) < 100_000
