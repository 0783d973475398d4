"""nve jobs, job, cancel, retry: what became of the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_DATA, AsJson, Data, Out
from cli.screen import Screen

PANEL = "Jobs"

Job = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `nve jobs` shows it.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait until the job has ended. Ctrl-C stops watching, not the job.")]


def add(app: typer.Typer) -> None:
    for command in (jobs, job, cancel, retry):
        app.command(rich_help_panel=PANEL)(command)


def jobs(
    state: Annotated[str | None, typer.Option(help="Only those: queued, running, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many, the newest first.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended: the `next` of its --json.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """List your jobs, the newest first.

    Example: nve jobs --state failed
    """
    from cli import server

    screen = Screen(as_json)
    with server.connected(screen, data) as client:
        page = client.jobs(limit=limit, state=state, cursor=cursor)
    screen.result(page, lambda: _list(screen, page))


def job(id: Job, follow: Follow = False, out: Out = None, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Show a job, follow it, save its result.

    Ends with 1 when the job failed or was cancelled.

    Example: nve job 019ab3c4-… --follow -o beach.mp4
    """
    from cli import options, server, watch, work

    screen = Screen(as_json)
    if out:
        options.output(out, [])
    with server.connected(screen, data) as client:
        document = client.job(id)
        if follow or out:
            document = work.follow(screen, client, document, ours=False)
        saved = work.save(screen, client, document, out) if out else None
    if document["state"] in ("failed", "cancelled"):
        if not as_json:
            _show(document)
        watch.succeeded(document)
    screen.result(document, lambda: print(saved) if saved else _show(document))


def cancel(id: Job, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Stop a job. What it made so far is thrown away.

    Example: nve cancel 019ab3c4-…
    """
    from cli import server

    screen = Screen(as_json)
    with server.connected(screen, data) as client:
        document = client.cancel(id)
    screen.result(document, lambda: print(f"Cancelled job {document['id']}."))


def retry(id: Job, follow: Follow = False, out: Out = None, as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Do a job that failed or was cancelled once more, as a new job.

    Example: nve retry 019ab3c4-… --follow
    """
    from cli import options, server, work

    screen = Screen(as_json)
    if out:
        options.output(out, [])
    with server.connected(screen, data) as client:
        document = client.retry(id)
        if follow or out:
            document = work.follow(screen, client, document, ours=False)
        saved = work.save(screen, client, document, out) if out else None
    screen.result(document, lambda: print(saved or document["id"]))


def _list(screen: Screen, page: Mapping[str, Any]) -> None:
    from cli import figures

    rows = []
    for it in page["jobs"]:
        result, error = it.get("result") or {}, it.get("error") or {}
        state = f"{it['state']} {figures.share(it['progress']['percent'], 100)}" if it["state"] == "running" else it["state"]
        what = f"{result['name']}, {figures.size(result['size'])}" if result else error.get("message", "")
        rows.append([it["id"], it["operation"], state, figures.ago(it["created_at"]), what])
    if not rows:
        screen.say("There are no jobs yet: `nve trim`, `nve merge` and `nve render` make them.")
        return
    screen.table(["id", "operation", "state", "asked", "result"], rows)
    if page.get("next"):
        screen.say(f"There are more: nve jobs --cursor {page['next']}")


def _show(it: Mapping[str, Any]) -> None:
    from cli import figures, work

    print(f"{it['operation']} {it['id']}  {it['state']}")
    print(f"  asked {figures.ago(it['created_at'])}, attempt {it['attempt']}, stage {it['stage']}")
    if it["state"] == "running":
        progress = it["progress"]
        print(f"  {figures.share(progress['percent'], 100)}, {progress['frames']} frames")
    if result := it.get("result"):
        print(f"  {result['name']}  {work.cost(result)}")
        print(f"  asset {result['asset']}")
    for warning in it.get("warnings") or []:
        print(f"  note: {warning}")
