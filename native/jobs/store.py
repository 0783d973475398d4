"""Jobs: every statement about them, one method each. The protocol is in docs/decisions/0001; Postgres decides everything.

All methods raise DATABASE_UNAVAILABLE when Postgres does not answer within a few seconds. All may be repeated after a lost
answer: the second call finds what the first one did and says the same.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from native import errors
from native.jobs import cursor as cursors
from native.jobs.assets import Asset
from native.jobs.database import Database, uuid_of

# After the first failure of a part of the system; doubled with each further one.
FAILURE_BACKOFF_SECONDS = 2.0
MAX_FAILURES = 5
# The first loss costs no wait, the second one this long: a worker may be lost without the job's fault.
LOSS_BACKOFF_SECONDS = 5.0
MAX_LOST = 3


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Job:
    id: str
    owner: str
    operation: str
    #: as it was sent, decimals as text
    request: dict[str, Any]
    state: State
    stage: str
    progress: dict[str, Any]
    result: dict[str, Any] | None
    warnings: list[Any]
    #: {code, message, field?}
    error: dict[str, Any] | None
    #: how often it was claimed; also the fence of the attempt that has it
    attempt: int
    #: attempts whose worker was lost
    lost: int
    #: attempts that a part of the system failed
    failures: int
    call_id: str | None
    idempotency_key: str | None
    retry_of: str | None
    cancel_requested_at: datetime.datetime | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Job:
        given = {name: row[name] for name in cls.__dataclass_fields__}
        retry_of = str(row["retry_of"]) if row["retry_of"] else None
        return cls(**given | {"id": str(row["id"]), "state": State(row["state"]), "retry_of": retry_of})

    def evolve(self, **changes: Any) -> Job:
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The right to finish a job, as long as no later attempt has it."""

    job: Job
    #: the fence: every write carries it, and so does the key of the result
    number: int
    #: how long the job waited for this claim
    queued_seconds: float


@dataclass(frozen=True, kw_only=True)
class Beat:
    #: False: another attempt has the job, or it is over; stop without a word
    alive: bool
    #: True: its owner wants it cancelled
    cancel: bool


