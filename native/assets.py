"""What becomes of a file that a client brings: a place in the store, its parts, a look inside."""

from __future__ import annotations

import datetime
import logging
import tempfile
from pathlib import Path
from typing import Any

from native import document, errors, flow, kept
from native.jobs.assets import Asset, new_id
from native.media import session
from native.media.info import MediaInfo
from native.objects import keys, parts
from native.objects.store import Reader
from native.service import Services

logger = logging.getLogger("assets")


def create(services: Services, owner: str, name: str, size: int, content_type: str) -> Asset:
    """A place for `size` bytes. Raises STORAGE_UNAVAILABLE."""
    asset_id = new_id()
    bucket, key = services.settings.s3_media_bucket, keys.source(asset_id)
    # An empty file has no parts, so it needs no upload.
    upload_id = services.objects.create(bucket, key, content_type) if size else None
    facts = {"name": name, "size": size, "type": content_type, "part_size": parts.part_size(size)}
    return services.assets.create(owner, id=asset_id, bucket=bucket, key=key, upload_id=upload_id, **facts)


def offer(services: Services, asset: Asset) -> dict[str, Any]:
    """What a client needs to send what is still missing: an address for each part that is not there yet."""
    seconds = services.settings.upload_url_seconds
    stored = _stored(services, asset)
    layout = parts.layout(asset.size)
    missing = [part for part in layout if stored.get(part.number, ("", -1))[1] != part.size]
    urls = {}
    if asset.upload_id:
        numbers = [part.number for part in missing]
        urls = dict(zip(numbers, services.objects.part_urls(asset.bucket, asset.key, asset.upload_id, numbers, seconds), strict=True))
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return {
        "asset": asset.id,
        "name": asset.name,
        "size": asset.size,
        "type": asset.type,
        "state": asset.state,
        "part_size": asset.part_size,
        "parts": [
            {"number": part.number, "offset": part.offset, "size": part.size}
            | ({"url": urls[part.number]} if part.number in urls else {"etag": stored[part.number][0]})
            for part in layout
        ],
        "expires_at": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _stored(services: Services, asset: Asset) -> dict[int, tuple[str, int]]:
    """The parts that are there: number -> (etag, size)."""
    if not asset.upload_id:
        return {}
    try:
        found = services.objects.list_parts(asset.bucket, asset.key, asset.upload_id)
    except errors.Problem as problem:
        if problem.kind is errors.NOT_FOUND:
            raise errors.CONFLICT("The upload is no longer open; start a new one") from None
        raise
    return {part.number: (part.etag, part.size) for part in found}


def complete(services: Services, owner: str, asset_id: str) -> Asset:
    """Join the parts and look inside. Safe to repeat and to do twice at once.

    Raises CONFLICT when parts are missing or have the wrong size, and names them.
    """
    asset = services.assets.get(owner, asset_id)
    if asset.state == "ready":
        return asset
    if asset.upload_id:
        _join(services, asset, asset.upload_id)
    else:
        services.objects.put_bytes(asset.bucket, asset.key, b"", asset.type)
    media, problem = look(services, asset)
    facts = media.model_dump(mode="json") if media else None
    return services.assets.complete(owner, asset.id, media=facts, problem=problem.summary() if problem else None)


def _join(services: Services, asset: Asset, upload_id: str) -> None:
    try:
        stored = services.objects.list_parts(asset.bucket, asset.key, upload_id)
    except errors.Problem as problem:
        if problem.kind is errors.NOT_FOUND and services.objects.stat(asset.bucket, asset.key).size == asset.size:
            return  # joined by an earlier try whose answer was lost
        raise
    sizes = {part.number: part.size for part in stored}
    layout = parts.layout(asset.size)
    wrong = [str(part.number) for part in layout if sizes.get(part.number) != part.size]
    if wrong:
        shown = ", ".join(wrong[:10]) + ("…" if len(wrong) > 10 else "")
        raise errors.CONFLICT(f"{len(wrong)} of {len(layout)} parts are missing or have the wrong size: {shown}")
    wanted = {part.number for part in layout}
    services.objects.complete(asset.bucket, asset.key, upload_id, [part for part in stored if part.number in wanted])


def look(services: Services, asset: Asset) -> tuple[MediaInfo | None, errors.Problem | None]:
    """What is inside, or what is wrong with it. Raises only when the system, not the file, is at fault."""
    try:
        with _opened(services, asset) as (media, source):
            info = media.probe()[0]
            kept.keep(media, [source])
            return info, None
    except errors.Problem as problem:
        if problem.status != 422:
            raise
        return None, problem


def inspect(services: Services, asset: Asset) -> dict[str, Any]:
    """Streams, duration and key frames. Raises the problem the source has, if it has one."""
    if asset.state != "ready":
        raise errors.CONFLICT("The upload is not complete")
    with _opened(services, asset) as (media, source):
        info = media.probe()[0]
        keyframes = media.keyframes(0) if info.video else []
        kept.keep(media, [source])
    return {
        "asset": asset.id,
        "name": asset.name,
        **document.media(info),
        "keyframes": [round(float(time), 6) for time in keyframes],
    }


class _opened:
    """A media session on one asset, in a room of its own."""

    def __init__(self, services: Services, asset: Asset) -> None:
        services.settings.workspace_dir.mkdir(parents=True, exist_ok=True)
        # It is short-lived: if its process is killed, the sweep finds it unchanged and takes it away.
        self._room = tempfile.TemporaryDirectory(prefix="look-", dir=services.settings.workspace_dir, ignore_cleanup_errors=True)
        self._source = services.objects.reader(asset.bucket, asset.key, asset.size)
        bounds, indexes = flow.limits(services, [asset]), kept.indexes([self._source])
        self._session = session.open([self._source], Path(self._room.name), bounds, indexes=indexes)

    def __enter__(self) -> tuple[session.Session, Reader]:
        return self._session.__enter__(), self._source

    def __exit__(self, *exc: Any) -> None:
        try:
            self._session.__exit__(*exc)
        finally:
            self._room.cleanup()


def delete(services: Services, owner: str, asset_id: str) -> None:
    """Forget an asset and remove its bytes. Jobs that use it now fail with not_found."""
    asset = services.assets.delete(owner, asset_id)
    if asset.state == "uploading" and asset.upload_id:
        services.objects.abort(asset.bucket, asset.key, asset.upload_id)
    services.objects.delete(asset.bucket, asset.key)
    services.objects.delete(asset.bucket, keys.index(asset.key))
