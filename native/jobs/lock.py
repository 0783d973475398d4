"""A single-flight hint: whoever has it need not fear that another worker starts the same work. It saves work; Postgres decides."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from native.jobs.hints import Hints, script

# Only the holder may extend or end it: a holder that slept past its time must not touch its successor's.
_EXTEND = script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0")
_RELEASE = script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class Lock:
    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    @contextmanager
    def hint(self, name: str, ttl_seconds: float) -> Iterator[bool]:
        """True: nobody else seems to have `name`; False: somebody does, and the caller may as well leave. True when Redis is away.

        It ends with the block, or by itself after `ttl_seconds`.
        """
        token = self.acquire(name, ttl_seconds)
        try:
            yield token is not None
        finally:
            if token:
                self.release(name, token)

    def acquire(self, name: str, ttl_seconds: float) -> str | None:
        """A token, or None when somebody else has it. Redis being away gives the empty token, which needs no release."""
        token = secrets.token_hex(8)
        return self._hints.ask(lambda client: token if client.set(_key(name), token, nx=True, px=_ms(ttl_seconds)) else None, "")

    def extend(self, name: str, token: str, ttl_seconds: float) -> bool:
        """Whether the token's holder still has it, now for this long from now. True when Redis is away."""
        return not token or self._hints.ask(lambda client: bool(_EXTEND(client, [_key(name)], [token, _ms(ttl_seconds)])), True)

    def release(self, name: str, token: str) -> bool:
        """Whether the token's holder had it until now."""
        return bool(token) and self._hints.ask(lambda client: bool(_RELEASE(client, [_key(name)], [token])), False)


def _key(name: str) -> str:
    return f"nve:lock:{name}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
