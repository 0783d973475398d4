"""The shapes of the public contract, as JSON Schema. Every one has a sentence, and an example where it helps."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

JOB_ID = "01977b1e-6f0c-7c44-9a52-0d9a3b6c1f11"
ASSET_ID = "01977b1c-91b2-7d10-8a5e-4f4c2a7e9b20"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", **more: Any) -> Schema:
    return {"type": "number", **({"description": description} if description else {}), **more}


def whole(description: str = "", **more: Any) -> Schema:
    return {"type": "integer", **({"description": description} if description else {}), **more}


def one_of(*values: str, description: str = "", **more: Any) -> Schema:
    return text(description, enum=list(values), **more)


def listed(items: Schema, description: str = "", **more: Any) -> Schema:
    return {"type": "array", "items": items, **({"description": description} if description else {}), **more}


def thing(description: str, required: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "description": description, "properties": properties, "required": list(required), **more}


def request(description: str, required: dict[str, Schema], optional: dict[str, Schema], example: Any) -> Schema:
    """A request body: an unknown field is an error."""
    return thing(description, required, optional, additionalProperties=False, example=example)


MOMENT = text("RFC 3339, UTC", format="date-time")

MODE = one_of(
    "exact",
    "instant",
    "keyframe",
    "encode",
    default="exact",
    description="exact: every frame and no other, copying what can be copied. instant: no encoding at all; a lead-in is hidden by an "
    "edit list. keyframe: a plain copy from the key frame before the start; the result says where it cut. encode: everything is encoded.",
)
TIME: Schema = {
    "description": "Seconds as a number, or text: `83.5`, `1:23.5`, `00:01:23.500`, or `2505f` for a frame number. Exact: 10.1 stays 10.1.",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
    "examples": [83.5, "1:23.5", "00:01:23.500", "2505f"],
}
RATE: Schema = {
    "description": "Frames per second: a number, or an exact fraction as text.",
    "anyOf": [{"type": "number", "minimum": 1, "maximum": 120}, {"type": "string", "maxLength": 16}],
    "examples": [25, 29.97, "30000/1001"],
}
OUTPUT = thing(
    "What to make. Width, height, frame rate and codec are those of most of the picture where nothing is said.",
    {},
    {
        "container": one_of("mp4", "mov", "mkv", "webm", "ts", default="mp4"),
        "name": maybe(text("The file's name for downloads", minLength=1, maxLength=200)),
        "width": maybe({"type": "integer", "minimum": 16, "maximum": 8192, "multipleOf": 2}),
        "height": maybe({"type": "integer", "minimum": 16, "maximum": 8192, "multipleOf": 2}),
        "frame_rate": maybe(RATE),
        "codec": maybe(one_of("h264", "hevc", "vp9", "av1")),
    },
    additionalProperties=False,
)
HOW: dict[str, Schema] = {"mode": ref("Mode"), "output": ref("Output")}
# Without a start a range begins where its source does, without an end it ends there.
RANGE: dict[str, Schema] = {"start": maybe(ref("Time")), "end": maybe(ref("Time"))}

MAX_CLIPS = 1000


def asset_id(description: str) -> Schema:
    return text(description, minLength=1, maxLength=100)


PART = {
    "anyOf": [
        asset_id("A whole asset, by its id"),
        thing("A range of an asset.", {"asset": asset_id("An asset id")}, RANGE, additionalProperties=False),
    ]
}

REQUESTS: dict[str, Schema] = {
    "Time": TIME,
    "Mode": MODE,
    "Output": OUTPUT,
    "Trim": request(
        "One range of one source. The range is half-open: a frame belongs to it when start ≤ its time < end.",
        {"source": asset_id("An asset id"), "start": ref("Time"), "end": ref("Time")},
        HOW,
        {"source": ASSET_ID, "start": "10.37", "end": "1:50.91"},
    ),
    "Merge": request(
        "Sources, or ranges of them, one after another.",
        {"sources": listed(PART, minItems=1, maxItems=MAX_CLIPS)},
        HOW,
        {"sources": [ASSET_ID, {"asset": ASSET_ID, "start": 5, "end": "200f"}]},
    ),
    "Render": request(
        "An edit, as a timeline has it: the clips of its track in the order they play.",
        {
            "edit": thing(
                "The timeline.",
                {
                    "tracks": listed(
                        thing(
                            "Clips, one after another.",
                            {
                                "clips": listed(
                                    thing(
                                        "A range of a source.",
                                        {"source": asset_id("An asset id")},
                                        RANGE,
                                        additionalProperties=False,
                                    ),
                                    minItems=1,
                                    maxItems=MAX_CLIPS,
                                )
                            },
                            additionalProperties=False,
                        ),
                        minItems=1,
                        maxItems=1,
                    )
                },
                additionalProperties=False,
            )
        },
        HOW,
        {
            "edit": {
                "tracks": [{"clips": [{"source": ASSET_ID, "start": 0, "end": 4.5}, {"source": ASSET_ID, "start": "20.25", "end": 31}]}]
            }
        },
    ),
    "Upload": request(
        "A file that is about to be sent.",
        {"name": text("Its name", minLength=1, maxLength=255), "size": whole("Bytes", minimum=0)},
        {
            "type": text(
                "Its media type",
                pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,59}/[0-9A-Za-z][0-9A-Za-z.+-]{0,59}$",
                default="application/octet-stream",
            )
        },
        {"name": "holiday.mp4", "size": 73400320, "type": "video/mp4"},
    ),
}

ANSWERS: dict[str, Schema] = {
    "Job": thing(
        "A job: the same document when it is made, polled and streamed.",
        {
            "id": text(examples=[JOB_ID]),
            "operation": one_of("trim", "merge", "render"),
            "state": one_of("queued", "running", "succeeded", "failed", "cancelled"),
            "stage": one_of("accepted", "probing", "planning", "encoding", "verifying", "storing", "done"),
            "progress": ref("Progress"),
            "request": {"type": "object", "description": "What was asked for"},
            "result": maybe(ref("Result")),
            "warnings": listed(text(), "What could not survive, and other things worth knowing"),
            "error": maybe(ref("Error")),
            "attempt": whole("How often a worker has begun it"),
            "created_at": MOMENT,
            "started_at": maybe(MOMENT),
            "finished_at": maybe(MOMENT),
            "links": {"type": "object", "description": "self, events, cancel (while it may be cancelled), result (once there is one)"},
        },
    ),
    "Progress": thing(
        "How far a job is.",
        {
            "percent": number(minimum=0, maximum=100),
            "frames": whole(),
            "speed": maybe(number("1 is real time")),
            "eta_seconds": maybe(number()),
        },
    ),
    "Result": thing(
        "What a job made, and what that took.",
        {
            "asset": text("The result is an asset, too: cut it again"),
            "url": text("Download it from here; signed anew in every document", format="uri"),
            "name": text(),
            "size": whole("Bytes"),
            "sha256": maybe(text("Of the whole file; null when the store copied some of it, so that nobody here has read it all")),
            "duration": number("Seconds"),
            "frames": whole(),
            "streams": listed(ref("Stream")),
            "copied_frames": whole("Bit for bit as in the source"),
            "primed_frames": whole("Copied with renumbered slice headers"),
            "encoded_frames": whole(),
            "source_bytes": whole("Size of the sources"),
            "source_bytes_read": whole("How much of them was fetched"),
        },
    ),
    "Error": thing("Why a job failed.", {"code": text("Stable; see Problem"), "message": text()}, {"field": text()}),
    "Stream": thing(
        "One stream of a file. What does not apply to its kind is left out.",
        {"index": whole(), "kind": one_of("video", "audio", "subtitle", "data", "attachment"), "codec": text()},
        {
            "profile": text(),
            "duration": number(),
            "bit_rate": whole(),
            "language": text(),
            "title": text(),
            "width": whole(),
            "height": whole(),
            "pixel_format": text(),
            "frame_rate": text("An exact fraction", examples=["30000/1001"]),
            "frames": whole(),
            "sample_aspect": text(),
            "rotation": whole(),
            "interlaced": {"type": "boolean"},
            "sample_rate": whole(),
            "channels": whole(),
            "layout": text(),
        },
    ),
    "Media": thing(
        "What is in a file.",
        {"container": text(), "duration": number("Seconds"), "size": whole(), "streams": listed(ref("Stream")), "warnings": listed(text())},
    ),
    "Place": thing(
        "Where a file's parts go. Send each part's bytes by PUT to its url (without an Authorization header), then complete.",
        {
            "asset": text(examples=[ASSET_ID]),
            "part_size": whole("Bytes of every part but the last"),
            "parts": listed(
                thing(
                    "A part. One that is stored already has an etag and no url.",
                    {"number": whole(), "offset": whole(), "size": whole()},
                    {"url": text(format="uri"), "etag": text()},
                )
            ),
            "expires_at": MOMENT,
            "state": one_of("uploading"),
        },
    ),
    "Asset": thing(
        "A file in the store.",
        {
            "asset": text(examples=[ASSET_ID]),
            "name": text(),
            "size": whole("Bytes"),
            "type": text(),
            "state": one_of("uploading", "ready"),
            "created_at": MOMENT,
            "media": maybe(ref("Media")),
            "problem": maybe(ref("Error")),
            "url": maybe(text("Download it from here", format="uri")),
        },
    ),
    "Inspection": thing(
        "An asset looked at closely.",
        {
            "asset": text(),
            "name": text(),
            "size": whole(),
            "container": text(),
            "duration": number(),
            "streams": listed(ref("Stream")),
            "keyframes": listed(number(), "Times of the video's key frames, in seconds"),
            "warnings": listed(text()),
        },
    ),
    "Problem": thing(
        "Why a request was refused or a call failed (RFC 9457).",
        {
            "type": text(examples=["urn:nve:problem:invalid_range"]),
            "title": text(),
            "status": whole(),
            "code": text("Stable: programs may depend on it", examples=["invalid_range"]),
            "detail": text("For people"),
        },
        {"field": text("The field of the request that is at fault"), "job": ref("Job")},
        example={
            "type": "urn:nve:problem:invalid_range",
            "title": "The time range is not valid",
            "status": 400,
            "code": "invalid_range",
            "detail": "end must be after start",
            "field": "end",
        },
    ),
    "Health": thing(
        "How the gateway and what it needs are.",
        {
            "status": one_of("ok", "degraded"),
            "gateway": {"type": "object", "description": "version, uptime_seconds"},
            "redis": {"type": "object", "description": "ok, version"},
            "functions": {"type": "object", "description": "Each function's state, replicas, in_flight and waiting"},
        },
    ),
}
