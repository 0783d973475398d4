"""The whole life of a request: `accept` promises, `work` keeps the promise once, however often it is told to."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from native import document, doorbell, errors, kept, log, metrics, names, running
from native.jobs.assets import Asset, new_id
from native.jobs.store import Attempt, Job
from native.media import session
from native.media.info import MediaInfo
from native.media.made import Made
from native.objects import keys, parts
from native.objects.store import Put, Reader, Span

if TYPE_CHECKING:
    from native.call import Call
    from native.operation import Operation
    from native.service import Services

logger = logging.getLogger("flow")

# A finish that Postgres does not confirm is tried again for this long: the encode is dear, the UPDATE is not.
FINISH_SECONDS = 60.0
# How often a waiting reader looks when Redis does not wake it: progress is never older than this.
POLL_SECONDS = 0.5
# How often who waits for a job tries whether it may be done here: it may have been handed back, or be due again after a back-off.
CLAIM_SECONDS = 2.0
# What an output may have beyond four times its sources: a small source can need a large encode.
OUTPUT_ALLOWANCE_BYTES = 1 << 30
# A workspace that has not changed for this long, and that no process holds, is left over.
ROOM_SECONDS = 600


def accept(operation: Operation, call: Call) -> Job:
    """Promise to do it: check everything that can be known now, then remember it. Never touches media.

    Raises every 4xx of errors.py; nothing exists until the job's row does.
    """
    given = call.json()
    request = operation.parse(given)
    call.services.rate.check(call.owner)
    assets = [_source(call, field, asset) for field, asset in request.sources()]
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


def _source(call: Call, field: str, asset_id: str) -> Asset:
    """An asset that may be a source. Raises NOT_FOUND and CONFLICT with the field that names it."""
    try:
        asset = call.services.assets.get(call.owner, asset_id)
    except errors.Problem as problem:
        raise problem.kind(problem.detail, field=field) from None
    if asset.state != "ready":
        raise errors.CONFLICT("The upload of this asset is not complete", field=field)
    return asset


def work(operation: Operation, services: Services, job_id: str) -> None:
    """Do it once. Returns when this worker has nothing (more) to do with the job, whatever became of it."""
    settings, released = services.settings, False
    with services.lock.hint(f"job:{job_id}", settings.lease_seconds) as alone:
        attempt = services.jobs.claim(job_id, settings.lease_seconds, operation=operation.name) if alone else None
        if attempt is None:
            return
        with log.bind(job=job_id, attempt=attempt.number, owner=attempt.job.owner, operation=operation.name):
            metrics.QUEUE_SECONDS.labels(operation.name).observe(attempt.queued_seconds)
            with metrics.RUNNING.labels(operation.name).track_inprogress(), _ending(services, attempt):
                _attempt(operation, services, attempt)
            released = running.stopping()
    # Only now: whoever hears it must find the job and its lock free. That it may have ended meanwhile is no matter.
    if released:
        doorbell.ring(settings.gateway_url, operation.name, job_id)


def _attempt(operation: Operation, services: Services, attempt: Attempt) -> None:
    """From claim to finish, act by act."""
    request = operation.parse(attempt.job.request)
    with running.watch(services, attempt) as watch, workspace(services.settings.workspace_dir, attempt) as room:
        assets = [services.assets.get(attempt.job.owner, asset) for _, asset in request.sources()]
        sources = [services.objects.reader(asset.bucket, asset.key, asset.size, cancelled=watch.over) for asset in assets]
        with ExitStack() as stack:
            with watch.stage("probing"):
                bounds = limits(services, assets)
                media = stack.enter_context(session.open(sources, room, bounds, watch.progress, kept.indexes(sources)))
                watch.may_kill(media.kill)
                facts = media.probe()
            with watch.stage("planning"):
                edit = operation.plan(request, facts)
            with watch.stage("encoding"):
                # all sources of a job lie in the one store, which can copy from them
                made = media.render(edit, least=parts.WORTH)
            with watch.stage("verifying"):
                media.verify(made, edit)
                kept.keep(media, sources)
        key = keys.output(attempt.job.id, attempt.number, f"result.{made.container}")
        with _removed_if_unwanted(services, key):
            with watch.stage("storing"):
                bucket, kind = services.settings.s3_outputs_bucket, names.CONTENT_TYPES[made.container]
                if made.layout is None:
                    put = services.objects.put_file(bucket, key, made.path, kind, cancelled=watch.over)
                else:
                    spans = [Span(piece.source, piece.offset, piece.size) for piece in made.layout.pieces]
                    put = services.objects.put_joined(bucket, key, made.path, spans, sources, content_type=kind, cancelled=watch.over)
            asset = _recorded(services, attempt, made, put, key)
            result = _result(made, asset, sources)
            _finish(services, attempt, asset, result, made.warnings)
        _count(operation.name, result)
        log.event(logger, logging.INFO, "succeeded", frames=made.frames, encoded=made.encoded_frames, seconds=watch.seconds)


@contextmanager
def _ending(services: Services, attempt: Attempt) -> Iterator[None]:
    """Turn whatever went wrong into the job's next state. A stale attempt changes nothing: every write is fenced."""
    operation = attempt.job.operation
    try:
        yield
    except running.Cancelled:
        _insist(lambda: services.jobs.cancelled(attempt))
        metrics.JOBS.labels(operation, "cancelled", "cancelled").inc()
        log.event(logger, logging.INFO, "cancelled")
    except running.Stale:
        metrics.STALE_FINISHES.labels(operation).inc()
        log.event(logger, logging.WARNING, "stale attempt left the job to its successor")
    except running.Stopping:
        _insist(lambda: services.jobs.release(attempt))
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
    # A fault of ours is tried once more, in case it was the moment's.
    passing = problem.kind in {errors.STORAGE_UNAVAILABLE, errors.DATABASE_UNAVAILABLE}
    retryable = passing or (problem.kind is errors.INTERNAL and not attempt.job.failures)
    ours = _insist(lambda: services.jobs.fail(attempt, problem.summary(), retryable=retryable))
    log.event(logger, logging.WARNING, "attempt failed", code=problem.code, detail=problem.detail, retryable=retryable)
    if ours and services.jobs.get(attempt.job.owner, attempt.job.id).state == "failed":
        metrics.JOBS.labels(attempt.job.operation, "failed", problem.code).inc()


