"""Media on the way: files to the store in parallel parts that can be sent again, results back whole or not at all."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import json
import mimetypes
import os
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.client import Client, Refused, session
from cli.failure import Failure, Unreachable, Usage
from cli.screen import Bar
from native import names

PARALLEL = 4
TRIES = 5
# The longest pause before the n-th further try is this times 2^n; the real one is random below that.
_PAUSE_SECONDS = 0.2
_PIECE = 256 * 1024
_RANGE = 8 * 1024 * 1024
_TYPES = {".m4v": "video/mp4", **{f".{ending}": kind for ending, kind in names.CONTENT_TYPES.items()}}


class Expired(Exception):
    """A signed address is not valid any more; a new one has to be asked for."""


@dataclass(frozen=True)
class Unfinished:
    """What is remembered of an upload until it is complete: a file that has not changed since goes on where it stopped."""

    room: Path
    server: str
    path: Path
    size: int
    mtime_ns: int

    @property
    def _file(self) -> Path:
        name = hashlib.sha256(f"{self.server}\n{self.path}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self.room / f"{name}.json"

    def recall(self) -> str | None:
        """The asset that an earlier upload of this very file was for."""
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        same = isinstance(known, dict) and (known.get("size"), known.get("mtime_ns")) == (self.size, self.mtime_ns)
        return str(known["asset"]) if same and "asset" in known else None

    def remember(self, asset: str) -> None:
        self.room.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"path": str(self.path), "size": self.size, "mtime_ns": self.mtime_ns, "asset": asset}))
        new.replace(self._file)

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


def upload(client: Client, path: Path, room: Path, bar: Bar) -> str:
    """Bring a file into the store and return its asset id; an upload that was cut short goes on where it stopped.

    `room` is where unfinished uploads are remembered. Raises Usage (no such file), Failure (it changed meanwhile) and Unreachable.
    """
    try:
        file = path.open("rb")
    except OSError as exc:
        raise Usage(f"{path} cannot be read: {exc.strerror}.") from None
    with file:
        before = os.fstat(file.fileno())
        memory = Unfinished(room, client.url, path.resolve(), before.st_size, before.st_mtime_ns)
        offer = _resumed(client, memory)
        if offer is None:
            offer = client.upload(path.name, before.st_size, _type(path))
            memory.remember(offer["asset"])
        _Sending(client, file.fileno(), offer, bar).run()
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            memory.forget()
            raise Failure(f"{path} changed while it was uploaded: try again when nothing writes to it.")
        client.complete(offer["asset"])
        memory.forget()
    return offer["asset"]


def _type(path: Path) -> str:
    return _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _resumed(client: Client, memory: Unfinished) -> dict[str, Any] | None:
    known = memory.recall()
    if known is None:
        return None
    try:
        offer = client.asset(known)
    except Refused as refused:
        if refused.status not in (404, 409, 410):
            raise
        return None
    # What is ready was completed by a run that did not live to forget it; its bytes are there, so there is nothing to send.
    return offer if offer.get("state") == "uploading" and offer.get("size") == memory.size else None


class _Sending:
    """The missing parts of one file, four at a time."""

    def __init__(self, client: Client, file: int, offer: dict[str, Any], bar: Bar) -> None:
        self._client, self._file, self._offer, self._bar = client, file, offer, bar
        self._lock = threading.Lock()
        self._sent = {part["number"]: part["size"] for part in offer["parts"] if "url" not in part}
        self._stop = threading.Event()

    def run(self) -> None:
        missing = [part for part in self._offer["parts"] if "url" in part]
        self._move(0, 0)
        if not missing:
            return
        with session(missing[0]["url"]) as http, concurrent.futures.ThreadPoolExecutor(PARALLEL, "upload") as pool:
            sending = [pool.submit(self._part, http, part) for part in missing]
            try:
                for done in concurrent.futures.as_completed(sending):
                    done.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _part(self, http: httpx.Client, part: dict[str, Any]) -> None:
        # The store compares this with what arrives, so a part that was damaged on its way is refused.
        digest = hashlib.md5(usedforsecurity=False)
        for piece in _pieces(self._file, part["offset"], part["size"]):
            digest.update(piece)
        headers = {"Content-Length": str(part["size"]), "Content-MD5": base64.b64encode(digest.digest()).decode()}
        url = part["url"]

        def send() -> None:
            nonlocal url
            body = self._counted(part["number"], _pieces(self._file, part["offset"], part["size"]))
            answer = http.put(url, content=body, headers=headers)
            if answer.status_code == 403:
                url = self._fresh(part["number"])
                raise Expired
            answer.raise_for_status()

        _persist(send, "sent", self._stop)

    def _fresh(self, number: int) -> str:
        parts = self._client.asset(self._offer["asset"])["parts"]
        return next((part.get("url", "") for part in parts if part["number"] == number), "")

    def _counted(self, number: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
        sent = 0
        for piece in pieces:
            if self._stop.is_set():
                raise Failure("The upload was stopped.")
            yield piece
            sent += len(piece)
            self._move(number, sent)

    def _move(self, number: int, sent: int) -> None:
        with self._lock:
            if number:
                self._sent[number] = sent
            self._bar.move(sum(self._sent.values()))


def _pieces(file: int, offset: int, size: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        piece = os.pread(file, min(_PIECE, end - offset), offset)
        if not piece:
            raise Failure("The file became shorter while it was uploaded: try again when nothing writes to it.")
        yield piece
        offset += len(piece)


def download(result: dict[str, Any], out: Path, bar: Bar, fresh: Callable[[], str]) -> Path:
    """Bring a job's result to `out`, whole and checked, in place of what was there. `fresh()` gives a new address when the old one expired.

    The bytes gather in a hidden file beside `out`, and take its name only when the size is right, and the SHA-256 where there is one.
    Raises Failure and Unreachable.
    """
    part = out.with_name(f".{out.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb+") as file:
            os.truncate(file.fileno(), result["size"])
            _Fetching(result, file.fileno(), bar, fresh).run()
            file.seek(0)
            if result["sha256"] and (found := hashlib.file_digest(file, "sha256").hexdigest()) != result["sha256"]:
                raise Failure(f"The download is damaged (SHA-256 {found[:12]}… instead of {result['sha256'][:12]}…): try again.")
            os.fsync(file.fileno())
        part.replace(out)
        _sync(out.parent)
    except OSError as exc:
        raise Failure(f"{out} cannot be written: {exc.strerror}.") from exc
    finally:
        part.unlink(missing_ok=True)
    return out


def _sync(folder: Path) -> None:
    """Make a new name last. Some file systems cannot, and the file is there all the same."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


