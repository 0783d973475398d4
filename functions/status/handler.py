"""status: what became of a job. It never waits behind an encode: it is a function of its own."""

import json
import time
from collections.abc import Iterator

from flask import Response

from native import document, doorbell, errors, flow, running
from native.call import Call
from native.operation import Answer, Endpoint, Route, reply, serve

MAX_WAIT_SECONDS = 55
MAX_PAGE = 100
# A stream ends after this long, before any proxy's patience does; clients reconnect by themselves.
STREAM_SECONDS = 600
# A comment now and then keeps idle proxies from closing the stream.
HEARTBEAT_SECONDS = 10


def show(call: Call, job: str) -> Answer:
    """The job; with ?wait=s as soon as it has ended, or after s seconds; as events when the client accepts them."""
    it = call.services.jobs.get(call.owner, job)
    if "text/event-stream" in (call.header("Accept") or ""):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(_events(call, it.id), mimetype="text/event-stream", headers=headers)
    wait = call.number("wait", 0, MAX_WAIT_SECONDS)
    if wait:
        it = flow.wait(call.services, call.owner, it.id, wait)
    return reply(200, document.job(call.services, it), Cache_Control="no-store")


def _events(call: Call, job: str) -> Iterator[str]:
    """Server-sent events: the document at once, then at every change, until the job has ended."""
    end, said, last, number = time.monotonic() + STREAM_SECONDS, time.monotonic(), "", 0
    with call.services.progress.listen(job) as ear:
        while time.monotonic() < end and not running.stopping():
            try:
                it = call.services.jobs.get(call.owner, job)
                body = document.job(call.services, it)
            except errors.Problem as problem:
                yield f"event: problem\ndata: {json.dumps(problem.document(), ensure_ascii=False)}\n\n"
                return
            # The signed address is new each time; it alone is no change.
            now = json.dumps([body["state"], body["stage"], body["progress"], body["attempt"]])
            if now != last:
                number, last, said = number + 1, now, time.monotonic()
                yield f"event: job\nid: {number}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"
            elif time.monotonic() - said > HEARTBEAT_SECONDS:
                said = time.monotonic()
                yield ": still here\n\n"
            if it.state.terminal:
                return
            ear.wait(flow.POLL_SECONDS)


def listing(call: Call) -> Answer:
    """The caller's jobs, newest first, a page at a time."""
    state = call.query("state")
    if state is not None and state not in ("queued", "running", "succeeded", "failed", "cancelled"):
        raise errors.INVALID_REQUEST("state: one of queued, running, succeeded, failed, cancelled is needed", field="state")
    limit = max(1, int(call.number("limit", 50, MAX_PAGE)))
    jobs, cursor = call.services.jobs.list(call.owner, cursor=call.query("cursor"), limit=limit, state=state)
    return reply(200, {"jobs": [document.job(call.services, job) for job in jobs], "next": cursor}, Cache_Control="no-store")


def cancel(call: Call, job: str) -> Answer:
    it = call.services.jobs.cancel(call.owner, job)
    call.services.progress.publish(it.id, it.stage or "accepted", {})
    return reply(202, document.job(call.services, it))


def retry(call: Call, job: str) -> Answer:
    """A new job with the request of one that failed or was cancelled."""
    it = call.services.jobs.retry(call.owner, job, max_queued=call.services.settings.max_queued_jobs)
    doorbell.ring(call.services.settings.gateway_url, it.operation, it.id, call.id)
    return reply(201, document.job(call.services, it), Location=document.self_link(it))


handle = serve(
    Endpoint(
        name="status",
        routes=[
            Route(method="GET", path="", answer=listing),
            Route(method="GET", path="/{job}", answer=show),
            Route(method="DELETE", path="/{job}", answer=cancel),
            Route(method="POST", path="/{job}/retry", answer=retry),
        ],
    )
)