@dataclass(frozen=True, kw_only=True)
class Reap:
    #: jobs taken from workers that were lost; their state says what has become of each
    lost: tuple[Job, ...]
    #: waiting jobs to call a worker for
    ring: tuple[Job, ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    id: int
    transition: str
    attempt: int
    at: datetime.datetime
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pulse:
    queued: int
    running: int
    #: of those that may be claimed
    oldest_queued_seconds: float
    oldest_untold_seconds: float


class Store:
    def __init__(self, database: Database, *, max_lost: int = MAX_LOST, max_failures: int = MAX_FAILURES) -> None:
        self._database = database
        self._max_lost = max_lost
        self._max_failures = max_failures

    # -- for owners

    def accept(
        self,
        owner: str,
        operation: str,
        request: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        call_id: str | None = None,
        max_queued: int = 100,
    ) -> tuple[Job, bool]:
        """The job of this request, and whether it is new. The same key and request is the same job, in whatever state it is.

        Raises IDEMPOTENCY_CONFLICT for the same key with another request, QUOTA_EXCEEDED when `max_queued` jobs of the owner wait,
        INVALID_REQUEST for text that cannot be stored.
        """
        id_, digest = uuid.uuid4(), request_hash(operation, request)
        row = self._database.first(
            "accept_job",
            "find_accepted",
            holding="hold_owner",
            params={
                "id": id_,
                "owner": owner,
                "operation": operation,
                "request": Jsonb(request),
                "request_hash": digest,
                "idempotency_key": idempotency_key,
                "call_id": call_id,
                "max_queued": max_queued,
            },
        )
        if row is None:
            raise errors.QUOTA_EXCEEDED(f"{max_queued} jobs are waiting already; try again when some are done")
        if bytes(row["request_hash"]) != digest:
            raise errors.IDEMPOTENCY_CONFLICT(
                "This Idempotency-Key was used with another request; send a new key with a new request", field="Idempotency-Key"
            )
        return Job.from_row(row), row["id"] == id_

    def get(self, owner: str, id: str) -> Job:
        """Raises NOT_FOUND for an id that is unknown, malformed or another owner's."""
        row = self._database.row("get_job", {"id": uuid_of(id), "owner": owner})
        if row is None:
            raise errors.NOT_FOUND("There is no such job")
        return Job.from_row(row)

    def list(self, owner: str, cursor: str | None = None, limit: int = 50, state: str | None = None) -> tuple[list[Job], str | None]:
        """A page, newest first, and the cursor of the next one or None. Raises INVALID_REQUEST for a foreign cursor or state."""
        if state is not None and state not in list(State):
            raise errors.INVALID_REQUEST(f"state: one of {', '.join(State)} is needed", field="state")
        rows = self._database.rows("list_jobs", {"owner": owner, "state": state} | cursors.params(cursor, limit))
        return cursors.page([Job.from_row(row) for row in rows], limit)

    def events(self, owner: str, id: str, after: int = 0) -> list[Event]:
        """What happened to a job since event `after`, in order."""
        rows = self._database.rows("list_events", {"id": uuid_of(id), "owner": owner, "after": after})
        return [Event(**row) for row in rows]

    def cancel(self, owner: str, id: str) -> Job:
        """A waiting job is cancelled at once, a running one soon; one that is cancelled already stays so.

        Raises NOT_FOUND, and CONFLICT when it has succeeded or failed.
        """
        row = self._database.row("cancel_job", {"id": uuid_of(id), "owner": owner})
        if row is not None:
            return Job.from_row(row)
        job = self.get(owner, id)
        if job.state in (State.SUCCEEDED, State.FAILED):
            raise errors.CONFLICT(f"The job has {job.state} and cannot be cancelled any more")
        return job

    def retry(self, owner: str, id: str, *, max_queued: int = 100) -> Job:
        """A new job with the request of one that failed or was cancelled. While that retry goes on, asking again gives the same one.

        Raises NOT_FOUND, CONFLICT when the job has not failed or been cancelled, QUOTA_EXCEEDED.
        """
        params = {"id": uuid.uuid4(), "original": uuid_of(id), "owner": owner, "max_queued": max_queued}
        row = self._database.first("retry_job", "find_retry", holding="hold_owner", params=params)
        if row is not None:
            return Job.from_row(row)
        if self.get(owner, id).state not in (State.FAILED, State.CANCELLED):
            raise errors.CONFLICT("Only a job that failed or was cancelled can be tried again")
        raise errors.QUOTA_EXCEEDED(f"{max_queued} jobs are waiting already; try again when some are done")

    # -- for workers

    def claim(self, id: str, lease_seconds: float, *, operation: str | None = None) -> Attempt | None:
        """The next attempt at a waiting job, or None: it is unknown, held, over, not due, or (with `operation`) of another kind."""
        try:
            params = {"id": uuid_of(id), "claimant": uuid.uuid4(), "lease_seconds": lease_seconds, "operation": operation}
        except errors.Problem:
            return None
        row = self._database.row("claim_job", params)
        return Attempt(job=Job.from_row(row), number=row["attempt"], queued_seconds=row["queued_seconds"]) if row else None

    def beat(self, attempt: Attempt, stage: str, progress: dict[str, Any], lease_seconds: float) -> Beat:
        """Keep the lease for this long from now, by the database's clock, and note how far the attempt is."""
        more = {"stage": stage, "progress": Jsonb(progress), "lease_seconds": lease_seconds}
        return _beat(self._database.row("beat", _fence(attempt) | more))

    def cancel_requested(self, attempt: Attempt) -> Beat:
        """The cheap half of a beat: reads only."""
        return _beat(self._database.row("look", _fence(attempt)))

    def succeed(self, attempt: Attempt, asset: Asset, result: dict[str, Any], warnings: Sequence[Any] = ()) -> bool:
        """Make the stored object the job's result: job, asset, event and outbox row in one statement.

        False when the attempt does not own the job any more or its owner has cancelled it; the object is then the caller's to remove.
        """
        facts = {"asset": uuid_of(asset.id), "result": Jsonb(result), "warnings": Jsonb(list(warnings))}
        media = None if asset.media is None else Jsonb(asset.media)
        where = {"name": asset.name, "bucket": asset.bucket, "key": asset.key, "size": asset.size, "type": asset.type}
        return self._end("succeed", attempt, facts | where | {"sha256": asset.sha256, "media": media})

    def fail(self, attempt: Attempt, error: dict[str, Any], *, retryable: bool) -> bool:
        """End the attempt with `error` ({code, message}). When trying again may help, the job waits for a back-off and is queued again,
        until too many attempts failed that way. False when the attempt does not own the job any more."""
        backoff = {"backoff_seconds": FAILURE_BACKOFF_SECONDS, "max_failures": self._max_failures}
        return self._end("fail", attempt, {"error": Jsonb(error), "retryable": retryable} | backoff)

    def cancelled(self, attempt: Attempt) -> bool:
        """The attempt has stopped because the owner wanted it. False when it does not own the job any more."""
        return self._end("cancelled", attempt, {})

    def release(self, attempt: Attempt) -> bool:
        """Give the job back at once because this worker stops. Not counted as lost. False when the attempt does not own it any more."""
        return self._end("release", attempt, {})

    # -- for the reaper; any number may run at once

    def reap(self, limit: int = 100, *, ring_after_seconds: float = 30.0) -> Reap:
        """Take jobs from workers whose lease ran out: queued again, failed(worker_lost) after too many losses, or cancelled when asked.

        Then says for which waiting jobs a worker must be called: those just due again, and those whose last call is long ago.
        """
        error = Jsonb(errors.WORKER_LOST("The job's worker was lost too often; try it again, or with a smaller request").summary())
        losses = {"max_lost": self._max_lost, "backoff_seconds": LOSS_BACKOFF_SECONDS}
        lost = self._database.rows("reap", losses | {"limit": limit, "error": error})
        ring = self._database.rows("ring", {"limit": limit, "ring_after": ring_after_seconds})
        return Reap(lost=tuple(map(Job.from_row, lost)), ring=tuple(map(Job.from_row, ring)))

    def pulse(self) -> Pulse:
        """How the queue is, of all owners."""
        row = self._database.row("pulse", {})
        assert row is not None, "an aggregate has a row"
        return Pulse(**row)

    def _end(self, query: str, attempt: Attempt, params: dict[str, Any]) -> bool:
        row = self._database.row(query, _fence(attempt) | params)
        return bool(row and row["done"])


def request_hash(operation: str, request: dict[str, Any]) -> bytes:
    """What makes two requests the same: their canonical JSON, whatever the order of fields or the blanks between them."""
    text = json.dumps([operation, request], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _fence(attempt: Attempt) -> dict[str, Any]:
    return {"id": uuid.UUID(attempt.job.id), "attempt": attempt.number}


def _beat(row: dict[str, Any] | None) -> Beat:
    return Beat(alive=row is not None, cancel=bool(row and row["cancel"]))
