"""Crontab lines."""

import datetime

import pytest

from gateway.cron import Schedule


def at(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("line", "now", "then"),
    [
        ("* * * * *", "2026-11-23T06:00:30", "2026-11-23T06:01:00"),
        ("*/15 * * * *", "2026-11-23T06:15:00", "2026-11-23T06:30:00"),
        ("0 3 * * *", "2026-11-23T06:00:00", "2026-11-24T03:00:00"),
        ("30 4 1 * *", "2026-11-23T06:00:00", "2026-12-01T04:30:00"),
        ("0 0 * jan,jul mon-fri", "2026-11-23T06:00:00", "2027-01-01T00:00:00"),
        ("0 12 * * 7", "2026-11-23T06:00:00", "2026-11-29T12:00:00"),
        ("5/20 * * * *", "2026-11-23T06:26:00", "2026-11-23T06:45:00"),
        ("0 0 29 2 *", "2026-11-23T06:00:00", "2028-02-29T00:00:00"),
        ("0 0 13 * fri", "2026-11-23T06:00:00", "2026-11-27T00:00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
    ],
)
def test_the_next_time(line, now, then):
    """The first matching minute that is later, as cron has it (day or weekday when both are named)."""
    assert Schedule.parse(line).after(at(now)) == at(then)


def test_a_day_that_never_comes():
    """30 February is never."""
    assert Schedule.parse("0 0 30 2 *").after(at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize("line", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "x * * * *", "*/0 * * * *", "* * * foo *"])
def test_nonsense_is_refused(line):
    """A line that means nothing is an error at start, not a silence at night."""
    with pytest.raises(ValueError):
        Schedule.parse(line)
