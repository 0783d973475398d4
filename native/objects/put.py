"""Storing a file under a key that nothing lies under yet. A result is never overwritten, and never half there."""

from __future__ import annotations

import concurrent.futures
import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from native import errors, log
from native.objects import parts
from native.objects.reader import Reader

if TYPE_CHECKING:
    from native.objects.door import Door

logger = logging.getLogger("objects")

# Parts on the wire at once; a little more than this many parts are in memory.
PARALLEL = 4
# Bytes on each side of a copied part's borders that are read back. What a store copied wrongly, it cut or placed wrongly.
WITNESSES = 512

# Written with the object, so that a try whose answer got lost is told from somebody else's object.
_MARK = "nve-put"


@dataclass(frozen=True)
class Put:
    """What was stored: bytes, and their SHA-256 in hex; None when the store copied some of them, so that nobody here has seen them."""

    size: int
    sha256: str | None


@dataclass(frozen=True)
class Content:
    """Where an upload's bytes come from: a file, and objects of the same store."""

    file: BinaryIO
    sources: Sequence[Reader] = ()

    def read(self, spans: Sequence[parts.Span]) -> bytes:
        """Raises what the readers raise."""
        return b"".join(self._span(span) for span in spans)

    def _span(self, span: parts.Span) -> bytes:
        if span.source is None:
            self.file.seek(span.offset)
            found = self.file.read(span.size)
        else:
            found = self.sources[span.source].read(span.offset, span.size)
        if len(found) != span.size:
            raise errors.INTERNAL()  # the file became shorter under our hands
        return found


