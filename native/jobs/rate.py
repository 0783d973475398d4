"""How often an owner may ask: a sliding window of one minute. Fails open: without Redis nobody is refused."""

from __future__ import annotations

from native import errors
from native.jobs.hints import Hints, script

WINDOW_SECONDS = 60

# Two counters of fixed windows; the last one counts for the part of it that the sliding window still covers. Redis's clock,
# so that all processes agree. Answers 0, or the milliseconds after which asking again makes sense.
_COUNT = script(
    """
    local time = redis.call('TIME')
    local now, window, most = time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1] * 1000, tonumber(ARGV[2])
    local index, gone = math.floor(now / window), now % window
    local this, last = KEYS[1] .. ':' .. (index % 3), KEYS[1] .. ':' .. ((index + 2) % 3)
    local used = tonumber(redis.call('GET', this) or 0)
    local before = tonumber(redis.call('GET', last) or 0) * (window - gone) / window
    if used + before + 1 > most then
        if used + 1 > most then return window - gone end
        return math.ceil(math.max(1, (used + before + 1 - most) / math.max(1, tonumber(redis.call('GET', last))) * window))
    end
    redis.call('INCR', this)
    redis.call('PEXPIRE', this, 2 * window - gone)
    return 0
    """
)


class Rate:
    """At most `per_minute` of something, per owner."""

    def __init__(self, hints: Hints, per_minute: int, *, what: str = "accept") -> None:
        self._hints = hints
        self._most = per_minute
        self._what = what

    def check(self, owner: str) -> None:
        """Count one. Raises QUOTA_EXCEEDED with the seconds to wait; what is refused is not counted."""
        key = f"nve:rate:{{{owner}}}:{self._what}"
        wait = self._hints.ask(lambda client: int(_COUNT(client, [key], [WINDOW_SECONDS, self._most])), 0)
        if wait:
            raise errors.QUOTA_EXCEEDED(
                f"More than {self._most} requests in a minute; try again a little later", retry_after=max(1, -(-wait // 1000))
            )
