"""Cuts made in this process, and the gates an exact one has to pass."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from native.media import edit, engine, source, verify
from native.media.made import Made
from tests.media import looking


def render(paths: list[Path], room: Path, *segments: dict[str, object], mode: str = "exact", container: str = "mp4") -> Made:
    asked = edit.Edit.model_validate({"segments": segments, "mode": mode, "output": {"container": container}})
    made = engine.render(asked, [source.FileSource(p) for p in paths], room, lambda *_: None)
    verify.verify(made, asked)
    return made


def wanted(shown: list[looking.Frame], start: Fraction, end: Fraction | None) -> list[looking.Frame]:
    return [f for f in shown if f.time >= start and (end is None or f.time < end)]


def check(clip: Path, made: Made, start: Fraction, end: Fraction | None) -> list[looking.Frame]:
    """Gates 1 to 4, 7 and 8 of an exact cut. Returns the source's frames that were asked for."""
    asked, got = wanted(looking.frames(clip), start, end), looking.frames(made.path)
    assert [f.number for f in got] == [f.number for f in asked]
    assert made.frames == len(asked) == made.copied_frames + made.primed_frames + made.encoded_frames
    identical = sum(a.digest == b.digest for a, b in zip(asked, got, strict=True))
    assert identical >= made.copied_frames
    tick = Fraction(1, 1000)
    for a, b in zip(asked, got, strict=True):
        assert abs((b.time - got[0].time) - (a.time - asked[0].time)) <= tick
    looking.strictly_decodes(made.path)
    return asked
