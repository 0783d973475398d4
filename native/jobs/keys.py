"""Keys: who may call, and for whom. A token is shown once; the database knows its SHA-256 only."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from native import errors
from native.jobs.database import Database

PREFIX = "nve_"


@dataclass(frozen=True, kw_only=True)
class Key:
    id: str
    owner: str
    name: str
    created_at: datetime.datetime
    revoked_at: datetime.datetime | None
    #: at most an hour behind
    last_used_at: datetime.datetime | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Key:
        given: dict[str, Any] = {name: row[name] for name in cls.__dataclass_fields__}
        given["id"] = str(row["id"])
        return cls(**given)


def new_token() -> str:
    """`nve_` and 32 random bytes, safe in URLs and headers."""
    return PREFIX + secrets.token_urlsafe(32)


class Keys:
    """Every statement about keys, one method each. All raise DATABASE_UNAVAILABLE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, owner: str, name: str, *, token: str | None = None) -> str:
        """A new key's token, which cannot be read again. With `token`, that token becomes the key, once, however often it is asked for.

        Raises CONFLICT when the owner has a living key of this name.
        """
        token = token or new_token()
        row = self._database.row("create_key", {"id": uuid.uuid4(), "hash": _hash(token), "owner": owner, "name": name})
        if row is None:
            raise errors.CONFLICT(f"There is a key named {name} already; revoke it or choose another name", field="name")
        return token

    def owner_of(self, token: str) -> str | None:
        """Whose key this is, or None. Takes the same way for every token, good or bad."""
        row = self._database.row("owner_of", {"hash": _hash(token)})
        return row["owner"] if row else None

    def list(self, owner: str | None = None) -> list[Key]:
        """An owner's keys, or everybody's, revoked ones too, eldest first."""
        return [Key.from_row(row) for row in self._database.rows("list_keys", {"owner": owner})]

    def revoke(self, owner: str, key: str) -> Key:
        """End a key, given its id or its name. Raises NOT_FOUND."""
        row = self._database.row("revoke_key", {"owner": owner, "key": key})
        if row is None:
            raise errors.NOT_FOUND("There is no such key")
        return Key.from_row(row)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
