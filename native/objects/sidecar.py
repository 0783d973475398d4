"""What is kept beside an object, in an object of its own: bytes that are only about it, and only about it as it was then.

"nve sidecar 1", SHA-256 of the rest, the object's size, the length of its ETag, the ETag, the bytes
"""

from __future__ import annotations

import hashlib
import struct

MAGIC = b"nve sidecar 1\n"
LIMIT = 64 << 20  # bytes; more is not one of ours
_HEAD = struct.Struct("!QH")
_BODY = len(MAGIC) + 32


def pack(payload: bytes, etag: str, size: int) -> bytes:
    """The bytes as they are stored beside the object of that ETag and size."""
    name = etag.encode()
    body = _HEAD.pack(size, len(name)) + name + payload
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack(stored: bytes, etag: str, size: int) -> bytes | None:
    """What `pack` was given for the object of that ETag and size; None for anything else."""
    body = stored[_BODY:]
    if not stored.startswith(MAGIC) or len(body) < _HEAD.size or hashlib.sha256(body).digest() != stored[len(MAGIC) : _BODY]:
        return None
    of_size, length = _HEAD.unpack_from(body)
    end = _HEAD.size + length
    if of_size != size or body[_HEAD.size : end] != etag.encode():
        return None
    return body[end:]
