"""The smallest server that keeps a function's contract, so that the gateway can be tested without any function's work."""

import json
import os
import signal
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAX_INFLIGHT = int(os.environ["MAX_INFLIGHT"])
# Calls of all replicas and all lives of a function are noted here, because a test asks what really happened.
NOTES = Path(os.environ["NOTES"])
INFLIGHT = threading.Semaphore(MAX_INFLIGHT)
STOPPING = threading.Event()


def note(**facts):
    line = json.dumps({"function": os.environ["FUNCTION_NAME"], "pid": os.getpid(), "time": time.time(), **facts}) + "\n"
    fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def problem(self, status, code):
        self.answer(status, json.dumps({"code": code, "status": status}).encode(), Content_Type="application/problem+json", Retry_After="1")

    def do(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/_/ready":
            return self.answer(200 if not STOPPING.is_set() else 503)
        if not INFLIGHT.acquire(blocking=False):
            return self.problem(429, "busy")
        try:
            return self.act(path.strip("/").split("/"), query, body)
        finally:
            INFLIGHT.release()

    def act(self, words, query, body):
        call = self.headers.get("X-Call-Id")
        verb = words[0]
        note(event="begin", path=self.path, call=call, body=body.decode(errors="replace"))
        if os.environ["FUNCTION_NAME"] == "status":
            return self.status(verb)
        time.sleep(float(os.environ.get("SLOW", "0")))
        if verb == "sleep":
            STOPPING.wait(float(words[1]))
            if STOPPING.is_set():
                return self.problem(503, "shutting_down")
        if verb == "events":
            return self.events(int(words[1]), float(words[2]))
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "half":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        note(event="end", path=self.path, call=call)
        if verb == "code":
            return self.problem(int(words[1]), words[2] if len(words) > 2 else "test")
        if verb == "flaky":  # answers 503 to the first n deliveries of a call
            seen = sum(1 for line in NOTES.read_text().splitlines() if f'"{call}"' in line and '"begin"' in line)
            if seen <= int(words[1]):
                return self.problem(503, "test")
        if verb == "bytes":
            return self.answer(200, b"x" * int(words[1]), Content_Type="application/octet-stream")
        facts = {
            "pid": os.getpid(),
            "method": self.command,
            "path": urllib.parse.unquote(self.path.partition("?")[0]),
            "target": self.path,
            "query": query,
            "headers": [[n.lower(), v] for n, v in self.headers.items()],
            "body": body.decode(errors="replace"),
            "environment": {
                n: v for n, v in os.environ.items() if n in ("PORT", "BIND", "WORD", "FUNCTION_DIR", "GATEWAY_URL", "GATEWAY_PASSWORD_FILE")
            },
        }
        return self.answer(200, json.dumps(facts).encode(), Content_Type="application/json", Connection="keep-alive", X_Kept="yes")

    def status(self, job):
        """What the real status function does for event streams: `job-3-0.1` is a job of three events with pauses of 0.1 s."""
        if self.headers.get("Authorization") != "Bearer nve_right":
            return self.problem(401, "unauthenticated")
        if not job.startswith("job-"):
            return self.problem(404, "not_found")
        _, count, pause = job.split("-")
        return self.events(int(count), float(pause) / 1000, job)

    def events(self, count, pause, name="job"):
        """Server-sent job documents, `count` of them, the last one terminal."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for number in range(count):
                job = {"id": name, "state": "running" if number < count - 1 else "succeeded", "sent": time.time(), "number": number}
                self.wfile.write(f"event: job\nid: {number}\ndata: {json.dumps(job)}\n\n".encode())
                self.wfile.flush()
                if number < count - 1 and STOPPING.wait(pause):
                    break
        except OSError:
            note(event="gone", path=self.path)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do

    def log_message(self, format, *args):
        print(
            json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), "event": format % args}),
            file=sys.stderr,
            flush=True,
        )


def main():
    if os.environ.get("BROKEN") and Path(os.environ["BROKEN"]).exists():
        sys.exit("broken on purpose")
    note(event="start")
    server = ThreadingHTTPServer((os.environ["BIND"], int(os.environ["PORT"])), Handler)
    server.daemon_threads = True

    def stop(*_):
        STOPPING.set()
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(poll_interval=0.05)
    for _ in range(MAX_INFLIGHT):  # calls under way get their last word
        INFLIGHT.acquire(timeout=1)
    note(event="stop")


main()
