"""What a worker says its result is made of is checked before anybody copies a byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from native import errors
from native.media import session
from native.media.edit import Edit
from native.media.source import FileSource

EDIT = Edit.model_validate({"segments": [{"source": 0}]})
MADE, SOURCE = 100, 5000


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`answers(layout, size)`: what render() makes of a worker that says so. No worker is there."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "output.mp4").write_bytes(bytes(MADE))
    (tmp_path / "source").write_bytes(bytes(SOURCE))

    def say(pieces: list[dict[str, int]] | None, size: int, least: int | None = 1) -> Any:
        with FileSource(tmp_path / "source") as source:
            asked = session.open([source], room, session.Limits(output_bytes=3000))
            made = {"path": str(room / "output.mp4"), "container": "mp4", "size": size, "duration": "1/1", "frames": 0, "copied_frames": 0}
            made |= {"primed_frames": 0, "encoded_frames": 0, "streams": [], "layout": {"pieces": pieces} if pieces is not None else None}
            monkeypatch.setattr(asked, "_ask", lambda call: {"made": made})
            return asked.render(EDIT, least)

    return say


def test_a_true_layout_is_believed(answers: Any) -> None:
    """The made file once and in order, ranges of the job's own sources, and a size that adds up."""
    pieces = [{"offset": 0, "size": 60}, {"source": 0, "offset": 4000, "size": 1000}, {"offset": 60, "size": 40}]
    assert answers(pieces, 1100).layout.size == 1100


@pytest.mark.parametrize(
    ("pieces", "size", "least"),
    [
        ([{"offset": 0, "size": 100}, {"source": 0, "offset": 4000, "size": 1001}], 1101, 1),  # past the end of the source
        ([{"offset": 0, "size": 100}, {"source": 1, "offset": 0, "size": 10}], 110, 1),  # a source of somebody else's
        ([{"offset": 0, "size": 100}, {"source": 0, "offset": 0, "size": 10}], 111, 1),  # another size than it says
        ([{"offset": 0, "size": 90}, {"source": 0, "offset": 0, "size": 10}], 100, 1),  # not all of the made file
        ([{"offset": 0, "size": 100}, *[{"source": 0, "offset": 0, "size": 1000}] * 3], 3100, 1),  # more than an output may have
        ([{"offset": 0, "size": 100}, *[{"source": 0, "offset": 0, "size": 1}] * 9000], 9100, 1),  # too many pieces
        ([{"offset": 0, "size": 100}, {"source": 0, "offset": 0, "size": 10}], 110, None),  # nobody asked for one
        (None, 110, 1),
    ],
)
def test_a_false_layout_ends_the_session(answers: Any, pieces: list[dict[str, int]] | None, size: int, least: int | None) -> None:
    """Anything else is a worker taken over by its source."""
    with pytest.raises(errors.Problem) as caught:
        answers(pieces, size, least)
    assert caught.value.kind is errors.SOURCE_UNREADABLE
