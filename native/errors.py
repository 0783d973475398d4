"""Everything that can go wrong, in one table: a stable code, an HTTP status, words for strangers, and who is at fault.

`raise errors.INVALID_RANGE("end must be after start", field="end")` makes a `Problem`. The detail is read by strangers: it
never carries paths, addresses, SQL or FFmpeg's own words; those go to the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Problem(Exception):
    """A refusal or a failure with a face for strangers (RFC 9457)."""

    def __init__(self, kind: Kind, detail: str | None = None, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail or kind.title)
        self.kind = kind
        self.detail = detail or kind.title
        self.field = field
        self.retry_after = retry_after if retry_after is not None else kind.retry_after

    @property
    def code(self) -> str:
        return self.kind.code

    @property
    def status(self) -> int:
        return self.kind.status

    def document(self) -> dict[str, Any]:
        """The body of an `application/problem+json` answer."""
        body: dict[str, Any] = {
            "type": f"urn:nve:problem:{self.code}",
            "title": self.kind.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.field:
            body["field"] = self.field
        return body

    def summary(self) -> dict[str, Any]:
        """The `error` member of a job document."""
        body: dict[str, Any] = {"code": self.code, "message": self.detail}
        if self.field:
            body["field"] = self.field
        return body


@dataclass(frozen=True)
class Kind:
    """One row of the table. Calling it makes a `Problem`."""

    code: str
    status: int
    title: str
    retry_after: int | None = field(default=None, kw_only=True)

    def __call__(self, detail: str | None = None, *, field: str | None = None, retry_after: int | None = None) -> Problem:
        return Problem(self, detail, field=field, retry_after=retry_after)


# fmt: off
# The request is at fault: nothing was remembered, nothing was done.
MALFORMED_REQUEST    = Kind("malformed_request",    400, "The request is not valid JSON")
INVALID_REQUEST      = Kind("invalid_request",      400, "The request has a wrong or missing field")
INVALID_RANGE        = Kind("invalid_range",        400, "The time range is not valid")
UNAUTHENTICATED      = Kind("unauthenticated",      401, "A valid key is needed: Authorization: Bearer nve_…")
NOT_FOUND            = Kind("not_found",            404, "There is no such thing here")
METHOD_NOT_ALLOWED   = Kind("method_not_allowed",   405, "This address does not answer that method")
IDEMPOTENCY_CONFLICT = Kind("idempotency_conflict", 409, "This Idempotency-Key was used with another request")
CONFLICT             = Kind("conflict",             409, "The state of the thing does not allow this")
TOO_LARGE            = Kind("too_large",            413, "The request is too large")
QUOTA_EXCEEDED       = Kind("quota_exceeded",       429, "Too many requests or jobs at once", retry_after=10)

# The media are at fault: the job ends `failed` with this code.
SOURCE_EMPTY         = Kind("source_empty",         422, "The source file is empty")
SOURCE_UNSUPPORTED   = Kind("source_unsupported",   422, "The source is not a media file of a kind that can be read")
SOURCE_UNREADABLE    = Kind("source_unreadable",    422, "The source is damaged and cannot be read")
SOURCE_TRUNCATED     = Kind("source_truncated",     422, "The source ends before its own index says it should")
SOURCE_NO_VIDEO      = Kind("source_no_video",      422, "The source has no video")
SOURCE_TOO_COMPLEX   = Kind("source_too_complex",   422, "The source exceeds a limit (size, frame size, duration or streams)")
CODEC_UNSUPPORTED    = Kind("codec_unsupported",    422, "The source uses a codec that is not supported")
RANGE_EMPTY          = Kind("range_empty",          422, "No frame of the source lies in the range")
OUTPUT_REFUSED       = Kind("output_refused",       422, "The requested output cannot hold this media")

# The system is at fault: trying again may help.
CANCELLED            = Kind("cancelled",            409, "The job was cancelled")
TOO_HEAVY            = Kind("too_heavy",            422, "The job needs more memory, disk or time than it may use")
WORKER_LOST          = Kind("worker_lost",          503, "The job's worker was lost too often", retry_after=60)
VERIFY_FAILED        = Kind("verify_failed",        503, "The result did not pass its checks and was thrown away", retry_after=60)
STORAGE_UNAVAILABLE  = Kind("storage_unavailable",  503, "The object store does not answer", retry_after=5)
DATABASE_UNAVAILABLE = Kind("database_unavailable", 503, "The job database does not answer", retry_after=5)
SHUTTING_DOWN        = Kind("shutting_down",        503, "This worker is stopping; the job goes on elsewhere", retry_after=2)
BUSY                 = Kind("busy",                 429, "All workers are busy", retry_after=2)
QUEUE_UNAVAILABLE    = Kind("queue_unavailable",    503, "The queue does not answer", retry_after=2)
FUNCTION_LOST        = Kind("function_lost",        502, "The function stopped before it answered", retry_after=2)
FUNCTION_UNAVAILABLE = Kind("function_unavailable", 503, "The function cannot be started", retry_after=5)
FUNCTION_TIMEOUT     = Kind("function_timeout",     504, "The function did not answer in time", retry_after=30)
NOT_IMPLEMENTED      = Kind("not_implemented",      501, "This gateway does not do that")
INTERNAL             = Kind("internal",             500, "Something went wrong here; it has been logged", retry_after=30)
# fmt: on

BY_CODE: dict[str, Kind] = {kind.code: kind for kind in list(globals().values()) if isinstance(kind, Kind)}
