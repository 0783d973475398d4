"""One request as the functions see it: who calls, what is asked, and the stores to answer from."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from native import errors
from native.request import parse_json
from native.service import Services

_CALL_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MAX_IDEMPOTENCY_KEY = 200


class Call:
    def __init__(self, *, event: Any, services: Services, id: str) -> None:
        self.event = event
        self.services = services
        self.id = id
        self._owner: str | None = None

    def authenticate(self) -> None:
        """Find whose key the caller shows. Raises UNAUTHENTICATED."""
        token = bearer(self.event)
        self._owner = self.services.keys.owner_of(token) if token else None
        if self._owner is None:
            raise errors.UNAUTHENTICATED()

    @property
    def owner(self) -> str:
        """Who calls. Only what they own exists for them."""
        if self._owner is None:
            raise errors.UNAUTHENTICATED()
        return self._owner

    def header(self, name: str) -> str | None:
        return self.event.headers.get(name)

    def query(self, name: str) -> str | None:
        return self.event.query.get(name)

    def number(self, name: str, default: float, most: float) -> float:
        """A query parameter between 0 and `most`. Raises INVALID_REQUEST."""
        text = self.query(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
            raise errors.INVALID_REQUEST(f"{name}: a number from 0 to {most:g} is needed", field=name)
        return min(float(text), most)

    def json(self) -> dict[str, Any]:
        return parse_json(self.event.body, self.services.settings.max_body_bytes)

    def prefers_async(self) -> bool:
        """RFC 7240: the client asks not to be kept waiting."""
        return "respond-async" in [part.split(";")[0].strip().lower() for part in (self.header("Prefer") or "").split(",")]

    def idempotency_key(self, given: Any) -> str:
        """What makes two deliveries of one request the same request: the client's key, else the call and its body.

        A queue delivers at least once, and keeps the call's id when it delivers again.
        """
        key = self.header("Idempotency-Key")
        if key is not None:
            if not 1 <= len(key) <= _MAX_IDEMPOTENCY_KEY or not key.isprintable():
                detail = f"Idempotency-Key: 1 to {_MAX_IDEMPOTENCY_KEY} printable characters are needed"
                raise errors.INVALID_REQUEST(detail, field="Idempotency-Key")
            return f"key:{key}"
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:32]
        return f"call:{self.id}:{digest}"


def call_id(event: Any) -> str:
    """The call's id from the gateway, or a new one."""
    given = event.headers.get("X-Call-Id") or ""
    return given if _CALL_ID.fullmatch(given) else str(uuid.uuid4())


def bearer(event: Any) -> str | None:
    """The key of `Authorization: Bearer nve_…`, or None."""
    scheme, _, token = (event.headers.get("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
