"""The child that touches strangers' bytes: `python -m native.media.worker <parent's pid> <descriptor>`, started by process.py.

It imports what it needs, confines itself, and then serves its session's calls one after the other. Sources are read through the
channel; results are files in the room. What goes wrong is said by code; the words for the log go to standard error.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av.error

from native import errors
from native.media import channel, process, sandbox

NICENESS = 10  # answering callers on the same machine comes before encodes, and before the imports of their workers
REPORT_SECONDS = 0.2  # progress more often than this helps nobody


def main(desk_of: Callable[[channel.Worker], Any] | None = None) -> None:
    """Serve one session. `desk_of` makes what answers its calls; the tests bring rogues of their own."""
    parent, descriptor = int(sys.argv[1]), int(sys.argv[2])
    os.nice(NICENESS)
    sandbox.die_with_parent(parent)
    sandbox.close_all_but(descriptor)
    missing = [sandbox.refuse_calls()]
    end = channel.Worker(socket.socket(fileno=descriptor))
    desk = (desk_of or Desk)(end)  # imports the engine, so that a spare is warm
    try:
        opening = end.call()
        limits = opening["limits"]
        missing.append(sandbox.fence(Path(opening["room"]), [Path(process.ffmpeg_path())]))
        sandbox.limit(
            memory_bytes=limits["memory_bytes"],
            cpu_seconds=limits["cpu_seconds"],
            # a source may be copied into the room, whatever the result may weigh
            file_bytes=max([limits["output_bytes"], *opening["sizes"]]),
        )
        desk.open(opening)
        end.result({"missing": [reason for reason in missing if reason]})
        while True:
            serve(desk, end, end.call())
    except channel.Closed:
        return


def serve(desk: Any, end: channel.Worker, call: dict[str, Any]) -> None:
    """Answer one call with a result or a problem."""
    try:
        answer = desk.answer(call)
    except channel.Closed:
        raise
    except errors.Problem as exc:
        answer = exc
    except Exception as exc:
        traceback.print_exc()
        answer = blame(exc)
    # Here, not above: as long as an exception is being handled, what it holds takes up the memory that may be wanting.
    if isinstance(answer, errors.Problem):
        end.problem(answer)
        return
    try:
        end.result(answer)
    except channel.TooLong:
        end.problem(errors.SOURCE_TOO_COMPLEX("The source has too many key frames to list."))


def blame(exc: Exception) -> errors.Problem:
    """The problem behind an exception that the engine did not expect."""
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in sandbox.EXHAUSTED):
        return errors.TOO_HEAVY()
    if isinstance(exc, process.Failed):
        return errors.TOO_HEAVY() if exc.exhausted else errors.SOURCE_UNREADABLE()
    if isinstance(exc, av.error.FFmpegError):
        return errors.SOURCE_UNREADABLE()
    return errors.INTERNAL()


class Desk:
    """What a session may ask of a worker."""

    def __init__(self, end: channel.Worker) -> None:
        from native.media import edit, engine, index, made, probe, verify

        self._end = end
        self._probe, self._keyframes, self._verify = probe.probe, index.keyframes, verify.verify
        self._render = engine.render
        self._edit, self._made_of = edit.Edit, made.Made
        self._offer, self._worth_keeping = index.offer, index.worth_keeping
        self._reported = 0.0

    def open(self, opening: dict[str, Any]) -> None:
        """Take over the sources and the room."""
        self._room = Path(opening["room"])
        self._sources = [channel.Remote(number, size, self._end.read, self._end.expect) for number, size in enumerate(opening["sizes"])]
        # what is kept of them beside them is read like a source, by the numbers after theirs
        for number, (source, size) in enumerate(zip(self._sources, opening["indexes"], strict=True), len(self._sources)):
            if size:
                self._offer(source, channel.Remote(number, size, self._end.read))
        os.environ["TMPDIR"] = str(self._room)

    def report(self, frames: int, total: int) -> None:
        """Tell how many frames of how many are made. Cheap enough to call for every frame."""
        now = time.monotonic()
        if frames >= total or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._end.progress({"frames": int(frames), "total": int(total)})

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked. Raises errors.Problem, and whatever the engine did not expect."""
        match call["call"]:
            case "probe":
                return {"media": [self._probe(source).model_dump(mode="json") for source in self._sources]}
            case "keyframes":
                times = self._keyframes(self._sources[call["source"]])
                return {"keyframes": [f"{time.numerator}/{time.denominator}" for time in times]}
            case "render":
                edit = self._edit.model_validate(call["edit"])
                made = self._render(edit, self._sources, self._room, self.report, call.get("least"))
                return {"made": made.model_dump(mode="json")}
            case "verify":
                self._verify(self._made_of.model_validate(call["made"]), self._edit.model_validate(call["edit"]))
                return {}
            case "index":
                kept = self._worth_keeping(self._sources[call["source"]])
                if kept is not None:
                    (self._room / call["file"]).write_bytes(kept)
                return {"size": len(kept) if kept is not None else 0}
            case other:
                raise ValueError(other)


if __name__ == "__main__":
    main()
