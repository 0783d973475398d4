"""Time as people type it and as the engine counts it: exact fractions, never floats.

`83.5`, `1:23.5` and `00:01:23.500` are seconds; `2505f` is a number of frames; `n/d` is a fraction of seconds, as the engine itself
writes times that no decimal can hold.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from native import errors

MAX_DIGITS = 20
MOST_RATIONAL = 400  # characters of a rational between our own processes; sums of many clocks grow long

_FRAMES = re.compile(r"(\d+)f", re.ASCII)
_RATIONAL = re.compile(r"-?\d+(?:/0*[1-9]\d*)?", re.ASCII)
_RATIO = re.compile(r"(\d+)/(\d+)", re.ASCII)
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?|\.\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time in seconds from the start of the presentation."""

    value: Fraction

    def at(self, _rate: Fraction, _times: Sequence[Fraction] | None = None) -> Fraction:
        return self.value

    def __str__(self) -> str:
        return decimal(self.value)


@dataclass(frozen=True, slots=True)
class Frames:
    """A time as the number of frames shown before it."""

    count: int

    def at(self, rate: Fraction, times: Sequence[Fraction] | None = None) -> Fraction:
        """Seconds. `times` are the true times of the source's frames; without them the frame rate (1/s) has to do."""
        if times is not None and self.count < len(times):
            return times[self.count]
        if times:
            return times[-1] + Fraction(self.count - len(times) + 1) / rate
        return Fraction(self.count) / rate

    def __str__(self) -> str:
        return f"{self.count}f"


Time = Seconds | Frames


def parse(value: object, field: str | None = None) -> Time:
    """The time that `value` (str, int, Fraction or a Time) says. Raises INVALID_RANGE for anything else."""
    if isinstance(value, Seconds | Frames):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | Fraction):
        raise errors.INVALID_RANGE("A time is a number of seconds, h:mm:ss.fff, or frames such as 2505f.", field=field)
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise errors.INVALID_RANGE(f"A time has at most {MAX_DIGITS} digits.", field=field)
    text = str(value)
    # the two numbers of a fraction are counted apart
    if any(sum(c.isdigit() for c in number) > MAX_DIGITS for number in text.split("/", 1)):
        raise errors.INVALID_RANGE(f"A time has at most {MAX_DIGITS} digits.", field=field)
    if found := _FRAMES.fullmatch(text):
        return Frames(int(found[1]))
    if (found := _RATIO.fullmatch(text)) and int(found[2]):
        return Seconds(Fraction(int(found[1]), int(found[2])))
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = int(found[1] or 0), int(found[2] or 0), Fraction(found[3])
        if (found[2] is None or seconds < 60) and (found[1] is None or minutes < 60):
            return Seconds(hours * 3600 + minutes * 60 + seconds)
    raise errors.INVALID_RANGE("A time is a number of seconds, h:mm:ss.fff, or frames such as 2505f, and not negative.", field=field)


def decimal(value: Fraction) -> str:
    """`value` as the shortest exact decimal, or as `n/d` when no decimal is exact."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places + len(str(abs(value) // 1)) > MAX_DIGITS:
        return f"{value.numerator}/{value.denominator}"
    if not places:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def first_at(times: Sequence[Fraction] | Sequence[int], moment: Fraction | int) -> int:
    """The index of the first of the sorted `times` that is not before `moment`."""
    return bisect_left(times, moment)


def _validate(value: object, info: ValidationInfo) -> Time:
    return parse(value, info.field_name)


def _rational(value: object) -> Fraction:
    if isinstance(value, float | bool) or not isinstance(value, str | int | Fraction):
        raise ValueError("a rational is an integer or a string n/d")
    if isinstance(value, str) and not (len(value) <= MOST_RATIONAL and _RATIONAL.fullmatch(value)):
        # Fraction() would take an exponent as well, and write out every digit of 1e999999999
        raise ValueError("a rational is an integer or a string n/d")
    return Fraction(value)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "maxLength": 48}],
    "description": "seconds (83.5), h:mm:ss.fff (1:23.5) or frames (2505f)",
    "examples": [83.5, "1:23.5", "2505f"],
}
# What pydantic models use: a Time in a request, and an exact Fraction written as "n/d".
TimeField = Annotated[Time, PlainValidator(_validate), PlainSerializer(str, return_type=str), WithJsonSchema(_SCHEMA)]
Rational = Annotated[
    Fraction,
    PlainValidator(_rational),
    PlainSerializer(_ratio, return_type=str),
    WithJsonSchema({"type": "string", "description": "a fraction n/d", "examples": ["30000/1001"]}),
]
