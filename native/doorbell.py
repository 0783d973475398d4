"""Telling a function that a job waits. A lost ring costs time, never a job: the reaper rings again."""

from __future__ import annotations

import json
import logging
import re
import urllib.request

logger = logging.getLogger("doorbell")

_JOB = re.compile(rb'\s*\{\s*"job"\s*:\s*"([0-9a-f-]{36})"\s*\}\s*')
_TIMEOUT_SECONDS = 2.0


def heard(body: bytes) -> str | None:
    """The job that a request's body rings for, or None when it is an ordinary request."""
    found = _JOB.fullmatch(body) if len(body) < 200 else None
    return found.group(1).decode() if found else None


def ring(gateway_url: str, operation: str, job_id: str, call_id: str | None = None) -> bool:
    """Ask the gateway to call the operation for this job, soon. False when the gateway did not take it."""
    request = urllib.request.Request(  # noqa: S310 -- the address is the operator's setting
        f"{gateway_url.rstrip('/')}/async-function/{operation}",
        data=json.dumps({"job": job_id}).encode(),
        headers={"Content-Type": "application/json", **({"X-Call-Id": call_id} if call_id else {})},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310
            return True
    except OSError as exc:
        logger.warning("not heard: %s", exc)
        return False
