"""Storing a file under a key that nothing lies under yet. A result is never overwritten, and never half there."""

from __future__ import annotations

import concurrent.futures
import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from native import errors
from native.objects import parts

if TYPE_CHECKING:
    from native.objects.door import Door

# Parts on the wire at once; a little more than this many parts are in memory.
PARALLEL = 4

# Written with the object, so that a try whose answer got lost is told from somebody else's object.
_MARK = "nve-put"


@dataclass(frozen=True)
class Put:
    """What was stored: bytes, and their SHA-256 in hex."""

    size: int
    sha256: str


@dataclass
class Upload:
    """One file on its way. `run` stores it or leaves nothing behind."""

    door: Door
    bucket: str
    key: str
    content_type: str
    cancelled: Callable[[], bool] | None = None
    on_progress: Callable[[int], None] | None = None
    _mark: str = field(default_factory=lambda: secrets.token_hex(16))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sent: int = 0

    def run(self, path: Path) -> Put:
        """Raises CANCELLED, CONFLICT (the key is taken) and STORAGE_UNAVAILABLE."""
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = self._single(file) if size < parts.SMALLEST else self._multipart(file, size)
        stored = self._stored()
        if stored is None or stored["ContentLength"] != size:
            raise errors.STORAGE_UNAVAILABLE("The object store did not keep what it was given")
        return Put(size, digest)

    def _single(self, file: BinaryIO) -> str:
        self._check()
        body = file.read()
        self._write_once("put_object", Body=body, ContentType=self.content_type, Metadata={_MARK: self._mark})
        self._count(len(body))
        return hashlib.sha256(body).hexdigest()

    def _multipart(self, file: BinaryIO, size: int) -> str:
        self._check()
        made = self.door.call(
            "create_multipart_upload", Bucket=self.bucket, Key=self.key, ContentType=self.content_type, Metadata={_MARK: self._mark}
        )
        upload_id = made["UploadId"]
        try:
            digest, etags = self._parts(file, parts.layout(size), upload_id)
            self._check()
            self._write_once("complete_multipart_upload", UploadId=upload_id, MultipartUpload={"Parts": etags})
        except BaseException:
            self._abort(upload_id)
            raise
        return digest

    def _parts(self, file: BinaryIO, layout: list[parts.Part], upload_id: str) -> tuple[str, list[dict[str, Any]]]:
        """Read the file once, front to back; hash it and send its parts side by side."""
        digest = hashlib.sha256()
        room = threading.Semaphore(PARALLEL + 1)
        failed = threading.Event()
        sent: list[concurrent.futures.Future[dict[str, Any]]] = []

        def send(part: parts.Part, body: bytes) -> dict[str, Any]:
            try:
                self._check()
                answer = self.door.call(
                    "upload_part", Bucket=self.bucket, Key=self.key, UploadId=upload_id, PartNumber=part.number, Body=body
                )
                self._count(part.size)
                return {"PartNumber": part.number, "ETag": answer["ETag"]}
            except BaseException:
                failed.set()
                raise
            finally:
                room.release()

        with concurrent.futures.ThreadPoolExecutor(PARALLEL, "put") as pool:
            try:
                for part in layout:
                    room.acquire()
                    if failed.is_set():
                        break
                    self._check()
                    body = file.read(part.size)
                    if len(body) != part.size:
                        raise errors.INTERNAL()  # the file became shorter under our hands
                    sent.append(pool.submit(send, part, body))
                    digest.update(body)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            if failed.is_set():
                pool.shutdown(cancel_futures=True)
                raise next(error for future in sent if not future.cancelled() and (error := future.exception()))
            return digest.hexdigest(), [future.result() for future in sent]

    def _write_once(self, operation: str, **arguments: Any) -> None:
        """The request that makes the object visible. That it is already there is fine when it was this upload that put it there."""
        try:
            self.door.call(operation, Bucket=self.bucket, Key=self.key, IfNoneMatch="*", **arguments)
        except errors.Problem as problem:
            # A try whose answer was lost leaves the key taken (CONFLICT) or the multipart upload gone (NOT_FOUND).
            if problem.kind not in {errors.CONFLICT, errors.NOT_FOUND} or self._stored() is None:
                raise

    def _stored(self) -> dict[str, Any] | None:
        """The object under the key, when this upload made it."""
        try:
            head = self.door.call("head_object", Bucket=self.bucket, Key=self.key)
        except errors.Problem as problem:
            if problem.kind is errors.NOT_FOUND:
                return None
            raise
        return head if head.get("Metadata", {}).get(_MARK) == self._mark else None

    def _abort(self, upload_id: str) -> None:
        try:
            self.door.call("abort_multipart_upload", Bucket=self.bucket, Key=self.key, UploadId=upload_id)
        except errors.Problem:
            pass  # logged by the door; what stays is found by `Store.uploads`, and the first error is the one that matters

    def _check(self) -> None:
        if self.cancelled and self.cancelled():
            raise errors.CANCELLED()

    def _count(self, size: int) -> None:
        with self._lock:
            self._sent += size
            if self.on_progress:
                self.on_progress(self._sent)
