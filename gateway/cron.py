"""Functions that are called by the clock: `schedule: "*/5 * * * *"` with `topic: cron-function`, or `every: "15s"`.

A function's next call waits for the end of the last one, so calls never overlap. Schedules are in UTC.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import uuid
from dataclasses import dataclass

from gateway.provider.process import Provider
from gateway.provider.stackfile import Function, Malformed
from gateway.proxy import Call, Proxy
from native import errors, log

logger = logging.getLogger("gateway.cron")

# Several gateways or functions with the same schedule should not call in the same instant.
JITTER = 0.1
MOST_JITTER_SECONDS = 5.0
RESULT_BYTES = 1 << 20

MINUTE = datetime.timedelta(minutes=1)
# Every date that exists comes within eight years (29 February around a century's end).
HORIZON = datetime.timedelta(days=8 * 366)

MONTHS = {name: n for n, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
DAYS = {name: n for n, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}


@dataclass(frozen=True)
class Schedule:
    """The five fields of a crontab line, each as the set of its values."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises ValueError."""
        fields = text.lower().split()
        if len(fields) != 5:
            raise ValueError(f"schedule {text!r}: five fields are needed (minute hour day month weekday)")
        minute, hour, day, month, weekday = fields
        weekdays = _values(weekday, 0, 7, DAYS)
        return cls(
            minutes=_values(minute, 0, 59),
            hours=_values(hour, 0, 23),
            days=_values(day, 1, 31),
            months=_values(month, 1, 12, MONTHS),
            weekdays=frozenset(number % 7 for number in weekdays),  # 7 is Sunday, too
            any_day=day.startswith("*"),
            any_weekday=weekday.startswith("*"),
        )

    def after(self, moment: datetime.datetime) -> datetime.datetime | None:
        """The next minute that matches, or None when there is none (30 February)."""
        at = moment.replace(second=0, microsecond=0) + MINUTE
        end = at + HORIZON
        while at < end:
            if at.month not in self.months or not self._day(at):
                at = at.replace(hour=0, minute=0) + datetime.timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0) + datetime.timedelta(hours=1)
            elif at.minute not in self.minutes:
                at += MINUTE
            else:
                return at
        return None

    def _day(self, at: datetime.datetime) -> bool:
        day, weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        # cron's own rule: when both are restricted, either one will do.
        return (day and weekday) if self.any_day or self.any_weekday else (day or weekday)


def _values(field: str, lowest: int, highest: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        low = lowest if span == "*" else _number(first, names)
        high = highest if span == "*" or (step and not last) else _number(last or first, names)
        stride = int(step) if step else 1
        if not lowest <= low <= high <= highest or stride < 1:
            raise ValueError(f"{part!r} is not within {lowest}-{highest}")
        found |= set(range(low, high + 1, stride))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    return names[text] if names and text in names else int(text)


def check(function: Function) -> None:
    """Raises `Malformed`."""
    try:
        if function.schedule:
            Schedule.parse(function.schedule)
    except ValueError as exc:
        raise Malformed(f"function {function.name}: {exc}") from exc


class Cron:
    def __init__(self, provider: Provider, proxy: Proxy) -> None:
        self._provider = provider
        self._proxy = proxy
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        timed = [pool.function for pool in self._provider if pool.function.every_seconds or pool.function.schedule]
        self._tasks = [asyncio.create_task(self._keep_calling(function), name=f"cron {function.name}") for function in timed]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_calling(self, function: Function) -> None:
        while True:
            pause = _pause(function)
            if pause is None:
                return
            await asyncio.sleep(pause)
            await self._call(function.name)

    async def _call(self, name: str) -> None:
        call_id = str(uuid.uuid4())
        headers = [(b"x-call-id", call_id.encode()), (b"x-topic", b"cron-function"), (b"content-type", b"application/json")]
        try:
            async with self._proxy.call(Call(name=name, method=b"POST", target=b"/", headers=headers), wait_seconds=None) as answer:
                await answer.read(RESULT_BYTES)
                level = logging.INFO if answer.status < 400 else logging.WARNING
                log.event(logger, level, "called", function=name, call=call_id, status=answer.status)
        except errors.Problem as problem:
            log.event(logger, logging.WARNING, "not called", function=name, call=call_id, reason=problem.code)


def _pause(function: Function) -> float | None:
    """Seconds until the next call, or None when it never comes."""
    if function.every_seconds:
        jitter = min(function.every_seconds * JITTER, MOST_JITTER_SECONDS)
        return max(0.1, function.every_seconds + random.uniform(-jitter, jitter))  # noqa: S311
    now = datetime.datetime.now(datetime.UTC)
    at = Schedule.parse(function.schedule or "").after(now)
    return None if at is None else (at - now).total_seconds() + random.uniform(0, 1)  # noqa: S311
