"""Reading an object by ranges: only the bytes that are asked for travel, and what travelled is counted."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from native import errors
from native.objects import keys, sidecar
from native.objects.door import Broken, persist

if TYPE_CHECKING:
    from native.objects.door import Door

_PIECE = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Reader:
    """Bytes of one object, as it was when first read. Safe to use from several threads at once."""

    def __init__(self, door: Door, bucket: str, key: str, size: int, cancelled: Callable[[], bool] | None = None) -> None:
        self._door = door
        self.bucket = bucket
        self.key = key
        self._cancelled = cancelled or (lambda: False)
        self._lock = threading.Lock()
        self._etag: str | None = None
        self._bytes_read = 0
        self.size = size

    @property
    def bytes_read(self) -> int:
        """Bytes of the object that really came over the wire, those of failed tries included."""
        with self._lock:
            return self._bytes_read

    @property
    def etag(self) -> str | None:
        """The version of the object that was read, once something was."""
        with self._lock:
            return self._etag

    def read(self, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length), fewer only at the end of the object.

        Raises NOT_FOUND, CONFLICT (the object is not the one that was first read, or has another size), CANCELLED (when the reader's
        owner says so: looked at before each try and each piece) and STORAGE_UNAVAILABLE.
        """
        if offset < 0 or length < 0:
            raise ValueError(f"cannot read {length} bytes at {offset}")
        end = min(offset + length, self.size)
        got = bytearray()

        def rest() -> bytes:
            if self._cancelled():
                raise errors.CANCELLED()
            # What a broken answer did bring is kept: the next try asks for the remainder.
            self._get(offset + len(got), end, got)
            return bytes(got)

        return persist("get_object", rest) if offset < end else b""

    def kept_index(self) -> bytes | None:
        """What `keep_index` stored for the object as it is now; None when nothing was, or when it cannot be had at once.

        From then on only this version of the object is read.
        """

        def get() -> bytes | None:
            answer = self._door.client.get_object(Bucket=self.bucket, Key=keys.index(self.key))
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > sidecar.LIMIT:
                    return None
                stored = body.read(sidecar.LIMIT)
            with self._lock:
                self._bytes_read += len(stored)
            head = self._door.client.head_object(Bucket=self.bucket, Key=self.key)
            with self._lock:
                self._etag = self._etag or head["ETag"]
                return sidecar.unpack(stored, self._etag, head["ContentLength"])

        try:
            return persist("get_index", get, tries=1)
        except errors.Problem:
            return None  # it was only to save work; a store that is away is known at the first read of the object

    def keep_index(self, index: bytes) -> None:
        """Store the index of the object that was read, in place of an older one. Raises STORAGE_UNAVAILABLE."""
        etag = self.etag
        if etag is not None and len(index) < sidecar.LIMIT - 1024:
            stored = sidecar.pack(index, etag, self.size)
            self._door.call("put_object", Bucket=self.bucket, Key=keys.index(self.key), Body=stored, ContentType="application/octet-stream")

    def _get(self, start: int, end: int, into: bytearray) -> None:
        if start == end:
            return
        condition = {"IfMatch": self._etag} if self._etag else {}
        answer = self._door.client.get_object(Bucket=self.bucket, Key=self.key, Range=f"bytes={start}-{end - 1}", **condition)
        body = answer["Body"]
        try:
            self._same(answer, start, end)
            while start < end:
                if self._cancelled():
                    raise errors.CANCELLED()
                piece = body.read(min(_PIECE, end - start))
                if not piece:
                    raise Broken(f"{end - start} bytes are missing")
                into += piece
                start += len(piece)
                with self._lock:
                    self._bytes_read += len(piece)
            # Reading to the very end is what gives the connection back to the pool.
            body.read()
        finally:
            body.close()

    def _same(self, answer: dict[str, Any], start: int, end: int) -> None:
        """Refuse an answer that is not this range of this object."""
        match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
        if not match or (int(match[1]), int(match[2])) != (start, end - 1):
            raise Broken("the answer is not the range that was asked for")
        etag = answer["ETag"]
        with self._lock:
            self._etag = self._etag or etag
            if etag != self._etag or int(match[3]) != self.size:
                raise errors.CONFLICT("The object has changed")
