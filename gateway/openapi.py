"""The public contract as an OpenAPI 3.1 document, written down once, readable here and served at /openapi.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gateway
from gateway.schemas import ANSWERS, JOB_ID, REQUESTS, Schema, listed, maybe, number, ref, text, thing, whole
from native import errors

DESCRIPTION = """Frame-exact cuts at copy speed, as functions over HTTP.

Send a file with `upload`, cut it with `trim`, join with `merge`, make a whole edit with `render`, follow the job with `status`.
A call waits for its result, unless it says `Prefer: respond-async`: then it answers 202 with a job to follow."""

PROBLEM_TYPE = "application/problem+json"


def document(schemas: Mapping[str, Schema] | None = None) -> dict[str, Any]:
    """The whole document. `schemas` replaces shapes by their names, for whoever has them from the models themselves."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "native-video-editor", "version": gateway.VERSION, "description": DESCRIPTION, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [
            {"name": "media", "description": "Files come in and are looked at."},
            {"name": "editing", "description": "Jobs that make new files."},
            {"name": "jobs", "description": "What became of them."},
            {"name": "service", "description": "The gateway itself; no key is needed."},
        ],
        "paths": {**_media(), **_editing(), **_jobs(), **_service()},
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "nve_…", "description": "A key from `nve keys create NAME`."}
            },
            "schemas": {**REQUESTS, **ANSWERS, **(schemas or {})},
        },
    }


# -- how the pieces are put together


def _json(description: str, schema: Schema, **headers: Schema) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        answer["headers"] = {name.replace("_", "-"): {"schema": schema} for name, schema in headers.items()}
    return answer


def _refusals(*kinds: errors.Kind) -> dict[str, Any]:
    """One answer per status, with the codes it may carry."""
    by_status: dict[int, list[errors.Kind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in group),
            "content": {PROBLEM_TYPE: {"schema": ref("Problem")}},
        }
        for status, group in sorted(by_status.items())
    }


