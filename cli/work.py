"""The way of trim, merge and render alike: upload what is a file, ask, follow, save."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli import figures, options, server, transfer, watch
from cli.client import Client
from cli.failure import Interrupted
from cli.screen import Screen

# Makes the request's body once every source has its asset id.
Build = Callable[[Sequence[str]], dict[str, Any]]


def run(screen: Screen, data: Path, operation: str, sources: Sequence[Path | str], *, build: Build, out: Path | None) -> None:
    """One job from its files to its file. Raises Failure for everything that is not a success."""
    wanted = options.output(out, list(sources))
    with server.connected(screen, data, start=True) as client:
        assets = uploaded(screen, client, data, sources)
        request = build(assets)
        if wanted:
            # What OUT's name says comes first; the rest of an edit's own `output` stays.
            request["output"] = {**(request.get("output") or {}), **wanted}
        job = follow(screen, client, client.submit(operation, request), ours=True)
        saved = save(screen, client, job, out) if out else None
    screen.result(job, lambda: tell(screen, job, saved))


def uploaded(screen: Screen, client: Client, data: Path, sources: Sequence[Path | str]) -> list[str]:
    """The asset id of each source; a file that is named twice is uploaded once."""
    ids: dict[Path, str] = {}
    with screen.bars() as bars:
        for path in dict.fromkeys(source for source in sources if isinstance(source, Path)):
            if path.resolve() in ids:
                ids[path] = ids[path.resolve()]
                continue
            size, began = path.stat().st_size, time.monotonic()
            bar = bars.add(f"Uploading {path.name}", size)
            try:
                ids[path] = ids[path.resolve()] = transfer.upload(client, path, data / "uploads", bar)
            except KeyboardInterrupt:
                raise Interrupted(f"Interrupted; the upload of {path.name} goes on where it stopped when you try again.") from None
            bar.end(f"Uploaded {path.name}: {figures.size(size)} in {figures.seconds(time.monotonic() - began)}")
    return [ids[source] if isinstance(source, Path) else source for source in sources]


def follow(screen: Screen, client: Client, job: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
    """The job's document when it has succeeded. Ctrl-C cancels a job that is `ours`. Raises Failure."""
    with screen.bars() as bars:
        return watch.shown(client, dict(job), bars, f"{str(job['operation']).capitalize()} {str(job['id'])[:8]}", ours=ours)


def save(screen: Screen, client: Client, job: Mapping[str, Any], out: Path) -> Path:
    """Download the job's result to OUT, or into it when it is a folder."""
    result = job["result"]
    target = out / Path(result["name"]).name if out.is_dir() else out
    with screen.bars() as bars:
        bar = bars.add(f"Saving {target.name}", result["size"])
        try:
            return transfer.download(result, target, bar, lambda: client.job(job["id"])["result"]["url"])
        except (KeyboardInterrupt, concurrent.futures.CancelledError):
            raise Interrupted(f"Interrupted; the result is kept: `nve job {job['id']} -o {target}`.", document=dict(job)) from None


def tell(screen: Screen, job: Mapping[str, Any], saved: Path | None) -> None:
    """What became of it, in one line for the eye and one for what it cost."""
    result = job["result"]
    print(saved or f"asset {result['asset']}")
    screen.say("  " + cost(result))
    for warning in job.get("warnings") or []:
        screen.say(f"  note: {warning}")
    if not saved:
        screen.say(f"  save it with `nve job {job['id']} -o FILE`")


def cost(result: Mapping[str, Any]) -> str:
    """`0:12.540, 376 frames (371 copied, 5 primed, 0 encoded), 14.2 MB; read 9.1 MB of 21.9 MB (42 %)`."""
    encoded = ", ".join(f"{result[f'{kind}_frames']} {kind}" for kind in ("copied", "primed", "encoded") if f"{kind}_frames" in result)
    text = f"{figures.clock(float(result['duration']))}, {result['frames']} frames ({encoded}), {figures.size(result['size'])}"
    whole, read = result.get("source_bytes"), result.get("source_bytes_read")
    if whole and read is not None:
        text += f"; read {figures.size(read)} of {figures.size(whole)} ({figures.share(read, whole)})"
    return text
