"""The proof of an output finds what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from native import errors
from native.media import cut, edit, engine, plan, source, splice, verify
from native.media.index import of
from tests import clips


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> tuple[Path, cut.Promise]:
    """An output with both seams, and what was promised of it."""
    clip = clips.make(clips.H264["gop30"], folder)
    asked = edit.Edit.model_validate({"segments": [{"start": "1.37", "end": "4.41"}]})
    sources = [splice.Source(of(source.FileSource(clip)))]
    path = tmp_path / "output.mp4"
    return path, cut.Job(plan.make(asked, sources), asked, sources, path, lambda *_: None).run()


def refused(path: Path, promise: cut.Promise) -> str:
    with pytest.raises(errors.Problem) as caught:
        verify.check(path, promise, "mp4")
    assert caught.value.kind is errors.VERIFY_FAILED
    return caught.value.detail


def test_a_kept_promise_passes(made: tuple[Path, cut.Promise]) -> None:
    """The output as it was written is fine."""
    verify.check(*made, "mp4")


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda p: replace(p, times=[*p.times, p.end], end=p.end + 512), "frames instead of"),
        (lambda p: replace(p, times=p.times[:-1]), "frames instead of"),
        (lambda p: replace(p, times=[*p.times[:7], p.times[7] + 100, *p.times[8:]]), "Frame 7"),
        (lambda p: replace(p, end=p.end + 512), "wrong length"),
        (lambda p: replace(p, sounds=2), "sound tracks"),
        (lambda p: replace(p, sound_seconds=p.sound_seconds - 1), "too long"),
    ],
)
def test_another_promise_is_not_kept(breaks: Callable[[cut.Promise], cut.Promise], words: str, made: tuple[Path, cut.Promise]) -> None:
    """One frame too many, too few, late or short, a missing track or too much sound: each is found and named."""
    path, promise = made
    assert words in refused(path, breaks(promise))


def test_damage_at_a_seam_is_found(made: tuple[Path, cut.Promise]) -> None:
    """A slice that does not decode near a cut fails the proof."""
    path, promise = made
    track = of(source.FileSource(path)).video
    assert track is not None
    assert track.offsets is not None
    at = track.offsets[2]
    with path.open("r+b") as file:
        file.seek(at + 12)
        file.write(b"\xff" * (track.sizes[2] - 12))
    assert "decode" in refused(path, promise)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_cut_off_file_is_found(keep: float, made: tuple[Path, cut.Promise]) -> None:
    """A file that lost its end, or everything, fails the proof."""
    path, promise = made
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "read back" in refused(path, promise)


def test_a_file_that_changed_after_its_proof_is_looked_at_again(folder: Path, tmp_path: Path) -> None:
    """The session's own verification notices a file that is not the one that was proven, and a count that does not add up."""
    clip = clips.make(clips.H264["gop30"], folder)
    asked = edit.Edit.model_validate({"segments": [{"start": "1", "end": "2"}]})
    result = engine.render(asked, [source.FileSource(clip)], tmp_path, lambda *_: None)
    verify.verify(result, asked)
    with pytest.raises(errors.Problem):
        verify.verify(result.model_copy(update={"copied_frames": result.copied_frames + 1}), asked)
    with pytest.raises(errors.Problem):
        verify.verify(result.model_copy(update={"path": tmp_path / "other.mp4"}), asked)
    result.path.write_bytes(result.path.read_bytes()[:-1000])
    with pytest.raises(errors.Problem):
        verify.verify(result, asked)


def test_an_output_that_fails_is_made_again_by_encoding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the copied result does not pass, everything is encoded, and the warning says why."""
    clip = clips.make(clips.H264["gop30"], folder)
    real, calls = verify.check, []

    def once_failing(path: Path, promise: cut.Promise, container: str) -> object:
        calls.append(promise.copied)
        if len(calls) == 1:
            raise errors.VERIFY_FAILED("no")
        return real(path, promise, container)

    monkeypatch.setattr(verify, "check", once_failing)
    asked = edit.Edit.model_validate({"segments": [{"start": "1", "end": "2"}]})
    result = engine.render(asked, [source.FileSource(clip)], tmp_path, lambda *_: None)
    assert calls == [calls[0], 0]
    assert calls[0] > 0
    assert result.encoded_frames == result.frames == 30
    assert "did not pass" in result.warnings[0]


def test_the_length_of_a_frame_is_not_guessed() -> None:
    """The clock of the output divides what its streams need, so no length is rounded to another."""
    from native.media import mux

    assert mux.movie_timescale([15360, 48000]) % 48000 == 0
    assert mux.movie_timescale([25]) >= 10_000
    assert Fraction(mux.movie_timescale([30])) % 30 == 0
