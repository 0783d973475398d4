"""What clients see of a job and of an asset: the same document when it is made, polled, streamed or told."""

from __future__ import annotations

import datetime
from typing import Any

from native.jobs.assets import Asset
from native.jobs.store import Job
from native.media.info import MediaInfo, Stream
from native.service import Services


def self_link(job: Job) -> str:
    return f"/function/status/{job.id}"


def _time(moment: datetime.datetime | None) -> str | None:
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def job(services: Services, it: Job) -> dict[str, Any]:
    """A job document. Times are RFC 3339 in UTC; `result.url` is signed anew each time."""
    stage, progress = it.stage, it.progress or {"percent": 0, "frames": 0, "speed": None, "eta_seconds": None}
    if it.state == "running":
        seen = services.progress.read(it.id)
        stage, progress = seen if seen and seen[1] else (stage, progress)
    if it.state == "succeeded":
        progress = {**progress, "percent": 100, "frames": (it.result or {}).get("frames", 0), "eta_seconds": 0}
    result = dict(it.result) if it.result else None
    if result:
        bucket, key = result.pop("bucket"), result.pop("key")
        result["url"] = services.objects.presign_get(bucket, key, result["name"], services.settings.download_url_seconds)
    links = {"self": self_link(it), "events": self_link(it)}
    if it.state in ("queued", "running"):
        links["cancel"] = self_link(it)
    if result:
        links["result"] = result["url"]
    return {
        "id": it.id,
        "operation": it.operation,
        "state": it.state,
        "stage": "done" if it.finished_at else stage or "accepted",
        "progress": progress,
        "request": it.request,
        "result": result,
        "warnings": it.warnings,
        "error": it.error,
        "attempt": it.attempt,
        "created_at": _time(it.created_at),
        "started_at": _time(it.started_at),
        "finished_at": _time(it.finished_at),
        "links": links,
    }


def asset(services: Services, it: Asset) -> dict[str, Any]:
    """An asset document."""
    ready = it.state == "ready"
    return {
        "asset": it.id,
        "name": it.name,
        "size": it.size,
        "type": it.type,
        "state": it.state,
        "sha256": it.sha256,
        "created_at": _time(it.created_at),
        "media": media(MediaInfo.model_validate(it.media)) if it.media else None,
        "problem": it.problem,
        "url": services.objects.presign_get(it.bucket, it.key, it.name, services.settings.download_url_seconds) if ready else None,
    }


def media(info: MediaInfo) -> dict[str, Any]:
    """What is in a file, for clients: seconds are numbers, frame rates exact fractions as text."""
    return {
        "container": info.container,
        "duration": round(float(info.duration), 6),
        "size": info.size,
        "streams": [stream(it) for it in info.streams],
        "warnings": list(info.warnings),
    }


def stream(it: Stream) -> dict[str, Any]:
    """One stream; what does not apply to its kind is left out."""
    shown = {
        "index": it.index,
        "kind": it.kind,
        "codec": it.codec,
        "profile": it.profile,
        "duration": round(float(it.duration), 6) if it.duration is not None else None,
        "bit_rate": it.bit_rate,
        "language": it.language,
        "title": it.title,
        "width": it.width,
        "height": it.height,
        "pixel_format": it.pixel_format,
        "frame_rate": str(it.frame_rate) if it.frame_rate else None,
        "frames": it.frames,
        "sample_aspect": str(it.sample_aspect) if it.sample_aspect else None,
        "rotation": it.rotation if it.kind == "video" else None,
        "interlaced": it.interlaced if it.kind == "video" else None,
        "sample_rate": it.sample_rate,
        "channels": it.channels,
        "layout": it.layout,
    }
    return {name: value for name, value in shown.items() if value is not None}