def _operation(
    tag: str, id: str, summary: str, answers: dict[str, Any], *, description: str = "", parameters: list[Any] | None = None, body: str = ""
) -> dict[str, Any]:
    operation: dict[str, Any] = {"tags": [tag], "operationId": id, "summary": summary, "responses": answers}
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = parameters
    if body:
        content: dict[str, Any] = {"schema": ref(body)}
        if example := REQUESTS[body].get("example"):
            content["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _in(place: str, name: str, schema: Schema, description: str = "") -> dict[str, Any]:
    return {
        "in": place,
        "name": name,
        "required": place == "path",
        "schema": schema,
        **({"description": description} if description else {}),
    }


ASSET = _in("path", "asset", text(), "An asset's id")
JOB = _in("path", "job", text(), "A job's id")
CURSOR = _in("query", "cursor", text(), "`next` of the page before")
LIMIT = _in("query", "limit", whole(minimum=1, maximum=100, default=50))
IDEMPOTENCY = _in("header", "Idempotency-Key", text(maxLength=200), "The same key and body give the same job, however often they are sent")
PREFER = _in("header", "Prefer", text(enum=["respond-async"]), "Answer 202 at once; follow the job at Location")
CALL_ID = _in("header", "X-Call-Id", text(maxLength=100), "Yours, or a new one; every answer carries it")

ALWAYS = (errors.UNAUTHENTICATED, errors.QUOTA_EXCEEDED, errors.BUSY, errors.FUNCTION_UNAVAILABLE, errors.DATABASE_UNAVAILABLE)
READING = (errors.MALFORMED_REQUEST, errors.INVALID_REQUEST, errors.TOO_LARGE)
WORKING = (
    errors.INVALID_RANGE,
    errors.NOT_FOUND,
    errors.IDEMPOTENCY_CONFLICT,
    *(kind for kind in errors.BY_CODE.values() if kind.status == 422),
    errors.STORAGE_UNAVAILABLE,
    errors.WORKER_LOST,
    errors.VERIFY_FAILED,
)


# -- the paths


def _media() -> dict[str, Any]:
    return {
        "/function/upload": {"post": _create_upload(), "get": _list_assets()},
        "/function/upload/{asset}": {"get": _get_asset(), "delete": _delete_asset()},
        "/function/upload/{asset}/complete": {"post": _complete_upload()},
        "/function/inspect/{asset}": {"get": _inspect()},
    }


def _create_upload() -> dict[str, Any]:
    return _operation(
        "media",
        "createUpload",
        "A place for a file",
        {
            "201": _json("Where its parts go", ref("Place"), Location=text()),
            **_refusals(*READING, *ALWAYS, errors.STORAGE_UNAVAILABLE),
        },
        description="The bytes go straight to the store: PUT every part to its url, then complete.",
        parameters=[CALL_ID],
        body="Upload",
    )


def _list_assets() -> dict[str, Any]:
    page = thing("A page.", {"assets": listed(ref("Asset")), "next": maybe(text())})
    return _operation(
        "media",
        "listAssets",
        "Your assets, newest first",
        {"200": _json("A page", page), **_refusals(*ALWAYS)},
        parameters=[CURSOR, LIMIT],
    )


def _get_asset() -> dict[str, Any]:
    return _operation(
        "media",
        "getAsset",
        "An asset, or what an upload still lacks",
        {
            "200": _json("The asset, or where its missing parts go", {"oneOf": [ref("Asset"), ref("Place")]}),
            **_refusals(errors.NOT_FOUND, *ALWAYS),
        },
        parameters=[ASSET],
    )


def _delete_asset() -> dict[str, Any]:
    return _operation(
        "media",
        "deleteAsset",
        "Delete an asset",
        {"200": _json("It is gone", {"type": "object"}), **_refusals(errors.NOT_FOUND, errors.CONFLICT, *ALWAYS)},
        parameters=[ASSET],
    )


def _complete_upload() -> dict[str, Any]:
    return _operation(
        "media",
        "completeUpload",
        "All parts are there",
        {"200": _json("The asset, looked into", ref("Asset")), **_refusals(errors.NOT_FOUND, errors.CONFLICT, *ALWAYS)},
        description="Safe to repeat.",
        parameters=[ASSET],
    )


def _inspect() -> dict[str, Any]:
    return _operation(
        "media",
        "inspect",
        "What is in an asset",
        {
            "200": _json("Streams, duration, key frames", ref("Inspection")),
            **_refusals(errors.NOT_FOUND, errors.SOURCE_EMPTY, errors.SOURCE_UNSUPPORTED, errors.SOURCE_UNREADABLE, *ALWAYS),
        },
        parameters=[ASSET],
    )


def _editing() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for name, body, summary in (
        ("trim", "Trim", "Cut a range out of a source"),
        ("merge", "Merge", "Join sources, or ranges of them"),
        ("render", "Render", "Make an edit of many clips"),
    ):
        paths[f"/function/{name}"] = {
            "post": _operation(
                "editing",
                name,
                summary,
                {
                    "200": _json("The job, finished", ref("Job")),
                    "202": _json("The job, accepted", ref("Job"), Location=text(), Preference_Applied=text()),
                    **_refusals(*READING, *WORKING, *ALWAYS),
                },
                description="A job that failed is a problem that carries it: 422 when the media or the request is at fault, "
                "503 when a part of the system is.",
                parameters=[PREFER, IDEMPOTENCY, CALL_ID],
                body=body,
            )
        }
        paths[f"/async-function/{name}"] = {
            "post": _operation(
                "editing",
                f"{name}Later",
                f"{summary}, by the queue",
                {
                    "202": {"description": "Queued; X-Call-Id says under which id"},
                    **_refusals(
                        errors.INVALID_REQUEST, errors.TOO_LARGE, errors.NOT_FOUND, errors.QUOTA_EXCEEDED, errors.QUEUE_UNAVAILABLE
                    ),
                },
                description="OpenFaaS's own way: the answer is posted to X-Callback-Url, if there is one. "
                "Delivered at least once, done once.",
                parameters=[CALL_ID, _in("header", "X-Callback-Url", text(format="uri"), "A public address for the result")],
                body=body,
            )
        }
    return paths


def _jobs() -> dict[str, Any]:
    page = thing("A page.", {"jobs": listed(ref("Job")), "next": maybe(text())})
    states = text(enum=["queued", "running", "succeeded", "failed", "cancelled"])
    events = {
        "schema": text(),
        "example": f'event: job\nid: 3\ndata: {{"id": "{JOB_ID}", "state": "running", …}}\n\n',
    }
    one = _json("The job; or its events, until it has ended, for `Accept: text/event-stream`", ref("Job"))
    one["content"]["text/event-stream"] = events
    return {
        "/function/status": {
            "get": _operation(
                "jobs",
                "listJobs",
                "Your jobs, newest first",
                {"200": _json("A page", page), **_refusals(errors.INVALID_REQUEST, *ALWAYS)},
                parameters=[CURSOR, LIMIT, _in("query", "state", states)],
            )
        },
        "/function/status/{job}": {
            "get": _operation(
                "jobs",
                "getJob",
                "One job: now, when it ends, or as it goes",
                {"200": one, **_refusals(errors.NOT_FOUND, *ALWAYS)},
                parameters=[JOB, _in("query", "wait", number(minimum=0, maximum=55), "Seconds to wait for its end")],
            ),
            "delete": _operation(
                "jobs",
                "cancelJob",
                "Cancel a job",
                {"202": _json("It is being cancelled", ref("Job")), **_refusals(errors.NOT_FOUND, errors.CONFLICT, *ALWAYS)},
                parameters=[JOB],
            ),
        },
        "/function/status/{job}/retry": {
            "post": _operation(
                "jobs",
                "retryJob",
                "A new job with the same request",
                {"201": _json("The new job", ref("Job"), Location=text()), **_refusals(errors.NOT_FOUND, errors.CONFLICT, *ALWAYS)},
                parameters=[JOB],
            )
        },
        "/ws": {
            "get": _operation(
                "jobs",
                "socket",
                "Job events for browsers (WebSocket)",
                {"101": {"description": "A websocket"}, "403": {"description": "A page of an origin that is not allowed"}},
                description='Send `{"key": "nve_…"}` first (or offer the subprotocols `nve` and the key), then `{"subscribe": "<job>"}` or '
                '`{"unsubscribe": "<job>"}`. Comes back: `{"event": "job", "job": {…}}`, '
                '`{"event": "problem", "job_id": …, "problem": {…}}` and `{"event": "heartbeat"}`.',
            )
        },
    }


def _service() -> dict[str, Any]:
    def page(id: str, summary: str, kind: str, **more: Any) -> dict[str, Any]:
        answers = {"200": {"description": "Yes", "content": {kind: {"schema": text()}}}, **more}
        return {"get": {**_operation("service", id, summary, answers), "security": []}}

    health = page("health", "How everything is", "application/json", **{"503": _json("Something is not well", ref("Health"))})
    health["get"]["responses"]["200"] = _json("All is well", ref("Health"))
    return {
        "/healthz": page("alive", "Is the gateway alive", "text/plain"),
        "/health": health,
        "/openapi.json": page("openapi", "This document", "application/json"),
        "/docs": page("docs", "This document for people", "text/html"),
    }
