"""The whole life of a request: `accept` promises, `work` keeps the promise once, however often it is told to."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from native import errors, log, metrics, running
from native.jobs.assets import Asset
from native.jobs.store import Attempt, Job
from native.media import session
from native.media.made import Made
from native.media.probe import MediaInfo
from native.objects import keys

if TYPE_CHECKING:
    from native.call import Call
    from native.objects.store import Reader
    from native.operation import Operation
    from native.service import Services

logger = logging.getLogger("flow")

# A finish that Postgres does not confirm is tried again for this long: the encode is dear, the UPDATE is not.
FINISH_SECONDS = 60.0


def accept(operation: Operation, call: Call) -> Job:
    """Promise to do it: check everything that can be known now, then remember it. Never touches media.

    Raises every 4xx of errors.py; nothing exists until the job's row does.
    """
    given = call.json()
    request = operation.parse(given)
    call.services.rate.check(call.owner)
    assets = [_asset(call, field, asset) for field, asset in request.sources()]
    if all(asset.media for asset in assets):
        operation.plan(request, [MediaInfo.model_validate(asset.media) for asset in assets])
    job, created = call.services.jobs.accept(
        call.owner,
        operation.name,
        given,
        idempotency_key=call.idempotency_key(given),
        call_id=call.id,
        max_queued=call.services.settings.max_queued_jobs,
    )
    if created:
        log.event(logger, logging.INFO, "accepted", job=job.id, owner=call.owner, operation=operation.name)
    return job


def work(operation: Operation, services: Services, job_id: str) -> None:
    """Do it once. Returns when this worker has nothing (more) to do with the job, whatever became of it."""
    with services.lock.hint(f"job:{job_id}", services.settings.lease_seconds) as alone:
        attempt = services.jobs.claim(job_id, services.settings.lease_seconds) if alone else None
        if attempt is None:
            return
        with log.bind(job=job_id, attempt=attempt.number, owner=attempt.job.owner, operation=operation.name):
            metrics.QUEUE_SECONDS.labels(operation.name).observe(attempt.queued_seconds)
            with metrics.RUNNING.labels(operation.name).track_inprogress(), _ending(services, attempt):
                _attempt(operation, services, attempt)


def _attempt(operation: Operation, services: Services, attempt: Attempt) -> None:
    """From claim to finish, act by act."""
    request = operation.parse(attempt.job.request)
    assets = [services.assets.get(attempt.job.owner, asset) for _, asset in request.sources()]
    sources = [services.objects.reader(asset.bucket, asset.key, asset.size) for asset in assets]
    with running.watch(services, attempt) as watch, workspace(services.settings.workspace_dir, attempt) as room:
        with session.open(sources, room, limits(services, assets), watch.progress) as media:
            watch.may_kill(media.kill)
            with watch.stage("probing"):
                facts = media.probe()
            with watch.stage("planning"):
                edit = operation.plan(request, facts)
            with watch.stage("encoding"):
                made = media.render(edit)
            with watch.stage("verifying"):
                media.verify(made, edit)
        with watch.stage("storing"):
            key = keys.output(attempt.job.id, attempt.number, made.container)
            put = services.objects.put_file(services.settings.s3_outputs_bucket, key, made.path, made.content_type, cancelled=watch.over)
        asset = result_asset(services, attempt, made, put, key)
        result = result_document(made, put, asset, sources, assets)
        finish(services, attempt, asset, result, made.warnings)
        count(operation.name, result)


@contextmanager
def _ending(services: Services, attempt: Attempt) -> Iterator[None]:
    """Turn whatever went wrong into the job's next state. A stale attempt changes nothing: every write is fenced."""
    operation = attempt.job.operation
    try:
        yield
    except running.Cancelled:
        services.jobs.cancelled(attempt)
        metrics.JOBS.labels(operation, "cancelled", "cancelled").inc()
        log.event(logger, logging.INFO, "cancelled")
    except running.Stale:
        metrics.STALE_FINISHES.labels(operation).inc()
        log.event(logger, logging.WARNING, "stale attempt left the job to its successor")
    except running.Stopping:
        services.jobs.release(attempt)
        log.event(logger, logging.INFO, "released")
    except errors.Problem as problem:
        if problem.kind is errors.VERIFY_FAILED:
            metrics.VERIFY_FAILURES.labels(operation).inc()
        _failed(services, attempt, problem)
    except Exception:
        logger.exception("unexpected")
        _failed(services, attempt, errors.INTERNAL())
    finally:
        services.progress.publish(attempt.job.id, "done", {})


def _failed(services: Services, attempt: Attempt, problem: errors.Problem) -> None:
    # A store or a database that does not answer may answer later; damaged media stay damaged.
    retryable = problem.kind in {errors.STORAGE_UNAVAILABLE, errors.DATABASE_UNAVAILABLE, errors.INTERNAL}
    _insist(lambda: services.jobs.fail(attempt, problem.summary(), retryable=retryable))
    metrics.JOBS.labels(attempt.job.operation, "failed", problem.code).inc()
    log.event(logger, logging.WARNING, "failed", code=problem.code, detail=problem.detail, retryable=retryable)


def finish(services: Services, attempt: Attempt, asset: Asset, result: dict[str, Any], warnings: Sequence[str]) -> None:
    """Make the result the job's, in one fenced transaction. Raises running.Stale after removing our own object."""
    if not _insist(lambda: services.jobs.succeed(attempt, asset, result, list(warnings))):
        services.objects.delete(asset.bucket, asset.key)
        raise running.Stale
    metrics.JOBS.labels(attempt.job.operation, "succeeded", "").inc()
    log.event(logger, logging.INFO, "succeeded", frames=result["frames"], encoded=result["encoded_frames"], read=result["source_bytes_read"])


def _insist(write: Any) -> bool:
    """A write that is safe to repeat, repeated through a database outage."""
    deadline = time.monotonic() + FINISH_SECONDS
    while True:
        try:
            return bool(write())
        except errors.Problem as problem:
            if problem.kind is not errors.DATABASE_UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # the pool has already waited; this only keeps a refused connection from spinning


@contextmanager
def workspace(parent: Path, attempt: Attempt) -> Iterator[Path]:
    """A folder of this attempt's own, gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f"{attempt.job.id}-{attempt.number}-", dir=parent))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def limits(services: Services, assets: Sequence[Asset]) -> session.Limits:
    s = services.settings
    total = sum(asset.size for asset in assets)
    return session.Limits(
        memory_bytes=s.max_child_memory_bytes,
        deadline_seconds=s.job_deadline_seconds,
        # An edit may use one source many times; the disk is bounded all the same.
        output_bytes=4 * total + 1024 * 1024 * 1024,
        max_pixels=s.max_pixels,
        max_streams=s.max_streams,
        max_duration_seconds=s.max_duration_seconds,
    )
