"""What a function is. An `Operation` makes media in a job; an `Endpoint` answers at once. `serve` turns either into a handler.

handle = serve(Operation(name="trim", request=Trim, plan=plan))
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Response

from native import document, doorbell, errors, flow, log, request, running, service
from native.call import Call, call_id
from native.media import session
from native.media.edit import Edit
from native.media.info import MediaInfo

logger = logging.getLogger("function")

# A handler's answer: python3-http's dict with a dict body, or a Flask response.
Answer = Mapping[str, Any] | Response


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A kind of job: how its request reads, and what edit it asks for once the media's facts are known. `plan` is pure."""

    name: str
    request: type[request.Request]
    plan: Callable[[Any, Sequence[MediaInfo]], Edit]

    def parse(self, given: Any) -> request.Request:
        return request.parse(self.request, given)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method at one address below the function's own. `{names}` in the path become arguments of `answer`."""

    method: str
    path: str
    answer: Callable[..., Answer]
    public: bool = False

    def match(self, path: str) -> dict[str, str] | None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A function that answers at once."""

    name: str
    routes: Sequence[Route]


def serve(function: Operation | Endpoint) -> Handle:
    """The handler of a function folder: `handle = serve(…)`."""
    if isinstance(function, Endpoint):
        return Handle(function)
    submission = Route(method="POST", path="", answer=Submission(function), public=True)
    return Handle(Endpoint(name=function.name, routes=[submission]), makes_media=True)


class Handle:
    """`handle(event, context)` of python3-http. Whatever happens inside, a stranger gets an answer that says what to do."""

    def __init__(self, endpoint: Endpoint, *, makes_media: bool = False) -> None:
        self._endpoint = endpoint
        self._makes_media = makes_media
        log.setup(endpoint.name)

    def __call__(self, event: Any, context: Any) -> Answer:  # noqa: ARG002 -- the contract's second argument
        started, id = time.monotonic(), call_id(event)
        with log.bind(call=id):
            answer = self._answer(event, id)
            status = answer.status_code if isinstance(answer, Response) else answer["statusCode"]
            level = logging.ERROR if status >= 500 and status != 503 else logging.INFO
            facts = {"method": event.method, "path": event.path, "status": status, "seconds": round(time.monotonic() - started, 3)}
            log.event(logger, level, "answered", **facts)
        return answer

    def _answer(self, event: Any, id: str) -> Answer:
        try:
            call = Call(event=event, id=id, services=service.services())
            route, arguments = self._route(event.method, event.path)
            if not route.public:
                call.authenticate()
            return route.answer(call, **arguments)
        except errors.Problem as problem:
            return refuse(problem)
        except Exception:
            logger.exception("unexpected")
            return refuse(errors.INTERNAL())

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        method = "GET" if method == "HEAD" else method
        found = [(route, match) for route in self._endpoint.routes if (match := route.match(path.rstrip("/"))) is not None]
        for route, arguments in found:
            if route.method == method:
                return route, arguments
        raise errors.METHOD_NOT_ALLOWED() if found else errors.NOT_FOUND()

    @staticmethod
    def check() -> None:
        """Called before the server listens. Raises settings.Unset, whose text says what to set."""
        service.services()

    def warm(self) -> None:
        """Called once the server listens: do now what the first request would wait for. It must not fail a function that could serve."""
        try:
            if self._makes_media:
                session.warm()
            service.services().objects.warm()
        except Exception:
            logger.warning("not warm", exc_info=True)

    def stop(self, grace_seconds: float) -> None:
        """Called on SIGTERM: no new jobs; those that run finish within the grace or are handed back."""
        running.stop(grace_seconds)
        session.cool()


class Submission:
    """POST to an operation: a job to accept and do, now or later, or a doorbell that says one is waiting."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __call__(self, call: Call) -> Answer:
        if running.stopping():
            raise errors.SHUTTING_DOWN("This worker is stopping; try again")
        job_id = doorbell.heard(call.event.body)
        if job_id is not None:
            # Anyone may ring: it only starts what its owner has already asked for, and tells nothing.
            flow.work(self._operation, call.services, job_id)
            if running.stopping():
                # The job may have been handed back: the queue keeps its message and delivers it to another worker.
                raise errors.SHUTTING_DOWN()
            return reply(200, {"job": job_id})
        call.authenticate()
        job = flow.accept(self._operation, call)
        if call.prefers_async():
            if job.state == "queued":
                doorbell.ring(call.services.settings.gateway_url, self._operation.name, job.id, call.id)
            return reply(202, document.job(call.services, job), Location=document.self_link(job), Preference_Applied="respond-async")
        seconds = call.services.settings.job_deadline_seconds
        return self._outcome(call, flow.see_through(self._operation, call.services, call.owner, job.id, seconds))

    def _outcome(self, call: Call, job: Any) -> Answer:
        """A synchronous answer: 200 and the job, or a problem that carries it."""
        body = document.job(call.services, job)
        if job.state == "succeeded":
            return reply(200, body)
        if job.state in ("queued", "running"):
            return refuse(errors.SHUTTING_DOWN("The job goes on elsewhere; follow it at links.self"), job=body)
        error = job.error or {"code": "cancelled", "message": None}
        kind = errors.BY_CODE.get(error["code"], errors.INTERNAL)
        if kind.status < 500 and kind is not errors.CANCELLED:
            # What the request or the media are at fault for is 422 once there is a job, whenever it was found.
            kind = replace(kind, status=422)
        return refuse(kind(error.get("message"), field=error.get("field")), job=body)


def reply(status: int, body: dict[str, Any], **headers: str) -> Answer:
    return {"statusCode": status, "body": body, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}


def refuse(problem: errors.Problem, **members: Any) -> Response:
    """A problem as RFC 9457 has it."""
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.kind is errors.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    body = json.dumps({**problem.document(), **members}, ensure_ascii=False)
    return Response(body, status=problem.status, mimetype="application/problem+json", headers=headers)
