"""The real worker behind its fences: what it makes is right, it reads no more than it needs, and it tells how far it is."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest

from native import errors
from native.media import process, session
from native.media.edit import Edit
from native.media.source import FileSource


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4: 4 s of 30 fps with a key frame each second and a tone; b.mp4: 2 s of 25 fps, another size, silent."""
    folder = tmp_path_factory.mktemp("clips")
    sound = ["-f", "lavfi", "-i", "sine=f=440:r=48000:d=4", "-c:a", "aac"]
    for name, size, rate, seconds, more in (("a.mp4", "320x180", 30, 4, sound), ("b.mp4", "160x160", 25, 2, [])):
        video = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
        options = ["-c:v", "libx264", "-preset", "veryfast", "-g", f"{rate}", "-movflags", "+faststart"]
        process.ffmpeg(["-nostdin", "-loglevel", "error", *video, *more, *options, name], folder)
    return folder


@pytest.fixture
def room(tmp_path: Path) -> Path:
    path = tmp_path / "room"
    path.mkdir()
    return path


def test_the_whole_way(clips: Path, room: Path) -> None:
    """probe, keyframes, render and verify of an exact cut: the promised frames, most of them copied, with progress to the end."""
    seen: list[tuple[int, int]] = []
    source = FileSource(clips / "a.mp4")
    with session.open([source], room, session.Limits(deadline_seconds=60), lambda frames, total: seen.append((frames, total))) as media:
        (info,) = media.probe()
        assert (info.video.frames, info.duration, len(info.audio)) == (120, 4, 1)
        assert media.keyframes(0) == [0, 1, 2, 3]
        edit = Edit.model_validate({"segments": [{"start": "0.5", "end": "3.5"}]})
        made = media.render(edit)
        media.verify(made, edit)
    assert (made.frames, made.path.parent) == (90, room.resolve())
    assert made.copied_frames + made.primed_frames >= 30
    assert made.copied_frames + made.primed_frames + made.encoded_frames == 90
    assert made.size == made.path.stat().st_size
    assert seen[-1] == (90, 90)


def test_disagreeing_sources_are_conformed(clips: Path, room: Path) -> None:
    """The odd clip of a merge is conformed by FFmpeg inside the fences, the other is copied, and the whole passes the same checks."""
    seen: list[tuple[int, int]] = []
    with session.open(
        [FileSource(clips / "a.mp4"), FileSource(clips / "b.mp4")], room, on_progress=lambda *moment: seen.append(moment)
    ) as media:
        edit = Edit.model_validate({"segments": [{"source": 0}, {"source": 1}]})
        made = media.render(edit)
        media.verify(made, edit)
    assert (made.frames, made.encoded_frames, made.copied_frames, made.duration) == (180, 60, 120, Fraction(6))
    assert any("Clip 2" in warning for warning in made.warnings)
    assert seen[-1] == (180, 180)


def test_verify_sees_a_changed_file(clips: Path, room: Path) -> None:
    """A result that is changed after it was made does not pass."""
    with session.open([FileSource(clips / "a.mp4")], room) as media:
        edit = Edit.model_validate({"segments": [{"end": "2"}]})
        made = media.render(edit)
        data = bytearray(made.path.read_bytes())
        at = data.find(b"mdat") + 4
        data[at:] = bytes(len(data) - at)
        made.path.write_bytes(data)
        with pytest.raises(errors.Problem) as caught:
            media.verify(made, edit)
    assert caught.value.code == "verify_failed"


def test_output_limit_holds_for_ffmpeg(clips: Path, room: Path) -> None:
    """A result larger than allowed ends as too_heavy, also when FFmpeg writes it."""
    limits = session.Limits(output_bytes=20_000)
    with (
        session.open([FileSource(clips / "a.mp4"), FileSource(clips / "b.mp4")], room, limits) as media,
        pytest.raises(errors.Problem) as caught,
    ):
        media.render(Edit.model_validate({"segments": [{"source": 0}, {"source": 1}]}))
    assert caught.value.code == "too_heavy"


def test_facts_are_held_against_the_limits(clips: Path, room: Path) -> None:
    """A source that exceeds a limit is refused when it is probed."""
    for limits in (session.Limits(max_pixels=320 * 180 - 1), session.Limits(max_duration_seconds=3), session.Limits(max_streams=1)):
        with session.open([FileSource(clips / "a.mp4")], room, limits) as media, pytest.raises(errors.Problem) as caught:
            media.probe()
        assert caught.value.code == "source_too_complex"


def test_sessions_side_by_side(clips: Path, tmp_path: Path) -> None:
    """Sessions in several threads do not disturb each other."""
    frames: list[int] = []

    def work(number: int) -> None:
        room = tmp_path / f"room{number}"
        room.mkdir()
        with session.open([FileSource(clips / "a.mp4")], room) as media:
            frames.append(media.render(Edit.model_validate({"segments": [{"start": f"{number}f", "end": f"{number + 50}f"}]})).frames)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert frames == [50, 50, 50]


def test_a_session_serves_on_after_a_problem(clips: Path, room: Path) -> None:
    """A refused range does not end the session."""
    with session.open([FileSource(clips / "a.mp4")], room) as media:
        with pytest.raises(errors.Problem) as caught:
            media.render(Edit.model_validate({"segments": [{"start": "9"}]}))
        assert (caught.value.code, caught.value.field) == ("invalid_range", "start")
        assert media.render(Edit.model_validate({"segments": [{"end": "1"}]})).frames == 30
