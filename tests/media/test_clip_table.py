"""No real clip becomes a wrong output, and every refusal is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media import clip_table

CLIPS = clip_table.clips()
GOOD = [path for path in CLIPS if not clip_table.broken(path)]
SHORT = ("torchcodec__h264_10bits.mp4", "mp4parser__v1.mp4")


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name, marks=[] if p.name in SHORT else [pytest.mark.slow]) for p in GOOD])
@pytest.mark.timeout(900)
def test_a_real_clip(path: Path) -> None:
    """Cut inside a group of pictures, across many, to the end; and merged with its neighbour."""
    pictures = [p for p in GOOD if clip_table.pictures(p)]
    neighbour = pictures[(pictures.index(path) + 1) % len(pictures)] if path in pictures else path
    wrong = [row for row in clip_table.rows_of(path, neighbour) if row.wrong]
    assert not wrong


@pytest.mark.parametrize("path", [p for p in CLIPS if clip_table.broken(p)], ids=lambda p: p.name)
def test_a_broken_clip(path: Path) -> None:
    """Refused with a reason, soon, in little memory."""
    rows = clip_table.alone(path, path)
    assert rows
    assert [row for row in rows if row.wrong] == []