@dataclass
class Upload:
    """One file on its way. `run` and `join` store it or leave nothing behind."""

    door: Door
    bucket: str
    key: str
    content_type: str
    cancelled: Callable[[], bool] | None = None
    on_progress: Callable[[int], None] | None = None
    _mark: str = field(default_factory=lambda: secrets.token_hex(16))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _carried: threading.Lock = field(default_factory=threading.Lock)
    _by_hand: bool = False
    _sent: int = 0

    def run(self, path: Path) -> Put:
        """The file at `path`. Raises CANCELLED, CONFLICT (the key is taken) and STORAGE_UNAVAILABLE."""
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = self._single(file) if size < parts.SMALLEST else self._multipart(Content(file), parts.steps(size))
        self._whole(size)
        return Put(size, digest)

    def join(self, path: Path, spans: Sequence[parts.Span], sources: Sequence[Reader]) -> Put:
        """The bytes of the spans one after the other; the store copies what it has, and where it will not, they are sent.

        Raises what `run` raises, NOT_FOUND and CONFLICT too when a source is gone or has changed.
        """
        steps, size = parts.join(spans), sum(span.size for span in spans)
        with path.open("rb") as file:
            content = Content(file, sources)
            for _ in range(2):
                digest = self._multipart(content, steps)
                self._whole(size)
                try:
                    if self._by_hand or self._agrees(content, spans, steps):
                        return Put(size, digest)
                except BaseException:
                    with suppress(errors.Problem):  # why we end matters more, and the sweep finds what is left
                        self._remove()
                    raise
                log.event(logger, logging.ERROR, "the store copied wrongly", key=self.key)
                self._remove()
                self._by_hand = True
        raise AssertionError("what is sent by hand is believed")

    def _single(self, file: BinaryIO) -> str:
        self._check()
        body = file.read()
        self._write_once("put_object", Body=body, ContentType=self.content_type, Metadata={_MARK: self._mark})
        self._count(len(body))
        return hashlib.sha256(body).hexdigest()

    def _multipart(self, content: Content, steps: Sequence[parts.Step]) -> str | None:
        self._check()
        made = self.door.call(
            "create_multipart_upload", Bucket=self.bucket, Key=self.key, ContentType=self.content_type, Metadata={_MARK: self._mark}
        )
        upload_id = made["UploadId"]
        try:
            digest, etags = self._parts(content, steps, upload_id)
            self._check()
            self._write_once("complete_multipart_upload", UploadId=upload_id, MultipartUpload={"Parts": etags})
        except BaseException:
            self._abort(upload_id)
            raise
        return digest

    def _parts(self, content: Content, steps: Sequence[parts.Step], upload_id: str) -> tuple[str | None, list[dict[str, Any]]]:
        """Read the content once, front to back; hash it and send its parts side by side."""
        digest = hashlib.sha256()
        room = threading.Semaphore(PARALLEL + 1)
        failed = threading.Event()
        sent: list[concurrent.futures.Future[dict[str, Any]]] = []

        def send(step: parts.Step, body: bytes | None) -> dict[str, Any]:
            try:
                self._check()
                etag = self._send(step.number, upload_id, body) if body is not None else self._copy(step, content, upload_id)
                self._count(step.size)
                return {"PartNumber": step.number, "ETag": etag}
            except BaseException:
                failed.set()
                raise
            finally:
                room.release()

        with concurrent.futures.ThreadPoolExecutor(PARALLEL, "put") as pool:
            try:
                for step in steps:
                    room.acquire()
                    if failed.is_set():
                        break
                    self._check()
                    body = content.read(step.spans) if not step.copied else None
                    sent.append(pool.submit(send, step, body))
                    digest.update(body or b"")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            if failed.is_set():
                pool.shutdown(cancel_futures=True)
                raise next(error for future in sent if not future.cancelled() and (error := future.exception()))
            seen = not any(step.copied for step in steps)
            return digest.hexdigest() if seen else None, [future.result() for future in sent]

    def _send(self, number: int, upload_id: str, body: bytes) -> str:
        answer = self.door.call("upload_part", Bucket=self.bucket, Key=self.key, UploadId=upload_id, PartNumber=number, Body=body)
        return answer["ETag"]

    def _copy(self, step: parts.Step, content: Content, upload_id: str) -> str:
        """A part that the store copies. When it does not, the bytes are fetched and sent, one part at a time to spare memory."""
        (span,) = step.spans
        assert span.source is not None
        source = content.sources[span.source]
        if not self._by_hand:
            try:
                condition = {"CopySourceIfMatch": source.etag} if source.etag else {}
                answer = self.door.call(
                    "upload_part_copy",
                    Bucket=self.bucket,
                    Key=self.key,
                    UploadId=upload_id,
                    PartNumber=step.number,
                    CopySource={"Bucket": source.bucket, "Key": source.key},
                    CopySourceRange=f"bytes={span.offset}-{span.offset + span.size - 1}",
                    **condition,
                )
                return answer["CopyPartResult"]["ETag"]
            except errors.Problem as problem:
                log.event(logger, logging.WARNING, "the store does not copy", code=problem.code, detail=problem.detail)
                self._by_hand = True
        with self._carried:
            self._check()
            return self._send(step.number, upload_id, content.read(step.spans))

    def _agrees(self, content: Content, spans: Sequence[parts.Span], steps: Sequence[parts.Step]) -> bool:
        """Whether the object has the right bytes around the borders of its copied parts."""
        ends = list(accumulate(step.size for step in steps))
        borders = {at for step, end in zip(steps, ends, strict=True) if step.copied for at in (end - step.size, end)}
        stored = Reader(self.door, self.bucket, self.key, ends[-1], self.cancelled)

        def same(at: int) -> bool:
            start, end = max(0, at - WITNESSES), min(ends[-1], at + WITNESSES)
            with self._carried:  # the file has one position
                wanted = content.read(parts.cut(spans, start, end))
            return stored.read(start, end - start) == wanted

        with concurrent.futures.ThreadPoolExecutor(PARALLEL, "put") as pool:
            return all(pool.map(same, sorted(borders)))

    def _write_once(self, operation: str, **arguments: Any) -> None:
        """The request that makes the object visible. That it is already there is fine when it was this upload that put it there."""
        try:
            self.door.call(operation, Bucket=self.bucket, Key=self.key, IfNoneMatch="*", **arguments)
        except errors.Problem as problem:
            # A try whose answer was lost leaves the key taken (CONFLICT) or the multipart upload gone (NOT_FOUND).
            if problem.kind not in {errors.CONFLICT, errors.NOT_FOUND} or self._stored() is None:
                raise

    def _whole(self, size: int) -> None:
        stored = self._stored()
        if stored is None or stored["ContentLength"] != size:
            raise errors.STORAGE_UNAVAILABLE("The object store did not keep what it was given")

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

    def _remove(self) -> None:
        self.door.call("delete_object", Bucket=self.bucket, Key=self.key)

    def _check(self) -> None:
        if self.cancelled and self.cancelled():
            raise errors.CANCELLED()

    def _count(self, size: int) -> None:
        with self._lock:
            self._sent += size
            if self.on_progress:
                self.on_progress(self._sent)
