"""Clips in a row become segments of sources."""

from fractions import Fraction

import pytest

from native import errors
from native.clips import Clip, Clips, plan
from native.media.info import MediaInfo, Stream
from native.media.timecode import Frames, Seconds


class Row(Clips):
    """Clips of (asset, start, end), as a merge names them."""

    row: tuple[tuple[str, str | None, str | None], ...]

    def clips(self):
        from native.media import timecode

        def time(text):
            return None if text is None else timecode.parse(text)

        return [Clip(asset, time(a), time(b), f"row.{n}.", "asset") for n, (asset, a, b) in enumerate(self.row)]


def media(seconds, rate=Fraction(30)):
    video = Stream(index=0, kind="video", codec="h264", time_base=Fraction(1, 90000), frame_rate=rate, frames=int(seconds * rate))
    return MediaInfo(container="mp4", duration=Fraction(seconds), size=1, streams=(video,), start=Fraction(0))


def test_each_asset_is_a_source_once():
    """Many clips of one asset are one source, named where it is used first; segments play in the clips' order."""
    asked = Row(row=(("b", "1", "2"), ("a", None, "30f"), ("b", "0.5", None)))
    edit = plan(asked, [media(10), media(10)])

    assert asked.sources() == [("row.0.asset", "b"), ("row.1.asset", "a")]
    assert [segment.source for segment in edit.segments] == [0, 1, 0]
    assert [segment.start for segment in edit.segments] == [Seconds(Fraction(1)), None, Seconds(Fraction(1, 2))]
    assert [segment.end for segment in edit.segments] == [Seconds(Fraction(2)), Frames(30), None]


def test_mode_and_output_go_into_the_edit():
    """What is asked of the result is what the edit asks for."""
    edit = plan(Row(row=(("a", None, None),), mode="instant", output={"container": "mkv", "name": "x"}), [media(1)])

    assert (edit.mode, edit.output.container, edit.output.name) == ("instant", "mkv", "x")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ((("a", "0", "1"), ("b", "0", "99")), "row.1.end"),
        ((("a", "11", None), ("b", "0", "99")), "row.0.start"),
        ((("a", None, "1"), ("b", "0f", "9999f")), "row.1.end"),
    ],
)
def test_a_range_that_a_source_does_not_have_is_named_with_its_place(row, field):
    """The first clip that lies outside its own source is refused, by its place in the request."""
    asked = Row(row=row)
    with pytest.raises(errors.Problem) as caught:
        plan(asked, [media(10), media(5)])

    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, field)


@pytest.mark.parametrize("bad", [("2", "1"), ("1", "1"), ("30f", "2f")])
def test_a_range_that_no_source_has_is_refused_at_once(bad):
    """An end that is not after its start is refused before anything is known of the source."""
    with pytest.raises(errors.Problem) as caught:
        Row(row=(("a", None, None), ("a", *bad)))

    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, "row.1.end")
