"""What results are called."""

import pytest

from native import names


@pytest.mark.parametrize(
    ("asked", "container", "name"),
    [
        (None, "mp4", "result.mp4"),
        ("film", "mp4", "film.mp4"),
        ("film.mp4", "mp4", "film.mp4"),
        ("Film.MP4", "mp4", "Film.MP4"),
        ("film.mp4", "mkv", "film.mp4.mkv"),
        ("Käse 🎬", "mov", "Käse 🎬.mov"),
        ("../../etc/passwd", "mp4", "_.._etc_passwd.mp4"),
        ('a\r\nB: "c"', "mp4", "a__B_ _c_.mp4"),
        ("a\\b|c?", "mp4", "a_b_c_.mp4"),
        ("gpj\u202e4pm", "mp4", "gpj_4pm.mp4"),
        (" . ", "mp4", "result.mp4"),
        ("\x00", "webm", "_.webm"),
    ],
)
def test_a_result_is_called_what_was_asked_for_as_far_as_a_file_may_be(asked, container, name):
    """The asked name stays, but for what would be a path, a header, or another text than it looks; the ending is the container's."""
    assert names.of_result({"output": {"name": asked}} if asked else {}, container) == name


def test_an_output_without_a_name_is_a_result():
    """No output, and an output that names only its container, are called `result`."""
    assert names.of_result({"output": None}, "mp4") == names.of_result({"output": {"container": "mp4"}}, "mp4") == "result.mp4"


def test_every_container_has_its_type():
    """Each container that may be asked for has a content type."""
    from typing import get_args

    from native.media.edit import Container

    assert sorted(names.CONTENT_TYPES) == sorted(get_args(Container))


def test_a_long_name_fits_a_file_system():
    """200 letters of three bytes each become a name of at most 255 bytes, cut between letters, and marks that cannot be seen are gone."""
    long = names.of_result({"output": {"name": "한" * 200}}, "mp4")

    assert len(long.encode()) <= 255
    assert long == "한" * 80 + ".mp4"
    assert names.of_result({"output": {"name": "a\u200bb\ud800"}}, "mp4") == "a_b_.mp4"
