"""Times as people type them are exact, and nothing else is a time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from native import errors
from native.media import timecode
from native.media.timecode import Frames, Seconds, parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("83.5", Fraction(167, 2)),
        ("1:23.5", Fraction(167, 2)),
        ("00:01:23.500", Fraction(167, 2)),
        (83, Fraction(83)),
        ("0", Fraction(0)),
        (".25", Fraction(1, 4)),
        ("99:59:59.999", Fraction(359999999, 1000)),
        ("120", Fraction(120)),
        ("1/3", Fraction(1, 3)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_seconds_are_read_exactly(text: object, seconds: Fraction) -> None:
    """Decimals, clock times and fractions give exactly the seconds they say."""
    assert parse(text) == Seconds(seconds)


def test_frames_are_counted_in_true_times() -> None:
    """`2505f` is a number of frames: by the rate, or by the frames' true times where they are known."""
    assert parse("2505f") == Frames(2505)
    assert Frames(3).at(Fraction(30000, 1001)) == Fraction(3003, 30000)
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 2)]
    assert [Frames(n).at(Fraction(10), times) for n in range(5)] == [*times, Fraction(6, 10), Fraction(7, 10)]


@pytest.mark.parametrize(
    "value",
    ["nan", "inf", "-1", "+1", "1e5", "٣", "²", "1:60", "60:00:00:00", "1:60:00", "", " 1", "1 ", "1.", "1_000", "0x10", "1/0", "f", "-3f",
     "1.5f", "9" * 21, "0." + "1" * 21, "9" * 400 + "f", 10**20, -1, True, False, None, 1.5, float("nan"), [], {}, b"1", "1\n"],
)  # fmt: skip
def test_nothing_else_is_a_time(value: object) -> None:
    """Everything else is an invalid range that names the field, whatever its size."""
    with pytest.raises(errors.Problem) as caught:
        parse(value, "start")
    assert (caught.value.kind, caught.value.field) == (errors.INVALID_RANGE, "start")


def test_a_number_too_long_to_print_is_not_a_time() -> None:
    """Python refuses to print such an integer, so it must be refused unprinted."""
    with pytest.raises(errors.Problem):
        parse(10**5000)


@given(st.integers(0, 10**9), st.integers(0, 10**9 - 1))
def test_a_time_survives_being_written(whole: int, billionths: int) -> None:
    """Writing a time and reading it again gives the same time."""
    time = Seconds(whole + Fraction(billionths, 10**9))
    assert parse(str(time)) == time


@given(st.fractions(min_value=0, max_value=10**6, max_denominator=10**6))
def test_fractions_survive_being_written(value: Fraction) -> None:
    """A time that no decimal can hold is written as a fraction, never rounded."""
    assert parse(str(Seconds(value))) == Seconds(value)
    assert Fraction(timecode.decimal(value)) == value


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_the_clock_adds_up(hours: int, minutes: int, seconds: int, thousandths: int) -> None:
    """h:mm:ss.fff is hours, minutes and seconds."""
    text = f"{hours}:{minutes:02}:{seconds:02}.{thousandths:03}"
    assert parse(text) == Seconds(Fraction((hours * 3600 + minutes * 60 + seconds) * 1000 + thousandths, 1000))


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_problem(text: str) -> None:
    """No text makes the parser fail in another way, and no time is negative."""
    try:
        time = parse(text)
    except errors.Problem:
        return
    assert time.count >= 0 if isinstance(time, Frames) else time.value >= 0


@pytest.mark.parametrize("text", ["1e999999999", "1/1e9", "0.5", "1/0", "1/-2", " 1/2", "1_0/3", "٣/4", "nan", "", "1/" + "9" * 400])
def test_a_rational_is_two_numbers_and_nothing_else(text: str) -> None:
    """What is not `n/d` is refused at once: an exponent would be written out digit by digit."""
    with pytest.raises(ValidationError):
        TypeAdapter(timecode.Rational).validate_python(text)


@pytest.mark.parametrize(
    ("text", "value"), [("30000/1001", Fraction(30000, 1001)), ("-1/3", Fraction(-1, 3)), ("7", Fraction(7)), (7, Fraction(7))]
)
def test_a_rational_is_read(text: str | int, value: Fraction) -> None:
    """A fraction, a negative one and an integer are what they say."""
    assert TypeAdapter(timecode.Rational).validate_python(text) == value
