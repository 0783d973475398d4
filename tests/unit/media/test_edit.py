"""An edit is checked before anything is done: by itself, and against the facts of its sources."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from native import errors
from native.media.edit import Edit, Output
from native.media.info import MediaInfo, Stream


def media(seconds: int = 10, rate: int | None = 30) -> MediaInfo:
    picture = Stream(
        index=0, kind="video", codec="h264", time_base=Fraction(1, 15360), frame_rate=Fraction(rate or 1), frames=seconds * (rate or 1)
    )
    sound = Stream(index=1, kind="audio", codec="aac", time_base=Fraction(1, 48000))
    return MediaInfo(
        container="mp4", duration=Fraction(seconds), size=1, start=Fraction(0), streams=(picture, sound) if rate else (sound,)
    )  # fmt: skip


def edit(**segment: object) -> Edit:
    return Edit.model_validate({"segments": [segment]})


def test_an_edit_travels_as_json() -> None:
    """An edit and the facts of a source come back from JSON as they were, fractions and all."""
    asked = edit(start="1/3", end="2505f")
    assert Edit.model_validate_json(asked.model_dump_json()) == asked
    info = media()
    assert MediaInfo.model_validate_json(info.model_dump_json()) == info


@pytest.mark.parametrize(
    ("segment", "field"),
    [
        ({"start": "2", "end": "2"}, "end"),
        ({"start": "3", "end": "2.999"}, "end"),
        ({"start": "30f", "end": "29f"}, "end"),
        ({"start": "nan"}, "start"),
        ({"end": -1}, "end"),
        ({"start": True}, "start"),
    ],
)
def test_a_wrong_range_is_refused_without_looking_at_the_source(segment: dict[str, object], field: str) -> None:
    """Backwards, empty and unreadable ranges are refused at once, naming the field."""
    with pytest.raises(errors.Problem) as caught:
        edit(**segment)
    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, field)


@pytest.mark.parametrize(
    ("segment", "field"),
    [
        ({"start": "10"}, "start"),
        ({"start": "301f"}, "start"),
        ({"end": "10.1"}, "end"),
        ({"end": "302f"}, "end"),
        ({"start": "60f", "end": "1"}, "end"),
    ],
)
def test_a_range_must_lie_in_the_source(segment: dict[str, object], field: str) -> None:
    """What lies past the end is refused; times and frame counts may be mixed."""
    with pytest.raises(errors.Problem) as caught:
        edit(**segment).check([media()])
    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, field)


@pytest.mark.parametrize("segment", [{}, {"start": "0"}, {"end": "10"}, {"end": "10.03"}, {"start": "9.99", "end": "300f"}])
def test_the_ends_of_the_source_are_inside(segment: dict[str, object]) -> None:
    """The whole source, and an end that is its shown duration rounded up, are fine."""
    edit(**segment).check([media()])


def test_frames_of_a_source_without_video_cannot_be_counted() -> None:
    """A frame count needs a picture."""
    with pytest.raises(errors.Problem, match="seconds"):
        edit(start="5f").check([media(rate=None)])


@pytest.mark.parametrize(
    "document",
    [
        {"segments": []},
        {"segments": [{"begin": 1}]},
        {"segments": [{}], "mode": "fast"},
        {"segments": [{}], "output": {"container": "exe"}},
    ],
)
def test_unknown_words_are_refused(document: dict[str, object]) -> None:
    """Unknown fields, modes and containers do not pass."""
    with pytest.raises(ValidationError):
        Edit.model_validate(document)


def test_a_source_that_is_not_there_is_named() -> None:
    """A segment of a source beyond the last is a request at fault."""
    with pytest.raises(errors.Problem) as caught:
        edit(source=1).check([media()])
    assert caught.value.kind is errors.INVALID_REQUEST


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("29.97", Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("30", Fraction(30)),
        ("1", Fraction(1)),
        (2, Fraction(2)),
        (25, Fraction(25)),
        ("25/2", Fraction(25, 2)),
    ],
)
def test_frame_rates_are_exact(said: object, meant: Fraction) -> None:
    """What people call 29.97 is 30000/1001; whole numbers and fractions are themselves, and all of them survive JSON."""
    output = Output.model_validate({"frame_rate": said})
    assert output.frame_rate == meant
    assert Output.model_validate(output.model_dump(mode="json")) == output


@pytest.mark.parametrize("bad", [{"frame_rate": "0"}, {"frame_rate": "121"}, {"frame_rate": "1/0"}, {"frame_rate": True}, {"width": 641}])
def test_nonsense_of_the_picture_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"frame rate|multiple"):
        Output.model_validate(bad)


def test_a_codec_that_the_container_does_not_hold_is_refused() -> None:
    with pytest.raises(errors.Problem, match="WEBM does not hold h264"):
        Output.model_validate({"container": "webm", "codec": "h264"})
