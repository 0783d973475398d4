"""The one way to the store: a boto3 client made when first needed, and one place where its errors become ours.

boto3 is imported on the first call, because it costs 0.5 s that a function's cold start does not have.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from native import errors, log

if TYPE_CHECKING:
    from native.settings import Settings

logger = logging.getLogger("objects")

TRIES = 5
CONNECT_SECONDS = 3.0
READ_SECONDS = 20.0
# The longest wait before try n is _BASE * 2^n seconds: 0.2, 0.4, 0.8, 1.6; the real one is random below that.
_BASE = 0.1

# Answers that a later try may mend. The rest of 4xx is ours or the client's fault and stays.
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_PASSING_CODE = {
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
}
_PARTS_WRONG = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest"}

T = TypeVar("T")


class Door:
    """A lazily made, thread-safe S3 client for one endpoint, with keep-alive connections."""

    def __init__(self, settings: Settings, endpoint: str, connections: int = 16) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._connections = connections
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        config = Config(
            # boto3 would presign with the retired version 2, and a bucket as a host name needs a DNS nobody set up.
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            # The CRC trailers of newer boto3 are not understood by every S3 in service.
            # Over http the signature covers the body, over https TLS keeps it whole.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # `call` below tries again, with one budget for the request and its body; two layers would multiply to 25 tries.
            retries={"total_max_attempts": 1},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=self._connections,
            tcp_keepalive=True,
            # A store on the own network is not behind the proxy that the environment may name.
            proxies={},
            user_agent_extra="native-video-editor",
        )
        s = self._settings
        # A session of our own: boto3's default one is not safe to share between threads while it makes clients.
        return Session().client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=s.s3_region,
            aws_access_key_id=s.s3_access_key.get_secret_value(),
            aws_secret_access_key=s.s3_secret_key.get_secret_value(),
            config=config,
        )

    def call(self, operation: str, **arguments: Any) -> Any:
        """One S3 operation, e.g. `call("head_object", Bucket=…, Key=…)`, tried up to TRIES times. Raises as `persist` does."""
        return persist(operation, lambda: getattr(self.client, operation)(**arguments))

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def persist(operation: str, work: Callable[[], T], tries: int = TRIES) -> T:
    """Do `work`; while the store's failure may pass, again, with growing random pauses, `tries` times in all.

    Raises NOT_FOUND, CONFLICT (a condition was not met, or the parts are wrong) and STORAGE_UNAVAILABLE.
    """
    for attempt in range(1, tries + 1):
        try:
            return work()
        except errors.Problem:
            raise
        except Exception as exc:
            problem, passing = _translate(operation, exc, attempt)
            if not passing or attempt == tries:
                raise problem from None
            time.sleep(random.uniform(0, _BASE * 2**attempt))  # noqa: S311 (jitter, not a secret)
    raise AssertionError("the last try returns or raises")


class Broken(Exception):
    """An answer ended early or was not what was asked for; asking again may help."""


def _translate(operation: str, exc: Exception, attempt: int) -> tuple[errors.Problem, bool]:
    """What a stranger may know of it, and whether it may pass. The rest goes to the log."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(exc, ClientError):
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = exc.response.get("Error", {}).get("Code", "")
        if status == 404 and code != "NoSuchBucket":
            return errors.NOT_FOUND(), False
        if status in {409, 412} and code not in _PASSING_CODE:
            return errors.CONFLICT("The object is already there, or has changed"), False
        if status == 416:
            return errors.CONFLICT("The object has changed"), False
        if code in _PARTS_WRONG:
            return errors.CONFLICT("The uploaded parts do not make the whole file"), False
        passing = status in _PASSING_STATUS or code in _PASSING_CODE
    elif isinstance(exc, BotoCoreError | Broken | OSError):
        status, code, passing = 0, type(exc).__name__, True
    else:
        raise exc  # a mistake of ours, which must not look like the store's
    level = logging.WARNING if passing else logging.ERROR
    log.event(logger, level, "store failed", operation=operation, status=status, code=code, attempt=attempt, why=str(exc))
    return errors.STORAGE_UNAVAILABLE(), passing
