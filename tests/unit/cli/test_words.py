"""How the command line reads what people type, and writes what they read."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import pytest

from cli import figures, options
from cli.editfile import EditFile
from cli.failure import Usage

ASSET = "0190f3a2-0000-7000-8000-0000000000aa"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (21_940_000, "21.9 MB"), (345e6, "345 MB"), (5.5e12, "5.5 TB")]
)
def test_sizes(count: float, text: str) -> None:
    """Bytes are given with the digits that matter."""
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0:00.000"), (12.54, "0:12.540"), (59.9996, "1:00.000"), (83.5, "1:23.500"), (3723, "1:02:03.000")]
)
def test_clocks(value: float, text: str) -> None:
    """A place in a film carries over minutes and hours, also by rounding."""
    assert figures.clock(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.7, "1 min 0 s"), (7800, "2 h 10 min")])
def test_spans(value: float, text: str) -> None:
    """A span of time has one or two units."""
    assert figures.seconds(value) == text


def test_shares() -> None:
    """A small share is not shown as nothing, and nothing is nothing."""
    assert [figures.share(*pair) for pair in ((0, 5), (1, 0), (1, 3), (3.14, 100), (1, 100_000))] == [
        "0 %",
        "0 %",
        "33 %",
        "3.1 %",
        "0.001 %",
    ]


def test_ages() -> None:
    """How long ago a moment was, in the largest unit that fits."""
    now = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
    moments = ["2026-11-23T11:59:58Z", "2026-11-23T11:59:20.000Z", "2026-11-23T11:12:00Z", "2026-11-22T13:00:00Z", "2026-11-20T12:00:00Z"]
    assert [figures.ago(it, now) for it in moments] == ["just now", "40 s ago", "48 min ago", "23 h ago", "3 days ago"]
    assert figures.ago(None) == "–"


@pytest.mark.parametrize(
    ("typed", "sent"), [("83.5", "83.5"), ("1:23.5", "83.5"), ("00:01:23.500", "83.5"), ("2505f", "2505f"), ("0", "0")]
)
def test_times_are_read_exactly(typed: str, sent: str) -> None:
    """All four ways to write a time are understood, and lose nothing."""
    assert options.moment(typed, "--start") == sent


@pytest.mark.parametrize("typed", ["", "abc", "-5", "nan", "inf", "1e3", "1:99", "٣", "5ff", "9" * 400])
def test_what_is_no_time_is_refused_by_its_option(typed: str) -> None:
    """The sentence and the JSON name the option, before anything is uploaded."""
    with pytest.raises(Usage) as refused:
        options.moment(typed, "--end")
    assert refused.value.sentence.startswith("--end")
    assert refused.value.document["error"]["field"] == "end"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(("start", "end"), [("5", "5"), ("10", "9.999"), ("1:00", "59"), ("30f", "30f")])
def test_a_range_must_not_be_empty(start: str, end: str) -> None:
    """END after START is checked here where both are of one kind; the server, which knows the frame rate, does the rest."""
    with pytest.raises(Usage):
        options.span(start, end)
    assert options.span("2", "30f") == ("2", "30f")


def test_a_source_is_a_file_or_an_id(tmp_path: Path) -> None:
    """What is there is a file, whatever its name; what is not must be an id."""
    file = tmp_path / ASSET
    assert options.source(ASSET) == ASSET
    file.write_bytes(b"")
    assert options.source(ASSET, tmp_path) == file
    for wrong in ("missing.mp4", str(tmp_path), "../x"):
        with pytest.raises(Usage):
            options.source(wrong)


def test_out_says_container_and_name(tmp_path: Path) -> None:
    """OUT's ending is the container, its name the result's; a folder says neither; no OUT asks for nothing."""
    assert options.output(tmp_path / "a b.MOV", []) == {"container": "mov", "name": "a b.mov"}
    assert options.output(tmp_path, []) == {}
    assert options.output(None, []) == {}


def test_out_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    """A wrong ending, a missing folder and the source itself are refused at once."""
    source = tmp_path / "a.mp4"
    source.write_bytes(b"x")
    for out in (tmp_path / "a.avi", tmp_path / "a", tmp_path / "no" / "a.mp4", source):
        with pytest.raises(Usage) as refused:
            options.output(out, [source])
        assert refused.value.document["error"]["field"] == "output"


@pytest.mark.parametrize("form", ["short", "edit", "tracks"])
def test_every_form_of_an_edit_becomes_the_same_request(tmp_path: Path, form: str) -> None:
    """Files are looked for beside EDIT.json; times stay exact; the HTTP API's form is sent."""
    (tmp_path / "a.mp4").write_bytes(b"")
    clips = f'[{{"source": "a.mp4", "start": 10.10, "end": "1:23.5"}}, {{"source": "{ASSET}"}}]'
    text = {
        "short": f'{{"clips": {clips}}}',
        "edit": f'{{"edit": {{"clips": {clips}}}}}',
        "tracks": f'{{"edit": {{"tracks": [{{"clips": {clips}}}]}}}}',
    }
    file = tmp_path / "edit.json"
    file.write_text(text[form])
    edit = EditFile(str(file))
    assert edit.sources == [tmp_path / "a.mp4", ASSET]
    request = edit.request(["one", ASSET])
    assert request == {"edit": {"tracks": [{"clips": [{"source": "one", "start": "10.1", "end": "83.5"}, {"source": ASSET}]}]}}


def test_an_edit_keeps_what_else_it_says(tmp_path: Path) -> None:
    """`output` and `mode` beside the clips are sent as they are."""
    file = tmp_path / "edit.json"
    file.write_text(json.dumps({"clips": [{"source": ASSET}], "mode": "encode", "output": {"container": "mkv"}}))
    request = EditFile(str(file)).request([ASSET])
    assert (request["mode"], request["output"]) == ("encode", {"container": "mkv"})


WRONG = ["", "[]", "{", '{"clips": []}', '{"clips": [1]}', '{"clips": [{}]}', '{"edit": {"tracks": [{"clips": [{"source": 5}]}]}}',
         '{"edit": {"tracks": [{}, {}]}}', f'{{"clips": [{{"source": "{ASSET}", "start": "x"}}]}}', "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_edit_is_a_sentence(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with EDIT.json, it is a usage error in one line."""
    file = tmp_path / "edit.json"
    file.write_text(text)
    with pytest.raises(Usage) as refused:
        EditFile(str(file))
    assert "\n" not in refused.value.sentence


def test_an_edit_can_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """- is stdin."""
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(f'{{"clips": [{{"source": "{ASSET}"}}]}}'))
    assert EditFile("-").sources == [ASSET]


@pytest.mark.parametrize(
    ("size", "sides"), [("1280x720", {"width": 1280, "height": 720}), ("1280x", {"width": 1280}), ("X720", {"height": 720}), (None, {})]
)
def test_a_size_may_leave_a_side_to_the_shape(size, sides):
    assert options.picture(size, None, None) == sides
    assert options.picture(size, "29.97", options.Codec.HEVC) == {**sides, "frame_rate": "29.97", "codec": "hevc"}


@pytest.mark.parametrize("size", ["x", "", "720p", "12 80x720", "-2x720", "1280:720"])
def test_what_is_no_size_is_refused_before_anything_is_sent(size):
    with pytest.raises(Usage, match="1280x720, 1280x or x720"):
        options.picture(size, None, None)
