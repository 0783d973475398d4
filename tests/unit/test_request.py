"""Requests as strangers write them."""

import json
from fractions import Fraction

import pytest

from native import errors, request
from native.media.timecode import Frames, Seconds
from native.request import AssetId, Request, Time, parse, parse_json


class Cut(Request):
    source: AssetId
    start: Time
    end: Time | None = None


class Cuts(Request):
    cuts: list[Cut]


def refusal(act, *arguments):
    with pytest.raises(errors.Problem) as caught:
        act(*arguments)
    return caught.value.kind, caught.value.field


def test_decimals_are_exact():
    """10.1 is 101/10 and 0.1 is 1/10, however it is written: no float is ever in between."""
    given = parse_json(b'{"source": "a", "start": 0.1, "end": "10.1"}', 1000)

    assert given == {"source": "a", "start": "0.1", "end": "10.1"}
    assert parse(Cut, given) == Cut(source="a", start=Seconds(Fraction(1, 10)), end=Seconds(Fraction(101, 10)))


@pytest.mark.parametrize(
    ("written", "read"),
    [("2", Seconds(Fraction(2))), ('"2505f"', Frames(2505)), ('"1:23.5"', Seconds(Fraction(167, 2))), ('"7/30"', Seconds(Fraction(7, 30)))],
)
def test_a_time_is_seconds_a_clock_or_frames(written, read):
    """Every way of writing a time is read as what it says."""
    given = parse_json(f'{{"source": "a", "start": {written}}}'.encode(), 1000)

    assert parse(Cut, given).start == read


BAD = {
    "not JSON": b"{",
    "not UTF-8": b'{"a": "\xff"}',
    "a name twice": b'{"a": 1, "a": 1}',
    "a name twice, deep inside": b'{"a": [{"b": 1, "b": 2}]}',
    "nested without end": b"[" * 100_000,
    "nothing": b"",
    "two values": b"{} {}",
}


@pytest.mark.parametrize("what", BAD)
def test_bad_json_is_refused(what):
    """What is not one JSON value is malformed, and no field of it is named."""
    assert refusal(parse_json, BAD[what], 1_000_000) == (errors.MALFORMED_REQUEST, None)


def test_long_numbers_are_not_counted_out():
    """An integer of more digits than anything here means stays text; one of 20 is a number."""
    assert parse_json(b"[" + b"9" * 20 + b"]", 1000) == [10**20 - 1]
    assert parse_json(b"[" + b"9" * 21 + b"]", 1000) == ["9" * 21]
    assert parse_json(b"[NaN, -Infinity]", 1000) == ["NaN", "-Infinity"]


def test_a_body_may_be_as_large_as_the_limit():
    """The limit itself fits; one byte more is too large, whatever it is."""
    assert parse_json(b"[1]", 3) == [1]
    assert refusal(parse_json, b"[1] ", 3) == (errors.TOO_LARGE, None)


FIELDS = {
    "a list": ([], errors.MALFORMED_REQUEST, None),
    "unknown": ({"source": "a", "start": 0, "colour": 1}, errors.INVALID_REQUEST, "colour"),
    "missing": ({"start": 0}, errors.INVALID_REQUEST, "source"),
    "empty asset": ({"source": "", "start": 0}, errors.INVALID_REQUEST, "source"),
    "long asset": ({"source": "a" * 101, "start": 0}, errors.INVALID_REQUEST, "source"),
    "true as a time": ({"source": "a", "start": True}, errors.INVALID_RANGE, "start"),
    "null as a time": ({"source": "a", "start": None}, errors.INVALID_RANGE, "start"),
    "a list as a time": ({"source": "a", "start": [1]}, errors.INVALID_RANGE, "start"),
    "an exponent": ({"source": "a", "start": "1e3"}, errors.INVALID_RANGE, "start"),
}


@pytest.mark.parametrize("what", FIELDS)
def test_the_wrong_field_is_named(what):
    """A wrong field is named, and a wrong time is told from another wrong field."""
    given, kind, field = FIELDS[what]

    assert refusal(parse, Cut, given) == (kind, field)


def test_a_field_inside_a_list_is_named_with_its_place():
    """The path to a wrong field counts the list's items from 0."""
    given = {"cuts": [{"source": "a", "start": 0}, {"source": "a", "start": "soon"}]}

    assert refusal(parse, Cuts, given) == (errors.INVALID_RANGE, "cuts.1.start")


def test_what_is_wrong_is_not_repeated():
    """A refusal does not send back what was sent: it may be long, or a secret."""
    with pytest.raises(errors.Problem) as caught:
        parse(Cut, {"source": 12345678901, "start": 0})

    assert "12345678901" not in json.dumps(caught.value.document())


def test_a_request_is_frozen():
    """Nobody changes what was asked for."""
    asked = request.parse(Cut, {"source": "a", "start": 0})

    with pytest.raises(ValueError, match="frozen"):
        asked.source = "b"
