"""What is done for jobs and objects that were left behind. Every act may be repeated, and done by several at once."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
import time
from collections.abc import Iterator

from native import doorbell, errors, flow, log, metrics
from native.objects import keys
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
    counts = {"lost": len(found.lost), "rung": len(found.ring), "orphans": 0, "abandoned": 0, "rooms": 0}
    if time.monotonic() - _store_swept >= STORE_SECONDS or not _store_swept:
        _store_swept = time.monotonic()
        services.outbox.prune()
        # The folders of this machine, that is; a worker elsewhere clears up after itself or goes with its container.
        counts["rooms"] = flow.clear(services.settings.workspace_dir)
        try:
            counts["abandoned"] = _abandoned(services)
            counts["orphans"] = _orphans(services)
        except errors.Problem as problem:
            # The store can wait for the next round; the jobs could not.
            logger.warning("the store was not swept: %s", problem.code)
    return counts


def _abandoned(services: Services) -> int:
    """Uploads that nobody finished within a day, and parts in the store that no asset knows of."""
    count = 0
    for asset in services.assets.abandoned(ABANDONED_UPLOAD_SECONDS):
        with _one_by_one():
            services.assets.delete(asset.owner, asset.id)
            if asset.upload_id:
                services.objects.abort(asset.bucket, asset.key, asset.upload_id)
            services.objects.delete(asset.bucket, asset.key)
            count += 1
    bucket, before = services.settings.s3_media_bucket, _ago(ABANDONED_UPLOAD_SECONDS)
    old = [it for it in services.objects.uploads(bucket, "src/") if it.started < before]
    unknown = set(services.assets.orphans(bucket, [it.key for it in old]))
    for upload in old:
        if upload.key in unknown:
            with _one_by_one():
                services.objects.abort(bucket, upload.key, upload.upload_id)
                count += 1
    return count


def _orphans(services: Services) -> int:
    """Objects that no asset has: of attempts that were never recorded, and of assets that were deleted while the store was away."""
    count, before = 0, _ago(ORPHAN_SECONDS)
    outputs, media = services.settings.s3_outputs_bucket, services.settings.s3_media_bucket
    # an index goes with the object that it is of
    for bucket, prefix in ((outputs, "out/"), (media, "src/"), (outputs, keys.INDEXES), (media, keys.INDEXES)):
        old = (stored.key for stored in services.objects.list(bucket, prefix) if stored.modified < before)
        while batch := {key.removeprefix(keys.INDEXES): key for key in itertools.islice(old, BATCH)}:
            for key in services.assets.orphans(bucket, list(batch)):
                with _one_by_one():
                    services.objects.delete(bucket, batch[key])
                    metrics.REAPED.labels("orphan").inc()
                    count += 1
    return count


def _ago(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)


@contextlib.contextmanager
def _one_by_one() -> Iterator[None]:
    """One thing that cannot be removed now does not keep the others."""
    try:
        yield
    except errors.Problem as problem:
        logger.warning("left for the next sweep: %s", problem.code)
