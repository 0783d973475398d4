"""Where a listing goes on: the last row's creation time and id, opaque to clients. Rows made meanwhile do not shift it."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import uuid
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from native import errors

MAX_LIMIT = 100


class Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> datetime.datetime | None: ...


T = TypeVar("T", bound=Row)


def params(cursor: str | None, limit: int) -> dict[str, Any]:
    """The parameters of a keyset query; one row more than `limit` is asked for, to see whether there is more.

    Raises INVALID_REQUEST for a cursor that we did not make.
    """
    limit = max(1, min(limit, MAX_LIMIT))
    if not cursor:
        return {"before": "infinity", "before_id": uuid.UUID(int=2**128 - 1), "limit": limit + 1}
    try:
        at, id_ = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        return {"before": datetime.datetime.fromisoformat(at), "before_id": uuid.UUID(id_), "limit": limit + 1}
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise errors.INVALID_REQUEST("cursor: use the `next` of a listing", field="cursor") from None


def page(rows: Sequence[T], limit: int) -> tuple[list[T], str | None]:
    """The page, and the cursor of the next one or None. `limit` as it was asked for."""
    limit = max(1, min(limit, MAX_LIMIT))
    shown = list(rows[:limit])
    if len(rows) <= limit:
        return shown, None
    last = shown[-1]
    assert last.created_at is not None, "a row has its time"
    text = json.dumps([last.created_at.isoformat(), last.id])
    return shown, base64.urlsafe_b64encode(text.encode()).decode()
