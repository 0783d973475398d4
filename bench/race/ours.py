"""One cut as a function does it: a process that has started, a media worker that waits, then one request.

`python -m bench.race.ours` reads a job from standard input, says "ready", waits for a line, does it, and answers with what it cost.
The worker's own start is in the processor time (it is counted when the worker ends) and not in the wall time, as in a function that runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.race.clock import Failed
from bench.race.meter import UNIT
from bench.race.result import Sample

ROOT = Path(__file__).parents[2]
IDLE_SECONDS = 0.3  # a worker whose processor time stands still for so long has imported what it needs


@dataclasses.dataclass(frozen=True)
class Stored:
    """A source in the store."""

    bucket: str
    key: str
    size: int


Source = Path | Stored


def cut(
    sources: Sequence[Source], edit: Mapping[str, Any], output: Path, environment: Mapping[str, str] | None = None, *, kept: bool = False
) -> Sample:
    """One edit of files or of objects, verified; of objects, also stored. `environment` names the store. With `kept`, the indexes of the
    objects lie beside them, as after an earlier job; else this is the first. Raises `Failed`."""
    told = [{"path": str(it)} if isinstance(it, Path) else dataclasses.asdict(it) for it in sources]
    job = {"sources": told, "edit": edit, "output": str(output), "environment": dict(environment or {}), "kept": kept}
    command = [sys.executable, "-m", "bench.race.ours"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(json.dumps(job) + "\n")
        child.stdin.flush()
        if child.stdout.readline().strip() == "ready":
            child.stdin.write("go\n")
            child.stdin.flush()
        said, wrong = child.communicate()
    if child.returncode:
        lines = [line for line in wrong.splitlines() if line.strip() and not line.startswith("{")]
        raise Failed(lines[-1].strip()[:300] if lines else f"it ended with {child.returncode}")
    answer = json.loads(said)
    return Sample(**{**answer, "warnings": tuple(answer["warnings"])})


# the child


def main() -> int:
    from native.media import session

    job = json.loads(sys.stdin.readline())
    store = _store(job["environment"])
    if job["kept"]:
        _keep(job, store)
    session.warm()
    _until_idle()
    sent = _Sent(store) if store else None
    print("ready", flush=True)
    sys.stdin.readline()
    output = Path(job["output"])
    with tempfile.TemporaryDirectory(dir=output.parent) as room:
        began, before = time.perf_counter(), _cpu()
        made, read, key = _work(job, store, Path(room))
        wall, cpu = time.perf_counter() - began, _cpu() - before
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * UNIT
        session.cool()
        counts = {name: getattr(made, name) for name in ("copied_frames", "primed_frames", "encoded_frames", "warnings")}
        costs = {
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "peak_bytes": peak,
            "read_bytes": read,
            "sent_bytes": sent.size if sent else None,
        }
        if key is None:
            made.path.rename(output)
        else:
            _fetch(job, store, key, made.size, output)
    print(json.dumps({**costs, **counts}))
    return 0


def _work(job: Mapping[str, Any], store: Any, room: Path) -> tuple[Any, int, str | None]:
    """(what was made, bytes of the sources read, the key of the result in the store), by the acts of `native.flow`."""
    from native import kept
    from native.media import session
    from native.media.edit import Edit
    from native.media.source import FileSource
    from native.objects import keys, parts

    edit = Edit.model_validate(job["edit"])
    with ExitStack() as stack:
        sources: list[Any] = [
            stack.enter_context(FileSource(it["path"])) if "path" in it else store.reader(it["bucket"], it["key"], it["size"])
            for it in job["sources"]
        ]
        indexes = kept.indexes(sources) if job["kept"] else []
        with session.open(sources, room, session.Limits(), indexes=indexes) as media:
            media.probe()
            made = media.render(edit, least=parts.WORTH if store else None)
            media.verify(made, edit)
        if store is None:
            return made, sum(source.bytes_read for source in sources), None
        bucket, key = job["environment"]["S3_OUTPUTS_BUCKET"], keys.output(uuid.uuid4().hex, 1, f"result.{made.container}")
        if made.layout is None:
            store.put_file(bucket, key, made.path, "video/mp4")
        else:
            spans = [parts.Span(piece.source, piece.offset, piece.size) for piece in made.layout.pieces]
            store.put_joined(bucket, key, made.path, spans, sources, content_type="video/mp4")
        return made, sum(source.bytes_read for source in sources), key


class _Sent:
    """`size`: the bytes of all bodies sent to the store from now on."""

    def __init__(self, store: Any) -> None:
        self.size = 0
        store._door.client.meta.events.register("before-send.s3", self._count)

    def _count(self, request: Any, **_: Any) -> None:
        self.size += int(request.headers.get("Content-Length") or 0)


def _fetch(job: Mapping[str, Any], store: Any, key: str, size: int, output: Path) -> None:
    """The result out of the store, to be looked at; it is not kept."""
    bucket = job["environment"]["S3_OUTPUTS_BUCKET"]
    source = store.reader(bucket, key, size)
    with output.open("wb") as file:
        for at in range(0, size, 8 << 20):
            file.write(source.read(at, 8 << 20))
    store.delete(bucket, key)


def _keep(job: Mapping[str, Any], store: Any) -> None:
    """Leave the index of every source beside it, where there is none."""
    from native.media import session

    for it in job["sources"]:
        source = store.reader(it["bucket"], it["key"], it["size"])
        if source.kept_index() is None:
            with tempfile.TemporaryDirectory() as room, session.open([source], Path(room)) as media:
                media.probe()
                media.keyframes(0)
                index = media.index(0)
            if index is not None:
                source.keep_index(index)


def _store(environment: Mapping[str, str]) -> Any:
    if not environment:
        return None
    from native.objects.store import Store
    from native.settings import Settings

    store = Store(Settings.model_validate({name.lower(): value for name, value in environment.items()}))
    store.warm()
    return store


def _cpu() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _until_idle() -> None:
    """Wait until the spare worker waits."""
    import psutil

    children, spent = psutil.Process().children(recursive=True), -1.0
    while (now := sum(sum(child.cpu_times()[:2]) for child in children)) != spent or now == 0:
        spent = now
        time.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