class _Fetching:
    """One object in ranges, four at a time; each goes on where it broke."""

    def __init__(self, result: dict[str, Any], file: int, bar: Bar, fresh: Callable[[], str]) -> None:
        self._size, self._url, self._file, self._bar, self._fresh = result["size"], result["url"], file, bar, fresh
        self._lock = threading.Lock()
        self._got = 0
        self._stop = threading.Event()

    def run(self) -> None:
        with session(self._url) as http, concurrent.futures.ThreadPoolExecutor(PARALLEL, "download") as pool:
            ranges = [(start, min(start + _RANGE, self._size)) for start in range(0, self._size, _RANGE)]
            fetching = [pool.submit(self._range, http, start, end) for start, end in ranges]
            try:
                for done in concurrent.futures.as_completed(fetching):
                    done.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _range(self, http: httpx.Client, start: int, end: int) -> None:
        at = start

        def fetch() -> None:
            nonlocal at
            if at == end:
                return  # the connection broke after the last byte
            url = self._url
            with http.stream("GET", url, headers={"Range": f"bytes={at}-{end - 1}", "Accept-Encoding": "identity"}) as answer:
                if answer.status_code == 403:
                    with self._lock:
                        self._url = self._fresh() if self._url == url else self._url
                    raise Expired
                answer.raise_for_status()
                if answer.headers.get("content-range") != f"bytes {at}-{end - 1}/{self._size}":
                    raise Failure("The store sent something else than the result: try again.")
                for piece in answer.iter_raw():
                    if self._stop.is_set() or at + len(piece) > end:
                        raise Failure("The download was stopped.")
                    os.pwrite(self._file, piece, at)
                    at += len(piece)
                    with self._lock:
                        self._got += len(piece)
                        self._bar.move(self._got)
            if at < end:
                raise httpx.ReadError("the answer ended early")

        _persist(fetch, "fetched", self._stop)


def _persist(work: Callable[[], None], what: str, stop: threading.Event) -> None:
    """Do it, and after a failure that may pass again, TRIES times in all, with growing random pauses. Raises Unreachable."""
    why = ""
    for attempt in range(1, TRIES + 1):
        try:
            return work()
        except Expired:
            why = "its address is not valid"
        except httpx.HTTPStatusError as exc:
            status = exc.response.status_code
            why = f"the store answered {status}"
            if status < 500 and status not in (408, 425, 429) and not (status == 400 and b"BadDigest" in _body(exc.response)):
                break
        except httpx.TransportError as exc:
            why = f"the store did not answer ({type(exc).__name__})"
        if attempt < TRIES and stop.wait(random.uniform(0, _PAUSE_SECONDS * 2**attempt)):  # noqa: S311 (jitter, not a secret)
            break
    raise Unreachable(f"The media could not be {what}: {why}. Try again; an upload goes on where it stopped.")


def _body(answer: httpx.Response) -> bytes:
    try:
        return answer.read()
    except (httpx.StreamError, httpx.TransportError):
        return b""
