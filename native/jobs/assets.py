"""Assets: uploads and results alike. An owner sees its own; the objects themselves are the caller's business."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from native import errors
from native.jobs import cursor as cursors
from native.jobs.database import Database, uuid_of


class State(StrEnum):
    UPLOADING = "uploading"
    READY = "ready"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class Asset:
    id: str
    owner: str
    name: str
    bucket: str
    key: str
    #: bytes
    size: int
    #: media type, e.g. video/mp4
    type: str
    state: State = State.UPLOADING
    #: the store's multipart upload while uploading
    upload_id: str | None = None
    #: bytes
    part_size: int | None = None
    #: hexadecimal
    sha256: str | None = None
    media: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    #: the job whose result it is
    job: str | None = None
    #: None until it is recorded
    created_at: datetime.datetime | None = None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Asset:
        given = {name: row[name] for name in cls.__dataclass_fields__}
        job = str(row["job"]) if row["job"] else None
        return cls(**given | {"id": str(row["id"]), "state": State(row["state"]), "job": job})

    def evolve(self, **changes: Any) -> Asset:
        return replace(self, **changes)


def new_id() -> str:
    """An id for an asset whose object's key must be known before its row is."""
    return str(uuid.uuid4())


class Assets:
    """Every statement about assets, one method each. All raise DATABASE_UNAVAILABLE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        owner: str,
        *,
        id: str,
        name: str,
        bucket: str,
        key: str,
        size: int,
        type: str,
        upload_id: str | None = None,
        part_size: int | None = None,
    ) -> Asset:
        """An upload that begins. The same id again gives the asset that is there. Raises CONFLICT if the object is another asset's."""
        given = {"id": uuid_of(id), "owner": owner, "name": name, "bucket": bucket, "key": key, "size": size, "type": type}
        row = self._database.row("create_asset", given | {"upload_id": upload_id, "part_size": part_size})
        if row is None:
            raise errors.CONFLICT("This object belongs to another asset")
        return Asset.from_row(row)

    def get(self, owner: str, id: str) -> Asset:
        """Raises NOT_FOUND for an id that is unknown, malformed, deleted or another owner's."""
        row = self._database.row("get_asset", {"id": uuid_of(id), "owner": owner})
        if row is None:
            raise errors.NOT_FOUND("There is no such asset")
        return Asset.from_row(row)

    def list(self, owner: str, cursor: str | None = None, limit: int = 50) -> tuple[list[Asset], str | None]:
        """A page, newest first, and the cursor of the next one or None. Raises INVALID_REQUEST for a foreign cursor."""
        rows = self._database.rows("list_assets", {"owner": owner} | cursors.params(cursor, limit))
        return cursors.page([Asset.from_row(row) for row in rows], limit)

    def complete(
        self,
        owner: str,
        id: str,
        *,
        size: int | None = None,
        type: str | None = None,
        sha256: str | None = None,
        media: dict[str, Any] | None = None,
        problem: dict[str, Any] | None = None,
    ) -> Asset:
        """uploading -> ready, with what probing found or why it cannot be a source. A ready one stays as it is. Raises NOT_FOUND."""
        facts = {"media": _json(media), "problem": _json(problem), "size": size, "type": type, "sha256": sha256}
        row = self._database.row("complete_asset", {"id": uuid_of(id), "owner": owner} | facts)
        return Asset.from_row(row) if row else self.get(owner, id)

    def delete(self, owner: str, id: str) -> Asset:
        """Forget an asset; gives it back, because its object (and its open upload) is the caller's to remove. May be repeated.

        Raises NOT_FOUND.
        """
        row = self._database.row("delete_asset", {"id": uuid_of(id), "owner": owner})
        if row is None:
            raise errors.NOT_FOUND("There is no such asset")
        return Asset.from_row(row)

    # -- for the sweep, which is nobody's in particular

    def orphans(self, bucket: str, keys: Sequence[str]) -> list[str]:
        """Those of the keys that no living asset has: results of attempts that were not recorded, leftovers of deleted assets.

        A worker stores its object shortly before it records it: ask only about objects that are an hour old or older.
        """
        return [row["key"] for row in self._database.rows("orphans", {"bucket": bucket, "keys": list(keys)})]

    def abandoned(self, older_than_seconds: float = 24 * 3600, limit: int = 100) -> list[Asset]:
        """Uploads that began this long ago and were never completed, eldest first; `delete` each after aborting its upload."""
        rows = self._database.rows("abandoned_uploads", {"older_than_seconds": older_than_seconds, "limit": limit})
        return [Asset.from_row(row) for row in rows]


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)