def _finish(services: Services, attempt: Attempt, asset: Asset, result: dict[str, Any], warnings: Sequence[str]) -> None:
    """Make the result the job's, in one fenced statement. Raises Stale or Cancelled when the job is not ours to finish."""
    if _insist(lambda: services.jobs.succeed(attempt, asset, result, list(warnings))):
        metrics.JOBS.labels(attempt.job.operation, "succeeded", "").inc()
        return
    raise running.Cancelled if services.jobs.get(attempt.job.owner, attempt.job.id).state == "cancelled" else running.Stale


@contextmanager
def _removed_if_unwanted(services: Services, key: str) -> Iterator[None]:
    """Take our own object away when the job will never name it. After any other error it may be named: the sweep will know."""
    try:
        yield
    except (running.Cancelled, running.Stale, running.Stopping):
        with suppress(errors.Problem):  # why we end matters more, and the sweep finds what is left
            services.objects.delete(services.settings.s3_outputs_bucket, key)
        raise


def _insist(write: Callable[[], bool]) -> bool:
    """A write that is safe to repeat, repeated through a database outage."""
    deadline = time.monotonic() + FINISH_SECONDS
    while True:
        try:
            return write()
        except errors.Problem as problem:
            if problem.kind is not errors.DATABASE_UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # the pool has already waited; this only keeps a refused connection from spinning


