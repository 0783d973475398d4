"""A worker taken over by its source: the source's bytes name what it does instead of probing. Run in place of the real one.

It lives behind the real sandbox and speaks on the real channel, so what it achieves is what a compromised decoder could.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from native.media import channel, process, worker


class Rogue:
    def __init__(self, end: channel.Worker) -> None:
        self.end = end

    def open(self, opening: dict[str, Any]) -> None:
        self.room = Path(opening["room"])
        self.sizes = opening["sizes"]

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        deed, *words = self.end.read(0, 0, self.sizes[0]).decode().split(" ")
        seen = getattr(self, deed)(*words)
        info = {"container": json.dumps(seen), "duration": "1/1", "size": 1, "streams": [], "start": "0/1"}
        return {"media": [info] * len(self.sizes)}

    # -- what it sees

    def environment(self) -> Any:
        return dict(os.environ)

    def descriptors(self) -> Any:
        found = []
        for number in range(3, 1 << 16):  # it has the number that it had in the parent, which may hold many
            try:
                os.fstat(number)
            except OSError:
                continue
            found.append(number)
        return found

    def limits(self) -> Any:
        import resource

        names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE")
        return {name: resource.getrlimit(getattr(resource, name))[0] for name in names} | {"nice": os.nice(0)}

    # -- what it tries; each answers "done" or the error's number

    def sockets(self) -> Any:
        families = ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")
        return {name: _try(lambda name=name: socket.socket(getattr(socket, name), socket.SOCK_DGRAM)) for name in families}

    def ffmpeg_socket(self, url: str) -> Any:
        try:
            process.ffmpeg(["-nostdin", "-hide_banner", "-i", url, "-f", "null", "-"], self.room)
        except process.Failed as exc:
            return {"status": exc.status, "said": exc.stderr}
        return "done"

    def escape_group(self) -> Any:
        return {"setsid": _try(os.setsid), "setpgid": _try(lambda: os.setpgid(0, 0))}

    def read_file(self, path: str) -> Any:
        return _try(lambda: Path(path).read_bytes())

    def write_file(self, path: str) -> Any:
        return _try(lambda: Path(path).write_bytes(b"x"))

    def signal_parent(self) -> Any:
        return _try(lambda: os.kill(os.getppid(), 0))

    # -- what it does

    def segfault(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def die(self, number: str) -> None:
        if int(number) != signal.SIGKILL:
            signal.signal(int(number), signal.SIG_DFL)
        os.kill(os.getpid(), int(number))

    def leave(self) -> None:
        os._exit(3)

    def eat_memory(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(16 << 20))

    def burn(self) -> None:
        while True:
            pass

    def sleep(self) -> None:
        time.sleep(600)

    def fill_disk(self) -> None:
        with (self.room / "big").open("wb") as file:
            while True:
                file.write(bytes(1 << 20))

    def shout(self) -> Any:
        """Fill standard error, and then some."""
        for _ in range(200):
            sys.stderr.write("x" * 10_000 + "\n")
        return "done"

    def encode(self, marker: str) -> None:
        """An endless encode in FFmpeg; the first line of its progress makes the file `marker` in the room."""
        endless = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=30", "-c:v", "libx264", "-f", "null", "-progress", "pipe:1", "-"]
        process.ffmpeg(["-nostdin", "-loglevel", "error", *endless], self.room, on_line=lambda _line: (self.room / marker).touch())

    def children_of_children(self, marker: str) -> None:
        """FFmpeg without our door: no death signal of its own, only the group."""
        subprocess.Popen([process.ffmpeg_path(), "-nostdin", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-"], stderr=subprocess.DEVNULL)
        (self.room / marker).touch()
        time.sleep(600)

    # -- what it says

    def read_past_end(self) -> None:
        self.end.read(0, self.sizes[0] - 1, 2)

    def read_stranger(self) -> None:
        self.end.read(7, 0, 1)

    def read_huge(self) -> None:
        self.end.read(0, 0, 1 << 40)

    def long_frame(self) -> None:
        os.write(self._wire(), struct.pack("!BI", channel.Kind.RESULT, 0xFFFFFFFF))
        time.sleep(600)

    def noise(self) -> None:
        os.write(self._wire(), os.urandom(4096))
        time.sleep(600)

    def deep_json(self) -> None:
        self._result(b'{"media":' + b"[" * 200_000 + b"]" * 200_000 + b"}")

    def fraction_bomb(self) -> None:
        self._result(b'{"media":[{"container":"x","duration":"1e999999999","size":1,"streams":[],"start":"0/1"}]}')

    def own_words(self) -> None:
        self._frame(channel.Kind.PROBLEM, b'{"code":"storage_unavailable","detail":"try me again"}')

    def markup(self) -> None:
        self._frame(
            channel.Kind.PROBLEM, json.dumps({"code": "source_unreadable", "detail": "a\r\nb\x1b[2J" + "x" * 900, "field": "a b"}).encode()
        )

    def _result(self, payload: bytes) -> None:
        self._frame(channel.Kind.RESULT, payload)

    def _frame(self, kind: channel.Kind, payload: bytes) -> None:
        os.write(self._wire(), struct.pack("!BI", kind, len(payload)) + payload)
        time.sleep(600)

    def _wire(self) -> int:
        return int(sys.argv[2])


def _try(deed: Any) -> Any:
    try:
        deed()
    except OSError as exc:
        return exc.errno
    return "done"


if __name__ == "__main__":
    worker.main(Rogue)
