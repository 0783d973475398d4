"""A real Chromium without a window, told what to do over its debugging protocol: what it shows of a file, read off the pictures."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests import clips

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60  # seconds for one film

# Reads the number in the picture that is shown. A frame callback comes when a picture has really been handed to the screen.
PAGE = f"""<!doctype html><video muted preload="auto"></video><canvas></canvas><script>
const video = document.querySelector('video'), canvas = document.querySelector('canvas');
const pen = canvas.getContext('2d', {{willReadFrequently: true}});
function number() {{
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  pen.drawImage(video, 0, 0);
  let found = 0;
  for (let bit = 0; bit < {clips.BITS}; bit++) {{
    const at = pen.getImageData(bit * {clips.BLOCK} + {clips.BLOCK // 2}, {clips.BLOCK // 2}, 1, 1).data;
    if (at[1] > 125) found |= 1 << bit;
  }}
  return found;
}}
function ready(name) {{
  return new Promise((done, failed) => {{
    video.onerror = () => failed(new Error(video.error.message));
    video.requestVideoFrameCallback(() => done());
    video.src = name;
  }});
}}
async function each(name, times) {{
  await ready(name);
  const seen = [];
  for (const time of times) {{
    // the jump is over before its picture is handed to the screen
    const shown = new Promise(done => video.requestVideoFrameCallback(done));
    await new Promise((done, failed) => {{
      video.onerror = () => failed(new Error(video.error.message));
      video.onseeked = () => done();
      video.currentTime = time;
    }});
    await Promise.race([shown, new Promise(done => setTimeout(done, 2000))]);
    seen.push(number());
  }}
  return {{seen, duration: video.duration}};
}}
async function play(name) {{
  await ready(name);
  const seen = [number()];
  const look = () => {{ seen.push(number()); video.requestVideoFrameCallback(look); }};
  video.requestVideoFrameCallback(look);
  await new Promise((done, failed) => {{
    video.onerror = () => failed(new Error(video.error.message));
    video.onended = () => done();
    video.play().catch(failed);
  }});
  seen.push(number());
  return {{seen, duration: video.duration}};
}}
</script>"""


@dataclass(frozen=True)
class Shown:
    """The numbers of the frames that were seen, and how long the film is said to be, in seconds."""

    seen: list[int]
    duration: float


def found() -> str | None:
    """The browser on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page that plays the files of a folder."""

    def __init__(self, socket: ClientConnection, url: str) -> None:
        self._socket, self._number = socket, 0
        self._ask("Page.enable")
        self._ask("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE
        while self._value("typeof play") != "function":
            assert time.monotonic() < deadline, "the page does not load"

    def each(self, name: str, times: list[float]) -> Shown:
        """What is seen after a jump to each of the times."""
        return Shown(**self._value(f"each({json.dumps(name)}, {json.dumps(times)})"))

    def play(self, name: str) -> Shown:
        """What is seen while the film plays to its end; a busy machine may leave out frames."""
        return Shown(**self._value(f"play({json.dumps(name)})"))

    def _value(self, expression: str) -> Any:
        answer = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]["exception"].get("description")
        return answer["result"].get("value")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files by ranges, without which a player cannot jump."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = PAGE.encode() if self.path == "/" else (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        kind = "text/html" if self.path == "/" else "video/webm" if self.path.endswith(".webm") else "video/mp4"
        asked = self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) if last else len(body) - 1, len(body) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop}/{len(body)}")
        self.send_header("Content-Length", str(stop + 1 - start))
        self.end_headers()
        with suppress(ConnectionError):  # a player that jumps hangs up
            self.wfile.write(body[start : stop + 1])

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser before the files of a folder."""
    program = found()
    assert program
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        # Root cannot use the sandbox of user namespaces; the page and the films are ours.
        quiet = ["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"]
        switches = ["--headless=new", "--no-sandbox", *quiet, "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0"]
        process = subprocess.Popen(
            [program, *switches, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with connect(_address(Path(profile), process), max_size=None) as socket:
                yield Browser(socket, f"http://127.0.0.1:{server.server_address[1]}/")
        finally:
            process.terminate()
            process.wait(20)
            server.shutdown()
            thread.join()
            server.server_close()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the page's own debugging socket: the browser writes down its port when it listens."""
    port, deadline = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser does not start"
        with suppress(OSError, ValueError, StopIteration):
            import httpx

            number = int(port.read_text().splitlines()[0])
            pages = httpx.get(f"http://127.0.0.1:{number}/json/list", trust_env=False).json()
            return next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        threading.Event().wait(0.05)