@contextmanager
def workspace(parent: Path, attempt: Attempt) -> Iterator[Path]:
    """A folder of this attempt's own, gone afterwards. It is locked while its process lives, so that `clear` knows."""
    parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f"{attempt.job.id}-{attempt.number}-", dir=parent))
    held = os.open(room, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(held)


def clear(parent: Path, older_than_seconds: float = ROOM_SECONDS) -> int:
    """Remove the folders of processes that were killed; how many there were. What is young may be about to be locked."""
    count = 0
    for room in parent.iterdir() if parent.is_dir() else ():
        with suppress(OSError):  # somebody else removes it, too
            if not room.is_dir() or time.time() - room.stat().st_mtime < older_than_seconds:
                continue
            held = os.open(room, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(room, ignore_errors=True)
                count += 1
            finally:
                os.close(held)
    return count


def limits(services: Services, assets: Sequence[Asset]) -> session.Limits:
    """What the media work on these sources may use."""
    s = services.settings
    total = sum(asset.size for asset in assets)
    return session.Limits(
        memory_bytes=s.max_child_memory_bytes,
        deadline_seconds=s.job_deadline_seconds,
        # An edit may use one source many times; the disk is bounded all the same.
        output_bytes=4 * total + OUTPUT_ALLOWANCE_BYTES,
        max_pixels=s.max_pixels,
        max_streams=s.max_streams,
        max_duration_seconds=s.max_duration_seconds,
    )


def _recorded(services: Services, attempt: Attempt, made: Made, put: Put, key: str) -> Asset:
    """The result as an asset of its own, so that it can be a source again."""
    job, settings = attempt.job, services.settings
    facts = MediaInfo(container=made.container, duration=made.duration, size=put.size, streams=made.streams, start=Fraction(0))
    return Asset(
        id=new_id(),
        owner=job.owner,
        name=names.of_result(job.request, made.container),
        bucket=settings.s3_outputs_bucket,
        key=key,
        size=put.size,
        sha256=put.sha256,
        type=names.CONTENT_TYPES[made.container],
        media=facts.model_dump(mode="json"),
    )


def _result(made: Made, asset: Asset, sources: Sequence[Reader]) -> dict[str, Any]:
    """The `result` of the job document; its address is signed when somebody reads it."""
    return {
        "asset": asset.id,
        "name": asset.name,
        "size": asset.size,
        "sha256": asset.sha256,
        "duration": round(float(made.duration), 6),
        "frames": made.frames,
        "streams": [document.stream(stream) for stream in made.streams],
        "copied_frames": made.copied_frames,
        "primed_frames": made.primed_frames,
        "encoded_frames": made.encoded_frames,
        "source_bytes": sum(source.size for source in sources),
        "source_bytes_read": sum(source.bytes_read for source in sources),
        "bucket": asset.bucket,
        "key": asset.key,
    }


def _count(operation: str, result: dict[str, Any]) -> None:
    for how in ("copied", "primed", "encoded"):
        metrics.FRAMES.labels(operation, how).inc(result[f"{how}_frames"])
    metrics.SOURCE_BYTES.labels(operation).inc(result["source_bytes"])
    metrics.SOURCE_BYTES_READ.labels(operation).inc(result["source_bytes_read"])


def see_through(operation: Operation, services: Services, owner: str, job_id: str, seconds: float) -> Job:
    """Do the job here, or see it done elsewhere; whenever it waits for a worker, be that worker.

    The job as it is when it has ended, after so long, or when this process is asked to stop.
    """
    deadline = time.monotonic() + seconds
    while True:
        work(operation, services, job_id)
        left = deadline - time.monotonic()
        job = wait(services, owner, job_id, max(0.0, min(left, CLAIM_SECONDS)))
        if job.state.terminal or left <= 0 or running.stopping():
            return job


def wait(services: Services, owner: str, job_id: str, seconds: float) -> Job:
    """The job as soon as it has ended, or as it is after so long, or when this process is asked to stop."""
    deadline = time.monotonic() + seconds
    with services.progress.listen(job_id) as ear:
        while True:
            job = services.jobs.get(owner, job_id)
            left = deadline - time.monotonic()
            if job.state.terminal or left <= 0 or running.stopping():
                return job
            ear.wait(min(left, POLL_SECONDS))
