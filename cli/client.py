"""The HTTP API, as the command line uses it: retries where they are safe, and one clear sentence where they are not enough."""

from __future__ import annotations

import ipaddress
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.failure import Failure, Unreachable, Usage

# A server that is being restarted is back within this; a wrong address need not be waited for.
PATIENCE_SECONDS = 3.0
# What a server that says "later" is given in all, and at most at once.
BUSY_SECONDS = 90.0
LONGEST_PAUSE_SECONDS = 30.0
READ_SECONDS = 60.0
# The server sends something at least every 10 s.
EVENT_SECONDS = 30.0

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Refused(Failure):
    """The server understood and said no. `status` is HTTP's, `problem` its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code") or f"http_{status}")
        self.field = problem.get("field")
        detail = str(problem.get("detail") or problem.get("title") or f"The server answered {status}").rstrip(".") + "."
        if status == 401:
            # The server's own words are for programs: a header's name helps nobody here.
            detail = "The server does not take this key: set NVE_KEY to a living one, such as `nve keys create NAME` makes."
        named = f"{self.field}: {detail}" if self.field and str(self.field) not in detail else detail
        super().__init__(named, code=self.code, field=self.field)
        # What the server calls a wrong request is a wrong command line here.
        self.exit_code = Usage.exit_code if status in (400, 413) else Failure.exit_code


class Client:
    """One server and one key. Thread-safe."""

    def __init__(self, url: str, key: str, *, say: Callable[[str], None] | None = None) -> None:
        self.url = url.rstrip("/")
        self._say = say
        self._http = session(self.url, headers={"Authorization": f"Bearer {key}", "Accept": "application/json"})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    # jobs

    def submit(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a job and return its document at once. Sent again after a lost answer, it is still one job."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": str(uuid.uuid4())}
        return self.ask("POST", f"/function/{operation}", body=request, headers=headers)

    def job(self, job: str, *, wait: int = 0, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The job's document; with `wait` when it has ended, or after that many seconds."""
        return self.ask("GET", f"/function/status/{_id(job, 'job')}", query={"wait": wait} if wait else None, patience=patience)

    def jobs(self, *, limit: int = 50, state: str | None = None, cursor: str | None = None) -> dict[str, Any]:
        query = {"limit": limit, "state": state, "cursor": cursor}
        return self.ask("GET", "/function/status", query={name: value for name, value in query.items() if value is not None})

    def cancel(self, job: str) -> dict[str, Any]:
        return self.ask("DELETE", f"/function/status/{_id(job, 'job')}")

    def retry(self, job: str) -> dict[str, Any]:
        return self.ask("POST", f"/function/status/{_id(job, 'job')}/retry", headers={"Idempotency-Key": str(uuid.uuid4())})

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The job's document at every change, until the server ends the stream. Raises Refused, and httpx.TransportError when it breaks."""
        timeout = httpx.Timeout(EVENT_SECONDS, connect=5)
        headers = {"Accept": "text/event-stream"}
        with self._http.stream("GET", f"/function/status/{_id(job, 'job')}", headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200 or "text/event-stream" not in answer.headers.get("content-type", ""):
                answer.read()
                raise Refused(answer.status_code, _problem(answer))
            for name, data in _messages(answer.iter_lines()):
                if name == "problem":
                    raise Refused(int(data.get("status", 500)), data)
                if name == "job":
                    yield data

    # assets

    def upload(self, name: str, size: int, content_type: str) -> dict[str, Any]:
        """A place for a file: {asset, part_size, parts: [{number, offset, size, url}], …}."""
        return self.ask("POST", "/function/upload", body={"name": name, "size": size, "type": content_type})

    def asset(self, asset: str) -> dict[str, Any]:
        """A finished asset; of one that is still coming, the same as `upload`, where the parts that are there have an etag and no url."""
        return self.ask("GET", f"/function/upload/{_id(asset, 'asset')}")

    def complete(self, asset: str) -> dict[str, Any]:
        return self.ask("POST", f"/function/upload/{_id(asset, 'asset')}/complete")

    def inspect(self, asset: str) -> dict[str, Any]:
        return self.ask("GET", f"/function/inspect/{_id(asset, 'asset')}")

    # the way there

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> dict[str, Any]:
        """One call and its JSON answer. Raises Refused for every 4xx and 5xx, and Unreachable."""
        began, tries = time.monotonic(), 0
        while True:
            tries += 1
            try:
                answer = self._http.request(method, path, json=body, params=query, headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if time.monotonic() - began > patience:
                    raise Unreachable(f"No server answers at {self.url}: start it with `nve up`, or set NVE_URL to where it is.") from None
                time.sleep(min(0.1 * 2**tries, 1.0))
                continue
            except httpx.TransportError as exc:
                # Every call here may be repeated: jobs carry an Idempotency-Key, and a place for a file that nobody fills costs nothing.
                if tries >= 3 and time.monotonic() - began > patience:
                    raise Unreachable(
                        f"The server at {self.url} broke off ({type(exc).__name__}): look at `nve logs`, then try again."
                    ) from None
                time.sleep(random.uniform(0, 0.2 * 2 ** min(tries, 4)))  # noqa: S311 (jitter, not a secret)
                continue
            if answer.status_code < 400:
                return _json(answer)
            problem = _problem(answer)
            pause = _pause(answer, tries)
            # A problem that carries a job is the job's end, and asking again would only be told the same.
            if answer.status_code not in (429, 502, 503, 504) or "job" in problem or time.monotonic() - began + pause > BUSY_SECONDS:
                raise Refused(answer.status_code, problem)
            if pause > 1 and self._say:
                self._say(f"The server is busy; trying again in {pause:.0f} s …")
            time.sleep(pause)


def session(url: str, **options: Any) -> httpx.Client:
    """An HTTP client for one host. A proxy from the environment is for the world outside, not for this machine."""
    options.setdefault("timeout", httpx.Timeout(READ_SECONDS, connect=5))
    try:
        where = urlsplit(url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise ValueError(url)
        return httpx.Client(base_url=url, trust_env=not _near(where.hostname), follow_redirects=False, **options)
    except (httpx.InvalidURL, ValueError):
        raise Usage(f"{url} is not the address of a server: it should look like http://127.0.0.1:8080.") from None


def _near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The (event, data) of server-sent events."""
    name, data = "message", []
    for line in lines:
        if not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


def _id(text: str, what: str) -> str:
    """An id that is fit to be part of an address."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Usage(f"{text!r} is not the id of {'an' if what == 'asset' else 'a'} {what}: `nve jobs` shows the ids.") from None


def _pause(answer: httpx.Response, tries: int) -> float:
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return min(float(after), LONGEST_PAUSE_SECONDS)
    return random.uniform(0.1, 0.3) * 2 ** min(tries, 6)  # noqa: S311 (jitter, not a secret)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Unreachable(f"What answers at {answer.request.url.copy_with(path='/', query=None)} is not this project's server.")
    return document


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """What the server says is wrong; of an answer that is no problem document, what can be said of it."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and ("detail" in problem or "title" in problem):
        return problem
    return {"code": f"http_{answer.status_code}", "detail": f"The server answered {answer.status_code} {answer.reason_phrase}".rstrip()}
