"""Following a job to its end: by server-sent events, and by long polling where those do not come through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from cli import figures
from cli.client import ENDED, Client, Refused
from cli.failure import Failure, Interrupted, Unreachable
from cli.screen import Bars

# The job goes on without us: a server that restarts is waited for.
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 20
CANCEL_SECONDS = 3

WORDS = {
    "accepted": "waiting",
    "probing": "looking inside",
    "planning": "planning",
    "encoding": "cutting",
    "verifying": "checking",
    "storing": "storing",
    "done": "done",
}


def to_the_end(client: Client, job: dict[str, Any], on_change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The document of the job when it has ended. Raises Refused and Unreachable."""
    while job["state"] not in ENDED:
        try:
            for seen in client.events(job["id"]):
                job = seen
                on_change(job)
            if job["state"] in ENDED:
                break
        except httpx.TransportError:
            pass
        except Refused as refused:
            if refused.status in (401, 404):
                raise
        # The stream broke, or there is none: one long poll, which also waits for a server that restarts.
        try:
            job = client.job(job["id"], wait=POLL_SECONDS, patience=PATIENCE_SECONDS)
        except Unreachable as exc:
            raise Unreachable(f"{exc.sentence} The job may still go on: `nve job {job['id']} --follow`.") from None
        on_change(job)
    return job


def shown(client: Client, job: dict[str, Any], bars: Bars, text: str, *, ours: bool) -> dict[str, Any]:
    """The same with a bar, which ends in how it went. Ctrl-C asks the server to cancel a job that is `ours`.

    Raises Failure, with the job's document, for a job that failed or was cancelled.
    """
    bar = bars.add(text, 100, unit="percent")

    def move(seen: dict[str, Any]) -> None:
        progress = seen.get("progress") or {}
        bar.move(float(progress.get("percent") or 0), _note(seen))

    try:
        move(job)
        job = to_the_end(client, job, move)
    except KeyboardInterrupt:
        if not ours:
            raise Interrupted(f"Stopped watching; the job goes on: `nve job {job['id']} --follow`.", document=job) from None
        raise _cancelled(client, job) from None
    return succeeded(job)


def succeeded(job: dict[str, Any]) -> dict[str, Any]:
    """The job, if it did. Raises Failure with its document."""
    if job["state"] == "failed":
        error = job.get("error") or {}
        raise Failure(f"The {job['operation']} failed: {error.get('message') or 'no reason was given'} (job {job['id']})", document=job)
    if job["state"] == "cancelled":
        raise Failure(f"The {job['operation']} was cancelled (job {job['id']}).", document=job)
    return job


def _cancelled(client: Client, job: dict[str, Any]) -> Interrupted:
    try:
        client.cancel(job["id"])
        # Its process is killed within a second; the document then says what became of it.
        ended = client.job(job["id"], wait=CANCEL_SECONDS)
        words = "Cancelled" if ended["state"] == "cancelled" else f"Interrupted; the job is {ended['state']}"
        return Interrupted(f"{words} (job {job['id']}).", document=ended)
    except Refused as refused:
        # It ended while Ctrl-C was on its way: 409.
        return Interrupted(f"Interrupted; the job was not cancelled: {refused.sentence}", document=job)
    except Unreachable as exc:
        return Interrupted(f"Interrupted, and the job could not be cancelled: {exc.sentence}", document=job)


def _note(job: dict[str, Any]) -> str:
    progress = job.get("progress") or {}
    note = WORDS.get(str(job.get("stage")), str(job.get("stage") or ""))
    if job["state"] == "running" and progress.get("frames"):
        note += f", {progress['frames']} frames"
    if job["state"] == "running" and progress.get("eta_seconds"):
        note += f", {figures.seconds(float(progress['eta_seconds']))} left"
    return note + (f", attempt {job['attempt']}" if (job.get("attempt") or 0) > 1 else "")
