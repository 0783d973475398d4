"""A client written from the public contract alone, as a user of the HTTP interface would write it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx


class Stranger:
    """Somebody with a key, or without one."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=120)
        self.store = httpx.Client(timeout=60)  # signed addresses: no key goes there

    def close(self) -> None:
        self.http.close()
        self.store.close()

    def upload(self, path: Path, name: str | None = None) -> str:
        """Send a file; returns its asset id."""
        body = path.read_bytes()
        offer = self.http.post("/function/upload", json={"name": name or path.name, "size": len(body), "type": "video/mp4"})
        assert offer.status_code == 201, offer.text
        for part in offer.json()["parts"]:
            answer = self.store.put(part["url"], content=body[part["offset"] : part["offset"] + part["size"]])
            assert answer.status_code == 200, answer.text
        done = self.http.post(f"/function/upload/{offer.json()['asset']}/complete")
        assert done.status_code == 200, done.text
        return done.json()["asset"]

    def post(self, operation: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(f"/function/{operation}", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def submit(self, operation: str, body: Any, **headers: str) -> dict[str, Any]:
        """Ask for a job and do not wait."""
        answer = self.post(operation, body, Prefer="respond-async", **headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job(self, job: str, wait: float = 0) -> dict[str, Any]:
        answer = self.http.get(f"/function/status/{job}", params={"wait": wait} if wait else {})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, job: str, seconds: float = 90) -> dict[str, Any]:
        """The job once it has ended; fails when it does not end in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            document = self.job(job, wait=20)
            if document["state"] in ("succeeded", "failed", "cancelled"):
                return document
        raise AssertionError(f"job {job} did not end in {seconds} s: {document}")

    def download(self, document: dict[str, Any], path: Path) -> Path:
        """The result of a job that succeeded, as a file."""
        answer = self.store.get(document["result"]["url"])
        assert answer.status_code == 200, answer.text
        path.write_bytes(answer.content)
        return path
