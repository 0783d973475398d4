"""What is done for jobs and objects that were left behind. Every act may be repeated, and done by several at once."""

from __future__ import annotations

import datetime
import itertools
import logging
import time

from native import doorbell, errors, log, metrics
from native.service import Services

logger = logging.getLogger("reaping")

# A worker stores its result a moment before it records it; an object this old is nobody's.
ORPHAN_SECONDS = 3600
ABANDONED_UPLOAD_SECONDS = 24 * 3600
# Walking the store is dear and nothing in it is in a hurry: each process does it this often.
STORE_SECONDS = 600
BATCH = 1000

_store_swept = 0.0


def sweep(services: Services) -> dict[str, int]:
    """One round: jobs first, they are somebody's wait; then what lies about in the store."""
    global _store_swept
    found = services.jobs.reap(ring_after_seconds=services.settings.ring_after_seconds)
    for job in found.lost:
        metrics.REAPED.labels(f"lost_{job.state}").inc()
        log.event(logger, logging.WARNING, "worker lost", job=job.id, attempt=job.attempt, state=job.state)
        services.progress.publish(job.id, job.stage, {})
    for job in found.ring:
        metrics.REAPED.labels("rung").inc()
        doorbell.ring(services.settings.gateway_url, job.operation, job.id)
    counts = {"lost": len(found.lost), "rung": len(found.ring), "orphans": 0, "abandoned": 0}
    if time.monotonic() - _store_swept >= STORE_SECONDS or not _store_swept:
        _store_swept = time.monotonic()
        services.outbox.prune()
        try:
            counts["abandoned"] = _abandoned(services)
            counts["orphans"] = _orphans(services)
        except errors.Problem as problem:
            # The store can wait for the next round; the jobs could not.
            logger.warning("the store was not swept: %s", problem.code)
    return counts


def _abandoned(services: Services) -> int:
    """Uploads that nobody finished within a day."""
    uploads = services.assets.abandoned(ABANDONED_UPLOAD_SECONDS)
    for asset in uploads:
        if asset.upload_id:
            services.objects.abort(asset.bucket, asset.key, asset.upload_id)
        services.assets.delete(asset.owner, asset.id)
        services.objects.delete(asset.bucket, asset.key)
    return len(uploads)


def _orphans(services: Services) -> int:
    """Objects of attempts that were never recorded."""
    bucket = services.settings.s3_outputs_bucket
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ORPHAN_SECONDS)
    count = 0
    old = (stored.key for stored in services.objects.list(bucket, "out/") if stored.modified < before)
    while batch := list(itertools.islice(old, BATCH)):
        for key in services.assets.orphans(bucket, batch):
            services.objects.delete(bucket, key)
            metrics.REAPED.labels("orphan").inc()
            count += 1
    return count
