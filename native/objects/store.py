"""The object store, as the functions see it. Safe to share between threads; costs nothing until first used.

Every method raises STORAGE_UNAVAILABLE after `door.TRIES` tries, and NOT_FOUND where the object or upload is not there.
"""

from __future__ import annotations

import concurrent.futures
import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from native import errors
from native.objects import disposition
from native.objects.door import Door
from native.objects.parts import Span
from native.objects.put import Put, Upload
from native.objects.reader import Reader
from native.settings import Settings

__all__ = ["Put", "Reader", "Span", "Store", "Stored", "StoredPart", "Unfinished"]


@dataclass(frozen=True)
class Stored:
    """An object that is there. `size` in bytes."""

    key: str
    size: int
    etag: str
    modified: datetime.datetime


@dataclass(frozen=True)
class StoredPart:
    """A part of a multipart upload that has arrived. `size` in bytes."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True)
class Unfinished:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    started: datetime.datetime


class Store:
    def __init__(self, settings: Settings) -> None:
        self._door = Door(settings, settings.s3_endpoint)
        # A signature covers the host name, so what clients will use is signed with the name they will use.
        public = settings.public_endpoint
        self._public = self._door if public == settings.s3_endpoint else Door(settings, public)

    def warm(self) -> None:
        """Make the client now (about 0.6 s of imports), so that the first request does not wait for it. Touches no network."""
        _ = self._door.client

    def close(self) -> None:
        self._door.close()
        self._public.close()

    def stat(self, bucket: str, key: str) -> Stored:
        head = self._door.call("head_object", Bucket=bucket, Key=key)
        return Stored(key, head["ContentLength"], head["ETag"], head["LastModified"])

    def reader(self, bucket: str, key: str, size: int, cancelled: Callable[[], bool] | None = None) -> Reader:
        """The object's bytes by ranges, until `cancelled()`. Nothing is asked of the store before the first `read`."""
        return Reader(self._door, bucket, key, size, cancelled)

    def put_file(
        self,
        bucket: str,
        key: str,
        path: Path,
        content_type: str,
        *,
        cancelled: Callable[[], bool] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Put:
        """Store a file under a key that is free; `on_progress` hears the bytes sent so far, from several threads.

        Raises CONFLICT when the key is taken and CANCELLED when `cancelled()` says so between parts; then nothing is left behind.
        """
        return Upload(self._door, bucket, key, content_type, cancelled, on_progress).run(path)

    def put_joined(
        self,
        bucket: str,
        key: str,
        path: Path,
        spans: Sequence[Span],
        sources: Sequence[Reader],
        *,
        content_type: str,
        cancelled: Callable[[], bool] | None = None,
    ) -> Put:
        """Store, under a key that is free, bytes of a file and of other objects one after the other. The objects' bytes are copied inside
        the store where that pays and it can; then nobody has seen them all, and the SHA-256 is None.

        Raises what `put_file` raises, NOT_FOUND and CONFLICT also when a source is gone or has changed.
        """
        return Upload(self._door, bucket, key, content_type, cancelled).join(path, spans, sources)

    def put_bytes(self, bucket: str, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Store a small object, in place of what was there."""
        self._door.call("put_object", Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; that it is not there is fine."""
        self._door.call("delete_object", Bucket=bucket, Key=key)

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Remove every object below a folder, e.g. `keys.attempts(job)`; returns how many there were."""
        if not prefix.strip("/") or not prefix.endswith("/"):
            raise ValueError(f"{prefix!r} is not a folder")
        # One by one: the batch call needs a checksum header on which S3 servers do not agree.
        with concurrent.futures.ThreadPoolExecutor(8, "delete") as pool:
            return sum(1 for _ in pool.map(lambda stored: self.delete(bucket, stored.key), self.list(bucket, prefix)))

    def list(self, bucket: str, prefix: str) -> Iterator[Stored]:
        """Every object whose key starts so, in the order of their keys."""
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self._door.call("list_objects_v2", **arguments)
            for item in page.get("Contents", []):
                yield Stored(item["Key"], item["Size"], item["ETag"], item["LastModified"])
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def presign_get(self, bucket: str, key: str, filename: str, seconds: int) -> str:
        """A URL with which anybody may download the object as `filename` for so long. Asks the store nothing."""
        header = {"ResponseContentDisposition": disposition.attachment(filename)}
        return self._presign("get_object", seconds, Bucket=bucket, Key=key, **header)

    def create(self, bucket: str, key: str, content_type: str) -> str:
        """Begin a multipart upload; returns its upload id."""
        return self._door.call("create_multipart_upload", Bucket=bucket, Key=key, ContentType=content_type)["UploadId"]

    def part_urls(self, bucket: str, key: str, upload_id: str, numbers: Iterable[int], seconds: int) -> Sequence[str]:
        """One URL per part, to which its bytes are PUT. Asks the store nothing."""
        return [self._presign("upload_part", seconds, Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number) for number in numbers]

    def list_parts(self, bucket: str, key: str, upload_id: str) -> Sequence[StoredPart]:
        """The parts that have arrived, in their order. Raises NOT_FOUND once the upload is completed or aborted."""
        found: list[StoredPart] = []
        arguments: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
        while True:
            page = self._door.call("list_parts", **arguments)
            found += [StoredPart(item["PartNumber"], item["Size"], item["ETag"]) for item in page.get("Parts", [])]
            if not page.get("IsTruncated"):
                return found
            arguments["PartNumberMarker"] = page["NextPartNumberMarker"]

    def complete(self, bucket: str, key: str, upload_id: str, parts: Sequence[StoredPart]) -> Stored:
        """Join the parts to the object, once: doing it again is fine, and no object is ever replaced.

        Raises CONFLICT when the parts are wrong or the key holds something else, NOT_FOUND when the upload was aborted.
        """
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        try:
            self._door.call(
                "complete_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}, IfNoneMatch="*"
            )
        except errors.Problem as problem:
            # A try whose answer was lost did its work all the same. Only this upload could: the key belongs to one asset.
            if problem.kind not in {errors.CONFLICT, errors.NOT_FOUND} or not self._holds(bucket, key, sum(part.size for part in parts)):
                raise
        return self.stat(bucket, key)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Throw an unfinished upload and its parts away; that it is not there is fine."""
        try:
            self._door.call("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
        except errors.Problem as problem:
            if problem.kind is not errors.NOT_FOUND:
                raise

    def uploads(self, bucket: str, prefix: str) -> Iterator[Unfinished]:
        """Multipart uploads that nobody finished. Some stores (MinIO) find them by the whole key only, so give it where it is known."""
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self._door.call("list_multipart_uploads", **arguments)
            for item in page.get("Uploads", []):
                yield Unfinished(item["Key"], item["UploadId"], item["Initiated"])
            if not page.get("IsTruncated"):
                return
            arguments |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _holds(self, bucket: str, key: str, size: int) -> bool:
        try:
            return self.stat(bucket, key).size == size
        except errors.Problem as problem:
            if problem.kind is errors.NOT_FOUND:
                return False
            raise

    def _presign(self, operation: str, seconds: int, **arguments: Any) -> str:
        return self._public.client.generate_presigned_url(operation, Params=arguments, ExpiresIn=seconds)
